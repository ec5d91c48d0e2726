/* SPDX-License-Identifier: MIT */
/*
 * What OpenSSL and BoringSSL are asked, and answer, in the same words. Compiled
 * against one of the two.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

static _Atomic int ssl_index = -1, ctx_index = -1;
static pthread_mutex_t index_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- errors ---- */

/* Mostly there are none, and to see that costs a quarter of clearing. */
void tl_clear_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

const char *tl_error_text(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text ? text : "";
}

/* errno first: the error queue may hide it, or hold somebody else's entry. */
enum tl_result tl_result_of(const SSL *ssl, int r)
{
	switch (SSL_get_error(ssl, r)) {
	case SSL_ERROR_NONE:
		return TL_OK;
	case SSL_ERROR_WANT_READ:
		return TL_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TL_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TL_CLOSED;
	case SSL_ERROR_SYSCALL:
		return TL_SYSCALL;
	}
	return TL_FATAL;
}

/* ---- state that hangs on SSL and SSL_CTX ---- */

static void (*_Atomic release_conn)(struct conn *conn);

static void free_conn(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
		      long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (ptr)
		release_conn(ptr);
}

static void free_conf(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
		      long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

/* SSL_dup() starts without state. */
static int dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from,
		       void **from_d, int idx, long argl, void *argp)
{
	(void)to, (void)from, (void)idx, (void)argl, (void)argp;
	*from_d = NULL;
	return 1;
}

/* Tried again after a failure: no pthread_once. */
static void make_indexes(void)
{
	pthread_mutex_lock(&index_lock);
	if (ctx_index < 0)
		ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL,
						     free_conf);
	if (ssl_index < 0)
		ssl_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing,
						 free_conn);
	pthread_mutex_unlock(&index_lock);
}

static bool indexes(void)
{
	if (ssl_index < 0 || ctx_index < 0)
		make_indexes();
	return ssl_index >= 0 && ctx_index >= 0;
}

struct conn *tl_conn(const SSL *ssl)
{
	return indexes() ? SSL_get_ex_data(ssl, ssl_index) : NULL;
}

int tl_set_conn(SSL *ssl, struct conn *conn,
		void (*release)(struct conn *conn))
{
	release_conn = release;
	if (!indexes() || !SSL_set_ex_data(ssl, ssl_index, conn))
		return -ENOMEM;
	return 0;
}

struct ctx_conf *tl_ctx_conf(const SSL_CTX *ctx)
{
	return indexes() ? SSL_CTX_get_ex_data(ctx, ctx_index) : NULL;
}

int tl_ctx_set_conf(SSL_CTX *ctx, struct ctx_conf *conf)
{
	if (!indexes() || !SSL_CTX_set_ex_data(ctx, ctx_index, conf))
		return -ENOMEM;
	return 0;
}

const struct ctx_conf *tl_conf(const SSL *ssl)
{
	return tl_ctx_conf(SSL_get_SSL_CTX(ssl));
}

/*
 * An SSL_CTX begins with pointers into its own libssl (its method table). If
 * one of its first words lies in another loaded object than ours and none in
 * ours, the context belongs to a second or static OpenSSL.
 */
int tl_ctx_check(const SSL_CTX *ctx)
{
	void *const *word = (void *const *)ctx;
	Dl_info own, at;
	bool foreign = false;
	int i;

	/* its data: a function's address may be a stub in the program */
	if (!dladdr(TLS_method(), &own))
		return 0;	/* a static program: one libssl */
	for (i = 0; i < 4; i++) {
		if (!word[i] || !dladdr(word[i], &at))
			continue;
		if (at.dli_fbase == own.dli_fbase)
			return 0;
		foreign = true;
	}
	return foreign ? -ELIBBAD : 0;
}

/* ---- a connection ---- */

bool tl_is_server(const SSL *ssl)
{
	return SSL_is_server(ssl);
}

/*
 * Of the random (RFC 8446, 4.1.2 and 4.1.3) the first bytes may tell the time, the
 * last a downgrade. Nothing there yet: 0.
 */
uint64_t tl_handshake_id(const SSL *ssl)
{
	unsigned char random[16] = { 0 };
	uint64_t id;

	if (SSL_is_server(ssl))
		SSL_get_server_random(ssl, random, sizeof(random));
	else
		SSL_get_client_random(ssl, random, sizeof(random));
	memcpy(&id, random + 8, sizeof(id));
	return id;
}

const char *tl_cipher_name(const SSL *ssl)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	return cipher ? SSL_CIPHER_get_name(cipher) : "";
}

bool tl_sent_shutdown(const SSL *ssl)
{
	return SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN;
}

bool tl_quiet_shutdown(const SSL *ssl)
{
	return SSL_get_quiet_shutdown(ssl);
}

int tl_write_fd(const SSL *ssl)
{
	return SSL_get_wfd(ssl);
}

uint64_t tl_bytes_read(const SSL *ssl)
{
	BIO *bio = SSL_get_rbio(ssl);

	return bio ? BIO_number_read(bio) : 0;
}

bool tl_renegotiates(SSL *ssl)
{
	return SSL_renegotiate_pending(ssl);
}

int tl_key_update(SSL *ssl)
{
	return SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) > 0 ?
	       0 : -EBUSY;
}

enum tl_result tl_shutdown(SSL *ssl)
{
	int r;

	tl_clear_errors();
	errno = 0;
	r = SSL_shutdown(ssl);
	return r >= 0 ? TL_OK : tl_result_of(ssl, r);
}
