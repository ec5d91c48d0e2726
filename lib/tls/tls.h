/* SPDX-License-Identifier: MIT */
/*
 * Layer tls/: the calls to the TLS library, OpenSSL or BoringSSL. A function of
 * this header means the same with both, so the layers above do not depend on
 * which of the two it is. Only connection/bio.c and output/queue.c call the TLS
 * library themselves, for BIOs. struct conn is opaque in this layer.
 */
#ifndef TLSSF_TLS_H
#define TLSSF_TLS_H

#include "base.h"

/* ---- constants of the protocol ---- */

#define TLS12		0x0303
#define TLS13		0x0304
#define RECORD_MAX	16384u	/* plaintext bytes of a record, RFC 8446 5.1 */
#define SECRET_MAX	48u	/* SHA-384, RFC 8446 7.1 */
#define TAG_LEN		16u	/* of every supported AEAD */
#define NONCE_LEN	12u	/* of every supported AEAD */

#define ALERT_FATAL		2	/* RFC 8446, 6 */
#define ALERT_INTERNAL_ERROR	80

enum record_type {		/* RFC 8446, B.1 */
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
};

struct conn;

/* ---- results, and the error queue ---- */

enum tl_result {
	TL_OK,
	TL_WANT_READ,
	TL_WANT_WRITE,
	TL_CLOSED,	/* close_notify was sent, or received */
	TL_SYSCALL,	/* a BIO failed; see errno */
	TL_FATAL,
};

/* SSL_get_error() for the result `r` of the last call on `ssl`. */
enum tl_result tl_result_of(const struct ssl_st *ssl, int r);
void tl_clear_errors(void);
const char *tl_error_text(void);	/* the oldest queued error, or "" */

/* ---- an SSL_CTX ---- */

#define DEFAULT_PER_CALL	(1u << 20)	/* options.max_per_call */

/* Attached to an SSL_CTX by tlssf_ctx_init(), and freed with the SSL_CTX. */
struct ctx_conf {
	struct tlssf_options options;
	bool app_ktls;		/* the application set SSL_OP_ENABLE_KTLS */
	bool drop_ktls13;	/* clear that option on TLS 1.3 connections */
	bool kernel_rekeys;	/* tlssf_probe_rekey() in tlssf_ctx_init() */
	bool keylog;		/* our key log callback was installed */
	/* Called during a handshake, before SSL_write() can succeed. */
	void (*on_handshake)(struct ssl_st *ssl);
	/* Called with our first application traffic secret of TLS 1.3, unless
	 * tl_write_secret() returns the secret. */
	void (*on_write_secret)(struct ssl_st *ssl, const unsigned char *secret,
				size_t len);
	/* The callback that was installed before ours; ours calls it. */
	void (*next_keylog)(const struct ssl_st *, const char *);
};

