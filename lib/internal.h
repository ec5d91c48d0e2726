/* SPDX-License-Identifier: MIT */
/*
 * The only private header. Calls run one way:
 *
 *   tlssf.c, ctx.c -> conn*.c -> method_*.c, bridge.c -> takeover.c, resend.c
 *          -> keysched.c, record.c -> probe.c, reason.c -> sys.c, tlslib_*.c
 *
 * Only sys.c and kernel_key.c see kernel headers, only tlslib_*.c and bridge*.c
 * see <openssl/...>.
 *
 * Functions that can fail return 0 or more, or -errno; those that act for the
 * public calls return 0, TLSSF_WANT_* or TLSSF_ERROR and have called
 * tlssf_conn_fail() in the last case.
 */
#ifndef TLSSF_INTERNAL_H
#define TLSSF_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <tlssf/tlssf.h>

#define TLS12		0x0303
#define TLS13		0x0304
#define RECORD_MAX	16384u	/* plaintext bytes in a record, RFC 8446 5.1 */
#define KEY_RESERVE	4u	/* records that a key keeps for its end */
#define RECORD_HEADER	5u	/* type, version, length */
#define RECORD_SLACK	32u	/* more than any record is longer than that */
#define SECRET_MAX	48u	/* SHA-384, RFC 8446 7.1 */
#define SENDFILE_MAX	0x7ffff000u /* what Linux sends in one call */
#define ERRNO_RESTARTSYS 512	/* kernel-internal, leaks from TLS_SW */
#define WOULD_BLOCK	1	/* of calls that return 0 or -errno */

#define ALERT_FATAL		2	/* RFC 8446, 6 */
#define ALERT_INTERNAL_ERROR	80

enum record_type {		/* RFC 8446, B.1 */
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
};

enum tls_option {		/* of linux/tls.h, which may be older */
	TLS_OPTION_ZEROCOPY_RO = 3,
	TLS_OPTION_MAX_PAYLOAD_LEN = 5,
};

struct conn;
struct batch;

/* ---- sys.c: every system call we make; results are -errno on failure ---- */

/* Everything that TCP and kernel TLS tell about a sending socket. */
struct sys_tcp {
	int state;		/* TCP_ESTABLISHED ... of netinet/tcp.h */
	uint64_t queued;	/* SIOCOUTQ: in TCP, not acknowledged */
	uint64_t in_tcp;	/* bytes ever given to TCP: acked + queued */
};

#define SYS_CRYPTO_MAX	64	/* no tls12_crypto_info_* is larger */

struct sys {
	uint32_t (*process)(void);	/* another number in a fork's child */
	uint64_t (*now_ms)(void);		/* CLOCK_MONOTONIC */
	void (*sleep_ms)(unsigned int ms);
	/* regular file: its size; else -EINVAL; -EBADF also when write-only */
	int (*file_size)(int fd, uint64_t *size);
	ssize_t (*pread)(int fd, void *buf, size_t len, uint64_t off);
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n,
			  uint64_t off);
	int (*nonblocking)(int fd);		/* O_NONBLOCK: 1, 0 */
	ssize_t (*send)(int fd, const void *buf, size_t len, bool more);
	ssize_t (*recv)(int fd, void *buf, size_t len);
	/* one kernel TLS record of that type (len 0: push an open record) */
	ssize_t (*send_record)(int fd, int type, const void *buf, size_t len);
	int (*poll)(int fd, short events, int timeout_ms); /* revents or 0 */
	int (*send_timeout_ms)(int fd, int *ms);  /* SO_SNDTIMEO, -1: none */
	int (*send_room)(int fd, size_t *room);	  /* free send buffer bytes */
	int (*tcp)(int fd, struct sys_tcp *tcp);
	int (*tcp_state)(int fd);		  /* cheaper: state only */
	int (*tcp_corked)(int fd);		  /* TCP_CORK: 1, 0 */
	int (*tcp_cork)(int fd, bool on);	  /* off: what is held goes */
	int (*ulp_attach)(int fd);		  /* TCP_ULP "tls" */
	/* SOL_TLS/TLS_TX: install; read back (*len in and out) */
	int (*tls_tx_set)(int fd, const void *info, size_t len);
	int (*tls_tx_get)(int fd, void *info, size_t *len);
	/* set, and read back what is in force; len: 2 or 4 */
	int (*tls_option)(int fd, int option, unsigned int *value, size_t len);
	ssize_t (*sendfile)(int out, int in, uint64_t off, size_t len);
	int (*shutdown_write)(int fd);
	int (*socket_id)(int fd, uint64_t *id);	  /* never used again */
	/* connected TCP pair over 127.0.0.1, else ::1; blocking, 2 s limits */
	int (*tcp_pair)(int fds[2]);
	int (*close)(int fd);
	/* whole small file as a string: its length, -errno, -EFBIG */
	ssize_t (*read_text)(const char *path, char *buf, size_t cap);
	int (*kernel_release)(char *buf, size_t cap);
};

