/* SPDX-License-Identifier: MIT */
/*
 * libtlssf: send a piece of a file down a TLS connection, always correctly, by
 * the fastest way that this machine, this TLS library and this connection
 * allow, and say which way was taken and why not a faster one.
 *
 * Two things to know before anything else:
 *
 * 1. Closing. After a send, SSL_shutdown() followed by close() can lose the
 *    end of the stream when the kernel does TLS: Linux keeps sealed records
 *    above TCP and close() throws them away. Call tlssf_shutdown() (or
 *    tlssf_flush()) until it returns 0, then close().
 * 2. KeyUpdate (RFC 8446, section 4.6.3). A TLS 1.3 peer may ask for new keys
 *    at any time; few ever do. Linux before 6.14 cannot take them: there, on a
 *    connection whose keys the kernel has, a KeyUpdate ends the connection with
 *    a fatal alert and the reason TLSSF_REASON_REKEY, never with wrong data.
 *    The option key_update leaves such connections to user space instead,
 *    which always follows. (The kernel TLS of OpenSSL 3.0 and 3.1 cannot on any
 *    Linux: AUTO does not use it for TLS 1.3 unless the application has set
 *    SSL_OP_ENABLE_KTLS itself.)
 *
 * Words: to seal is to encrypt and authenticate a record. A method is "named"
 * when the options ask for it. An error is "sticky" when the connection is dead
 * and each later call fails the same way.
 *
 * Threads: any thread may use any connection, one thread at a time per
 * connection, as with SSL. Every call clears the thread's OpenSSL error queue
 * on entry and leaves it empty (those for names and texts leave it alone);
 * SSL_get_error() means nothing after our calls.
 *
 * Versions: members and reasons are only added at the end, so a program runs
 * with a later library of the same soname, whose structs are longer, and with
 * an earlier one as long as what that does not know is zero (else EINVAL).
 */
#ifndef TLSSF_H
#define TLSSF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <tlssf/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ssl_st;		/* SSL */
struct ssl_ctx_st;	/* SSL_CTX */

/* A 32-bit system needs -D_FILE_OFFSET_BITS=64: off_t is part of the ABI. */
typedef char tlssf_off_t_has_64_bits[sizeof(off_t) == 8 ? 1 : -1];

/* Return values beside a count or 0. All are negative. */
#define TLSSF_ERROR		(-1)	/* errno is set; see tlssf_strerror() */
#define TLSSF_WANT_READ		(-2)	/* call again when readable */
#define TLSSF_WANT_WRITE	(-3)	/* call again when writable, or after
					 * tlssf_status.retry_ms */

enum tlssf_method {
	TLSSF_METHOD_AUTO = 0,		/* the fastest that is right */
	TLSSF_METHOD_SSL_SENDFILE = 1,	/* the TLS library's kernel TLS */
	TLSSF_METHOD_KTLS = 2,		/* kernel TLS taken over by hand */
	TLSSF_METHOD_USERSPACE = 3,	/* sealed here, sent in few calls; when
					 * named, by the TLS library only */
	TLSSF_METHOD_COUNT = 4
};

/*
 * Why a method was not taken, or why a call failed. tlssf_reason_name() gives
 * a stable word for logs, tlssf_reason_text() a sentence with the remedy.
 */
