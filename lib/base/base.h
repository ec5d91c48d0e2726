/* SPDX-License-Identifier: MIT */
/*
 * Layer base/, the lowest: system calls, reasons and trace, and the structs of
 * the public API that carry their size. Nothing here knows TLS or a connection.
 *
 * Functions that can fail return 0 or more, or -errno.
 */
#ifndef TLSSF_BASE_H
#define TLSSF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <tlssf/tlssf.h>

#define ERRNO_RESTARTSYS 512	/* kernel-internal; kernel TLS returns it */

/* ---- sys.c: every system call of the library ---- */

/* What TCP reports about a sending socket. */
struct sys_tcp {
	int state;		/* TCP_ESTABLISHED ... of netinet/tcp.h */
	uint64_t queued;	/* SIOCOUTQ: bytes in TCP, unacknowledged */
	uint64_t in_tcp;	/* bytes ever given to TCP: acked + queued */
};

#define SYS_CRYPTO_MAX	64	/* no struct tls12_crypto_info_* is larger */

enum tls_option {		/* of linux/tls.h, which may be older */
	TLS_OPTION_ZEROCOPY_RO = 3,
	TLS_OPTION_MAX_PAYLOAD_LEN = 5,
};

/*
 * One member for each system call. Tests replace the table. Each returns a
 * result of 0 or more, or -errno, except where its comment says otherwise.
 */
struct sys {
	/* A number that identifies this process; a forked child gets another
	 * one. It is no pid. */
	uint32_t (*process)(void);
	uint64_t (*now_ms)(void);		/* CLOCK_MONOTONIC */
	void (*sleep_ms)(unsigned int ms);
	/* Size of a regular file. -EINVAL: not regular; -EBADF: closed, or not
	 * open for reading. */
	int (*file_size)(int fd, uint64_t *size);
	ssize_t (*pread)(int fd, void *buf, size_t len, uint64_t off);
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n,
			  uint64_t off);
	int (*nonblocking)(int fd);		/* O_NONBLOCK: 1 or 0 */
	ssize_t (*send)(int fd, const void *buf, size_t len, bool more);
	ssize_t (*recv)(int fd, void *buf, size_t len);
	/* One kernel TLS record of type `type`. With len 0 and type 23 the
	 * kernel closes and sends its open record. */
	ssize_t (*send_record)(int fd, int type, const void *buf, size_t len);
	int (*poll)(int fd, short events, int timeout_ms); /* revents, or 0 */
	int (*send_timeout_ms)(int fd, int *ms);  /* SO_SNDTIMEO; -1: none */
	int (*send_room)(int fd, size_t *room);	  /* free send buffer, bytes */
	int (*tcp)(int fd, struct sys_tcp *tcp);
	int (*tcp_state)(int fd);		  /* cheaper than tcp() */
	int (*tcp_corked)(int fd);		  /* TCP_CORK: 1 or 0 */
	/* Clearing TCP_CORK makes TCP send what it holds. */
	int (*tcp_cork)(int fd, bool on);
	int (*ulp_attach)(int fd);		  /* TCP_ULP "tls" */
	/* SOL_TLS/TLS_TX: install; read back (*len in and out). */
	int (*tls_tx_set)(int fd, const void *info, size_t len);
	int (*tls_tx_get)(int fd, void *info, size_t *len);
	/* Set a SOL_TLS option of 2 or 4 bytes; *value becomes the value in
	 * force. */
	int (*tls_option)(int fd, int option, unsigned int *value, size_t len);
	ssize_t (*sendfile)(int out, int in, uint64_t off, size_t len);
	int (*shutdown_write)(int fd);
	int (*socket_id)(int fd, uint64_t *id);	  /* SO_COOKIE: never reused */
	/* A connected TCP pair over 127.0.0.1, else ::1; blocking, with limits
	 * of 2 s. */
	int (*tcp_pair)(int fds[2]);
	int (*close)(int fd);
	/* A whole small file as a string: its length, -errno, -EFBIG. */
	ssize_t (*read_text)(const char *path, char *buf, size_t cap);
	int (*kernel_release)(char *buf, size_t cap);
};

extern const struct sys tlssf_sys;
int tlssf_sys_tcp_pair(int fds[2]);	/* sys_pair.c: member tcp_pair */

/* ---- abi_struct.c: structs of a caller that has another header version ---- */

/*
 * 0, or -EINVAL when the struct is shorter than `least` bytes or sets a member
 * beyond the `known` bytes of this library's version.
 */
int tlssf_abi_check(const void *s, size_t least, size_t known);
/* Copy the bytes that both sides know; the rest of `to` becomes zero. */
void tlssf_abi_import(void *to, const void *from, size_t known);
/* Copy to the caller's struct, and set its size to the bytes filled. */
void tlssf_abi_export(void *to, void *from, size_t known);

/* ---- reason.c ---- */

bool tlssf_tracing(void);
/* One trace line; `ssl` identifies the connection, NULL: none. Keeps errno. */
void tlssf_trace(const void *ssl, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
