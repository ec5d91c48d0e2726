/* SPDX-License-Identifier: MIT */
/*
 * Events around a takeover: renegotiation, another BIO, another SSL_CTX,
 * fork(), or a descriptor number that belongs to another socket. If such an
 * event comes before the takeover, it makes the sample stale (the record from
 * which key and sequence number are found). If it comes afterwards, all records
 * of the TLS library are stale. No nonce may be used twice then, and no byte
 * may go to the wrong socket.
 */
#include "unit_order.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUCH		(256 * KIB)
#define GCM12		0		/* a row whose nonces are on the wire */
#define TLS13_ROW	2
#define OTHER_SOCK	2000

/* ---- the nonces of TLS 1.2 GCM ---- */

static struct {
	unsigned char record[40000];	/* the record that is being written */
	size_t len;
	unsigned char nonce[8192][8];
	unsigned int n;
} seen;

static void check_nonce_is_new(const unsigned char *nonce)
{
	for (unsigned int i = 0; i < seen.n; i++)
		ck_assert_mem_ne(seen.nonce[i], nonce, 8);
	ck_assert_uint_lt(seen.n, 8192);
	memcpy(seen.nonce[seen.n++], nonce, 8);
}

static void collect_nonces(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (; len; len--) {
		seen.record[seen.len++] = *p++;
		ck_assert_uint_lt(seen.len, sizeof(seen.record));
		if (seen.len < RECORD_HEADER ||
		    seen.len < tlssf_record_len(seen.record))
			continue;
		check_nonce_is_new(seen.record + RECORD_HEADER);
		seen.len = 0;
	}
}

/* Our end has sent its Finished: all later records are encrypted. */
static void open_watched(int row, const struct tlssf_options *options)
{
	world_open(row, options);
	memset(&seen, 0, sizeof(seen));
	w.p.watch = collect_nonces;
}

static void send_more_and_shut_down(void)
{
	w.p.wire.room = UNLIMITED;
	do_write((const unsigned char *)"after", 5);
	do_send(3, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL never renegotiates as a server */
static void read_nothing(void)
{
	char c;

	ERR_clear_error();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ERR_clear_error();
}

static void request_renegotiation(void)
{
	ck_assert_int_eq(SSL_renegotiate(w.p.ssl), 1);
	ck_assert_int_eq(SSL_do_handshake(w.p.ssl), 1);
	ck_assert_int_eq(SSL_renegotiate_pending(w.p.ssl), 1);
}

static void renegotiate(void)
{
	for (int i = 0; i < 4; i++) {
		receive();
		read_nothing();
	}
	ck_assert_int_eq(SSL_renegotiate_pending(w.p.ssl), 0);
	ck_assert_int_eq(SSL_num_renegotiations(w.p.ssl), 1);
}

/*
 * The peer may answer a renegotiation request at any time, so there is no
 * takeover before the renegotiation has ended.
 */
START_TEST(renegotiation_before_a_takeover)
{
	open_watched(_i * ROWS + GCM12, NULL);
	request_renegotiation();
	expect_file_part(1, MUCH);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH), MUCH);
	ck_assert_int_eq(status().takeover, 0);
	w.p.watch = NULL;	/* with the new keys, nonces start from 0 */
	renegotiate();
	ck_assert_int_eq(status().dead, 0);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	send_more_and_shut_down();
}
END_TEST

/* Records that we have encrypted leave before the new handshake. */
START_TEST(renegotiation_behind_a_queue)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE };
	ssize_t n;

	world_open(GCM12, &o);
	request_renegotiation();
	receive();		/* the peer has sent its ClientHello */
	w.p.wire.room = 20000;
	expect_file_part(1, 60000);
	n = tlssf_send(w.p.ssl, FILE_FD, 1, 60000);
	ck_assert_int_gt(n, 0);
	ck_assert_uint_gt(status().buffered, 40000);
	w.p.wire.room = 100;
	read_nothing();
	ck_assert_uint_gt(status().buffered, 39000);
	w.p.wire.room = UNLIMITED;
	renegotiate();
	while (n < 60000) {
		ssize_t more = tlssf_send(w.p.ssl, FILE_FD, 1 + n, 60000 - n);

		ck_assert_int_gt(more, 0);
		n += more;
	}
	send_more_and_shut_down();
}
END_TEST
#endif

/* ---- another BIO ---- */

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
/*
 * A new bridge has not seen the record that the old bridge has queued as the
 * sample; no nonce may be used twice.
 */