enum tlssf_reason {
	TLSSF_REASON_NONE = 0,
	/* why not this method */
	TLSSF_REASON_NOT_ASKED,		/* another method was named, or a
					 * faster one was taken */
	TLSSF_REASON_NOT_YET,		/* too little sent so far: a large
					 * send will take the keys over */
	TLSSF_REASON_HANDSHAKE,		/* handshake unfinished, early data */
	TLSSF_REASON_DTLS,		/* DTLS is no byte stream */
	TLSSF_REASON_QUIC,		/* QUIC is not handled */
	TLSSF_REASON_NOT_SOCKET,	/* write BIO does not end in a socket */
	TLSSF_REASON_VERSION,		/* TLS version without kernel TLS */
	TLSSF_REASON_CIPHER,		/* no kernel offloads this cipher */
	TLSSF_REASON_LIBRARY_NO_KTLS,	/* libssl built without kernel TLS */
	TLSSF_REASON_ULP_ABSENT,	/* kernel has no tls module */
	TLSSF_REASON_ULP_NOT_LOADED,	/* tls module exists, not loaded */
	TLSSF_REASON_KERNEL_CIPHER,	/* this kernel lacks the cipher */
	TLSSF_REASON_REKEY,		/* KeyUpdate would break (or broke) it */
	TLSSF_REASON_OPTION_OFF,	/* SSL_OP_ENABLE_KTLS was not set */
	TLSSF_REASON_COMPRESSION,	/* TLS compression in use */
	TLSSF_REASON_MAX_FRAGMENT,	/* max_fragment_length negotiated, or a
					 * small max_send_fragment set */
	TLSSF_REASON_REFUSED,		/* library or kernel said no: padding,
					 * max_send_fragment, full socket */
	TLSSF_REASON_KERNEL_KEYS,	/* the kernel already holds the keys */
	TLSSF_REASON_NO_SECRET,		/* tlssf_ctx_init() came too late */
	TLSSF_REASON_KEYLOG_REPLACED,	/* our keylog callback was removed */
	TLSSF_REASON_KEY_SCHEDULE,	/* the TLS library derives no keys */
	TLSSF_REASON_SEQUENCE_NOT_FOUND, /* a record sealed here did not open
					 * with the keys that we derived */
	TLSSF_REASON_PADDING,		/* records are padded */
	/* errors of the caller: the connection stays usable */
	TLSSF_REASON_ARGUMENT,		/* NULL, negative, overflow, size */
	TLSSF_REASON_BAD_FD,		/* fd closed or not readable */
	TLSSF_REASON_NOT_REGULAR,	/* fd is not a regular file */
	TLSSF_REASON_FILE_TRUNCATED,	/* file shorter than promised */
	TLSSF_REASON_FILE_READ,		/* reading the file failed */
	TLSSF_REASON_NO_MEMORY,		/* memory ran out */
	TLSSF_REASON_PENDING_WRITE,	/* SSL_write is unfinished: repeat it */
	TLSSF_REASON_PENDING_SEND,	/* other fd or offset than after WANT */
	TLSSF_REASON_SHUT_DOWN,		/* close_notify was sent */
	TLSSF_REASON_FORKED,		/* first used in another process */
	TLSSF_REASON_WRONG_LIBRARY,	/* SSL_CTX of another libssl */
	/* errors of the connection: sticky, the connection is dead */
	TLSSF_REASON_PEER_GONE,		/* EPIPE, ECONNRESET, closed */
	TLSSF_REASON_IO,		/* other error of the transport */
	TLSSF_REASON_TLS,		/* the TLS library failed */
	TLSSF_REASON_INTERRUPTED,	/* a signal made the kernel cut a
					 * record (its errno is 512) */
	TLSSF_REASON_KEY_LIMIT,		/* as many records as one key may
					 * protect, and no way to a new key */
	TLSSF_REASON_COUNT
};

/*
 * What to do where the kernel cannot follow a KeyUpdate (RFC 8446, 4.6.3;
 * Linux before 6.14, and OpenSSL 3.0's own kernel TLS everywhere).
 */
enum tlssf_key_update {
	TLSSF_KEY_UPDATE_END = 0,	/* use the kernel; a KeyUpdate ends the
					 * connection with a fatal alert */
	TLSSF_KEY_UPDATE_USERSPACE = 1,	/* leave such connections to user
					 * space, which always follows */
	TLSSF_KEY_UPDATE_COUNT = 2
};

/*
 * Options of an SSL_CTX. Zero the struct, set size, then what you want;
 * zero means the default everywhere.
 */
