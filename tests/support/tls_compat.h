/* SPDX-License-Identifier: MIT */
/* For tests that run with either library: what BoringSSL has not. */
#ifndef TLSSF_TEST_TLS_COMPAT_H
#define TLSSF_TEST_TLS_COMPAT_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#ifdef OPENSSL_IS_BORINGSSL

#define LIBRARY_KTLS		0	/* no kernel TLS of its own */
#define SSL_OP_ENABLE_KTLS	0

#define ERR_raise(lib, reason) \
	ERR_put_error((lib), 0, (reason), __FILE__, __LINE__)

/* Fixed by the machine: a test takes the cipher that the peer offers. */
static inline int SSL_set_ciphersuites(SSL *ssl, const char *names)
{
	(void)ssl, (void)names;
	return 1;
}

/* BoringSSL has this for an SSL_CTX only. */
static inline int SSL_set_num_tickets(SSL *ssl, size_t n)
{
	return SSL_CTX_set_num_tickets(SSL_get_SSL_CTX(ssl), n);
}

#else

#define LIBRARY_KTLS		1

#endif
#endif