START_TEST(observed_through_another_bridge)
{
	BIO *below, *top;
	ssize_t n;

	open_watched(ROWS + GCM12, NULL);
	w.p.wire.room = 1000;
	expect_file_part(1, MUCH);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH),
			 TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	below = SSL_get_wbio(w.p.ssl);
	top = BIO_new(BIO_f_buffer());
	ck_assert_ptr_nonnull(top);
	BIO_up_ref(below);
	SSL_set0_wbio(w.p.ssl, BIO_push(top, below));
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	/* it comes after the record that the library has encrypted */
	w.expected_len = SAMPLE_LEN;
	expect_data("between", 7);
	ck_assert_int_eq(SSL_write(w.p.ssl, "between", 7), 7);
	expect_file_part(1 + SAMPLE_LEN, MUCH - SAMPLE_LEN);
	for (size_t done = 0; done < MUCH; done += (size_t)n) {
		n = tlssf_send(w.p.ssl, FILE_FD, 1 + (off_t)done, MUCH - done);
		ck_assert_msg(n > 0, "%s", tlssf_strerror(w.p.ssl));
	}
	send_more_and_shut_down();
}
END_TEST

#endif

/* Without a socket that can be shut down there is no takeover. */
START_TEST(no_takeover_without_a_socket)
{
	struct pair *p = &w.p;

	open_watched(GCM12, NULL);
	for (int i = 0; i < 2; i++) {
		BIO *mem = BIO_new(BIO_s_mem());
		char *data;
		long len;

		SSL_set0_wbio(p->ssl, mem);
		expect_file_part(1, MUCH);
		for (size_t done = 0; done < MUCH; done += PLAIN_SIZE)
			ck_assert_int_eq(tlssf_send(p->ssl, FILE_FD,
						    1 + (off_t)done,
						    PLAIN_SIZE), PLAIN_SIZE);
		ck_assert_int_eq(status().takeover, 0);
		len = BIO_get_mem_data(mem, &data);
		ck_assert_int_eq(pair_send(p, data, (size_t)len), len);
		receive();
		ck_assert_uint_eq(w.received, w.expected_len);
	}
	pair_close(p);
}
END_TEST

/*
 * tlssf_status() reports a takeover even without a bridge. There was one in odd
 * loops.
 */
START_TEST(status_without_a_bridge)
{
	BIO *below;

	world_open(TLS13_ROW, NULL);
	do_send(1, _i ? MUCH : 100);
	ck_assert_int_eq(status().takeover, _i);
	below = BIO_next(SSL_get_wbio(w.p.ssl));
	BIO_up_ref(below);
	SSL_set0_wbio(w.p.ssl, below);
	ck_assert_int_eq(status().dead, _i);
	pair_close(&w.p);
}
END_TEST

/* ---- the descriptor number of another socket ---- */

static uint64_t socket_id;

static void fail_on_write(const void *buf, size_t len)
{
	(void)buf;
	ck_abort_msg("%zu bytes to another socket", len);
}

static int64_t play_socket_id(const struct sys_args *a)
{
	memcpy(a->out, &socket_id, sizeof(socket_id));
	return 0;
}

/* In the later loops a flush is the first call that detects it. */
START_TEST(descriptor_used_again)
{
	socket_id = 4711;
	world_open(ROWS + _i % ROWS, NULL);
	SCRIPT_DEFAULT(socket_id, .play = play_socket_id);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 1);
	w.p.watch = fail_on_write;
	socket_id++;
	kernel_reset();		/* the other socket has no kernel TLS */
	if (_i >= ROWS)
		ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_le(SSL_write(w.p.ssl, "password", 8), 0);
	ERR_clear_error();
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1000), TLSSF_ERROR);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_eq(status().dead, 1);
	pair_close(&w.p);
	/* we do not shut down another socket */
	ck_assert_uint_eq(w.shutdowns, 0);
}
END_TEST

/* ---- another connection in the same thread ---- */

static struct pair other;
static int send_fails;

static int64_t play_two_sockets(const struct sys_args *a)
{
	if (a->fd == OTHER_SOCK)
		return pair_send(&other, a->in, a->in_len);
	if (send_fails && w.kernel)
		return send_fails--, -ENOMEM;
	return w.kernel ? kernel_send(a) : pair_send(&w.p, a->in, a->in_len);
}

static void open_other(void)
{
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(tlssf_ctx_init(ctx, NULL), 0);
	pair_open(&other, ctx, &rows[TLS13_ROW], OTHER_SOCK, false);
	SSL_CTX_free(ctx);
	SCRIPT_DEFAULT(ulp_attach, .result = -ENOENT);
	ck_assert_int_gt(tlssf_send(other.ssl, FILE_FD, 1, MUCH), 0);
}