struct tlssf_options {
	size_t size;		/* sizeof(struct tlssf_options) */
	int method;		/* enum tlssf_method; a named method is never
				 * replaced by another: if it is impossible,
				 * tlssf_send() fails with the reason */
	size_t max_per_call;	/* bytes that one call sends at most on a
				 * non-blocking socket; 0: 1 MiB */
	size_t max_buffered;	/* bytes of sealed, unsent records that the
				 * whole process may hold before calls on non-
				 * blocking sockets answer WANT_WRITE; 0: no
				 * limit */
	int key_update;		/* enum tlssf_key_update, for TLS 1.3 */
	int drop_padding;	/* 1: records that the TLS library pads after
				 * the kernel has taken over go out without
				 * their padding; 0: that ends the connection,
				 * reason TLSSF_REASON_PADDING */
	uint64_t key_records;	/* TLS 1.3 records that the kernel, or we, may
				 * protect with one key before we send a
				 * KeyUpdate; 0: what RFC 8446, 5.5 allows;
				 * else at least 16 */
	uint64_t takeover_from;	/* AUTO takes the keys over in the send that
				 * brings a connection to so many bytes: for
				 * fewer it costs more than it gains; 0: 96
				 * KiB, as measured; UINT64_MAX: never */
	size_t max_payload_len;	/* plaintext bytes in a record of the kernel's,
				 * 64 to 16384 (TLS_TX_MAX_PAYLOAD_LEN, Linux
				 * 6.19); 0: 16384 */
	int zerocopy;		/* 1: a device that seals may do it from the
				 * page cache (TLS_TX_ZEROCOPY_RO, Linux 5.19):
				 * only for files that do not change until the
				 * peer has acknowledged them, or it gets
				 * records that it cannot open */
	int attach_late;	/* 1: our BIO is not put in during the
				 * handshake but by the first call for the
				 * connection: one without such a call costs a
				 * small struct and its key log, and nothing
				 * with TLSSF_METHOD_USERSPACE (except where
				 * the TLS library may give its keys to the
				 * kernel); for applications that finish each
				 * SSL_write() before they call us */
};

/*
 * One response: header bytes, a range of a file and trailer bytes as one
 * stream. Zero the struct, set size and what you need. The caller keeps it,
 * the fd and both buffers unchanged until tlssf_send_job() returned 0 or the
 * connection is dead; only `done` is written by us.
 */
struct tlssf_job {
	size_t size;		/* sizeof(struct tlssf_job) */
	const void *header;	/* may be NULL when header_len is 0 */
	size_t header_len;
	int fd;			/* not looked at when file_len is 0 */
	off_t off;		/* first byte of the file to send */
	uint64_t file_len;	/* bytes of the file: exact, not clamped */
	const void *trailer;	/* may be NULL when trailer_len is 0 */
	size_t trailer_len;
	uint64_t done;		/* bytes sent so far, over all three parts;
				 * 0 before the first call */
	int file_known;		/* 1: the caller has seen that fd is open for
				 * reading, regular and long enough: we do not
				 * look; where that is not so any more, the
				 * error may come after the header has gone */
	int then_flush;		/* 1: tlssf_flush() or tlssf_shutdown() follows:
				 * that a peer has gone may be told by that */
};

/* What tlssf_status() tells of a connection. */
struct tlssf_status {
	size_t size;		/* in: sizeof(struct tlssf_status); out: how
				 * much of it was filled */
	int method;		/* enum tlssf_method in force; AUTO: none yet */
	int reason;		/* why no faster method: enum tlssf_reason */
	int why_not[TLSSF_METHOD_COUNT]; /* reason for each method not taken;
				 * NONE at the one in force */
	int error;		/* reason of the last failure, or NONE */
	int dead;		/* 1: that failure is sticky */
	int version;		/* 0x0303 TLS 1.2, 0x0304 TLS 1.3 */
	unsigned int cipher;	/* IANA cipher suite value */
	const char *cipher_name; /* the TLS library's, static */
	int kernel_tx;		/* 1: the kernel seals what is written */
	int takeover;		/* 1: the keys were taken over: given to the
				 * kernel or, with AUTO, used by ourselves */
	uint64_t bytes[TLSSF_METHOD_COUNT];   /* plaintext of our calls, by
				 * method */
	uint64_t records[TLSSF_METHOD_COUNT]; /* records by method; the
				 * kernel's count, so SSL_write()'s, too */
	uint64_t calls;		/* times that a tlssf call asked the kernel
				 * or BIO to send or to tell its queue */
	uint64_t rekeys;	/* KeyUpdates of our direction while the
				 * kernel holds the keys, or we do */
	size_t buffered;	/* sealed bytes that we hold now */
	unsigned int retry_ms;	/* after WANT_WRITE: 0: wait for writability;
				 * else the socket may already be writable
				 * (an edge will not come): call again after
				 * this many milliseconds */
	size_t max_payload_len;	/* of the kernel's records; 0: not asked for,
				 * or the kernel cannot: 16384 */
	int zerocopy;		/* 1: asked for, and the kernel agreed; where
				 * it seals itself it copies all the same */
};

