/* SPDX-License-Identifier: MIT */
/*
 * What we ask of BoringSSL, and how it answers. It has no kernel TLS of its
 * own, tells its present keys when asked, and keeps what it has to say after
 * the handshake (tickets, answers to KeyUpdate) for the next SSL_write().
 */
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

/* ---- kernel TLS: none in the library ---- */

bool tl_option_ktls(const SSL *ssl)
{
	(void)ssl;
	return false;
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

/* ---- the key log: called during every handshake, here for that only ---- */

static bool begins(const char *line, const char *label)
{
	return !strncmp(line, label, strlen(label));
}

/* Before the application can write: the moment to put the bridge in. */
static void keylog(const SSL *ssl, const char *line)
{
	const struct ctx_conf *conf = tl_conf(ssl);
	SSL *mine = (SSL *)(uintptr_t)ssl;

	if (!conf)
		return;
	/* a filter is no way for datagrams */
	if ((begins(line, "SERVER_HANDSHAKE_TRAFFIC_SECRET ") ||
	     begins(line, "CLIENT_RANDOM ")) && !tl_stream_kind(mine))
		conf->early(mine);
	if (conf->next_keylog)
		conf->next_keylog(ssl, line);
}

bool tl_keylog_ours(const SSL *ssl)
{
	return SSL_CTX_get_keylog_callback(SSL_get_SSL_CTX(ssl)) == keylog;
}

void tl_ctx_install_keylog(SSL_CTX *ctx, struct ctx_conf *conf)
{
	void (*there)(const SSL *, const char *) =
		SSL_CTX_get_keylog_callback(ctx);

	if (there == keylog)	/* never ourselves */
		return;
	conf->next_keylog = there;
	SSL_CTX_set_keylog_callback(ctx, keylog);
}

/* ---- questions about a connection ---- */

bool tl_ready(SSL *ssl)
{
	return SSL_get_wbio(ssl) && !SSL_in_init(ssl);
}

bool tl_new_handshake(SSL *ssl)
{
	return SSL_in_init(ssl) && !SSL_renegotiate_pending(ssl);
}

/* What is queued waits inside, not half-way out. */
bool tl_post_handshake_pending(SSL *ssl)
{
	(void)ssl;
	return false;
}

bool tl_defers_post_handshake(const SSL *ssl)
{
	return SSL_version(ssl) == TLS1_3_VERSION;
}

/* Our state is freed before the BIOs. */
bool tl_lives(SSL *ssl)
{
	(void)ssl;
	return true;
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

/* There is neither compression nor max_fragment_length. */
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

/* SSL_set_max_send_fragment() has no counterpart that asks. */
bool tl_small_fragments(SSL *ssl)
{
	(void)ssl;
	return false;
}

/*
 * For a connection that the bridge has not seen from its handshake on. Once
 * SSL_read() was called in between, nothing tells; then tl_write() fails.
 */
bool tl_write_pending(SSL *ssl)
{
	return SSL_want_write(ssl) || BIO_should_write(SSL_get_wbio(ssl));
}

/* ---- doing things with a connection ---- */

/*
 * With moving buffers allowed, an SSL_write() of the application's that is
 * unfinished would be taken for ours.
 */
static int write_as_new(SSL *ssl, const void *buf, int len)
{
	uint32_t moving = SSL_get_mode(ssl) &
			  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER;
	int r;

	SSL_clear_mode(ssl, moving);
	r = SSL_write(ssl, buf, len);
	SSL_set_mode(ssl, moving);
	return r;
}

enum tl_result tl_write(SSL *ssl, const void *buf, size_t len, size_t *done)
{
	int r;

	tl_clear_errors();
	errno = 0;
	r = write_as_new(ssl, buf, (int)len);
	*done = r > 0 ? (size_t)r : 0;
	return r > 0 ? TL_OK : tl_result_of(ssl, r);
}

/* An SSL_write() of nothing sends what was queued. */
enum tl_result tl_drive_post_handshake(SSL *ssl)
{
	static const char nothing[1];
	int r;

	tl_clear_errors();
	errno = 0;
	r = write_as_new(ssl, nothing, 0);
	return r >= 0 ? TL_OK : tl_result_of(ssl, r);
}

/* A server never does; a client only if it was told that it may. */
void tl_no_renegotiation(SSL *ssl)
{
	SSL_set_renegotiate_mode(ssl, ssl_renegotiate_never);
}