extern const struct sys tlssf_sys;
int tlssf_sys_tcp_pair(int fds[2]);	/* sys_pair.c, that member of it */

/* ---- kernel_key.c: the layout of linux/tls.h ---- */

/*
 * Key material as the kernel takes it. `cipher` is enum tlssf_cipher, `version`
 * TLS12 or TLS13. nonce: 12 bytes: salt||iv (TLS 1.3, ChaCha20: the write IV;
 * TLS 1.2 GCM/CCM: salt and the explicit nonce of the next record).
 */
struct kernel_key {
	int version;
	int cipher;
	unsigned char key[32];
	unsigned char nonce[12];
	uint64_t seq;		/* of the next record */
};

/* Fill `info` (SYS_CRYPTO_MAX bytes), return its size for the kernel. */
size_t tlssf_crypto_pack(void *info, const struct kernel_key *key);
/* rec_seq out of what TLS_TX gave back. */
uint64_t tlssf_crypto_seq(const void *info, int cipher);
size_t tlssf_crypto_size(int cipher);
size_t tlssf_cipher_key_len(int cipher);
/* bytes that a record is longer than its plaintext, header included */
size_t tlssf_record_overhead(int version, int cipher);

/* ---- keysched.c: a write secret or key block -> key material, seq 0 ---- */

#define KEY_BLOCK_MAX	88u	/* two 32-byte keys, two 12-byte IVs */

int tlssf_keys_from_secret(const unsigned char *secret, size_t len, int cipher,
			   struct kernel_key *key);
int tlssf_next_secret(unsigned char *secret, size_t len);	/* in place */
size_t tlssf_key_block_len(int cipher);
void tlssf_keys_from_block(const unsigned char *block, bool server, int cipher,
			   struct kernel_key *key);

/* ---- record.c ---- */

struct tl_aead;

struct opened {			/* what was in a record */
	int type;		/* enum record_type, and others */
	size_t len;
	bool padded;
};

bool tlssf_explicit_nonce(const struct kernel_key *k);
/* header included; `header` has RECORD_HEADER bytes */
size_t tlssf_record_len(const unsigned char *header);
/*
 * Open a record with sequence number k->seq; `aead` has k's key. The content,
 * at most len bytes, goes to `out`: 0 or -EBADMSG.
 */
int tlssf_record_open(const struct kernel_key *k, struct tl_aead *aead,
		      const unsigned char *rec, size_t len, unsigned char *out,
		      struct opened *o);
size_t tlssf_record_start(const struct kernel_key *k);	/* of the content */
void tlssf_next_nonce(struct kernel_key *k);	/* the explicit one */
/*
 * Seal the content that stands at tlssf_record_start() of `rec`, which has room
 * for RECORD_SLACK bytes more, and advance k: the whole length, or -errno.
 */
ssize_t tlssf_record_seal(struct kernel_key *k, struct tl_aead *sealer,
			  int type, unsigned char *rec, size_t plain_len);
/* Cheap: false only if tlssf_record_open() would not find `plain` there. */
bool tlssf_record_may_begin(const struct kernel_key *k, struct tl_aead *aead,
			    const unsigned char *rec, size_t len,
			    const unsigned char *plain, size_t plain_len);
/*
 * Is `rec` the application data record that `key` makes of `plain` (at most
 * 256 bytes) with sequence number key->seq? 0, -EBADMSG, -ENOTSUP, -ENOMEM.
 */
int tlssf_record_check(const struct kernel_key *key, const unsigned char *rec,
		       size_t len, const unsigned char *plain,
		       size_t plain_len);