enum tlssf_tristate {
	TLSSF_UNKNOWN = 0,	/* could not be tried */
	TLSSF_NO = 1,
	TLSSF_YES = 2
};

enum tlssf_ulp {
	TLSSF_ULP_UNKNOWN = 0,	/* no loopback to try it on */
	TLSSF_ULP_ABSENT = 1,	/* the kernel has no tls module */
	TLSSF_ULP_NOT_LOADED = 2, /* there is one; loading it on demand
				 * needs CAP_NET_ADMIN (and modprobe) */
	TLSSF_ULP_LOADED = 3
};

/* Ciphers that the kernel headers know, in the order of linux/tls.h. */
enum tlssf_cipher {
	TLSSF_AES_128_GCM = 0,
	TLSSF_AES_256_GCM = 1,
	TLSSF_AES_128_CCM = 2,
	TLSSF_CHACHA20_POLY1305 = 3,
	TLSSF_SM4_GCM = 4,
	TLSSF_SM4_CCM = 5,
	TLSSF_ARIA_128_GCM = 6,
	TLSSF_ARIA_256_GCM = 7,
	TLSSF_CIPHER_COUNT = 8
};

/* One (version, cipher) pair as tried on this machine. */
struct tlssf_cap {
	int tx;			/* enum tlssf_tristate: kernel can send it */
	int error;		/* errno of the refusal, or 0 */
	int verified;		/* 1: a record was decrypted in user space */
};

/* What this machine and TLS library can do. */
struct tlssf_caps {
	size_t size;		/* in: sizeof(struct tlssf_caps); out: how
				 * much of it was filled */
	int ulp;		/* enum tlssf_ulp */
	struct tlssf_cap tls12[TLSSF_CIPHER_COUNT];
	struct tlssf_cap tls13[TLSSF_CIPHER_COUNT];
	int rekey;		/* enum tlssf_tristate, TLS 1.3 (Linux 6.14) */
	int zerocopy_ro;	/* enum tlssf_tristate: TLS_TX_ZEROCOPY_RO can
				 * be set (Linux 5.19) */
	int max_payload_len;	/* likewise TLS_TX_MAX_PAYLOAD_LEN (6.19) */
	const char *library;	/* "OpenSSL 3.0.17 ...": run-time libssl */
	int library_ktls;	/* enum tlssf_tristate: built with it */
	int library_rekey;	/* enum tlssf_tristate: its kernel TLS
				 * survives KeyUpdate given kernel support */
};

/*
 * Prepare an SSL_CTX; optional, before its first SSL, idempotent. Probes the
 * machine, so that no probe happens inside a send; switches on the library's
 * kernel TLS (SSL_OP_ENABLE_KTLS) where that is safe; installs a keylog
 * callback that calls the one it finds (set yours before), and by which each
 * connection is watched from its handshake on (not with TLSSF_METHOD_USERSPACE
 * and attach_late). Do it for each context that SNI may switch to. `options`
 * may be NULL (defaults) and is copied; a second call, while no other thread
 * uses the context, replaces the options. A method that is named decides about
 * the library's kernel TLS, too: KTLS and USERSPACE switch it off.
 * Returns 0, or TLSSF_ERROR with errno EINVAL (NULL ctx, bad options),
 * ENOMEM, or ELIBBAD (ctx belongs to another libssl than the one we are
 * linked with); then nothing has been changed.
 */
int tlssf_ctx_init(struct ssl_ctx_st *ctx, const struct tlssf_options *options);

/*
 * Send bytes [off, off+len) of the regular file `fd`. The offset is absolute;
 * the file position is never read or moved. Needs no set-up: any connected SSL
 * works. len beyond the end of the file is clamped (SIZE_MAX: all the rest);
 * len 0 or off at or beyond the end: 0.
 *
 * Returns how many bytes were taken by the kernel (or by the application's own
 * BIO), possibly fewer than len: then call again with off advanced. A
 * blocking socket stops short for a signal, SO_SNDTIMEO or an error; a
 * non-blocking one also after max_per_call bytes.
 * TLSSF_WANT_WRITE/_READ: nothing to report yet; repeat with the same fd and
 * off when the socket is ready (len may change). Until then the fd must stay
 * open and SSL_write() keeps its place in the order.
 * TLSSF_ERROR with errno: EINVAL (argument; not a regular file; handshake
 * unfinished; another piece than after WANT), EBADF, EIO and other errors of
 * reading the file, ENOMEM, EBUSY (an SSL_write is unfinished), EOPNOTSUPP
 * (the method that was named is impossible; DTLS, QUIC), EPERM (another
 * process), EPIPE after shutdown: not sticky, nothing was sent; ENOMEM is
 * sticky where a record that was sealed already could not be kept. EPIPE,
 * ECONNRESET, ETIMEDOUT, EPROTO, EBADMSG, EBADF (the SSL's descriptor is
 * closed, or another socket by now) and other errors of the connection are
 * sticky: each later call fails the same way and so does SSL_write().
 */
