/* SPDX-License-Identifier: MIT */
/*
 * libtlssf sends a range of a file over a TLS connection. The library uses the
 * fastest method that is correct for this kernel, this TLS library and this
 * connection, and reports which method that is and why no faster one.
 *
 * Two facts that every caller must know:
 *
 * 1. Closing. When the kernel encrypts, Linux queues encrypted records above
 *    TCP, and close() discards that queue. SSL_shutdown() followed by close()
 *    can therefore lose the end of the stream. Call tlssf_shutdown() (or
 *    tlssf_flush()) until it returns 0, then call close().
 * 2. KeyUpdate (RFC 8446, section 4.6.3). A TLS 1.3 peer may request new keys
 *    at any time; few peers do. Linux before 6.14 cannot replace the key of a
 *    connection ("rekey"). On those kernels a KeyUpdate ends a connection that
 *    the kernel encrypts: the peer receives a fatal alert, never wrong data,
 *    and the reason is TLSSF_REASON_REKEY. The option key_update can leave
 *    such connections to user space, which supports every KeyUpdate. The
 *    kernel TLS of OpenSSL 3.0 and 3.1 cannot rekey on any Linux: AUTO does
 *    not use it for TLS 1.3 unless the application itself has set
 *    SSL_OP_ENABLE_KTLS.
 *
 * Terms:
 * - A "takeover" means that libtlssf derives the write key of a connection and
 *   either installs it in the kernel or encrypts with it in user space, in
 *   place of the TLS library.
 * - A method is "requested" when tlssf_options.method names it; AUTO requests
 *   none.
 * - An error is "sticky" when the connection is dead and every later call
 *   fails in the same way.
 *
 * Threads: any thread may use any connection, but only one thread at a time
 * may use a given connection, as with an SSL. Every call clears the calling
 * thread's OpenSSL error queue on entry and leaves the queue empty, so
 * SSL_get_error() means nothing after these calls. Exceptions that do not
 * touch the queue: tlssf_strerror(), the *_name() and *_text() functions,
 * tlssf_set_trace() and tlssf_version().
 *
 * Versions: new versions add struct members and reasons only at the end. A
 * program therefore runs with a later library of the same soname. A program
 * also runs with an earlier library as long as every member that the earlier
 * library does not know is zero (otherwise the call fails with EINVAL).
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

/* Negative return values; every other return value is a byte count or 0. */
#define TLSSF_ERROR		(-1)	/* errno is set; see tlssf_strerror() */
#define TLSSF_WANT_READ		(-2)	/* call again when readable */
#define TLSSF_WANT_WRITE	(-3)	/* call again when writable, or after
					 * tlssf_status.retry_ms */

/* How the bytes are encrypted and sent. */
enum tlssf_method {
	TLSSF_METHOD_AUTO = 0,		/* the fastest method that is correct */
	TLSSF_METHOD_SSL_SENDFILE = 1,	/* the TLS library's kernel TLS */
	TLSSF_METHOD_KTLS = 2,		/* kernel TLS with the keys taken over
					 * from the TLS library */
	TLSSF_METHOD_USERSPACE = 3,	/* many records for each system call;
					 * when requested, only the TLS library
					 * encrypts; under AUTO libtlssf
					 * encrypts with the keys taken over */
	TLSSF_METHOD_COUNT = 4
};

/*
 * Why a method was not used, or why a call failed. tlssf_reason_name() returns
 * a stable word for logs; tlssf_reason_text() returns a sentence that includes
 * the remedy.
 */