/* Returns -ELIBBAD if the SSL_CTX belongs to another copy of libssl, else 0. */
int tl_ctx_check(const struct ssl_ctx_st *ctx);
struct ctx_conf *tl_ctx_conf(const struct ssl_ctx_st *ctx); /* or NULL */
int tl_ctx_set_conf(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
bool tl_ctx_ktls(const struct ssl_ctx_st *ctx);	/* SSL_OP_ENABLE_KTLS */
void tl_ctx_set_ktls(struct ssl_ctx_st *ctx, bool on);

/* ---- tlslib_keylog.c: our key log callback ---- */

/* Install our callback, which also calls the one that it replaces. */
void tl_ctx_install_keylog(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
bool tl_keylog_ours(const struct ssl_st *ssl);	/* is our callback installed? */

/* ---- what tlslib_keylog.c needs of each TLS library ---- */

/* Clear SSL_OP_ENABLE_KTLS; with BoringSSL, do nothing. */
void tl_clear_option_ktls(struct ssl_st *ssl);
/*
 * Decode the secret of a key log line. Returns its length, or 0. With BoringSSL
 * the result is always 0, since tl_write_secret() returns the secret there.
 */
size_t tl_secret_of_line(const char *line, unsigned char secret[SECRET_MAX]);

/* ---- an SSL: the state that we attach to it ---- */

const struct ctx_conf *tl_conf(const struct ssl_st *ssl); /* or NULL */
struct conn *tl_conn(const struct ssl_st *ssl);		  /* or NULL */
/* Let SSL_free() call `release`, which is the same function for every SSL. */
int tl_set_conn(struct ssl_st *ssl, struct conn *conn,
		void (*release)(struct conn *conn));

/* ---- an SSL: its properties ---- */

struct tl_info {		/* of an established connection */
	uint16_t version;
	uint16_t cipher;	/* IANA value */
	int kernel_cipher : 8;	/* enum tlssf_cipher, or -1 */
	uint8_t hash_len;	/* TLS 1.3 key schedule: SHA-256 32, -384 48 */
	bool compression : 1;
	bool max_fragment : 1;	/* max_fragment_length was negotiated */
};

void tl_describe(struct ssl_st *ssl, struct tl_info *info);
const char *tl_cipher_name(const struct ssl_st *ssl);	/* or "" */
int tl_stream_kind(struct ssl_st *ssl);	/* REASON_NONE, _DTLS, _QUIC */
bool tl_is_server(const struct ssl_st *ssl);
/*
 * Returns 64 random bits of our ClientHello or ServerHello, different in every
 * handshake, or 0 before the first handshake.
 */
uint64_t tl_handshake_id(const struct ssl_st *ssl);
/* True if max_send_fragment is known to be below 16 KiB. */
bool tl_small_fragments(struct ssl_st *ssl);
bool tl_quiet_shutdown(const struct ssl_st *ssl);
int tl_write_fd(const struct ssl_st *ssl);	/* of the write BIO, or -1 */
uint64_t tl_bytes_read(const struct ssl_st *ssl);	/* from the read BIO */

/* ---- an SSL: its state ---- */

bool tl_ready(struct ssl_st *ssl);	/* handshake done, no early data */
/* The first handshake since SSL_new() or SSL_clear() is in progress. */
bool tl_new_handshake(struct ssl_st *ssl);
bool tl_renegotiates(struct ssl_st *ssl);	/* requested, not done */
/* A post-handshake message is unfinished, or a KeyUpdate has to be sent. */
bool tl_post_handshake_pending(struct ssl_st *ssl);
/* The library may defer post-handshake messages to the next SSL_write(). */
bool tl_defers_post_handshake(const struct ssl_st *ssl);
bool tl_write_pending(struct ssl_st *ssl);	/* SSL_write() is unfinished */
bool tl_sent_shutdown(const struct ssl_st *ssl);
bool tl_being_freed(struct ssl_st *ssl);	/* inside SSL_free() */

/* ---- an SSL: actions ---- */

enum tl_result tl_write(struct ssl_st *ssl, const void *buf, size_t len,
			size_t *done);
/* Send the post-handshake messages that are pending. */
enum tl_result tl_drive_post_handshake(struct ssl_st *ssl);
enum tl_result tl_shutdown(struct ssl_st *ssl);
/*
 * Make the TLS library believe that it has sent close_notify. Then it writes to
 * no BIO any more until SSL_clear(). This is used only if we cannot shut down
 * the socket, because SSL_shutdown() then waits for the peer's close_notify.
 */
void tl_pretend_shutdown(struct ssl_st *ssl);
/* Schedule a KeyUpdate with update_not_requested: 0, -EBUSY. */
int tl_key_update(struct ssl_st *ssl);
void tl_no_renegotiation(struct ssl_st *ssl);

/* ---- kernel TLS of the TLS library ---- */

const char *tl_library(void);		/* name and version of libssl */
bool tl_library_ktls(void);		/* built with kernel TLS */
bool tl_library_rekey(void);		/* its kernel TLS can rekey TLS 1.3 */
bool tl_option_ktls(const struct ssl_st *ssl);	/* SSL_OP_ENABLE_KTLS */
bool tl_library_offloads(struct ssl_st *ssl);	/* the kernel has the keys */
/* Call SSL_sendfile(). Returns the bytes sent, or -errno. */
ssize_t tl_sendfile(struct ssl_st *ssl, int fd, uint64_t off, size_t len);

/* ---- keys of a connection ---- */

/*
 * TLS 1.3: get our current write secret. Returns its length, or 0 if the TLS
 * library does not return secrets on request.
 */
size_t tl_write_secret(const struct ssl_st *ssl,
		       unsigned char secret[SECRET_MAX]);
/*
 * TLS 1.2: get the first `len` bytes of the key block (RFC 5246, 6.3): 0,
 * -errno.
 */
int tl_key_block(struct ssl_st *ssl, unsigned char *block, size_t len);
/*
 * HKDF-Expand (RFC 5869) with SHA-256, or with SHA-384 for a secret of 48
 * bytes: 0 or -errno.
 */
int tl_hkdf_expand(const unsigned char *secret, size_t secret_len,
		   const void *info, size_t info_len, unsigned char *out,
		   size_t len);

/* ---- AEAD ---- */

struct tl_aead;

/* Create a context for decryption: 0, -ENOTSUP (the cipher), -ENOMEM. */
int tl_aead_new_decryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key);
/* Create a context for encryption: the same results. */
int tl_aead_new_encryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key);
void tl_aead_free(struct tl_aead *aead);	/* wipes the key; may be NULL */
/* Encrypt in place; `data` has room for len + TAG_LEN bytes: 0, -errno. */
int tl_aead_seal(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		 const void *aad, size_t aad_len, unsigned char *data,
		 size_t len);
/*
 * Decrypt and authenticate. Returns the length of the plaintext, or -EBADMSG.
 * `out` has room for in_len bytes and may be `in`.
 */
ssize_t tl_aead_open(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		     const void *aad, size_t aad_len, const unsigned char *in,
		     size_t in_len, unsigned char *out);
/*
 * Decrypt the first `len` bytes without authentication, as a cheap first test
 * of a key and a nonce: 0, or -ENOTSUP.
 */
int tl_aead_peek(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		 const unsigned char *in, size_t len, unsigned char *out);

#endif
