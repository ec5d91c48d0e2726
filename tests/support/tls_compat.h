/* SPDX-License-Identifier: MIT */
/* For tests that run with either TLS library: what BoringSSL lacks. */
#ifndef TLSSF_TEST_TLS_COMPAT_H
#define TLSSF_TEST_TLS_COMPAT_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#ifdef OPENSSL_IS_BORINGSSL

#define LIBRARY_KTLS		0	/* BoringSSL has no kernel TLS */
#define SSL_OP_ENABLE_KTLS	0

#define ERR_raise(lib, reason) \
	ERR_put_error((lib), 0, (reason), __FILE__, __LINE__)

/*
 * BoringSSL chooses TLS 1.3 ciphers itself, so this does nothing, and the peer
 * makes the choice.
 */
static inline int SSL_set_ciphersuites(SSL *ssl, const char *names)
{
	(void)ssl, (void)names;
	return 1;
}

/* BoringSSL has such a function for an SSL_CTX only. */
static inline int SSL_set_num_tickets(SSL *ssl, size_t n)
{
	return SSL_CTX_set_num_tickets(SSL_get_SSL_CTX(ssl), n);
}

#else

#define LIBRARY_KTLS		1

#endif
#endif