/* ---- sized.c: structs of the caller's, by whatever header ---- */
/* At least `least` bytes, and zero where we know it no more: 0, -EINVAL. */
int tlssf_sized_check(const void *s, size_t least, size_t known);
/* What both sides know of it; the rest becomes zero. */
void tlssf_sized_get(void *to, const void *from, size_t known);
/* Likewise, to the caller's, whose size becomes that of what was filled. */
void tlssf_sized_put(void *to, void *from, size_t known);

/* ---- reason.c ---- */
bool tlssf_tracing(void);
void tlssf_trace(const void *ssl, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- probe.c ---- */
/* Cached answers; run the probe when nothing is known yet. */
const struct tlssf_cap *tlssf_probe_cap(int version, int cipher);
int tlssf_probe_ulp(void);	/* enum tlssf_ulp */
/* What is known already; tries nothing. */
void tlssf_probe_peek(int version, int cipher, int *ulp, int *tx);
bool tlssf_probe_rekey(void);	/* kernel can rekey TLS 1.3 */

/* ---- tlslib_*.c: what we ask of the TLS library ---- */
enum tl_result { TL_OK, TL_WANT_READ, TL_WANT_WRITE, TL_CLOSED, TL_SYSCALL,
		 TL_FATAL };

struct tl_info {		/* of an established connection */
	uint16_t version;
	uint16_t cipher;	/* IANA value */
	int kernel_cipher : 8;	/* enum tlssf_cipher, or -1 */
	uint8_t hash_len;	/* of the key schedule: SHA-256 32, -384 48 */
	bool compression : 1;
	bool max_fragment : 1;
};

/* Does the application want records below 16 KiB? False: not known to. */
bool tl_small_fragments(struct ssl_st *ssl);

enum tl_result tl_result_of(const struct ssl_st *ssl, int r);

#define DEFAULT_PER_CALL	(1u << 20)	/* options.max_per_call */

/* Settings that tlssf_ctx_init() leaves on an SSL_CTX. */
struct ctx_conf {
	struct tlssf_options options;
	bool app_ktls;		/* SSL_OP_ENABLE_KTLS was the application's */
	bool drop_ktls13;	/* clear it for TLS 1.3 */
	bool kernel_rekeys;	/* TLS 1.3, as seen by tlssf_ctx_init() */
	bool keylog;		/* ours has been set, in front of next_keylog */
	void (*early)(struct ssl_st *ssl); /* called during a handshake */
	/* our side's first application traffic secret, TLS 1.3 */
	void (*secret)(struct ssl_st *ssl, const unsigned char *secret,
		       size_t len);
	void (*next_keylog)(const struct ssl_st *, const char *);
};

void tl_clear_errors(void);
const char *tl_error_text(void);	/* of the oldest queued error, or "" */
int tl_ctx_check(const struct ssl_ctx_st *ctx);	/* 0, -ELIBBAD */
struct ctx_conf *tl_ctx_conf(const struct ssl_ctx_st *ctx); /* or NULL */
int tl_ctx_set_conf(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
/* Have ours called, and the one found there after it. */
void tl_ctx_keylog(struct ssl_ctx_st *ctx, struct ctx_conf *conf);
bool tl_ctx_ktls(const struct ssl_ctx_st *ctx);	/* SSL_OP_ENABLE_KTLS */
void tl_ctx_set_ktls(struct ssl_ctx_st *ctx, bool on);
const struct ctx_conf *tl_conf(const struct ssl_st *ssl); /* or NULL */

struct conn *tl_conn(const struct ssl_st *ssl);
/* `release` frees it when the SSL is freed; the same function each time. */
int tl_set_conn(struct ssl_st *ssl, struct conn *conn,
		void (*release)(struct conn *conn));
bool tl_ready(struct ssl_st *ssl);	/* handshake done, not early data */
bool tl_flight_waits(struct ssl_st *ssl); /* post-handshake, unfinished */
/* may it keep messages for the next SSL_write()? tl_continue() sends them */
bool tl_holds_back(const struct ssl_st *ssl);
bool tl_lives(struct ssl_st *ssl);	/* false: inside SSL_free() */
int tl_stream_kind(struct ssl_st *ssl);	/* NONE, REASON_DTLS or _QUIC */
/* 64 bits of our own random: no two handshakes have them in common */
uint64_t tl_handshake_id(const struct ssl_st *ssl);
void tl_describe(struct ssl_st *ssl, struct tl_info *info);
const char *tl_cipher_name(const struct ssl_st *ssl);	/* or "" */
bool tl_kernel_tx(struct ssl_st *ssl);
bool tl_option_ktls(const struct ssl_st *ssl);
bool tl_sent_shutdown(const struct ssl_st *ssl);
bool tl_quiet_shutdown(const struct ssl_st *ssl);
bool tl_new_handshake(struct ssl_st *ssl);	/* a first one, under way */
bool tl_renegotiates(struct ssl_st *ssl);	/* asked for, not done */
bool tl_write_pending(struct ssl_st *ssl);	/* SSL_write unfinished */
int tl_write_fd(const struct ssl_st *ssl);	/* -1: no socket below */
uint64_t tl_bytes_read(const struct ssl_st *ssl);	/* from its BIO */
enum tl_result tl_write(struct ssl_st *ssl, const void *buf, size_t len,
			size_t *done);
enum tl_result tl_continue(struct ssl_st *ssl);	/* post-handshake flight */
enum tl_result tl_shutdown(struct ssl_st *ssl);
ssize_t tl_sendfile(struct ssl_st *ssl, int fd, uint64_t off, size_t len);
const char *tl_library(void);
bool tl_library_ktls(void);	/* built with kernel TLS */
bool tl_library_rekey(void);	/* kernel TLS follows KeyUpdate */

/* Keys of a connection; all of them: 0 or -errno. */
bool tl_is_server(const struct ssl_st *ssl);
/* TLS 1.3: our present write secret, where the library tells: its length, 0 */
size_t tl_write_secret(const struct ssl_st *ssl,
		       unsigned char secret[SECRET_MAX]);
bool tl_keylog_ours(const struct ssl_st *ssl);	/* still installed */
/* TLS 1.2: the start of the key block (RFC 5246, 6.3) */
int tl_key_block(struct ssl_st *ssl, unsigned char *block, size_t len);
/* HKDF-Expand (RFC 5869) with SHA-256 or SHA-384, by the secret's length */
int tl_hkdf_expand(const unsigned char *secret, size_t secret_len,
		   const void *info, size_t info_len, unsigned char *out,
		   size_t len);
void tl_no_renegotiation(struct ssl_st *ssl);
/* Ask for a KeyUpdate of our side, without one of the peer's. */
int tl_key_update(struct ssl_st *ssl);

/* One AEAD key, ready for opening: 0, -ENOTSUP (cipher), -ENOMEM. */
int tl_aead_new(struct tl_aead **aead, int cipher, const unsigned char *key);
int tl_aead_new_sealer(struct tl_aead **aead, int cipher,
		       const unsigned char *key);
void tl_aead_free(struct tl_aead *aead);	/* wipes it; NULL: nothing */
/* In place, with room for the tag behind: 0, -errno. */
int tl_aead_seal(struct tl_aead *aead, const unsigned char nonce[12],
		 const void *aad, size_t aad_len, unsigned char *data,
		 size_t len);
/* Plaintext length or -EBADMSG; `out` has room for in_len and may be `in`. */
ssize_t tl_aead_open(struct tl_aead *aead, const unsigned char nonce[12],
		     const void *aad, size_t aad_len, const unsigned char *in,
		     size_t in_len, unsigned char *out);
/*
 * Decrypt the first `len` bytes without looking at the tag, for a cheap guess:
 * 0, or -ENOTSUP where cipher or library cannot.
 */
int tl_aead_peek(struct tl_aead *aead, const unsigned char nonce[12],
		 const unsigned char *in, size_t len, unsigned char *out);

/* ---- batch.c: sealed records on their way out, and the thread's cache ---- */

/*
 * When a batch is full enough to be sent. The fourth record crosses the small
 * one, which is all that a slow reader may cost: with its keys, 80 KiB.
 */
#define BATCH_SMALL	(56u << 10)
#define BATCH_LARGE	(512u << 10)
#define BATCH_SLACK	(RECORD_MAX + 512u)	/* the record that crosses */
#define BATCH_MARKS	64
#define PLAIN_SIZE	(64u << 10)	/* four records */

/* Which plaintext is out once the records up to `end` are. */
struct mark {
	size_t end;
	size_t plain;
};

struct batch {
	size_t cap;		/* of data */
	size_t head, used;	/* data[head..used) is still to be sent */
	unsigned int nmarks, next_mark;
	struct mark marks[BATCH_MARKS];
	unsigned char data[];
};

/* Empty, with room for `target` and the record that crosses it; or NULL. */
struct batch *tlssf_batch_get(size_t target);
void tlssf_batch_put(struct batch *batch);		/* NULL: nothing */
int tlssf_batch_append(struct batch **batch, const void *in, size_t len);
/* Where `len` bytes can be appended, or NULL; `used` is the caller's to set. */
unsigned char *tlssf_batch_room(struct batch **batch, size_t len);
/* Move a small rest into a buffer of its size; the batch itself if not. */
struct batch *tlssf_batch_settle(struct batch *batch);
void tlssf_batch_mark(struct batch *batch, size_t plain);
size_t tlssf_batch_taken(struct batch *batch);	/* plaintext newly out */
/* PLAIN_SIZE bytes, the taker's own until they are put back; or NULL. */
unsigned char *tlssf_plain_take(void);
void tlssf_plain_put(unsigned char *plain);	/* NULL: nothing */

/* Plaintext sealed before the caller was told: [pos, pos + len) of it. */
struct ahead {
	const struct tlssf_job *job;	/* whose: a job, or a file */
	int fd;
	uint64_t pos;		/* job: done; file: offset */
	uint64_t len;
	uint64_t taken;		/* of it, already out */
};

struct ahead *tlssf_ahead_take(void);		/* to be filled; or NULL */
void tlssf_ahead_put(struct ahead *ahead);	/* NULL: nothing */

/* ---- the three parts of a job, or a plain file range, as one stream ---- */
struct stream {
	const struct tlssf_job *job;	/* NULL: tlssf_send() */
	const void *header, *trailer;
	size_t header_len, trailer_len;
	int fd;
	uint64_t off, file_len;
	uint64_t total;
	uint64_t done;		/* told to the caller */
	int nonblocking;	/* enum tlssf_tristate, see below */
	bool short_file;	/* the file ended before file_len */
};

/* Is the socket? (No socket is.) Asked when it matters, and once. */
bool tlssf_stream_nonblocking(struct stream *s, int fd);

/* The part that byte `pos` lies in: data or, when NULL, the file. */
struct part {
	const unsigned char *data;
	uint64_t off;
	uint64_t len;		/* from pos to the end of the part */
};

/* ---- stream.c ---- */
struct part tlssf_stream_part(const struct stream *s, uint64_t pos);
/*
 * `cap` bytes from `pos` on, all parts joined, fewer only where the file ends
 * or fails: how many, or -errno.
 */
ssize_t tlssf_stream_read(struct stream *s, uint64_t pos, unsigned char *buf,
			  size_t cap);

/* ---- bridge.c: our filter BIO on the write side ---- */

struct bio_st;		/* BIO */

struct bridge {
	struct bio_st *bio;
	struct conn *conn;	/* NULL: orphan, passes everything */
	struct batch *out;	/* gathered or still to be sent, or NULL */
	uint64_t records;
	bool gathering : 1;
	bool pending : 1;	/* the library's last record is unfinished */
	bool renewed : 1;	/* or new: nothing is known yet */
	bool severed : 1;	/* after a takeover: nothing may pass */
	bool wrote : 1;		/* the library, since it was observed */
	uint8_t record_type;	/* kernel TLS: of the next write */
	uint16_t asked;		/* to write or flush, by whomever */
	int guard;		/* errno for every write, 0: alive */
};

/* Have it on top of the write BIO: 0, -ENOMEM. The BIO owns it. */
int tlssf_bridge_attach(struct conn *c);
void tlssf_bridge_orphan(struct bridge *b);	/* the conn goes away */
/* It is not what the library writes to any more: after a takeover, the end. */
void tlssf_bridge_sever(struct bridge *b);
bool tlssf_bridge_pending(const struct bridge *b); /* library's, unfinished */
void tlssf_bridge_set_pending(struct bridge *b, bool pending);
void tlssf_bridge_renew(struct bridge *b);	/* a handshake is under way */
bool tlssf_bridge_renewed(const struct bridge *b);
void tlssf_bridge_examined(struct bridge *b);	/* ... and over */
void tlssf_bridge_guard(struct bridge *b, int err); /* fail all writes */
bool tlssf_bridge_guarded(const struct bridge *b);

/* ---- bridge_queue.c: its queue, and its place among the BIOs ---- */
/* Take records into `batch` until _release(), which may have grown it. */
void tlssf_bridge_gather(struct bridge *b, struct batch *batch);
void tlssf_bridge_release(struct bridge *b);
/* Seal a record, after a takeover, behind all that is queued: 0, -errno. */
int tlssf_bridge_seal(struct bridge *b, int type, const void *plain,
		      size_t len);
void tlssf_bridge_count(struct bridge *b);	/* one record of ours */
struct batch *tlssf_bridge_batch(struct bridge *b);	/* queued, or NULL */
void tlssf_bridge_set_batch(struct bridge *b, struct batch *batch);
bool tlssf_bridge_queued(const struct bridge *b);
/* Send what is queued: 0 all gone, WOULD_BLOCK, -errno. */
int tlssf_bridge_drain(struct bridge *b);
void tlssf_bridge_drop(struct bridge *b);	/* the queue */
/* Flush all BIOs of the write side: same results. */
int tlssf_bridge_flush(struct bridge *b);
bool tlssf_bridge_empty(struct bridge *b);	/* none of them holds a byte */
bool tlssf_bridge_direct(const struct bridge *b); /* plain BIOs, a socket */
bool tlssf_bridge_on_top(const struct conn *c);
bool tlssf_bridge_in_chain(const struct conn *c);
uint64_t tlssf_bridge_records(const struct bridge *b);	/* gathered */
void tlssf_bridge_observe(struct bridge *b);	/* from now on: */
bool tlssf_bridge_wrote(const struct bridge *b);	/* has the library? */
unsigned int tlssf_bridge_asked(const struct bridge *b); /* how often */

/* ---- kernel_tx.c: what the kernel's TLS layer holds ---- */
struct kernel_tx {
	bool exact;		/* the sum below is complete */
	bool drained;		/* all that was counted was seen in TCP */
	bool open;		/* a record may be open (MSG_MORE) */
	bool zerocopy;		/* as asked for, and in force */
	unsigned int max_payload; /* likewise, or 0: RECORD_MAX */
	uint64_t bytes;		/* sent by the calls of ours */
	uint64_t plain;		/* plaintext given to it since the start */
	uint64_t start_tcp;	/* bytes in TCP at the start */
	uint64_t start_seq, drained_seq;
	uint64_t first_seq;	/* at attach: records are counted from here */
	uint64_t past_records;	/* of keys before the present one */
	uint64_t past_sum;	/* of those, since the start of the sum */
	uint64_t spent;		/* of the present key: upper bound */
	uint64_t last_tcp, idle_since;	/* the look before, when inexact */
};

int tlssf_ktx_make(struct conn *c);	/* room for the numbers: 0, -ENOMEM */
/* 0, -ENOMEM, -errno: no kernel TLS there. Is nothing held, for certain? */
int tlssf_ktx_start(struct conn *c, bool nothing_held);
int tlssf_ktx_same_socket(const struct conn *c);
int tlssf_ktx_alive(const struct conn *c); /* 0, -EPIPE, -EBADF, -errno */
/* The same before `len` bytes are sent; flushed: a flush will look, too. */
int tlssf_ktx_look(struct conn *c, uint64_t len, bool flushed);
uint64_t tlssf_key_limit(const struct conn *c);	/* records, RFC 8446 5.5 */
uint64_t tlssf_ktx_left(struct conn *c); /* records before a new key is due */
void tlssf_ktx_count(struct conn *c, uint64_t plain);
size_t tlssf_ktx_record_max(const struct conn *c); /* plaintext bytes */
int tlssf_ktx_push(struct conn *c);	/* open record: 0, -errno */
/* 0: nothing is held above TCP; WOULD_BLOCK; -errno */
int tlssf_ktx_drain(struct conn *c);
uint64_t tlssf_ktx_records(struct conn *c);
void tlssf_ktx_rekey(struct conn *c);	/* before: the numbers start anew */

/* ---- method.c: the choice of one ---- */
void tlssf_method_choose(struct conn *c);	/* for an examined one */
int tlssf_method_in_force(const struct conn *c); /* enum tlssf_method */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit);

/* ---- the methods, one file and one const table each ---- */
struct method {
	int (*why_not)(const struct conn *c);	/* enum tlssf_reason */
	/* Advance s->done up to `limit`: 0, TLSSF_WANT_*, TLSSF_ERROR. */
	int (*send)(struct conn *c, struct stream *s, uint64_t limit);
};

/* ---- kernel_send.c: what both methods of the kernel do ---- */
typedef ssize_t file_sender(struct conn *c, int fd, uint64_t off, size_t len);

int tlssf_kernel_lacks(const struct conn *c);	/* enum tlssf_reason */
int tlssf_kernel_send(struct conn *c, struct stream *s, uint64_t limit,
		      file_sender *send_file);
int tlssf_kernel_drain(struct conn *c);	/* as tlssf_userspace_drain() */

/* ---- takeover.c: the library's keys, found and given to the kernel ---- */

/*
 * How much to write for a record to be observed: nearly a full one, so that
 * smaller ones show, but not quite, so that there is room for padding; and with
 * the type byte a prime number, which no size of blocks divides.
 */
#define OBSERVE_LEN	15990u

/* What a record that the library sealed has told. */
struct observed {
	uint64_t next_seq;
	unsigned char explicit_nonce[8];
};

/* ---- resend.c: the library's records, once the kernel has the keys ---- */

struct resend {
	unsigned char *part;	/* a record that came in pieces, or NULL */
	size_t part_len;
	bool busy;		/* a record is on its way: */
	bool rekeys;		/* with a KeyUpdate in it */
	bool held;		/* the library thinks that it is sent */
	bool sealed;		/* queued already */
	bool key_first;		/* the present one is spent */
	int type;
	int fatal_alert;	/* RFC 8446, 6; or -1 */
	unsigned char *plain;	/* its content, once opened, or NULL */
	unsigned char *kept;	/* ... or what was left of it then */
	size_t len, sent;
	size_t take;		/* what to tell the library at the end */
	size_t message_left;	/* of a handshake message */
};

/* A key, and what follows from it. A KeyUpdate makes the next one of it. */
struct generation {
	bool made;
	unsigned char secret[SECRET_MAX];	/* TLS 1.3 */
	struct kernel_key key;	/* with the seq of the next record */
	struct tl_aead *aead;
};

enum use { TO_OPEN, TO_SEAL, TO_GIVE };	/* what the aead is for; none */

struct takeover {
	struct generation library, library_next; /* opens what it seals */
	/* with which records leave; the kernel's: without key and aead */
	struct generation ours, ours_next;
	struct resend resend;
};

/*
 * Look at what the library has just made of `plain`, into c->observed. `room`
 * has space for the largest record.
 */
void tlssf_takeover_observe(struct conn *c, const unsigned char *plain,
			    size_t plain_len, const unsigned char *sealed,
			    size_t sealed_len, unsigned char *room);
/* Give the kernel the keys: TLSSF_REASON_NONE, or why not. */
int tlssf_takeover_install(struct conn *c);
int tlssf_takeover_keep(struct conn *c);	/* seal ourselves: same */
int tlssf_takeover_refused(const struct conn *c);	/* a reason */
bool tlssf_takeover_ready(const struct conn *c);
bool tlssf_takeover_pays(const struct conn *c, const struct stream *s);
uint64_t tlssf_takeover_left(struct conn *c);	/* records, RFC 8446 5.5 */
/* A KeyUpdate of our own; the library need not know: 0, -EAGAIN, -errno */
int tlssf_takeover_new_key(struct conn *c);
int tlssf_takeover_lacks(const struct conn *c);	/* a secret? a reason */
/* A KeyUpdate message before, and after it is with the kernel: 0, -errno */
int tlssf_takeover_prepare_rekey(struct conn *c);
int tlssf_takeover_rekey(struct conn *c);
void tlssf_takeover_forget(struct conn *c);	/* wipes keys and secret */

ssize_t tlssf_resend(struct conn *c, const unsigned char *in, size_t len);
int tlssf_resend_flush(struct conn *c);	/* what is held: 0, -EAGAIN, -errno */
void tlssf_resend_free(struct resend *r);

extern const struct method tlssf_method_ssl_sendfile;
extern const struct method tlssf_method_ktls;
extern const struct method tlssf_method_userspace;

/* Nothing accepted left above TCP: 0, TLSSF_WANT_*, TLSSF_ERROR. */
int tlssf_userspace_drain(struct conn *c);

/* ---- conn.c: per-connection state ---- */

/*
 * Most of a server's connections are idle: small ones beside each other, and what
 * only the kernel needs, or a send in flight, apart.
 */
struct conn {
	struct ssl_st *ssl;
	const struct ctx_conf *conf;	/* of the SSL_CTX, or NULL */
	struct bridge *bridge;		/* NULL: not attached */
	struct kernel_tx *ktx;		/* there wherever kernel_tx is true */
	struct takeover *takeover;	/* NULL: not taken over */
	struct ahead *ahead;		/* NULL: the caller knows all */
	uint64_t handshake;		/* tl_handshake_id() */
	uint64_t socket;		/* socket_id of fd, or 0 */
	uint64_t bytes;			/* sent by the method userspace */
	uint64_t calls;
	struct observed observed;
	unsigned char secret[SECRET_MAX];	/* TLS 1.3: our write secret */
	struct tl_info info;
	int fd;				/* below the write BIO, or -1 */
	uint32_t process;		/* of the first use */
	uint32_t rekeys;
	uint32_t held;			/* counted in the process's total */
	uint16_t heard;			/* bytes read at the last look at TCP */
	int16_t err;			/* errno of the last failure */
	uint8_t error;			/* ... and its reason */
	uint8_t secret_len;
	uint8_t backoff_ms, retry_ms;
	uint8_t why_not[TLSSF_METHOD_COUNT];
	uint8_t observed_why;		/* a reason: nothing to build on */
	uint8_t named : 2;		/* method asked for, when attached */
	uint8_t method : 2;		/* AUTO: the named one is impossible */
	uint8_t attempts : 2;		/* that failed for want of memory */
	bool observing : 1;		/* the next record that is sealed */
	bool observed_valid : 1;
	bool examined : 1;		/* what was found out is known */
	bool kernel_tx : 1;		/* the kernel seals what is written */
	bool key_update_breaks : 1;	/* ... and would not survive one */
	bool dead : 1;
	bool alert_due : 1, alert_sent : 1; /* dead; the peer must hear it */
	bool no_takeover : 1;		/* tried, or known to be impossible */
};

/*
 * The state of a connection that is ready to send, made at first use: 0 and
 * *out, or TLSSF_ERROR (*out NULL where there is not even a state).
 */
int tlssf_conn_enter(struct ssl_st *ssl, struct conn **out);
int tlssf_conn_state(struct ssl_st *ssl, struct conn **out);
/* All that is to be known of it, and its method: 0, -ENOMEM. */
int tlssf_conn_examine(struct conn *c);
bool tlssf_conn_same_handshake(const struct conn *c);	/* as when examined */
void tlssf_conn_free(struct conn *c);		/* from SSL_free */
/* Put the bridge in before the first call: the handshake goes on. */
void tlssf_conn_watch(struct ssl_st *ssl);
void tlssf_conn_ask_secret(struct conn *c);
bool tlssf_conn_kernel_rekeys(const struct conn *c);
void tlssf_conn_taken(struct conn *c, struct batch *batch); /* by the socket */
uint64_t tlssf_conn_ahead(const struct conn *c); /* sealed and not told, bytes */
/* Account for what is kept between calls; false: over the cap. */
void tlssf_conn_hold(struct conn *c, size_t bytes);
bool tlssf_conn_may_hold(const struct conn *c);
/* WANT_WRITE: set retry_ms by whether the socket is writable already. */
int tlssf_conn_want_write(struct conn *c);
/* 0, WOULD_BLOCK or -errno of a send, for the caller. */
int tlssf_conn_result(struct conn *c, int r);

/* ---- conn_end.c: failures, and the end before its time ---- */
int tlssf_conn_fail(struct conn *c, int reason, int err);  /* not sticky */
int tlssf_conn_die(struct conn *c, int reason, int err);   /* sticky */
int tlssf_conn_io_error(struct conn *c, int err);	/* err of a send */
/* End the connection with a fatal alert; always -EPROTO. */
int tlssf_conn_end(struct conn *c, int reason);
/* Deliver the alert of a forced end: 0 done or given up, TLSSF_WANT_WRITE. */
int tlssf_conn_last_words(struct conn *c);
/* A KeyUpdate is about to leave: may it? If not, the connection is dead. */
bool tlssf_conn_key_update(struct conn *c);
/* The library has given the connection up, by kernel TLS: so do we. */
void tlssf_conn_fatal_alert(struct conn *c, int alert);
/* Its call did not succeed, and its message is kept: TLSSF_WANT_*, _ERROR. */
int tlssf_conn_library(struct conn *c, enum tl_result res);
int tlssf_conn_finish_flight(struct conn *c); /* the library's, waiting */

#endif
