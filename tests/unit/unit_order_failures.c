/* SPDX-License-Identifier: MIT */
/* What ends a connection after the takeover, and what does not. */
#include "unit_order.h"

#include <openssl/err.h>

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
	good_bye();
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
	good_bye();
	pair_close(&w.p);
}
END_TEST

/* The socket fails: sticky, SSL_write() too, and nothing more leaves. */
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

/* What the library seals is stale: it must never get to the wire. */
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
	ck_assert_uint_eq(w.severed, 1);
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
	/* BoringSSL tells of it only now */
	ck_assert_int_le(SSL_write(w.p.ssl, "x", 1), 0);
	ck_assert_uint_eq(w.severed, 1);
	ERR_clear_error();
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 5, 1000), TLSSF_ERROR);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	pair_close(&w.p);
}
END_TEST

/* The method that was named leaves the keys alone. */
START_TEST(named_userspace)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE };

	world_open(_i, &o);
	do_send(1, 4 * BIG);
	ck_assert_int_eq(status().takeover, 0);
	good_bye();
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
}
