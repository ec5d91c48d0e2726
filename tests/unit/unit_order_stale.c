/* SPDX-License-Identifier: MIT */
/*
 * What the TLS library seals after a takeover, or what was observed before one,
 * is stale as soon as something else happens to the connection: renegotiation,
 * another BIO, another context, fork, the descriptor closed and used again. No
 * number may be used twice then, and nothing may go to the wrong place.
 */
#include "unit_order.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUCH		(256 * KIB)
#define GCM12		0		/* rows: its nonces are on the wire */
#define TLS13_ROW	2
#define OTHER_SOCK	2000

/* ---- the nonces of TLS 1.2 GCM ---- */

static struct {
	unsigned char record[40000];	/* begins here, or is whole */
	size_t len;
	unsigned char nonce[8192][8];
	unsigned int n;
} seen;

static void see_nonce(const unsigned char *nonce)
{
	for (unsigned int i = 0; i < seen.n; i++)
		ck_assert_mem_ne(seen.nonce[i], nonce, 8);
	ck_assert_uint_lt(seen.n, 8192);
	memcpy(seen.nonce[seen.n++], nonce, 8);
}

static void watch_nonces(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (; len; len--) {
		seen.record[seen.len++] = *p++;
		ck_assert_uint_lt(seen.len, sizeof(seen.record));
		if (seen.len < RECORD_HEADER ||
		    seen.len < tlssf_record_len(seen.record))
			continue;
		see_nonce(seen.record + RECORD_HEADER);
		seen.len = 0;
	}
}

/* Our end has sent its Finished: all that follows is sealed. */
static void open_watched(int row, const struct tlssf_options *options)
{
	world_open(row, options);
	memset(&seen, 0, sizeof(seen));
	w.p.watch = watch_nonces;
}

static void close_well(void)
{
	w.p.wire.room = UNLIMITED;
	do_write((const unsigned char *)"after", 5);
	do_send(3, MUCH);
	good_bye();
	pair_close(&w.p);
}

#ifndef OPENSSL_IS_BORINGSSL	/* which never renegotiates as a server */
static void read_nothing(void)
{
	char c;

	ERR_clear_error();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ERR_clear_error();
}

static void ask_to_renegotiate(void)
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

/* The peer answers when it likes, and may be in the middle of it. */
START_TEST(renegotiation_before_a_takeover)
{
	open_watched(_i * ROWS + GCM12, NULL);
	ask_to_renegotiate();
	want_file_part(1, MUCH);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH), MUCH);
	ck_assert_int_eq(status().takeover, 0);
	w.p.watch = NULL;	/* new keys, numbers from 0 on */
	renegotiate();
	ck_assert_int_eq(status().dead, 0);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	close_well();
}
END_TEST

/* What we have sealed before goes before the new handshake. */
START_TEST(renegotiation_behind_a_queue)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE };
	ssize_t n;

	world_open(GCM12, &o);
	ask_to_renegotiate();
	receive();		/* the peer has answered */
	w.p.wire.room = 20000;
	want_file_part(1, 60000);
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
	close_well();
}
END_TEST
#endif

/* ---- another BIO ---- */

#ifndef OPENSSL_IS_BORINGSSL	/* which has no BIO that buffers */
/* The new bridge counts from 0 on, and must not meet the old one's number. */
START_TEST(observed_through_another_bridge)
{
	BIO *below, *top;
	ssize_t n;

	open_watched(ROWS + GCM12, NULL);
	w.p.wire.room = 1000;
	want_file_part(1, MUCH);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH),
			 TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	below = SSL_get_wbio(w.p.ssl);
	top = BIO_new(BIO_f_buffer());
	ck_assert_ptr_nonnull(top);
	BIO_up_ref(below);
	SSL_set0_wbio(w.p.ssl, BIO_push(top, below));
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	/* it goes behind the record that the library had sealed */
	w.wanted = SAMPLE_LEN;
	want("between", 7);
	ck_assert_int_eq(SSL_write(w.p.ssl, "between", 7), 7);
	want_file_part(1 + SAMPLE_LEN, MUCH - SAMPLE_LEN);
	for (size_t done = 0; done < MUCH; done += (size_t)n) {
		n = tlssf_send(w.p.ssl, FILE_FD, 1 + (off_t)done, MUCH - done);
		ck_assert_msg(n > 0, "%s", tlssf_strerror(w.p.ssl));
	}
	close_well();
}
END_TEST

