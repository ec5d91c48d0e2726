/* SPDX-License-Identifier: MIT */
/*
 * Layer base/, the lowest layer: every system call of the library, the names
 * and texts of reasons, the trace, and the structs of the public API that carry
 * their size. No function of this layer uses the TLS library or a connection.
 *
 * A function that can fail returns 0 or more, or -errno.
 */
#ifndef TLSSF_BASE_H
#define TLSSF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <tlssf/tlssf.h>

#define ERRNO_RESTARTSYS 512	/* kernel-internal, but kernel TLS returns it */

/* ---- sys.c: every system call of the library ---- */

/* What TCP reports about a sending socket. */
struct sys_tcp {
	int state;		/* TCP_ESTABLISHED ... of netinet/tcp.h */
	uint64_t queued;	/* SIOCOUTQ: bytes in TCP, unacknowledged */
	uint64_t in_tcp;	/* all bytes since the start: acked + queued */
};

#define SYS_CRYPTO_MAX	64	/* every struct tls12_crypto_info_* fits */

enum tls_option {		/* of SOL_TLS, not in every linux/tls.h */
	TLS_OPTION_ZEROCOPY_RO = 3,
	TLS_OPTION_MAX_PAYLOAD_LEN = 5,
};

/*
 * One member for each system call; unit tests replace the table. Each member
 * returns 0 or more, or -errno, except where its comment states otherwise.
 */
struct sys {
	/* A number that identifies this process: not the pid, and different
	 * in a forked child. */
	uint32_t (*process)(void);
	uint64_t (*now_ms)(void);		/* CLOCK_MONOTONIC */
	void (*sleep_ms)(unsigned int ms);
	/*
	 * Get the size of a regular file. -EINVAL: the file is not regular;
	 * -EBADF: the descriptor is closed or not open for reading.
	 */
	int (*file_size)(int fd, uint64_t *size);
	ssize_t (*pread)(int fd, void *buf, size_t len, uint64_t off);
	/* If a sandbox refuses preadv(2), each call reads one piece only. */
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n,
			  uint64_t off);
	int (*nonblocking)(int fd);		/* O_NONBLOCK: 1 or 0 */
	ssize_t (*send)(int fd, const void *buf, size_t len, bool more);
	ssize_t (*recv)(int fd, void *buf, size_t len);
	/* Send one kernel TLS record of type `type`. With len 0 and type 23
	 * the kernel closes its open record and sends that record. */
	ssize_t (*send_record)(int fd, int type, const void *buf, size_t len);
	int (*poll)(int fd, short events, int timeout_ms); /* revents or 0 */
	int (*send_timeout_ms)(int fd, int *ms);  /* SO_SNDTIMEO; -1: none */
	int (*send_room)(int fd, size_t *room);	  /* free send buffer, bytes */
	int (*tcp)(int fd, struct sys_tcp *tcp);
	int (*tcp_state)(int fd);		  /* only tcp->state */
	int (*tcp_corked)(int fd);		  /* TCP_CORK: 1 or 0 */
	/* TCP_CORK. Clearing the option makes TCP send a partial segment. */
	int (*tcp_cork)(int fd, bool on);
	/*
	 * Set TCP_ULP to "tls". Fails if a sandbox refuses a system call that
	 * kernel TLS needs afterwards.
	 */
	int (*ulp_attach)(int fd);
	/* SOL_TLS/TLS_TX: install a key; read the installed key back (*len is
	 * the size of `info` on entry, and the length read on return). */
	int (*tls_tx_set)(int fd, const void *info, size_t len);
	int (*tls_tx_get)(int fd, void *info, size_t *len);
	/* Set a SOL_TLS option whose value has `len` bytes (2 or 4), then
	 * store the value in force in *value. */
	int (*tls_option)(int fd, int option, unsigned int *value, size_t len);
	ssize_t (*sendfile)(int out, int in, uint64_t off, size_t len);
	int (*shutdown_write)(int fd);
	int (*socket_id)(int fd, uint64_t *id);	  /* SO_COOKIE: unique */
	/* Connect a TCP pair over 127.0.0.1, or over ::1 if that fails. The
	 * sockets are blocking, with timeouts of 2 s. */
	int (*tcp_pair)(int fds[2]);
	int (*close)(int fd);
	/*
	 * Read a whole file as a string. Returns its length, or -errno; -EFBIG
	 * if the string does not fit in `cap` bytes.
	 */
	ssize_t (*read_text)(const char *path, char *buf, size_t cap);
	int (*kernel_release)(char *buf, size_t cap);	/* of uname(2) */
};

extern const struct sys tlssf_sys;
int tlssf_sys_tcp_pair(int fds[2]);	/* sys_pair.c: member tcp_pair */

/* ---- abi_struct.c: structs of programs with another version's header ---- */

/*
 * Check a caller's struct. Returns 0, or -EINVAL if the struct has fewer than
 * `least` bytes, or a non-zero byte after the `known` bytes of this library's
 * version.
 */
int tlssf_abi_check(const void *s, size_t least, size_t known);
/* Copy the bytes that both versions have; fill the rest of `to` with zeros. */
void tlssf_abi_import(void *to, const void *from, size_t known);
/*
 * Copy `from` to the caller's struct `to`, no more than the size in `to`, and
 * set the size in both structs to the number of bytes copied.
 */
void tlssf_abi_export(void *to, void *from, size_t known);

/* ---- reason.c ---- */

bool tlssf_tracing(void);
/*
 * Write one trace line; `ssl` identifies the connection, or is NULL. Preserves
 * errno.
 */
void tlssf_trace(const void *ssl, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
