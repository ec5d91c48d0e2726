/* SPDX-License-Identifier: MIT */
/*
 * Calls of the TLS library after a takeover. They return what they would return
 * without a takeover, and send nothing once the bridge (the BIO that libtlssf
 * puts above the socket's) is removed.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define MUCH		(256 * KIB)
#define TLS13_ROW	2

void send_junk_from_peer(void)
{
	static const unsigned char junk[5 + 40] = { 23, 3, 3, 0, 40 };

	ck_assert_int_eq(BIO_write(SSL_get_rbio(w.p.ssl), junk, sizeof(junk)),
			 sizeof(junk));
}

/*
 * The peer sends a record that cannot be decrypted. The library's alert leaves
 * through the bridge, or waits there (odd loops), and OpenSSL's error queue
 * keeps the reason.
 */
START_TEST(error_of_a_read)
{
	char c;
	int r;

	world_open(_i / 2, NULL);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	w.p.wire.room = _i % 2 ? 0 : UNLIMITED;
	send_junk_from_peer();
	ERR_clear_error();
	r = SSL_read(w.p.ssl, &c, 1);
	ck_assert_int_le(r, 0);
	ck_assert_int_eq(SSL_get_error(w.p.ssl, r), SSL_ERROR_SSL);
	ck_assert_uint_ne(ERR_peek_error(), 0);
	ERR_clear_error();
	pair_close(&w.p);
}
END_TEST

/*
 * The peer sends the same record, and there is no room for the alert. The TLS
 * library never tries to send the alert again, and its calls return "try again"
 * for ever. The calls of libtlssf must not do so.
 */
START_TEST(alert_without_room)
{
	struct tlssf_options o = { .size = sizeof(o) };
	char c;
	int n = TLSSF_WANT_WRITE;

	if (_i >= 2 * ROWS)
		o.method = TLSSF_METHOD_USERSPACE;
	world_open(_i % (2 * ROWS), &o);
	do_send(1, MUCH);
	receive();
	w.p.wire.room = 0;
	send_junk_from_peer();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	w.p.wire.room = UNLIMITED;
	for (int i = 0; i < 3 && n == TLSSF_WANT_WRITE; i++)
		n = (int)tlssf_send(w.p.ssl, FILE_FD, 1, 1000);
	ck_assert_int_eq(n, TLSSF_ERROR);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ERR_clear_error();
	pair_close(&w.p);
}
END_TEST

/* A connection after a takeover whose wire has no room. */
static void open_without_room(int row)
{
	world_open(row, NULL);
	do_send(1, MUCH);
	receive();
	w.p.wire.room = 0;
}

#ifndef OPENSSL_IS_BORINGSSL /* BoringSSL sends messages only in SSL_write() */
/*
 * A message for which there was no room must not count as sent: otherwise it
 * would never be sent.
 */