ssize_t tlssf_send(struct ssl_st *ssl, int fd, off_t off, size_t len);

/*
 * Send header, file range and trailer as one stream; where they fit, header
 * and file share a record. Returns 0 when all of it was taken, else
 * TLSSF_WANT_READ, TLSSF_WANT_WRITE or TLSSF_ERROR; job->done is advanced on
 * every return. A blocking socket returns WANT_WRITE only after a signal or
 * SO_SNDTIMEO; a non-blocking one also after max_per_call bytes with the
 * socket still writable: then status.retry_ms is 1, call again soon.
 * A file shorter than promised: TLSSF_ERROR with errno ENODATA and reason
 * TLSSF_REASON_FILE_TRUNCATED; not sticky, and no record is left open.
 */
int tlssf_send_job(struct ssl_st *ssl, struct tlssf_job *job);

/*
 * Wait until nothing that was accepted is queued above TCP, neither here nor
 * in the kernel's TLS layer. Returns 0 when that holds, TLSSF_WANT_WRITE
 * (see status.retry_ms; a blocking socket waits itself, up to SO_SNDTIMEO), or
 * TLSSF_ERROR, as tlssf_send(). With a memory or custom BIO: 0 once all is in
 * the BIO and BIO_flush() succeeded.
 */
int tlssf_flush(struct ssl_st *ssl);

/*
 * Send close_notify and flush. Returns 0 when both are done, and again 0 when
 * repeated: then close() loses nothing (unless the peer's data lies unread in
 * the socket: TCP answers that with a reset; read it first). Does not wait for
 * the peer's close_notify. With quiet shutdown set it only flushes. Else
 * TLSSF_WANT_WRITE or _READ, or TLSSF_ERROR: after an error of the connection,
 * in an unfinished handshake (EINVAL) or SSL_write() (EBUSY).
 */
int tlssf_shutdown(struct ssl_st *ssl);

/*
 * Fill *status for this connection. Set status->size first. 0, or TLSSF_ERROR
 * with EINVAL (NULL, size) or ENOMEM. Sends nothing.
 */
int tlssf_status(struct ssl_st *ssl, struct tlssf_status *status);

/*
 * What this machine and TLS library can do, found by doing it on a loopback
 * TCP connection; this may make the kernel load its tls module. Set
 * caps->size first. What was seen to work is remembered for the process, what
 * was not is tried again, a second later at the earliest. 0, or TLSSF_ERROR
 * with EINVAL (NULL, size).
 */
int tlssf_probe(struct tlssf_caps *caps);

/*
 * A sentence about the last failure on this connection, valid until the next
 * call for it; never NULL. ssl NULL: about errno, after tlssf_ctx_init() and
 * tlssf_probe().
 */
const char *tlssf_strerror(const struct ssl_st *ssl);

/* Names and texts are static and never NULL; unknown values give "unknown". */
const char *tlssf_method_name(int method);
const char *tlssf_reason_name(int reason);
const char *tlssf_reason_text(int reason);
const char *tlssf_cipher_name(int cipher);

/*
 * Have `fn` called with one line (no newline) for each decision; NULL turns
 * it off. Process-wide. TLSSF_TRACE=1 in the environment prints the lines to
 * standard error when no function is set. Lines never hold key material or
 * data; their words may change. `fn` may be called by any thread and must not
 * call us back; after the return a function that was set before is not called
 * any more, and its `arg` may go.
 */
void tlssf_set_trace(void (*fn)(void *arg, const char *line), void *arg);

/* The library's version at run time: "MAJOR.MINOR.PATCH". */
const char *tlssf_version(void);

#ifdef __cplusplus
}
#endif

#endif