enum tlssf_reason {
	TLSSF_REASON_NONE = 0,
	/* why a method was not used */
	TLSSF_REASON_NOT_ASKED,		/* another method was requested, or a
					 * faster method is in use */
	TLSSF_REASON_NOT_YET,		/* too few bytes so far; a large send
					 * will start a takeover */
	TLSSF_REASON_HANDSHAKE,		/* handshake unfinished, or early data
					 * in use */
	TLSSF_REASON_DTLS,		/* DTLS is not a byte stream */
	TLSSF_REASON_QUIC,		/* QUIC is not supported */
	TLSSF_REASON_NOT_SOCKET,	/* write BIO does not end in a socket */
	TLSSF_REASON_VERSION,		/* TLS version without kernel TLS */
	TLSSF_REASON_CIPHER,		/* no kernel supports this cipher */
	TLSSF_REASON_LIBRARY_NO_KTLS,	/* libssl built without kernel TLS */
	TLSSF_REASON_ULP_ABSENT,	/* kernel has no tls module */
	TLSSF_REASON_ULP_NOT_LOADED,	/* tls module exists, not loaded */
	TLSSF_REASON_KERNEL_CIPHER,	/* this kernel lacks the cipher */
	TLSSF_REASON_REKEY,		/* a KeyUpdate would end (or has ended)
					 * the connection */
	TLSSF_REASON_OPTION_OFF,	/* SSL_OP_ENABLE_KTLS was not set */
	TLSSF_REASON_COMPRESSION,	/* TLS compression in use */
	TLSSF_REASON_MAX_FRAGMENT,	/* max_fragment_length negotiated, or a
					 * max_send_fragment below 16384 set */
	TLSSF_REASON_REFUSED,		/* the TLS library or the kernel refused
					 * kernel TLS: padding, a full socket,
					 * or a small max_send_fragment */
	TLSSF_REASON_KERNEL_KEYS,	/* the kernel already has the key */
	TLSSF_REASON_NO_SECRET,		/* tlssf_ctx_init() was not called
					 * before the handshake */
	TLSSF_REASON_KEYLOG_REPLACED,	/* the keylog callback of libtlssf was
					 * replaced */
	TLSSF_REASON_KEY_SCHEDULE,	/* the TLS library derived no keys */
	TLSSF_REASON_SEQUENCE_NOT_FOUND, /* a record that the TLS library
					 * encrypted did not decrypt with the
					 * derived key */
	TLSSF_REASON_PADDING,		/* records are padded */
	/* the caller's errors: the connection stays usable */
	TLSSF_REASON_ARGUMENT,		/* NULL, negative, overflow, size */
	TLSSF_REASON_BAD_FD,		/* fd closed or not readable */
	TLSSF_REASON_NOT_REGULAR,	/* fd is not a regular file */
	TLSSF_REASON_FILE_TRUNCATED,	/* file shorter than the job states */
	TLSSF_REASON_FILE_READ,		/* reading the file failed */
	TLSSF_REASON_NO_MEMORY,		/* out of memory */
	TLSSF_REASON_PENDING_WRITE,	/* an SSL_write() is unfinished: repeat
					 * the SSL_write() first */
	TLSSF_REASON_PENDING_SEND,	/* the call before returned WANT for
					 * another fd or offset */
	TLSSF_REASON_SHUT_DOWN,		/* close_notify was sent */
	TLSSF_REASON_FORKED,		/* first used in another process */
	TLSSF_REASON_WRONG_LIBRARY,	/* SSL_CTX of another libssl */
	/* the connection's errors: sticky, the connection is dead */
	TLSSF_REASON_PEER_GONE,		/* closed or reset by the peer */
	TLSSF_REASON_IO,		/* other error of the transport */
	TLSSF_REASON_TLS,		/* the TLS library failed */
	TLSSF_REASON_INTERRUPTED,	/* a signal made the kernel truncate a
					 * record (its errno is 512) */
	TLSSF_REASON_KEY_LIMIT,		/* the key has protected as many records
					 * as it may, and no new key is
					 * possible */
	TLSSF_REASON_COUNT
};

/*
 * What to do where kernel TLS does not support a KeyUpdate (RFC 8446, section
 * 4.6.3): Linux before 6.14, and the kernel TLS of OpenSSL 3.0 and 3.1 on any
 * Linux.
 */
enum tlssf_key_update {
	TLSSF_KEY_UPDATE_END = 0,	/* use the kernel; a KeyUpdate ends the
					 * connection with a fatal alert */
	TLSSF_KEY_UPDATE_USERSPACE = 1,	/* leave such connections to user
					 * space, which supports KeyUpdate */
	TLSSF_KEY_UPDATE_COUNT = 2
};

