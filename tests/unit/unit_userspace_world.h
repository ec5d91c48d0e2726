/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_userspace share: a scripted file, a socket that is a
 * wire to a TLS client, and the number of bytes that were reported.
 */
#ifndef TLSSF_UNIT_USERSPACE_WORLD_H
#define TLSSF_UNIT_USERSPACE_WORLD_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <string.h>

/* numbers that no real descriptor has */
#define SOCK	1000
#define SOCK2	1001
#define FILE_FD	1010
#define TLS13_ROW	(&rows[2])

struct world {
	struct pair p, p2;		/* p2: only if the test opens it */
	uint64_t file_size;
	size_t room;			/* free send buffer */
	bool blocking;
	int timeout_ms;			/* SO_SNDTIMEO; -1: none */
	bool writable;			/* preads until one fails */
	size_t read_max;		/* bytes of one pread; 0: end of file */
	unsigned int reads_left;	/* after so many, pread fails with: */
	int read_err;
	uint64_t start;			/* file offset of the send */
	uint64_t reported, received;
};
extern struct world w;

/* Open a connection. `options` NULL: without tlssf_ctx_init(). */
void world_open(const struct suite_row *row,
		const struct tlssf_options *options);
void world_close(void);
void begin(uint64_t start);	/* start a send of the file from this offset */
/*
 * Call tlssf_send() once for what is left of `len`. Checks that the peer has
 * received exactly the bytes that were reported.
 */
ssize_t step(size_t len);
/* Repeat step() until `len` bytes are reported; the wire has room. */
void finish(size_t len);
/* Check that the peer receives this part of the file, without step(). */
void receive_part(uint64_t off, size_t len);
void receive(uint64_t off, size_t len);	/* ... and nothing after it */
void assert_error(ssize_t r, int err, int reason, bool dead);
/*
 * Check that the connection is dead: no call makes a system call, and
 * SSL_write() fails, too.
 */
void assert_dead(int err);
struct tlssf_status status_of(SSL *ssl);

void add_error_tests(Suite *suite);	/* unit_userspace_errors.c */

#endif
