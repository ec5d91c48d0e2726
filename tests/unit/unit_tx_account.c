/* SPDX-License-Identifier: MIT */
/*
 * The account of what the kernel's TLS layer holds above TCP, on a scripted
 * socket.
 */
#include "scripted_sys.h" /* CMake then adds scripted_sys.c */
#include "unit_tx_account.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#define HEAD_LEN	4	/* version and cipher, without the key */

/* ---- the socket ---- */

const struct kind kinds[N_KINDS] = {
	{ 0x0303, TLSSF_AES_128_GCM, 5 + 8 + 16 },
	{ 0x0303, TLSSF_AES_256_GCM, 5 + 8 + 16 },
	{ 0x0303, TLSSF_AES_128_CCM, 5 + 8 + 16 },
	{ 0x0303, TLSSF_CHACHA20_POLY1305, 5 + 16 },
	{ 0x0304, TLSSF_AES_128_GCM, 5 + 1 + 16 },
	{ 0x0304, TLSSF_AES_256_GCM, 5 + 1 + 16 },
	{ 0x0304, TLSSF_AES_128_CCM, 5 + 1 + 16 },
	{ 0x0304, TLSSF_CHACHA20_POLY1305, 5 + 1 + 16 },
};

struct sock sock;

static int64_t play_tcp(const struct sys_args *a)
{
	memcpy(a->out, &sock.tcp, sizeof(sock.tcp));
	return -sock.tcp_err;
}

static int64_t play_seq(const struct sys_args *a)
{
	struct kernel_key key = { .version = 0x0304, .cipher = sock.cipher,
				  .seq = sock.seq };

	if (a->out_len == HEAD_LEN)	/* the library asks: is there a key? */
		return -sock.head_err;
	ck_assert_uint_eq(a->out_len, tlssf_kernel_key_size(sock.cipher));
	if (!sock.seq_err)
		ck_assert_uint_eq(tlssf_kernel_key_pack(a->out, &key),
				  a->out_len);
	return -sock.seq_err;
}

static int64_t play_close_record(const struct sys_args *a)
{
	ck_assert_uint_eq(a->in_len, 0);
	if (sock.push_err)
		return -sock.push_err;
	sock.pushes++;
	return 0;
}

struct conn *start(const struct kind *k, uint64_t queued)
{
	struct conn *c = test_conn_new(FD, SEALER_LIBRARY_IN_KERNEL);

	test_conn_describe(c, k->version, k->cipher);
	memset(&sock, 0, sizeof(sock));
	sock.cipher = k->cipher;
	sock.seq = 0xfffffffeu;
	sock.tcp = (struct sys_tcp){ TCP_ESTABLISHED, queued, 123456789012 };
	script_reset();
	SCRIPT_DEFAULT(tcp, .fd = FD, .play = play_tcp);
	SCRIPT_DEFAULT(tls_tx_get, .fd = FD, .play = play_seq);
	SCRIPT_DEFAULT(send_record, .fd = FD, .value = RECORD_DATA,
		       .play = play_close_record);
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	return c;
}

void kernel_sends(struct conn *c, uint64_t plain, unsigned int records)
{
	tlssf_tx_sent(c, plain, c->tx->open);
	sock.seq += records;
}

/* ---- the sum is exact ---- */

START_TEST(zero_only_when_all_is_in_tcp)
{
	const struct kind *k = &kinds[_i];
	struct conn *c = start(k, 0);
	uint64_t wire = 100 + k->overhead;

	assert_drain(c, 0);
	kernel_sends(c, 100, 1);
	for (uint64_t i = 0; i < wire; i++, sock.tcp.in_tcp++)
		assert_drain(c, -EAGAIN);
	assert_drain(c, 0);
	sock.tcp.in_tcp--; /* a TCP count that is too low changes nothing */
	assert_drain(c, 0);
	sock.tcp.in_tcp++;
	/* several records; bytes that wait in TCP's queue do not matter */
	kernel_sends(c, 3 * RECORD_MAX + 7, 4);
	sock.tcp.queued = 1u << 20;
	sock.tcp.in_tcp += 3 * RECORD_MAX + 7 + 4 * k->overhead - 1;
	script_advance(1000);
	assert_drain(c, -EAGAIN);
	script_advance(1000);
	assert_drain(c, -EAGAIN);
	sock.tcp.in_tcp++;
	assert_drain(c, 0);
	ck_assert(c->tx->exact);
	ck_assert_uint_eq(tlssf_tx_records(c), 5);
}
END_TEST

/*
 * An alert or an empty record counts as no plaintext, but its record has bytes
 * that TCP must get.
 */
