/* SPDX-License-Identifier: MIT */
/*
 * The calls to OpenSSL 3.0 and later, for one SSL or SSL_CTX: its kernel TLS,
 * its state, and its actions. Keys and AEAD: tlslib_openssl_crypto.c.
 */
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

#define QUIC_VERSION		1	/* OSSL_QUIC1_VERSION, 3.2 and later */
#define CTRL_SET_RECORD_TYPE	74
#define FLAG_RECORD_TYPE	0x1000	/* kernel TLS: set by control 74 */

/* ---- kernel TLS ---- */

bool tl_option_ktls(const SSL *ssl)
{
	return SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS;
}

void tl_clear_option_ktls(SSL *ssl)
{
	SSL_clear_options(ssl, SSL_OP_ENABLE_KTLS);
}

bool tl_ctx_ktls(const SSL_CTX *ctx)
{
	return SSL_CTX_get_options(ctx) & SSL_OP_ENABLE_KTLS;
}

/*
 * Is the SSL_CTX for DTLS or QUIC? Only an SSL that is created from it shows
 * that. If SSL_new() fails (memory ran out, or it refuses, as for a QUIC
 * server), assume a stream.
 */
static bool is_for_datagrams(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);
	bool datagrams = ssl && tl_stream_kind(ssl) != TLSSF_REASON_NONE;

	SSL_free(ssl);
	return datagrams;
}

/*
 * OpenSSL 3.2 and later apply the option to DTLS as well, and then the peer
 * receives nothing. So the option is not changed for datagrams.
 */
void tl_ctx_set_ktls(SSL_CTX *ctx, bool on)
{
	if (is_for_datagrams(ctx))
		return;
	if (on)
		SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
	else
		SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS);
}

bool tl_library_offloads(SSL *ssl)
{
	BIO *bio = SSL_get_wbio(ssl);

	return bio && BIO_get_ktls_send(bio);
}

/* Without kernel TLS, the socket BIO ignores control 74 and sets no flag. */
bool tl_library_ktls(void)
{
	BIO *bio = BIO_new(BIO_s_socket());
	bool supported;

	if (!bio)
		return false;
	BIO_ctrl(bio, CTRL_SET_RECORD_TYPE, RECORD_DATA, NULL);
	supported = BIO_test_flags(bio, FLAG_RECORD_TYPE);
	BIO_free(bio);
	return supported;
}

/* OpenSSL 3.0 and 3.1 never install a second key in the kernel. */
bool tl_library_rekey(void)
{
	return OpenSSL_version_num() >= 0x30200000L;
}

const char *tl_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

/* ---- the key log ---- */

/* The last word of the line is the secret in hexadecimal. */
size_t tl_secret_of_line(const char *line, unsigned char secret[SECRET_MAX])
{
	const char *hex = strrchr(line, ' ') + 1;
	size_t len = 0;

	if (OPENSSL_hexstr2buf_ex(secret, SECRET_MAX, &len, hex, '\0') > 0)
		return len;
	ERR_clear_error();
	return 0;
}

/* ---- the state of a connection ---- */

bool tl_ready(SSL *ssl)
{
	return SSL_get_wbio(ssl) && SSL_get_state(ssl) == TLS_ST_OK;
}

/*
 * SSL_in_init() is true in TLS 1.3 also while OpenSSL sends or receives a
 * post-handshake message.
 */
bool tl_post_handshake_pending(SSL *ssl)
{
	if (SSL_get_key_update_type(ssl) != SSL_KEY_UPDATE_NONE)
		return true;
	return SSL_version(ssl) == TLS1_3_VERSION && SSL_in_init(ssl) &&
	       !tl_new_handshake(ssl);
}

/*
 * OpenSSL sends these messages at once. If it cannot send all of a message,
 * tl_post_handshake_pending() returns true.
 */
bool tl_defers_post_handshake(const SSL *ssl)
{
	(void)ssl;
	return false;
}

/*
 * OpenSSL 3.2 and later free the BIOs before our state. Then the SSL has no
 * reference left, and SSL_up_ref() fails.
 */
bool tl_being_freed(SSL *ssl)
{
	if (!SSL_up_ref(ssl))
		return true;
	SSL_free(ssl);
	return false;
}

int tl_stream_kind(SSL *ssl)
{
	if (SSL_is_dtls(ssl))
		return TLSSF_REASON_DTLS;
	if (SSL_version(ssl) == QUIC_VERSION)
		return TLSSF_REASON_QUIC;
	return TLSSF_REASON_NONE;
}

