/* SPDX-License-Identifier: MIT */
/*
 * What the TLS library's own calls say after a takeover: what they would have
 * said without one.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define MUCH		(256 * KIB)

/*
 * The peer sends what nobody can open. The alert goes through the bridge, or
 * waits there (odd loops), and the reason stays in the error queue.
 */
START_TEST(error_of_a_read)
{
	static const unsigned char junk[5 + 40] = { 23, 3, 3, 0, 40 };
	char c;
	int r;

	world_open(_i / 2, NULL);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	w.p.wire.room = _i % 2 ? 0 : UNLIMITED;
	ck_assert_int_eq(BIO_write(SSL_get_rbio(w.p.ssl), junk, sizeof(junk)),
			 sizeof(junk));
	ERR_clear_error();
	r = SSL_read(w.p.ssl, &c, 1);
	ck_assert_int_le(r, 0);
	ck_assert_int_eq(SSL_get_error(w.p.ssl, r), SSL_ERROR_SSL);
	ck_assert_uint_ne(ERR_peek_error(), 0);
	ERR_clear_error();
	pair_close(&w.p);
}
END_TEST

void add_library_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "library", 30);

	tcase_add_loop_test(tc, error_of_a_read, 0, 4 * ROWS);
}
