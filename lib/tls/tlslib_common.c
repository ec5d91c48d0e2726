/* SPDX-License-Identifier: MIT */
/*
 * The calls that are the same for OpenSSL and BoringSSL, and our state on SSL
 * and SSL_CTX. The file is compiled against one of the two libraries.
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

/*
 * Check before clearing: the queue is usually empty, and a check costs a
 * quarter of clearing.
 */
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

/* ---- our state on SSL and SSL_CTX ---- */

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

/* The copy that SSL_dup() makes starts without our state. */
static int dup_conn(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from,
		       void **from_d, int idx, long argl, void *argp)
{
	(void)to, (void)from, (void)idx, (void)argl, (void)argp;
	*from_d = NULL;
	return 1;
}

/*
 * This uses a mutex instead of pthread_once(), so that a later call can retry
 * after a failure.
 */
static void allocate_indexes(void)
{
	pthread_mutex_lock(&index_lock);
	if (ctx_index < 0)
		ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL,
						     free_conf);
	if (ssl_index < 0)
		ssl_index = SSL_get_ex_new_index(0, NULL, NULL, dup_conn,
						 free_conn);
	pthread_mutex_unlock(&index_lock);
}

static bool have_indexes(void)
{
	if (ssl_index < 0 || ctx_index < 0)
		allocate_indexes();
	return ssl_index >= 0 && ctx_index >= 0;
}

struct conn *tl_conn(const SSL *ssl)
{
	return have_indexes() ? SSL_get_ex_data(ssl, ssl_index) : NULL;
}

int tl_set_conn(SSL *ssl, struct conn *conn,
		void (*release)(struct conn *conn))
{
	release_conn = release;
	if (!have_indexes() || !SSL_set_ex_data(ssl, ssl_index, conn))
		return -ENOMEM;
	return 0;
}

struct ctx_conf *tl_ctx_conf(const SSL_CTX *ctx)
{
	return have_indexes() ? SSL_CTX_get_ex_data(ctx, ctx_index) : NULL;
}

int tl_ctx_set_conf(SSL_CTX *ctx, struct ctx_conf *conf)
{
	if (!have_indexes() || !SSL_CTX_set_ex_data(ctx, ctx_index, conf))
		return -ENOMEM;
	return 0;
}

const struct ctx_conf *tl_conf(const SSL *ssl)
{
	return tl_ctx_conf(SSL_get_SSL_CTX(ssl));
}

/*
 * The first words of an SSL_CTX point into the libssl that created it (its
 * method table). If such a word points into a loaded object other than our
 * libssl, and none points into our libssl, then the SSL_CTX belongs to another
 * copy of libssl.
 */
int tl_ctx_check(const SSL_CTX *ctx)
{
	void *const *words = (void *const *)ctx;
	Dl_info ours, object;
	bool foreign = false;
	int i;

	/*
	 * look up the table, since the address of a function may be that of a
	 * stub in the program
	 */
	if (!dladdr(TLS_method(), &ours))
		return 0;	/* a static program has one libssl only */
	for (i = 0; i < 4; i++) {
		if (!words[i] || !dladdr(words[i], &object))
			continue;
		if (object.dli_fbase == ours.dli_fbase)
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
 * Returns bytes 8 to 15 of the random. The first bytes of the random may be the
 * time, and the last bytes may signal a downgrade (RFC 8446, 4.1.3).
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

void tl_pretend_shutdown(SSL *ssl)
{
	SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_SENT_SHUTDOWN);
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
