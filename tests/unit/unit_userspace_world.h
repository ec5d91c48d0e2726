/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_userspace share: a file that pread() answers for, a
 * socket that is a wire to a TLS client, and the account of what was told.
 */
#ifndef TLSSF_UNIT_USERSPACE_WORLD_H
#define TLSSF_UNIT_USERSPACE_WORLD_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <string.h>

#define SOCK	1000	/* no real descriptors */
#define SOCK2	1001
#define FILE_FD	1010
#define TLS13_ROW	(&rows[2])

struct world {
	struct pair p, p2;		/* p2: only where a test opens it */
	uint64_t file_size;
	size_t room;			/* free send buffer */
	bool blocking;
	int timeout_ms;			/* SO_SNDTIMEO; -1: none */
	bool writable;			/* what poll says */
	size_t read_max;		/* bytes of one pread; 0: end of file */
	unsigned int reads_left;	/* then pread fails: */
	int read_err;
	uint64_t start;			/* of what is being sent */
	uint64_t told, received;
};
extern struct world w;

/* A fresh connection; options NULL: no tlssf_ctx_init(). */
void world_open(const struct suite_row *row,
		const struct tlssf_options *options);
void world_close(void);
void begin(uint64_t start);	/* a send of the file from there */
/* One tlssf_send() of what is left of `len`; told == received afterwards. */
ssize_t step(size_t len);
/* Steps until `len` is told; the wire has room. */
void finish(size_t len);
/* The peer has got this piece of the file, outside the account ... */
void receive_part(uint64_t off, size_t len);
void receive(uint64_t off, size_t len);	/* ... and nothing after it */
void assert_error(ssize_t r, int err, int reason, bool dead);
/* Dead: no call reaches the kernel, and SSL_write() fails, too. */
void assert_silence(int err);
struct tlssf_status status_of(SSL *ssl);

void add_error_tests(Suite *suite);	/* unit_userspace_errors.c */

#endif
