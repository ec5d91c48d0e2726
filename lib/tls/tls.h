/* SPDX-License-Identifier: MIT */
/*
 * Layer tls/: all that the library asks of the TLS library, OpenSSL or
 * BoringSSL. Both answer these questions in the same words; nothing above this
 * layer knows which one it is. struct conn is opaque here.
 */
#ifndef TLSSF_TLS_H
#define TLSSF_TLS_H

#include "base.h"

/* ---- numbers of the protocol ---- */

#define TLS12		0x0303
#define TLS13		0x0304
#define RECORD_MAX	16384u	/* plaintext bytes in a record, RFC 8446 5.1 */
#define SECRET_MAX	48u	/* SHA-384, RFC 8446 7.1 */
#define TAG_LEN		16u	/* of each AEAD here */
#define NONCE_LEN	12u	/* of each AEAD here */

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
	TL_SYSCALL,	/* the BIO below failed; see errno */
	TL_FATAL,
};

/* What SSL_get_error() says about the result `r` of an SSL call. */
enum tl_result tl_result_of(const struct ssl_st *ssl, int r);
void tl_clear_errors(void);
const char *tl_error_text(void);	/* the oldest queued error, or "" */

/* ---- an SSL_CTX ---- */

#define DEFAULT_PER_CALL	(1u << 20)	/* options.max_per_call */

/* What tlssf_ctx_init() leaves on an SSL_CTX; freed with the SSL_CTX. */
struct ctx_conf {
	struct tlssf_options options;
	bool app_ktls;		/* the application set SSL_OP_ENABLE_KTLS */
	bool drop_ktls13;	/* clear that option for TLS 1.3 */
	bool kernel_rekeys;	/* TLS 1.3, as tlssf_ctx_init() saw it */
	bool keylog;		/* our key log callback is installed */
	/* Called in a handshake before the application can write. */
	void (*early)(struct ssl_st *ssl);
	/* Called with our side's first application traffic secret, TLS 1.3. */
	void (*secret)(struct ssl_st *ssl, const unsigned char *secret,
		       size_t len);
	/* The callback that was installed before ours; called after it. */
	void (*next_keylog)(const struct ssl_st *, const char *);
};