/*
 * Options of an SSL_CTX. Zero the struct, set size, then set the members that
 * matter to you; zero means the default everywhere. The caller owns the struct:
 * tlssf_ctx_init() copies it.
 */
struct tlssf_options {
	size_t size;		/* sizeof(struct tlssf_options) */
	int method;		/* enum tlssf_method. A requested method is
				 * never replaced by another method: where the
				 * requested method is impossible, tlssf_send()
				 * fails with the reason. */
	size_t max_per_call;	/* bytes that one call sends at most on a
				 * non-blocking socket; 0: 1 MiB */
	size_t max_buffered;	/* bytes of encrypted, unsent records that the
				 * whole process may buffer before calls on
				 * non-blocking sockets return WANT_WRITE; 0: no
				 * limit */
	int key_update;		/* enum tlssf_key_update, for TLS 1.3 */
	int drop_padding;	/* What happens to application data that the
				 * TLS library pads after the kernel has
				 * received the key. 1: the record is sent
				 * without its padding; 0: the connection ends
				 * with the reason TLSSF_REASON_PADDING. The
				 * kernel always sends handshake messages and
				 * alerts without their padding; records that
				 * libtlssf encrypts keep it. */
	uint64_t key_records;	/* TLS 1.3 records that the kernel or libtlssf
				 * may protect with one key before libtlssf
				 * sends a KeyUpdate; 0: the limit of RFC 8446,
				 * section 5.5; otherwise at least 16 */
	uint64_t takeover_from;	/* Under AUTO, a takeover happens in the first
				 * send that brings the bytes of the connection
				 * to this total; for fewer bytes a takeover
				 * costs more than it gains. 0: 96 KiB
				 * (measured); UINT64_MAX: no takeover. */
	size_t max_payload_len;	/* plaintext bytes in a record that the kernel
				 * encrypts, 64 to 16384
				 * (TLS_TX_MAX_PAYLOAD_LEN, Linux 6.19); 0:
				 * 16384 */
	int zerocopy;		/* 1: a network device that encrypts may read
				 * from the page cache (TLS_TX_ZEROCOPY_RO,
				 * Linux 5.19). Set this only for files that do
				 * not change until the peer has acknowledged
				 * their bytes: otherwise the peer receives
				 * records that it cannot decrypt. */
	int attach_late;	/* 1: libtlssf pushes its filter BIO in the
				 * first call for a connection, not during the
				 * handshake. A connection without such a call
				 * then costs a small struct and its key log,
				 * and with TLSSF_METHOD_USERSPACE it costs
				 * nothing (except where the TLS library may
				 * install its keys in the kernel). For
				 * applications that finish each SSL_write()
				 * before they call libtlssf. */
};

/*
 * One response: header bytes, a range of a file, and trailer bytes, sent as one
 * stream. Zero the struct, set size, then set the members that you need. The
 * caller owns the struct, the fd and both buffers, and must leave them
 * unchanged until tlssf_send_job() has returned 0 or the connection is dead.
 * libtlssf writes only `done`.
 */
struct tlssf_job {
	size_t size;		/* sizeof(struct tlssf_job) */
	const void *header;	/* may be NULL when header_len is 0 */
	size_t header_len;	/* bytes */
	int fd;			/* ignored when file_len is 0 */
	off_t off;		/* offset of the first byte to send */
	uint64_t file_len;	/* bytes of the file: exact, not clamped */
	const void *trailer;	/* may be NULL when trailer_len is 0 */
	size_t trailer_len;	/* bytes */
	uint64_t done;		/* bytes sent so far, over all three parts;
				 * 0 before the first call */
	int file_known;		/* 1: the caller has checked that fd is open for
				 * reading, regular and long enough, so libtlssf
				 * skips that check. If the file has changed
				 * since, the error may come after the header
				 * has been sent. */
	int then_flush;		/* 1: the caller will call tlssf_flush() or
				 * tlssf_shutdown() next, so a lost peer may be
				 * reported by that call instead of this one */
};

