/* SPDX-License-Identifier: MIT */
/* SSL_clear(), and a second connection with the same SSL. */
#include "unit_conn.h"

static void assert_peer_gone(int err)
{
	for (int i = 0; i < 2; i++) {
		assert_error(send_file(0), err, TLSSF_REASON_PEER_GONE, true);
		assert_error(tlssf_flush(w.p.ssl), err, TLSSF_REASON_PEER_GONE,
			     true);
		assert_error(tlssf_shutdown(w.p.ssl), err,
			     TLSSF_REASON_PEER_GONE, true);
	}
}

static void lose_peer(int err)
{
	w.p.wire.room = 0;
	w.p.wire.err = err;
}

/*
 * A connection has failed since its peer has gone. The application clears the
 * SSL for a second connection, and that peer goes as well: in odd loops while
 * OpenSSL writes its session tickets, in even loops just after. OpenSSL ignores
 * errors of session tickets and completes the handshake. Every later call must
 * report that the peer has gone, and not that an SSL_write() is pending. In
 * loops with bit 1 set, tlssf_ctx_init() was called, so the bridge (the BIO
 * that libtlssf puts above the socket's) is attached during the handshake.
 */
START_TEST(life_after_death)
{
	static const int errs[] = { EPIPE, ECONNRESET };
	bool at_tickets = _i & 1, prepared = _i & 2;
	int err = errs[_i / 4];

	world_open(false);
	if (prepared)
		ck_assert_int_eq(tlssf_ctx_init(SSL_get_SSL_CTX(w.p.ssl), NULL),
				 0);
	lose_peer(EPIPE);
	assert_peer_gone(EPIPE);
	w.p.wire.room = UNLIMITED;
	pair_restart(&w.p, &rows[2], 2);
	if (at_tickets)
		lose_peer(err);
	ck_assert_int_eq(SSL_do_handshake(w.p.ssl), 1);
	lose_peer(err);
	assert_peer_gone(err);
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	assert_peer_gone(err);
	pair_close(&w.p);
}
END_TEST

void add_clear_tests(Suite *suite)
{
	TCase *clear = add_case(suite, "clear");

	tcase_add_loop_test(clear, life_after_death, 0, 2 * 2 * 2);
}
