/* SPDX-License-Identifier: MIT */
/* Which failures after a takeover end the connection, and which do not. */
#include "unit_order.h"

#include <openssl/err.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUCH		(256 * KIB)

START_TEST(unreadable_file)
{
	world_open(_i, NULL);
	do_send(1, BIG);
	w.reads_left = 0;
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_int_eq(errno, EIO);
	ck_assert_int_eq(status().error, TLSSF_REASON_FILE_READ);
	ck_assert_int_eq(status().dead, 0);
	w.reads_left = UINT64_MAX;
	do_send(7, BIG);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

START_TEST(truncated_file)
{
	struct tlssf_job j = { .size = sizeof(j), .fd = FILE_FD,
			       .off = FILE_SIZE - 100, .file_len = 200 };

	world_open(_i, NULL);
	do_send(1, BIG);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &j), TLSSF_ERROR);
	ck_assert_int_eq(status().error, TLSSF_REASON_FILE_TRUNCATED);
	do_send(FILE_SIZE - 100, 100);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/*
 * After the socket has failed, every later call fails, also SSL_write(), and no
 * byte leaves.
 */
START_TEST(dead_wire)
{
	size_t taken;

	world_open(_i, NULL);
	do_send(1, BIG);
	w.p.wire.room = 0;
	w.p.wire.err = ECONNRESET;
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_int_eq(status().error, TLSSF_REASON_PEER_GONE);
	ck_assert_int_eq(status().dead, 1);
	w.p.wire.room = UNLIMITED;
	taken = w.p.wire.taken;
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	ERR_clear_error();
	pair_close(&w.p);
}
END_TEST

/*
 * After a takeover the TLS library's own records have stale sequence numbers.
 * They must not reach the wire after the bridge was replaced.
 */
START_TEST(bridge_replaced)
{
	size_t taken;
	BIO *below;

	world_open(_i, NULL);
	do_send(1, BIG);
	taken = w.p.wire.taken;
	below = BIO_next(SSL_get_wbio(w.p.ssl));
	ck_assert_ptr_nonnull(below);
	BIO_up_ref(below);
	SSL_set0_wbio(w.p.ssl, below);
	ck_assert_uint_eq(w.shutdowns, 1);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_int_eq(status().dead, 1);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	pair_close(&w.p);
}
END_TEST

START_TEST(bridge_popped)
{
	size_t taken;
	BIO *bridge;

	world_open(_i, NULL);
	do_send(1, BIG);
	taken = w.p.wire.taken;
	bridge = SSL_get_wbio(w.p.ssl);
	BIO_free(BIO_pop(bridge));
	/* BoringSSL's BIO_pop() does not inform the bridge; this write does */
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ck_assert_uint_eq(w.shutdowns, 1);
	ERR_clear_error();
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	pair_close(&w.p);
}
END_TEST

/* The method userspace, when named, never takes the keys over. */
START_TEST(named_userspace)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE };

	world_open(_i, &o);
	do_send(1, 4 * BIG);
	ck_assert_int_eq(status().takeover, 0);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* ---- the sequence numbers of the library are used up ---- */

/*
 * Make the TLS library write all that it can write: data, KeyUpdates, alerts
 * and close_notify.
 */
static void library_sends(void)
{
	char c;

	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	if (SSL_version(w.p.ssl) == TLS1_3_VERSION) {
		SSL_key_update(w.p.peer, SSL_KEY_UPDATE_REQUESTED);
	}
	ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
	SSL_read(w.p.ssl, &c, 1);
	SSL_read(w.p.ssl, &c, 1);
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	SSL_shutdown(w.p.ssl);
	send_junk_from_peer();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ERR_clear_error();
}

static void write_without_bridge(void)
{
	BIO *below = BIO_next(SSL_get_wbio(w.p.ssl));

	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, below);
}

/*
 * We have used the library's next sequence number, so its record must not leave
 * through another BIO. The socket has another descriptor now (dup), so we
 * cannot shut it down.
 */
START_TEST(past_the_bridge)
{
	size_t taken;

	world_open(_i, NULL);
	do_send(1, MUCH);
	receive();
	SCRIPT_DEFAULT(socket_id, .result = -EBADF);
	write_without_bridge();
	taken = w.p.wire.taken;
	library_sends();
	ck_assert_uint_eq(w.p.wire.taken, taken);
	ck_assert_uint_eq(w.shutdowns, 0);
	ck_assert_int_eq(status().dead, 1);
	pair_close(&w.p);
}
END_TEST

/*
 * The application keeps a reference to the bridge, so the bridge is not
 * informed; the next tlssf call detects that it was removed.
 */
START_TEST(bridge_kept)
{
	BIO *bridge;

	world_open(_i, NULL);
	do_send(1, MUCH);
	bridge = SSL_get_wbio(w.p.ssl);
	ck_assert_int_eq(BIO_up_ref(bridge), 1);
	write_without_bridge();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1),
				 TLSSF_ERROR);
		ck_assert_int_eq(errno, ECONNABORTED);
		ck_assert_uint_eq(w.shutdowns, 1);
		ck_assert_int_eq(status().dead, 1);
		ck_assert_int_eq(status().takeover, 0);
	}
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ERR_clear_error();
	BIO_free_all(bridge);
	pair_close(&w.p);
}
END_TEST

/*
 * A forked child writes through another BIO, and the parent continues. In odd
 * loops the child has tried to write through the bridge before.
 */
START_TEST(child_past_the_bridge)
{
	size_t taken;
	int result;
	pid_t pid;

	world_open(_i / 2, NULL);
	do_send(1, MUCH);
	receive();
	taken = w.p.wire.taken;
	pid = fork();
	if (pid == 0) {
		if (_i % 2)
			ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
		write_without_bridge();
		library_sends();
		_exit(w.p.wire.taken != taken || w.shutdowns);
	}
	ck_assert_int_eq(waitpid(pid, &result, 0), pid);
	ck_assert_int_eq(result, 0);
	do_write((const unsigned char *)"after", 5);
	do_send(3, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

void add_failure_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "failures");

	tcase_add_loop_test(tc, unreadable_file, 0, 2 * ROWS);
	tcase_add_loop_test(tc, truncated_file, 0, 2 * ROWS);
	tcase_add_loop_test(tc, dead_wire, 0, ROWS);
	tcase_add_loop_test(tc, bridge_replaced, 0, 2 * ROWS);
	tcase_add_loop_test(tc, bridge_popped, 0, 2 * ROWS);
	tcase_add_loop_test(tc, named_userspace, 0, ROWS);
	tcase_add_loop_test(tc, past_the_bridge, 0, 2 * ROWS);
	tcase_add_loop_test(tc, bridge_kept, 0, 2 * ROWS);
	tcase_add_loop_test(tc, child_past_the_bridge, 0, 4 * ROWS);
}