#endif

/* No socket that could be shut when the BIO goes: the keys stay. */
START_TEST(no_takeover_without_a_socket)
{
	struct pair *p = &w.p;

	open_watched(GCM12, NULL);
	for (int i = 0; i < 2; i++) {
		BIO *mem = BIO_new(BIO_s_mem());
		char *data;
		long len;

		SSL_set0_wbio(p->ssl, mem);
		want_file_part(1, MUCH);
		for (size_t done = 0; done < MUCH; done += PLAIN_SIZE)
			ck_assert_int_eq(tlssf_send(p->ssl, FILE_FD,
						    1 + (off_t)done,
						    PLAIN_SIZE), PLAIN_SIZE);
		ck_assert_int_eq(status().takeover, 0);
		len = BIO_get_mem_data(mem, &data);
		ck_assert_int_eq(pair_send(p, data, (size_t)len), len);
		receive();
		ck_assert_uint_eq(w.received, w.wanted);
	}
	pair_close(p);
}
END_TEST

/* Odd loops: after a takeover. */
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

/* ---- another socket with the same number ---- */

static uint64_t socket_id;

static void nothing_may_leave(const void *buf, size_t len)
{
	(void)buf;
	ck_abort_msg("%zu bytes to another socket", len);
}

static int64_t play_socket_id(const struct sys_args *a)
{
	memcpy(a->out, &socket_id, sizeof(socket_id));
	return 0;
}

/* Later loops: a flush is the first to see it. */
START_TEST(descriptor_used_again)
{
	socket_id = 4711;
	world_open(ROWS + _i % ROWS, NULL);
	SCRIPT_DEFAULT(socket_id, .play = play_socket_id);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 1);
	w.p.watch = nothing_may_leave;
	socket_id++;
	kernel_reset();		/* it does no TLS */
	if (_i >= ROWS)
		ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_le(SSL_write(w.p.ssl, "password", 8), 0);
	ERR_clear_error();
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1000), TLSSF_ERROR);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_eq(status().dead, 1);
	pair_close(&w.p);
	ck_assert_uint_eq(w.severed, 0);	/* that one is not ours */
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

/* A record that could not go stays the connection's own. */
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
	want(ours, 1000);
	ck_assert_int_eq(SSL_write(w.p.ssl, ours, 1000), 1000);
	close_well();
	pair_close(&other);
}
END_TEST

/* ---- fork, contexts, probes ---- */

/* A KeyUpdate that waits is the parent's to send. */
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
	/* BoringSSL sends it, and the answer, with the next data */
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
	want("x", 1);
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), 1);
	ck_assert_uint_eq(script_count(CALL_tls_tx_set), keys + 1);
	close_well();
}
END_TEST

/* The options of a context that is gone are not looked at (by ASan, too). */
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
	close_well();
}
END_TEST

START_TEST(no_probe_in_a_send)
{
	unsigned int pairs;

	world_open(ROWS + _i, NULL);
	pairs = script_count(CALL_tcp_pair);
	script_advance(3600000);	/* whatever expires has done so */
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 1);
	ck_assert_uint_eq(script_count(CALL_tcp_pair), pairs);
	close_well();
}
END_TEST

/* ---- the end of the SSL ---- */

/* Not the end of its socket. */
START_TEST(freed_after_a_takeover)
{
	world_open(_i * ROWS + TLS13_ROW, NULL);
	do_send(1, MUCH);
	good_bye();
	ck_assert_int_eq(status().takeover, 1);
	pair_close(&w.p);
	ck_assert_uint_eq(w.severed, 0);
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
