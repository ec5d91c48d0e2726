/* SPDX-License-Identifier: MIT */
/* What we ask of OpenSSL (3.0 and later), and how it answers. */
#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

#define QUIC_VERSION		1	/* OSSL_QUIC1_VERSION, 3.2 and later */
#define CTRL_SET_RECORD_TYPE	74
#define FLAG_RECORD_TYPE	0x1000	/* set by 74 where kernel TLS is in */

/* ---- kernel TLS on and off ---- */

bool tl_option_ktls(const SSL *ssl)
{
	return SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS;
}

static bool begins(const char *line, const char *label)
{
	return !strncmp(line, label, strlen(label));
}

/* The last word of a line: the secret in hexadecimal. */
static void hand_on_secret(SSL *ssl, const struct ctx_conf *conf,
			   const char *line)
{
	const char *hex = strrchr(line, ' ') + 1;
	unsigned char secret[SECRET_MAX];
	size_t len = 0;

	if (OPENSSL_hexstr2buf_ex(secret, sizeof(secret), &len, hex, '\0') > 0)
		conf->secret(ssl, secret, len);
	else
		ERR_clear_error();
	OPENSSL_cleanse(secret, sizeof(secret));
}

/*
 * Called during every handshake, before the application can write: the moment
 * to put the bridge in. The first secret of TLS 1.3 comes well before the
 * application keys are installed: the last moment to keep them out of a kernel
 * or library that would not survive a KeyUpdate.
 */
static void listen_to(SSL *ssl, const struct ctx_conf *conf, const char *line)
{
	bool is13 = begins(line, "SERVER_HANDSHAKE_TRAFFIC_SECRET ");

	if (is13 && conf->drop_ktls13)
		SSL_clear_options(ssl, SSL_OP_ENABLE_KTLS);
	if (is13 || begins(line, "CLIENT_RANDOM "))
		conf->early(ssl);
	if (begins(line, SSL_is_server(ssl) ? "SERVER_TRAFFIC_SECRET_0 "
					    : "CLIENT_TRAFFIC_SECRET_0 "))
		hand_on_secret(ssl, conf, line);
}

/*
 * Datagrams are none of our business, and QUIC's SSL is locked in here: most
 * calls would wait for ever.
 */
static void keylog(const SSL *ssl, const char *line)
{
	const struct ctx_conf *conf = tl_conf(ssl);
	SSL *mine = (SSL *)(uintptr_t)ssl;

	if (!conf)
		return;
	if (!tl_stream_kind(mine))
		listen_to(mine, conf, line);
	if (conf->next_keylog)
		conf->next_keylog(ssl, line);
}

bool tl_keylog_ours(const SSL *ssl)
{
	return SSL_CTX_get_keylog_callback(SSL_get_SSL_CTX(ssl)) == keylog;
}

void tl_ctx_install_keylog(SSL_CTX *ctx, struct ctx_conf *conf)
{
	SSL_CTX_keylog_cb_func there = SSL_CTX_get_keylog_callback(ctx);

	if (there == keylog)	/* never ourselves */
		return;
	conf->next_keylog = there;
	SSL_CTX_set_keylog_callback(ctx, keylog);
}

bool tl_ctx_ktls(const SSL_CTX *ctx)
{
	return SSL_CTX_get_options(ctx) & SSL_OP_ENABLE_KTLS;
}

/* Only an SSL tells. For want of memory, or of QUIC servers, there is none. */
static bool for_datagrams(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);
	bool yes = ssl && tl_stream_kind(ssl) != TLSSF_REASON_NONE;

	SSL_free(ssl);
	return yes;
}

/* OpenSSL 3.2 and later try it with DTLS, too, and nothing arrives any more. */
void tl_ctx_set_ktls(SSL_CTX *ctx, bool on)
{
	if (for_datagrams(ctx))
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

/* The socket BIO of a libssl without kernel TLS does not know control 74. */
bool tl_library_ktls(void)
{
	BIO *bio = BIO_new(BIO_s_socket());
	bool known;

	if (!bio)
		return false;
	BIO_ctrl(bio, CTRL_SET_RECORD_TYPE, RECORD_DATA, NULL);
	known = BIO_test_flags(bio, FLAG_RECORD_TYPE);
	BIO_free(bio);
	return known;
}

/* 3.0 and 3.1 never give the kernel a second key. */
bool tl_library_rekey(void)
{
	return OpenSSL_version_num() >= 0x30200000L;
}

const char *tl_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

/* ---- questions about a connection ---- */

bool tl_ready(SSL *ssl)
{
	return SSL_get_wbio(ssl) && SSL_get_state(ssl) == TLS_ST_OK;
}

/* After the handshake: whatever the state machine is in the middle of. */
bool tl_post_handshake_pending(SSL *ssl)
{
	if (SSL_get_key_update_type(ssl) != SSL_KEY_UPDATE_NONE)
		return true;
	return SSL_version(ssl) == TLS1_3_VERSION && SSL_in_init(ssl) &&
	       !tl_new_handshake(ssl);
}

/* All is sent at once, or tl_post_handshake_pending(). */
bool tl_defers_post_handshake(const SSL *ssl)
{
	(void)ssl;
	return false;
}

/* 3.2 and later free the BIOs before our state: no reference is left then. */
bool tl_lives(SSL *ssl)
{
	if (!SSL_up_ref(ssl))
		return false;
	SSL_free(ssl);
	return true;
}

int tl_stream_kind(SSL *ssl)
{
	if (SSL_is_dtls(ssl))
		return TLSSF_REASON_DTLS;
	if (SSL_version(ssl) == QUIC_VERSION)
		return TLSSF_REASON_QUIC;
	return TLSSF_REASON_NONE;
}

/* ARIA and SM4 suites: no OpenSSL gives these to the kernel. */
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
	case NID_aes_128_ccm:	/* the 8-byte tag is unknown to kernels */
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
 * There is no question for max_send_fragment; but a split size above it is
 * refused. (What split size was set matters to pipelining engines only.)
 */
bool tl_small_fragments(SSL *ssl)
{
	return SSL_set_split_send_fragment(ssl, RECORD_MAX) <= 0;
}

/* The peer's Finished is known from the first handshake on. */
bool tl_new_handshake(SSL *ssl)
{
	unsigned char finished[EVP_MAX_MD_SIZE];

	return SSL_in_init(ssl) &&
	       !SSL_get_peer_finished(ssl, finished, sizeof(finished));
}

/*
 * For a connection that the bridge has not seen from its handshake on.
 * SSL_free_buffers() refuses while a record is unfinished in either direction,
 * and otherwise only gives back buffers that the next write allocates again.
 * While a record is being read it must not be called (CVE-2024-4741); then a
 * write of nothing tells: where it fails, the library fails for good, but it
 * does not take what is ours for the rest of another SSL_write().
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

/* ---- doing things with a connection ---- */

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
	/* an answer owed to the peer waits for the next SSL_write() otherwise */
	if (type != SSL_KEY_UPDATE_NONE && !SSL_in_init(ssl) &&
	    SSL_key_update(ssl, type) <= 0)
		return TL_OK;	/* not inside an unfinished SSL_write() */
	r = SSL_do_handshake(ssl);
	return r > 0 ? TL_OK : tl_result_of(ssl, r);
}

void tl_no_renegotiation(SSL *ssl)
{
	SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
}

/*
 * Before OpenSSL 3.4 every error of sendfile(2) is reported as "uninitialized"
 * and only errno tells the truth, so errno is looked at first. The error queue
 * may hold an entry of the application's, and is not asked.
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