/* A record that could not be sent waits for its own connection. */
START_TEST(record_kept_for_its_owner)
{
	static unsigned char ours[1000], theirs[1000];

	memset(ours, 'o', sizeof(ours));
	memset(theirs, 't', sizeof(theirs));
	world_open(ROWS + _i, NULL);
	SCRIPT_DEFAULT(send, .play = play_two_sockets);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 1);
	open_other();
	send_fails = 1;
	ck_assert_int_le(SSL_write(w.p.ssl, ours, 1000), 0);
	ERR_clear_error();
	ck_assert_int_eq(status().dead, 0);
	ck_assert_int_eq(SSL_write(other.ssl, theirs, 1000), 1000);
	expect_data(ours, 1000);
	ck_assert_int_eq(SSL_write(w.p.ssl, ours, 1000), 1000);
	send_more_and_shut_down();
	pair_close(&other);
}
END_TEST

/* ---- fork(), another SSL_CTX, the probe ---- */

/* A KeyUpdate that waits for room: only the parent may send it. */
START_TEST(key_update_after_fork)
{
	unsigned int keys, status_of_child;
	pid_t pid;
	char c;

	world_open(ROWS + TLS13_ROW, NULL);
	do_send(1, MUCH);
	receive();
	w.p.wire.room = 0;
	ck_assert_int_eq(SSL_key_update(w.p.peer, SSL_KEY_UPDATE_REQUESTED), 1);
	/* BoringSSL sends the KeyUpdate, and its answer, with the next data */
	ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
	ck_assert_int_eq(SSL_read(w.p.ssl, &c, 1), 1);
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ERR_clear_error();
	ck_assert(tl_conn(w.p.ssl)->takeover->reseal.rekeys);
	w.p.wire.room = UNLIMITED;
	keys = script_count(CALL_tls_tx_set);
	pid = fork();
	if (pid == 0) {
		size_t taken = w.p.wire.taken;

		ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
		_exit(script_count(CALL_tls_tx_set) != keys ||
		      w.p.wire.taken != taken);
	}
	ck_assert_int_eq(waitpid(pid, (int *)&status_of_child, 0), pid);
	ck_assert_int_eq(status_of_child, 0);
	expect_data("x", 1);
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), 1);
	ck_assert_uint_eq(script_count(CALL_tls_tx_set), keys + 1);
	send_more_and_shut_down();
}
END_TEST

/*
 * The options of a freed SSL_CTX are not used (AddressSanitizer checks, too).
 */
START_TEST(context_switched_and_freed)
{
	SSL_CTX *first = plain_ctx(true), *second = plain_ctx(true);

	world_open(_i * ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(tlssf_ctx_init(first, NULL), 0);
	ck_assert_int_eq(tlssf_ctx_init(second, NULL), 0);
	SSL_set_SSL_CTX(w.p.ssl, first);
	SSL_CTX_free(first);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	SSL_set_SSL_CTX(w.p.ssl, second);
	SSL_CTX_free(second);
	send_more_and_shut_down();
}
END_TEST

START_TEST(no_probe_in_a_send)
{
	unsigned int pairs;

	world_open(ROWS + _i, NULL);
	pairs = script_count(CALL_tcp_pair);
	/* every cached answer of the probe has expired */
	script_advance(3600000);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 1);
	ck_assert_uint_eq(script_count(CALL_tcp_pair), pairs);
	send_more_and_shut_down();
}
END_TEST

/* ---- SSL_free() ---- */

/* SSL_free() does not shut the socket down. */
START_TEST(freed_after_a_takeover)
{
	world_open(_i * ROWS + TLS13_ROW, NULL);
	do_send(1, MUCH);
	shut_down_and_check();
	ck_assert_int_eq(status().takeover, 1);
	pair_close(&w.p);
	ck_assert_uint_eq(w.shutdowns, 0);
}
END_TEST

void add_stale_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "stale");

#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, renegotiation_before_a_takeover, 0, 2);
	tcase_add_test(tc, renegotiation_behind_a_queue);
	tcase_add_test(tc, observed_through_another_bridge);
#endif
	tcase_add_test(tc, no_takeover_without_a_socket);
	tcase_add_loop_test(tc, status_without_a_bridge, 0, 2);
	tcase_add_loop_test(tc, descriptor_used_again, 0, 2 * ROWS);
	tcase_add_loop_test(tc, record_kept_for_its_owner, 0, ROWS);
	tcase_add_test(tc, key_update_after_fork);
	tcase_add_loop_test(tc, context_switched_and_freed, 0, 2);
	tcase_add_loop_test(tc, no_probe_in_a_send, 0, ROWS);
	tcase_add_loop_test(tc, freed_after_a_takeover, 0, 2);
}
