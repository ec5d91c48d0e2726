/* SPDX-License-Identifier: MIT */
/*
 * The calls to BoringSSL, for one SSL or SSL_CTX. BoringSSL has no kernel TLS,
 * returns its current secrets on request, and queues post-handshake messages
 * (tickets, KeyUpdate) until the next SSL_write(). Keys and AEAD:
 * tlslib_boringssl_crypto.c.
 */
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

/* ---- kernel TLS: BoringSSL has none ---- */

bool tl_option_ktls(const SSL *ssl)
{
	(void)ssl;
	return false;
}

void tl_clear_option_ktls(SSL *ssl)
{
	(void)ssl;
}

bool tl_ctx_ktls(const SSL_CTX *ctx)
{
	(void)ctx;
	return false;
}

void tl_ctx_set_ktls(SSL_CTX *ctx, bool on)
{
	(void)ctx, (void)on;
}

bool tl_library_offloads(SSL *ssl)
{
	(void)ssl;
	return false;
}

bool tl_library_ktls(void)
{
	return false;
}

bool tl_library_rekey(void)
{
	return false;
}

ssize_t tl_sendfile(SSL *ssl, int fd, uint64_t off, size_t len)
{
	(void)ssl, (void)fd, (void)off, (void)len;
	return -EOPNOTSUPP;
}

const char *tl_library(void)
{
	return "BoringSSL";
}

/* ---- the key log ---- */

/* The secret is not taken from the key log: see tl_write_secret(). */
size_t tl_secret_of_line(const char *line, unsigned char secret[SECRET_MAX])
{
	(void)line, (void)secret;
	return 0;
}

/* ---- the state of a connection ---- */

bool tl_ready(SSL *ssl)
{
	return SSL_get_wbio(ssl) && !SSL_in_init(ssl);
}

bool tl_new_handshake(SSL *ssl)
{
	return SSL_in_init(ssl) && !SSL_renegotiate_pending(ssl);
}

/* BoringSSL queues post-handshake messages whole, and sends none by itself. */
bool tl_post_handshake_pending(SSL *ssl)
{
	(void)ssl;
	return false;
}

bool tl_defers_post_handshake(const SSL *ssl)
{
	return SSL_version(ssl) == TLS1_3_VERSION;
}

/* BoringSSL frees our state before the BIOs. */
bool tl_being_freed(SSL *ssl)
{
	(void)ssl;
	return false;
}

int tl_stream_kind(SSL *ssl)
{
	return SSL_is_dtls(ssl) ? TLSSF_REASON_DTLS : TLSSF_REASON_NONE;
}

static int kernel_cipher(const SSL_CIPHER *cipher)
{
	switch (SSL_CIPHER_get_cipher_nid(cipher)) {
	case NID_aes_128_gcm:
		return TLSSF_AES_128_GCM;
	case NID_aes_256_gcm:
		return TLSSF_AES_256_GCM;
	case NID_chacha20_poly1305:
		return TLSSF_CHACHA20_POLY1305;
	}
	return -1;
}

static uint8_t hash_len(const SSL_CIPHER *cipher)
{
	switch (SSL_CIPHER_get_prf_nid(cipher)) {
	case NID_sha256:
		return 32;
	case NID_sha384:
		return 48;
	}
	return 0;
}

/* BoringSSL has neither compression nor max_fragment_length. */
void tl_describe(SSL *ssl, struct tl_info *info)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	*info = (struct tl_info){
		.version = (uint16_t)SSL_version(ssl),
		.kernel_cipher = -1,
	};
	if (!cipher)
		return;
	info->cipher = SSL_CIPHER_get_protocol_id(cipher);
	info->kernel_cipher = kernel_cipher(cipher);
	info->hash_len = hash_len(cipher);
}

/* BoringSSL has no getter for max_send_fragment. */
bool tl_small_fragments(SSL *ssl)
{
	(void)ssl;
	return false;
}

/*
 * Used when our filter BIO was not attached during the handshake. After an
 * SSL_read(), these two calls no longer show that an SSL_write() is unfinished.
 * In that case tl_write() fails.
 */
bool tl_write_pending(SSL *ssl)
{
	return SSL_want_write(ssl) || BIO_should_write(SSL_get_wbio(ssl));
}

/* ---- actions on a connection ---- */

/*
 * SSL_write() without SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER. With that mode,
 * BoringSSL would accept our data as the rest of an unfinished SSL_write() of
 * the application.
 */
static int write_fixed_buffer(SSL *ssl, const void *buf, int len)
{
	uint32_t mode = SSL_get_mode(ssl) & SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER;
	int r;

	SSL_clear_mode(ssl, mode);
	r = SSL_write(ssl, buf, len);
	SSL_set_mode(ssl, mode);
	return r;
}

enum tl_result tl_write(SSL *ssl, const void *buf, size_t len, size_t *done)
{
	int r;

	tl_clear_errors();
	errno = 0;
	r = write_fixed_buffer(ssl, buf, (int)len);
	*done = r > 0 ? (size_t)r : 0;
	return r > 0 ? TL_OK : tl_result_of(ssl, r);
}

/* An SSL_write() of 0 bytes sends the queued messages. */
enum tl_result tl_drive_post_handshake(SSL *ssl)
{
	static const char empty[1];
	int r;

	tl_clear_errors();
	errno = 0;
	r = write_fixed_buffer(ssl, empty, 0);
	return r >= 0 ? TL_OK : tl_result_of(ssl, r);
}

/*
 * A BoringSSL server never renegotiates. A client renegotiates if the
 * application has allowed it, so forbid it here.
 */
void tl_no_renegotiation(SSL *ssl)
{
	SSL_set_renegotiate_mode(ssl, ssl_renegotiate_never);
}
