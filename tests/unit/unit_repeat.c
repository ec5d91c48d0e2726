/* SPDX-License-Identifier: MIT */
/* A repeated call returns the same result. */
#include "output.h"
#include "tls_pair.h"
#include "util.h"

#include <openssl/err.h>

/*
 * The peer answers close_notify with a FIN and no close_notify of its own. For
 * OpenSSL such an end is an error of the read direction. tlssf_shutdown() must
 * return 0 each time all the same.
 */
START_TEST(shutdown_after_a_bare_fin)
{
	struct pair p;
	char byte;

	pair_open(&p, NULL, &rows[_i], NO_SOCKET, false);
	ck_assert_int_eq(tlssf_shutdown(p.ssl), 0);
	ck_assert(SSL_get_shutdown(p.ssl) & SSL_SENT_SHUTDOWN);
	BIO_set_mem_eof_return(SSL_get_rbio(p.ssl), 0);
	ck_assert_int_le(SSL_read(p.ssl, &byte, 1), 0);
	ERR_clear_error();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(tlssf_shutdown(p.ssl), 0);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_repeat");
	TCase *tc = add_case(suite, "shutdown");

	tcase_add_loop_test(tc, shutdown_after_a_bare_fin, 0, N_ROWS);
	return run_suite("unit_repeat", suite);
}