START_TEST(handshake_without_room)
{
	size_t taken;
	int r;

	open_without_room(_i * ROWS + TLS13_ROW);
	taken = w.p.wire.taken;
	ck_assert_int_eq(SSL_key_update(w.p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	for (int i = 0; i < 3; i++) {
		r = SSL_do_handshake(w.p.ssl);
		ck_assert_int_eq(SSL_get_error(w.p.ssl, r),
				 SSL_ERROR_WANT_WRITE);
	}
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(SSL_do_handshake(w.p.ssl), 1);
	ck_assert_uint_eq(w.p.wire.taken, taken + 27);	/* 22 + 5 */
	do_send(1, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST
#endif

/* Without memory for close_notify tlssf_shutdown() fails; later it succeeds. */
START_TEST(no_memory_for_the_end)
{
	bool kernel = _i / 2 >= ROWS;
	int err = _i % 2 ? ENOMEM : ENOBUFS;

	world_open(_i / 2, NULL);
	do_send(1, MUCH);
	script_fail(kernel ? CALL_send_record : CALL_send, 1, err);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_eq(errno, err);
	ck_assert_int_eq(status().error, TLSSF_REASON_NO_MEMORY);
	ck_assert_int_eq(status().dead, 0);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
START_TEST(no_memory_for_a_key_update)
{
	world_open(_i * ROWS + TLS13_ROW, NULL);
	do_send(1, MUCH);
	ck_assert_int_eq(SSL_key_update(w.p.ssl, SSL_KEY_UPDATE_NOT_REQUESTED),
			 1);
	script_fail(_i ? CALL_send_record : CALL_send, 1, ENOMEM);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1), TLSSF_ERROR);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_int_eq(status().dead, 0);
	do_send(1, MUCH);
	ck_assert_uint_eq(status().rekeys, 1);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST
#endif

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
static void push(const BIO_METHOD *method)
{
	BIO *below = SSL_get_wbio(w.p.ssl);

	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, BIO_push(BIO_new(method), below));
}

/*
 * Bytes that stay in a buffer above the bridge are not an unfinished
 * SSL_write() and not a failure. In odd loops there is a filter above the
 * buffer, which does not report that it has to wait.
 */
START_TEST(buffer_that_waits)
{
	world_open(_i / 2, NULL);
	do_send(1, MUCH);
	push(BIO_f_buffer());
	if (_i % 2)
		push(BIO_f_null());
	receive();
	w.p.wire.room = 0;
	expect_data("between", 7);
	ck_assert_int_eq(SSL_write(w.p.ssl, "between", 7), 7);
	ck_assert_int_le(BIO_flush(SSL_get_wbio(w.p.ssl)), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1),
				 TLSSF_WANT_WRITE);
		ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	}
	w.p.wire.room = UNLIMITED;
	do_send(1, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* A KeyUpdate that the application requests stays in the buffer. */
START_TEST(key_update_in_a_buffer)
{
	world_open(_i * ROWS + TLS13_ROW, NULL);
	do_send(1, MUCH);
	push(BIO_f_buffer());
	receive();
	w.p.wire.room = 0;
	ck_assert_int_eq(SSL_key_update(w.p.ssl, SSL_KEY_UPDATE_NOT_REQUESTED),
			 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1),
				 TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	do_send(1, MUCH);
	ck_assert_uint_eq(status().rekeys, 1);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST
#endif

/* ---- a BIO of the application that refuses bytes at times ---- */

static bool refuses;

static int moody_write(BIO *bio, const char *in, int len)
{
	int n;

	BIO_clear_retry_flags(bio);
	if (refuses) {
		BIO_set_retry_write(bio);
		return -1;
	}
	n = BIO_write(BIO_next(bio), in, len);
	BIO_copy_next_retry(bio);
	return n;
}

static long moody_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	if (cmd == BIO_CTRL_PUSH || cmd == BIO_CTRL_POP)
		return 1;
	return BIO_ctrl(BIO_next(bio), cmd, num, ptr);
}

/*
 * A BIO above the bridge refuses close_notify, so the bridge has not sent it.
 * tlssf_shutdown() must not return 0 before it is sent.
 */
START_TEST(refused_above)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "moody");
	BIO *top, *below;

	ck_assert(BIO_meth_set_write(m, moody_write) &&
		  BIO_meth_set_ctrl(m, moody_ctrl));
	world_open(_i, NULL);
	do_send(1, MUCH);
	top = BIO_new(m);
	BIO_set_init(top, 1);
	below = SSL_get_wbio(w.p.ssl);
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, BIO_push(top, below));
	refuses = true;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_WANT_WRITE);
	refuses = false;
	shut_down_and_check();
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), 0);
	pair_close(&w.p);
	BIO_meth_free(m);
}
END_TEST

/* ---- an SSL_write() before the bridge was attached ---- */

/* After this read, SSL_get_error() does not show that a write is unfinished. */
static void read_half_a_record(void)
{
	unsigned char rec[100];
	int n, r;
	char c;

	ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
	n = BIO_read(SSL_get_rbio(w.p.ssl), rec, sizeof(rec));
	ck_assert_int_eq(BIO_write(SSL_get_rbio(w.p.ssl), rec, n / 2), n / 2);
	r = SSL_read(w.p.ssl, &c, 1);
	ck_assert_int_eq(SSL_get_error(w.p.ssl, r), SSL_ERROR_WANT_READ);
}