/* 0, or -ELIBBAD: the SSL_CTX belongs to another copy of libssl. */
int tl_ctx_check(const struct ssl_ctx_st *ctx);
struct ctx_conf *tl_ctx_conf(const struct ssl_ctx_st *ctx); /* or NULL */
int tl_ctx_set_conf(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
/* Install our key log callback in front of the one that is there. */
void tl_ctx_install_keylog(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
bool tl_ctx_ktls(const struct ssl_ctx_st *ctx);	/* SSL_OP_ENABLE_KTLS */
void tl_ctx_set_ktls(struct ssl_ctx_st *ctx, bool on);

/* ---- an SSL: our state on it ---- */

const struct ctx_conf *tl_conf(const struct ssl_st *ssl); /* or NULL */
struct conn *tl_conn(const struct ssl_st *ssl);		  /* or NULL */
/* `release` frees it when the SSL is freed; the same function each time. */
int tl_set_conn(struct ssl_st *ssl, struct conn *conn,
		void (*release)(struct conn *conn));

/* ---- an SSL: what it is ---- */

struct tl_info {		/* of an established connection */
	uint16_t version;
	uint16_t cipher;	/* IANA value */
	int kernel_cipher : 8;	/* enum tlssf_cipher, or -1 */
	uint8_t hash_len;	/* of the key schedule: SHA-256 32, -384 48 */
	bool compression : 1;
	bool max_fragment : 1;	/* max_fragment_length was negotiated */
};

void tl_describe(struct ssl_st *ssl, struct tl_info *info);
const char *tl_cipher_name(const struct ssl_st *ssl);	/* or "" */
int tl_stream_kind(struct ssl_st *ssl);	/* NONE, REASON_DTLS or _QUIC */
bool tl_is_server(const struct ssl_st *ssl);
/*
 * 64 random bits of our side's hello, different in each handshake; 0 before
 * the first one.
 */
uint64_t tl_handshake_id(const struct ssl_st *ssl);
/* True when max_send_fragment is known to be below 16 KiB. */
bool tl_small_fragments(struct ssl_st *ssl);
bool tl_quiet_shutdown(const struct ssl_st *ssl);
int tl_write_fd(const struct ssl_st *ssl);	/* -1: no socket below */
uint64_t tl_bytes_read(const struct ssl_st *ssl);	/* from its BIO */

/* ---- an SSL: what state it is in ---- */

bool tl_ready(struct ssl_st *ssl);	/* handshake done, not early data */
bool tl_new_handshake(struct ssl_st *ssl);	/* a first one, under way */
bool tl_renegotiates(struct ssl_st *ssl);	/* requested, not done */
/* A post-handshake message is unfinished, or an answer is due. */
bool tl_post_handshake_pending(struct ssl_st *ssl);
/* The library may defer post-handshake messages to the next SSL_write(). */
bool tl_defers_post_handshake(const struct ssl_st *ssl);
bool tl_write_pending(struct ssl_st *ssl);	/* SSL_write() unfinished */
bool tl_sent_shutdown(const struct ssl_st *ssl);
bool tl_lives(struct ssl_st *ssl);	/* false: inside SSL_free() */

/* ---- an SSL: what it does ---- */

enum tl_result tl_write(struct ssl_st *ssl, const void *buf, size_t len,
			size_t *done);
enum tl_result tl_drive_post_handshake(struct ssl_st *ssl);	/* post-handshake messages */
enum tl_result tl_shutdown(struct ssl_st *ssl);
/* Request a KeyUpdate of our side that asks nothing of the peer. */
int tl_key_update(struct ssl_st *ssl);
void tl_no_renegotiation(struct ssl_st *ssl);

/* ---- the library's own kernel TLS ---- */

const char *tl_library(void);		/* name and version, at run time */
bool tl_library_ktls(void);		/* built with kernel TLS */
bool tl_library_rekey(void);		/* its kernel TLS follows KeyUpdate */
bool tl_option_ktls(const struct ssl_st *ssl);	/* SSL_OP_ENABLE_KTLS */
bool tl_library_offloads(struct ssl_st *ssl);	/* its keys are in the kernel */
ssize_t tl_sendfile(struct ssl_st *ssl, int fd, uint64_t off, size_t len);

/* ---- keys of a connection: 0 or -errno ---- */

bool tl_keylog_ours(const struct ssl_st *ssl);	/* still installed */
/*
 * TLS 1.3: our present write secret, where the library returns it: its length,
 * or 0.
 */
size_t tl_write_secret(const struct ssl_st *ssl,
		       unsigned char secret[SECRET_MAX]);
/* TLS 1.2: the first `len` bytes of the key block (RFC 5246, 6.3). */
int tl_key_block(struct ssl_st *ssl, unsigned char *block, size_t len);
/* HKDF-Expand (RFC 5869) with SHA-256, or SHA-384 for a secret of 48 bytes. */
int tl_hkdf_expand(const unsigned char *secret, size_t secret_len,
		   const void *info, size_t info_len, unsigned char *out,
		   size_t len);

/* ---- AEAD ---- */

struct tl_aead;

/* One AEAD key for decryption: 0, -ENOTSUP (cipher), -ENOMEM. */
int tl_aead_new_decryptor(struct tl_aead **aead, int cipher, const unsigned char *key);
/* The same for encryption. */
int tl_aead_new_encryptor(struct tl_aead **aead, int cipher,
		       const unsigned char *key);
void tl_aead_free(struct tl_aead *aead);	/* wipes the key; NULL: nothing */
/* Encrypt in place; there must be room for the tag behind. 0, -errno. */
int tl_aead_seal(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		 const void *aad, size_t aad_len, unsigned char *data,
		 size_t len);
/*
 * Decrypt and authenticate: plaintext length or -EBADMSG. `out` has room for
 * in_len bytes and may be `in`.
 */
ssize_t tl_aead_open(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		     const void *aad, size_t aad_len, const unsigned char *in,
		     size_t in_len, unsigned char *out);
/*
 * Decrypt the first `len` bytes without authentication, as a cheap guess: 0, or
 * -ENOTSUP where the cipher or the library cannot.
 */
int tl_aead_peek(struct tl_aead *aead, const unsigned char nonce[NONCE_LEN],
		 const unsigned char *in, size_t len, unsigned char *out);

#endif