START_TEST(records_count_without_plaintext)
{
	const struct kind *k = &kinds[_i];
	struct conn *c = start(k, 0);

	kernel_sends(c, 0, 1);
	assert_drain(c, -EAGAIN);
	sock.tcp.in_tcp += k->overhead;
	assert_drain(c, 0);
}
END_TEST

START_TEST(each_look_is_counted)
{
	struct conn *c = start(&kinds[0], 0);

	assert_drain(c, 0);
	ck_assert_uint_eq(c->calls, 1);
	tlssf_tx_sent(c, 0, true);
	assert_drain(c, 0);
	ck_assert_uint_eq(c->calls, 3);
}
END_TEST

/* ---- the sum is not exact at the start ---- */

START_TEST(inexact_needs_two_idle_looks)
{
	const struct kind *k = &kinds[_i];
	struct conn *c = start(k, 100);

	ck_assert(!c->tx->exact);
	/* the TCP queue is not idle, however long we wait */
	for (int i = 0; i < 5; i++) {
		script_advance(1000);
		assert_drain(c, -EAGAIN);
	}
	sock.tcp.queued = 0;
	assert_drain(c, -EAGAIN);
	script_advance(24);
	assert_drain(c, -EAGAIN);
	script_advance(1);
	/* the record reached TCP before the second look */
	kernel_sends(c, 5, 1);
	assert_drain(c, 0);
	/* exact from here on: a longer wait changes nothing */
	ck_assert(c->tx->exact);
	assert_drain(c, 0);
	kernel_sends(c, 1000, 1);
	assert_drain(c, -EAGAIN);
	script_advance(1000);
	assert_drain(c, -EAGAIN);
	sock.tcp.in_tcp += 1000 + k->overhead;
	assert_drain(c, 0);
	ck_assert_uint_eq(tlssf_tx_records(c), 2); /* since tlssf_tx_open() */
}
END_TEST

START_TEST(movement_between_looks_starts_anew)
{
	struct conn *c = start(&kinds[_i], 1);

	sock.tcp.queued = 0;
	/* the queue is empty, and bytes were sent since the last look */
	for (int i = 0; i < 5; i++) {
		sock.tcp.in_tcp += 100;
		assert_drain(c, -EAGAIN);
		script_advance(1000);
	}
	sock.tcp.queued = 1;		/* the queue has one byte */
	assert_drain(c, -EAGAIN);
	script_advance(1000);
	sock.tcp.queued = 0;
	assert_drain(c, -EAGAIN);
	script_advance(24);
	assert_drain(c, -EAGAIN);
	script_advance(1);
	assert_drain(c, 0);
}
END_TEST

START_TEST(foreign_bytes_make_it_inexact)
{
	const struct kind *k = &kinds[_i];
	struct conn *c = start(k, 0);

	kernel_sends(c, 10, 1);
	sock.tcp.in_tcp += 10 + k->overhead + 1;
	sock.tcp.queued = 1;
	assert_drain(c, -EAGAIN);
	ck_assert(!c->tx->exact);
	sock.tcp.queued = 0;
	assert_drain(c, -EAGAIN);
	script_advance(25);
	assert_drain(c, 0);
	ck_assert(c->tx->exact);
}
END_TEST

/* Records of the application's own SSL_sendfile() are waited for, too. */
START_TEST(foreign_record_after_a_flush)
{
	const struct kind *k = &kinds[_i];
	struct conn *c = start(k, 0);

	kernel_sends(c, 10, 1);
	sock.tcp.in_tcp += 10 + k->overhead;
	assert_drain(c, 0);
	sock.seq++;
	assert_drain(c, -EAGAIN);
	script_advance(1000);
	assert_drain(c, -EAGAIN);
	sock.tcp.in_tcp += 500 + k->overhead;
	assert_drain(c, -EAGAIN);
	script_advance(25);
	assert_drain(c, 0);
	assert_drain(c, 0);
	sock.seq++;
	assert_drain(c, -EAGAIN);
}
END_TEST

/* ---- the open record ---- */

START_TEST(open_record_is_pushed_first)
{
	struct conn *c = start(&kinds[_i], 0);

	tlssf_tx_sent(c, 0, true);
	SCRIPT(send_record, .fd = FD, .value = RECORD_DATA,
	       .play = play_close_record);
	SCRIPT(tcp, .fd = FD, .play = play_tcp);
	assert_drain(c, 0);
	script_done();
	ck_assert(!c->tx->open);
	assert_drain(c, 0);
	ck_assert_uint_eq(sock.pushes, 1);
}
END_TEST

/* ---- options of the SSL_CTX ---- */

/* The kernel accepts the options with lower values. */
static int64_t play_option(const struct sys_args *a)
{
	bool zerocopy = a->value == TLS_OPTION_ZEROCOPY_RO;
	unsigned int value = zerocopy ? 1 : 900;

	ck_assert_uint_eq(a->in_len, zerocopy ? 4 : 2);
	ck_assert_int_eq(a->value2, zerocopy ? 1 : 1000);
	memcpy(a->out, &value, sizeof(value));
	return 0;
}