/* The state of a connection, as tlssf_status() reports it. */
struct tlssf_status {
	size_t size;		/* in: sizeof(struct tlssf_status); out: bytes
				 * of the struct that were filled */
	int method;		/* enum tlssf_method in use; AUTO: none yet */
	int reason;		/* enum tlssf_reason: why no faster method */
	int why_not[TLSSF_METHOD_COUNT]; /* enum tlssf_reason for each method
				 * that is not in use; NONE for the method in
				 * use */
	int error;		/* enum tlssf_reason of the last failure, or
				 * NONE */
	int dead;		/* 1: that failure is sticky */
	int version;		/* 0x0303: TLS 1.2; 0x0304: TLS 1.3 */
	unsigned int cipher;	/* IANA cipher suite value */
	const char *cipher_name; /* the TLS library's name; a static string */
	int kernel_tx;		/* 1: the kernel encrypts what is written */
	int takeover;		/* 1: a takeover has happened: the kernel has
				 * the key or, under AUTO, libtlssf encrypts */
	uint64_t bytes[TLSSF_METHOD_COUNT];   /* plaintext bytes that tlssf
				 * calls have sent, by method */
	uint64_t records[TLSSF_METHOD_COUNT]; /* records by method; the kernel's
				 * count includes the records of SSL_write() */
	uint64_t calls;		/* how often a tlssf call asked the kernel or
				 * the BIO to send, or to report its queue */
	uint64_t rekeys;	/* KeyUpdates of the sending direction while the
				 * kernel or libtlssf has the key */
	size_t buffered;	/* encrypted bytes that libtlssf buffers now */
	unsigned int retry_ms;	/* after WANT_WRITE. 0: wait until the socket is
				 * writable. Otherwise: call again after this
				 * many milliseconds; the socket may already be
				 * writable, so no edge will come. */
	size_t max_payload_len;	/* plaintext bytes in a record that the kernel
				 * encrypts; 0: not requested or not supported,
				 * records have up to 16384 */
	int zerocopy;		/* 1: requested, and the kernel accepted it; a
				 * kernel that encrypts in software still
				 * copies */
};

enum tlssf_tristate {
	TLSSF_UNKNOWN = 0,	/* could not be tried */
	TLSSF_NO = 1,
	TLSSF_YES = 2
};

/* The kernel's tls module. */
enum tlssf_ulp {
	TLSSF_ULP_UNKNOWN = 0,	/* no loopback interface to try it on */
	TLSSF_ULP_ABSENT = 1,	/* the kernel has no tls module */
	TLSSF_ULP_NOT_LOADED = 2, /* the module exists; loading it on demand
				 * needs CAP_NET_ADMIN (and modprobe) */
	TLSSF_ULP_LOADED = 3
};

/* Ciphers that the kernel headers define, in the order of linux/tls.h. */
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

/* The result for one (version, cipher) pair on this machine. */
struct tlssf_cap {
	int tx;			/* enum tlssf_tristate: supported for sending */
	int error;		/* errno with which the kernel refused, or 0 */
	int verified;		/* 1: a record was decrypted in user space */
};

/* What this machine and this TLS library support. */
struct tlssf_caps {
	size_t size;		/* in: sizeof(struct tlssf_caps); out: bytes of
				 * the struct that were filled */
	int ulp;		/* enum tlssf_ulp */
	struct tlssf_cap tls12[TLSSF_CIPHER_COUNT]; /* by enum tlssf_cipher */
	struct tlssf_cap tls13[TLSSF_CIPHER_COUNT]; /* by enum tlssf_cipher */
	int rekey;		/* enum tlssf_tristate: the kernel can replace
				 * the key of a TLS 1.3 connection (6.14) */
	int zerocopy_ro;	/* enum tlssf_tristate: TLS_TX_ZEROCOPY_RO can
				 * be set (Linux 5.19) */
	int max_payload_len;	/* enum tlssf_tristate: TLS_TX_MAX_PAYLOAD_LEN
				 * can be set (Linux 6.19) */
	const char *library;	/* run-time libssl, "OpenSSL 3.0.17 ..."; a
				 * static string */
	int library_ktls;	/* enum tlssf_tristate: libssl was built with
				 * kernel TLS */
	int library_rekey;	/* enum tlssf_tristate: libssl's kernel TLS
				 * survives a KeyUpdate on a kernel that can
				 * rekey */
};