/* No version of OpenSSL offloads ARIA or SM4 suites to the kernel. */
static int kernel_cipher(const SSL_CIPHER *cipher)
{
	const char *name = SSL_CIPHER_get_name(cipher);

	switch (SSL_CIPHER_get_cipher_nid(cipher)) {
	case NID_aes_128_gcm:
		return TLSSF_AES_128_GCM;
	case NID_aes_256_gcm:
		return TLSSF_AES_256_GCM;
	case NID_chacha20_poly1305:
		return TLSSF_CHACHA20_POLY1305;
	case NID_aes_128_ccm:	/* Linux has no CCM with a tag of 8 bytes */
		if (strstr(name, "CCM8") || strstr(name, "CCM_8"))
			return -1;
		return TLSSF_AES_128_CCM;
	}
	return -1;
}

static uint8_t hash_len(const SSL_CIPHER *cipher)
{
	const EVP_MD *md = SSL_CIPHER_get_handshake_digest(cipher);

	return md ? (uint8_t)EVP_MD_get_size(md) : 0;
}

void tl_describe(SSL *ssl, struct tl_info *info)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	const SSL_SESSION *session = SSL_get_session(ssl);

	*info = (struct tl_info){
		.version = (uint16_t)SSL_version(ssl),
		.kernel_cipher = -1,
		.compression = SSL_get_current_compression(ssl),
	};
	if (cipher) {
		info->cipher = SSL_CIPHER_get_protocol_id(cipher);
		info->kernel_cipher = kernel_cipher(cipher);
		info->hash_len = hash_len(cipher);
	}
	if (session)
		info->max_fragment =
			SSL_SESSION_get_max_fragment_length(session) != 0;
}

/*
 * OpenSSL has no getter for max_send_fragment, but refuses a split size above
 * max_send_fragment. Only pipelining engines use the split size, so setting it
 * has no other effect.
 */
bool tl_small_fragments(SSL *ssl)
{
	return SSL_set_split_send_fragment(ssl, RECORD_MAX) <= 0;
}

/* After the first handshake, OpenSSL has a Finished message of the peer. */
bool tl_new_handshake(SSL *ssl)
{
	unsigned char finished[EVP_MAX_MD_SIZE];

	return SSL_in_init(ssl) &&
	       !SSL_get_peer_finished(ssl, finished, sizeof(finished));
}

/*
 * Used when our filter BIO was not attached during the handshake.
 * SSL_free_buffers() fails while a record is unfinished in either direction.
 * Otherwise it frees buffers that the next write allocates again. While a
 * record is being read it must not be called (CVE-2024-4741). In that case this
 * function writes 0 bytes, which fails if an SSL_write() is unfinished. That
 * failure is permanent, but OpenSSL does not accept our data as the rest of the
 * application's SSL_write().
 */
bool tl_write_pending(SSL *ssl)
{
	size_t n;

	if (SSL_want_write(ssl))
		return true;
	if (!SSL_has_pending(ssl) && !strcmp(SSL_rstate_string(ssl), "RH"))
		return !SSL_free_buffers(ssl);
	return !tl_sent_shutdown(ssl) && SSL_write_ex(ssl, "", 0, &n) <= 0;
}

/* ---- actions on a connection ---- */

enum tl_result tl_write(SSL *ssl, const void *buf, size_t len, size_t *done)
{
	int r;

	tl_clear_errors();
	errno = 0;
	*done = 0;
	r = SSL_write_ex(ssl, buf, len, done);
	return r > 0 ? TL_OK : tl_result_of(ssl, r);
}

enum tl_result tl_drive_post_handshake(SSL *ssl)
{
	int type = SSL_get_key_update_type(ssl);
	int r;

	tl_clear_errors();
	errno = 0;
	/*
	 * Without this call, a KeyUpdate that the peer requested would wait for
	 * the next SSL_write().
	 */
	if (type != SSL_KEY_UPDATE_NONE && !SSL_in_init(ssl) &&
	    SSL_key_update(ssl, type) <= 0)
		return TL_OK;	/* refused: an SSL_write() is unfinished */
	r = SSL_do_handshake(ssl);
	return r > 0 ? TL_OK : tl_result_of(ssl, r);
}

void tl_no_renegotiation(SSL *ssl)
{
	SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
}

/*
 * Check errno first: before OpenSSL 3.4, SSL_sendfile() reports every error of
 * sendfile(2) as "uninitialized", and only errno has the cause. The error queue
 * is not checked, since it may hold an error of the application.
 */
ssize_t tl_sendfile(SSL *ssl, int fd, uint64_t off, size_t len)
{
	ssize_t n;
	int err;

	errno = 0;
	n = SSL_sendfile(ssl, fd, (off_t)off, len, 0);
	err = errno;
	if (n >= 0)
		return n;
	if (err)
		return -err;
	return SSL_want_write(ssl) ? -EAGAIN : -EPROTO;
}