/*
 * In even loops a write is unfinished. With
 * SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, OpenSSL would take our data for the rest
 * of that write and never send it. In odd loops no write is unfinished.
 */
START_TEST(unseen_write)
{
	struct tlssf_options o = { .size = sizeof(o), .attach_late = 1 };
	static const unsigned char data[1000];

	world_open(_i / 2, &o);
	SSL_set_mode(w.p.ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (_i % 2) {
		read_half_a_record();
		do_send(1, MUCH);
		shut_down_and_check();
	} else {
		w.p.wire.room = 0;
		ck_assert_int_le(SSL_write(w.p.ssl, data, sizeof(data)), 0);
		read_half_a_record();
		w.p.wire.room = UNLIMITED;
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH),
					 TLSSF_ERROR);
		receive();	/* no record may arrive */
	}
	ERR_clear_error();
	pair_close(&w.p);
}
END_TEST

/* ---- the limit of a key is reached at a message of the library ---- */

/*
 * A KeyUpdate of our own must leave before the library's message, but there is
 * no room for it. That must not count as an unfinished SSL_write().
 */
START_TEST(key_ends_without_room)
{
	struct tlssf_options o = { .size = sizeof(o), .key_records = 16 };
	int how = _i % 3, n;
	char c;

	world_open(ROWS + TLS13_ROW, &o);
	do_send(1, MUCH);
	while (tlssf_keys_records_left(tl_conn(w.p.ssl)) > KEY_RESERVE)
		do_write((const unsigned char *)"x", 1);
	receive();
	ck_assert_int_eq(SSL_key_update(w.p.peer, SSL_KEY_UPDATE_REQUESTED), 1);
	ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
	ck_assert_int_eq(SSL_read(w.p.ssl, &c, 1), 1);
	w.p.wire.room = 0;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1),
				 TLSSF_WANT_WRITE);
	if (how == 1) {
		n = SSL_write(w.p.ssl, "app", 3);
		ck_assert_int_eq(SSL_get_error(w.p.ssl, n),
				 SSL_ERROR_WANT_WRITE);
	}
	if (how == 2)
		ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	if (how == 1)
		do_write((const unsigned char *)"app", 3);
	if (how != 2)
		do_send(1, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/*
 * There is no room for the answers to several KeyUpdates. The connection must
 * survive that.
 */
START_TEST(answers_without_room)
{
	char c;
	int n;

	open_without_room(_i * ROWS + TLS13_ROW);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(SSL_key_update(w.p.peer,
						SSL_KEY_UPDATE_REQUESTED), 1);
		ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
		n = SSL_read(w.p.ssl, &c, 1);
		ck_assert(n == 1 || SSL_get_error(w.p.ssl, n) ==
				    SSL_ERROR_WANT_WRITE);
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1),
				 TLSSF_WANT_WRITE);
	}
	n = SSL_write(w.p.ssl, "app", 3);
	ck_assert_int_eq(SSL_get_error(w.p.ssl, n), SSL_ERROR_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	do_write((const unsigned char *)"app", 3);
	do_send(1, MUCH);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

void add_library_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "library");

	tcase_add_loop_test(tc, error_of_a_read, 0, 4 * ROWS);
	tcase_add_loop_test(tc, alert_without_room, 0, 3 * ROWS);
	tcase_add_loop_test(tc, no_memory_for_the_end, 0, 4 * ROWS);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, handshake_without_room, 0, 2);
	tcase_add_loop_test(tc, no_memory_for_a_key_update, 0, 2);
	tcase_add_loop_test(tc, buffer_that_waits, 0, 4 * ROWS);
	tcase_add_loop_test(tc, key_update_in_a_buffer, 0, 2);
#endif
	tcase_add_loop_test(tc, refused_above, 0, 2 * ROWS);
	tcase_add_loop_test(tc, unseen_write, 0, 4 * ROWS);
	tcase_add_loop_test(tc, key_ends_without_room, 0, 3);
	tcase_add_loop_test(tc, answers_without_room, 0, 2);
}