/*
 * Prepare an SSL_CTX. Optional; call it before the first SSL of the context is
 * made. The call
 * - probes the machine, so that no send has to probe (see tlssf_probe());
 * - enables the TLS library's kernel TLS (SSL_OP_ENABLE_KTLS) where that is
 *   safe; a requested method decides instead: SSL_SENDFILE enables it, KTLS and
 *   USERSPACE disable it;
 * - installs a keylog callback. The callback watches each connection from the
 *   handshake on and learns the TLS 1.3 write secret. The callback also calls
 *   the keylog callback that it found, so set your own before this call. No
 *   callback is installed for TLSSF_METHOD_USERSPACE with attach_late.
 *
 * Prepare every context that SNI may select. `options` may be NULL (defaults)
 * and is copied. Repeating the call replaces the options; meanwhile no other
 * thread may use the context or its connections.
 *
 * Returns 0, or TLSSF_ERROR with errno EINVAL (ctx is NULL, or an option is
 * invalid), ENOMEM, or ELIBBAD (ctx belongs to another libssl than the one that
 * libtlssf is linked with). After a failure the context is unchanged.
 */
int tlssf_ctx_init(struct ssl_ctx_st *ctx, const struct tlssf_options *options);

/*
 * Send the bytes [off, off+len) of the regular file `fd`. off is absolute; the
 * file position is neither read nor moved. No setup is needed: any connected
 * SSL works. The call never runs the handshake. len is clamped to the end of
 * the file (SIZE_MAX sends all the rest). The caller owns fd.
 *
 * Returns the number of bytes that the kernel (or the application's own BIO)
 * has accepted. If the count is less than len, call again with off advanced. A
 * blocking socket returns a short count after a signal, SO_SNDTIMEO or an
 * error; a non-blocking socket also after max_per_call bytes. Returns 0 when
 * len is 0 or off is at or beyond the end of the file.
 *
 * TLSSF_WANT_WRITE, TLSSF_WANT_READ: nothing to report yet. Repeat the call
 * with the same fd and off when the socket is ready; len may change. Until
 * then fd must stay open. The bytes of an SSL_write() in between follow the
 * bytes that libtlssf has already encrypted.
 *
 * TLSSF_ERROR sets errno. These errors are not sticky; nothing was sent and the
 * connection is usable:
 *	EINVAL		an argument is invalid, fd is not a regular file, the
 *			handshake is unfinished, or the previous call returned
 *			WANT for another fd or offset
 *	EBADF		fd is closed or not open for reading
 *	EIO and others	reading the file failed
 *	ENOMEM		out of memory (sticky if a record was already encrypted
 *			and could not be stored)
 *	EBUSY		an SSL_write() is unfinished
 *	EOPNOTSUPP	the requested method is impossible, or the connection
 *			is DTLS or QUIC
 *	EPERM		the connection was first used in another process
 *	EPIPE		close_notify was sent
 * The connection's errors are sticky, and SSL_write() fails in the same way:
 *	EPIPE, ECONNRESET, ETIMEDOUT	the peer is gone
 *	EPROTO, EBADMSG	the TLS library failed, or a KeyUpdate is unsupported
 *	EBADF		the SSL's descriptor was closed, or is another socket
 *	others		the transport failed
 * tlssf_status.dead says whether an error is sticky.
 */
ssize_t tlssf_send(struct ssl_st *ssl, int fd, off_t off, size_t len);