struct ctx_conf zerocopy_conf = {
	.options = { .zerocopy = 1, .max_payload_len = 1000 },
};

START_TEST(options_are_set_and_read_back)
{
	struct conn *c = start(&kinds[0], 0);

	test_conn_configure(c, &zerocopy_conf);
	SCRIPT(tls_option, .fd = FD, .value = TLS_OPTION_ZEROCOPY_RO,
	       .play = play_option);
	SCRIPT(tls_option, .fd = FD, .value = TLS_OPTION_MAX_PAYLOAD_LEN,
	       .play = play_option);
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	script_done();
	ck_assert(c->tx->zerocopy);
	ck_assert_uint_eq(tlssf_tx_record_max(c), 900);
	/* a new key changes no option; records count as at least half full */
	tlssf_tx_before_new_key(c);
	ck_assert(c->tx->zerocopy);
	tlssf_tx_sent(c, 9000, false);
	ck_assert_uint_eq(c->tx->spent, 2 * 10 + 2);
}
END_TEST

/*
 * An acknowledgement arrives between two looks at TCP's counters, so they do
 * not fit together, and the sum is not exact.
 */
START_TEST(looks_that_differ_are_inexact)
{
	struct conn *c = start(&kinds[0], 0);
	struct sys_tcp other = sock.tcp;

	for (int i = 0; i < 2; i++) {
		other.in_tcp = sock.tcp.in_tcp + !i;
		other.queued = (uint64_t)i;
		SCRIPT(tcp, .fd = FD, .data = &other, .len = sizeof(other));
		ck_assert_int_eq(tlssf_tx_open(c, false), 0);
		script_done();
		ck_assert(!c->tx->exact);
	}
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	ck_assert(c->tx->exact);
}
END_TEST

START_TEST(records_of_all_keys_count)
{
	struct conn *c = start(&kinds[0], 0);

	kernel_sends(c, 100, 3);
	tlssf_tx_before_new_key(c);
	sock.seq = 0;		/* the new key starts at 0 */
	kernel_sends(c, 10, 4);
	ck_assert_uint_eq(tlssf_tx_records(c), 7);
	assert_drain(c, -EAGAIN);
	sock.tcp.in_tcp += 110 + 7 * kinds[0].overhead;
	assert_drain(c, 0);
	ck_assert_uint_eq(tlssf_tx_records(c), 7);
}
END_TEST

/* ---- the socket is closed ---- */

START_TEST(only_a_closed_socket_is_an_end)
{
	for (int state = TCP_ESTABLISHED; state <= TCP_CLOSING; state++) {
		struct conn *c = start(&kinds[0], 0);

		kernel_sends(c, 1, 1);
		sock.tcp.state = state;
		assert_drain(c, state == TCP_CLOSE ? -EPIPE
						    : -EAGAIN);
		sock.tcp.in_tcp += 1 + kinds[0].overhead;
		assert_drain(c, 0);	/* no record is above TCP any more */
	}
}
END_TEST

START_TEST(inexact_and_closed_is_an_end)
{
	struct conn *c = start(&kinds[0], 1);

	sock.tcp.queued = 0;
	assert_drain(c, -EAGAIN);
	script_advance(1000);
	sock.tcp.state = TCP_CLOSE;
	assert_drain(c, -EPIPE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_tx_account");
	TCase *sum = add_case(suite, "sum");
	TCase *ends = add_case(suite, "ends");

	tcase_add_loop_test(sum, zero_only_when_all_is_in_tcp, 0, N_KINDS);
	tcase_add_loop_test(sum, records_count_without_plaintext, 0, N_KINDS);
	tcase_add_test(sum, each_look_is_counted);
	tcase_add_loop_test(sum, inexact_needs_two_idle_looks, 0, N_KINDS);
	tcase_add_loop_test(sum, movement_between_looks_starts_anew, 0,
			    N_KINDS);
	tcase_add_loop_test(sum, foreign_bytes_make_it_inexact, 0, N_KINDS);
	tcase_add_loop_test(sum, foreign_record_after_a_flush, 0, N_KINDS);
	tcase_add_loop_test(sum, open_record_is_pushed_first, 0, N_KINDS);
	tcase_add_test(ends, only_a_closed_socket_is_an_end);
	tcase_add_test(ends, inexact_and_closed_is_an_end);
	tcase_add_test(sum, looks_that_differ_are_inexact);
	tcase_add_test(sum, records_of_all_keys_count);
	tcase_add_test(sum, options_are_set_and_read_back);
	add_tx_account_errors(suite);
	return run_suite("unit_tx_account", suite);
}
