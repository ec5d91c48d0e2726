/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_kernel_send share: a connection whose BIO claims that
 * the kernel has the keys, a replaced SSL_sendfile(), and a log of all that was
 * sent.
 */
#ifndef TLSSF_UNIT_KERNEL_SEND_WORLD_H
#define TLSSF_UNIT_KERNEL_SEND_WORLD_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

#define SOCK	1000
#define FILE_FD	1010
#define ALL	INT64_MAX	/* the answer "all bytes were sent" */

#define NO_ERRNO	INT64_MIN	/* the answer "failed" with errno 0 */

/* The call that sent a piece. */
enum how { BY_SEND, BY_SEND_MORE, BY_FILE, BY_PUSH };
struct sent {
	enum how how;
	uint64_t off, len;	/* of the file; as requested */
};

struct world {
	struct pair p;
	uint64_t file_size;
	struct sys_tcp tcp;
	int state;		/* what tcp_state() returns */
	bool blocking;
	int revents;
	bool corked;		/* TCP_CORK */
	struct sent log[64];
	bool in_cork[64];	/* whether TCP_CORK was set at that call */
	unsigned int logged;
	/* byte counts, -errno, ALL; the calls after these get ALL */
	int64_t answers[16];
	unsigned int answered;
	int push_err, pread_err;
	uint64_t file_end;	/* where pread() finds the end; 0: no end */
	int state_after_send;	/* the new `state` after a send; 0: no change */
};
extern struct world w;

void world_open(void);
void world_close(void);
/*
 * Clear the log; the next calls of SSL_sendfile() and send() get these answers.
 */
void answer(int64_t a, int64_t b, int64_t c);
void assert_log(const struct sent *want, unsigned int n);
#define ASSERT_LOG(...) do { \
	static const struct sent want_[] = { __VA_ARGS__ }; \
	assert_log(want_, sizeof(want_) / sizeof(want_[0])); \
} while (0)
ssize_t send_file(uint64_t off, size_t len);
struct tlssf_job make_job(size_t header, uint64_t file, size_t trailer);
struct tlssf_status status_now(void);
void assert_error(ssize_t r, int err, int reason, bool dead);
/*
 * Check that the connection is dead: no call makes a system call, and
 * SSL_write() fails, too.
 */
void assert_dead(int err);

void add_error_tests(Suite *suite);	/* unit_kernel_send_errors.c */
void add_file_tests(Suite *suite);	/* unit_kernel_send_file.c */

#endif