/*
 * Send header, file range and trailer of `job` as one stream. Where they fit,
 * header and file share a record. Every return updates job->done.
 *
 * Returns 0 when everything was accepted, otherwise TLSSF_WANT_READ,
 * TLSSF_WANT_WRITE or TLSSF_ERROR as tlssf_send() does; repeat the call with
 * the same job. A blocking socket returns TLSSF_WANT_WRITE only after a signal
 * or SO_SNDTIMEO. A non-blocking socket returns it also after max_per_call
 * bytes while the socket is still writable; tlssf_status.retry_ms is then 1.
 *
 * A file that is shorter than off + file_len: errno is ENODATA, the reason is
 * TLSSF_REASON_FILE_TRUNCATED. This error is not sticky and leaves no record
 * open.
 */
int tlssf_send_job(struct ssl_st *ssl, struct tlssf_job *job);

/*
 * Wait until no accepted byte is queued above TCP, neither in libtlssf nor in
 * the kernel's TLS layer. With a memory BIO or a custom BIO: until every byte
 * is in the BIO and BIO_flush() has succeeded.
 *
 * Returns 0 when that is so, TLSSF_WANT_WRITE or TLSSF_WANT_READ (repeat the
 * call; see tlssf_status.retry_ms), or TLSSF_ERROR with an errno of
 * tlssf_send(). A blocking socket waits in the call, up to SO_SNDTIMEO. After
 * a sticky error, accepted bytes may not have reached the peer.
 */
int tlssf_flush(struct ssl_st *ssl);

/*
 * Send close_notify (RFC 8446, section 6.1) and flush. With quiet shutdown set,
 * only flush. The call does not wait for the peer's close_notify.
 *
 * Returns 0 when both are done, and 0 again when repeated. close() then loses
 * nothing, with one exception, which is TCP's: if data from the peer is unread
 * in the socket, close() sends a reset; read that data first. Otherwise returns
 * TLSSF_WANT_WRITE, TLSSF_WANT_READ or TLSSF_ERROR as tlssf_flush() does. The
 * errors EINVAL (the handshake is unfinished) and EBUSY (an SSL_write() is
 * unfinished) are not sticky.
 */
int tlssf_shutdown(struct ssl_st *ssl);

/*
 * Fill *status for this connection. Set status->size first. Sends nothing.
 * Returns 0, or TLSSF_ERROR with errno EINVAL (a pointer is NULL, or size is
 * too small) or ENOMEM; *status is then unchanged.
 */
int tlssf_status(struct ssl_st *ssl, struct tlssf_status *status);

/*
 * Find out what this machine and this TLS library support, by trying each
 * feature on a loopback TCP connection (linux/tls.h; the kernel's
 * Documentation/networking/tls.rst). The kernel may load its tls module as a
 * result. Set caps->size first. Successes are cached for the life of the
 * process; failures are tried again, after one second at the earliest.
 * Returns 0, or TLSSF_ERROR with errno EINVAL (caps is NULL, or size is too
 * small).
 */
int tlssf_probe(struct tlssf_caps *caps);

/*
 * A sentence about the last failure of this connection. Never NULL; the
 * library owns the string, which is valid until the next call for this
 * connection. ssl NULL: a sentence about errno, for use after tlssf_ctx_init()
 * and tlssf_probe().
 */
const char *tlssf_strerror(const struct ssl_st *ssl);

/* Static strings, never NULL. An unknown value returns "unknown". */
const char *tlssf_method_name(int method);
const char *tlssf_reason_name(int reason);
const char *tlssf_reason_text(int reason);
const char *tlssf_cipher_name(int cipher);

/*
 * Call `fn` with one line (without a newline) for each decision of the library,
 * in the whole process; fn NULL disables that. TLSSF_TRACE=1 in the environment
 * prints the lines to standard error while no function is set. Lines never
 * contain key material or data; their wording may change. Any thread may call
 * `fn`, and `fn` must not call libtlssf. After tlssf_set_trace() returns, the
 * previous function is not called any more and its `arg` may be freed.
 */
void tlssf_set_trace(void (*fn)(void *arg, const char *line), void *arg);

/* The version of the library at run time: "MAJOR.MINOR.PATCH", static. */
const char *tlssf_version(void);

#ifdef __cplusplus
}
#endif

#endif
