/* SPDX-License-Identifier: MIT */
/*
 * Layer method/: which method a connection takes, and what each method does.
 * One file and one const table for each method.
 */
#ifndef TLSSF_METHOD_H
#define TLSSF_METHOD_H

#include "takeover.h"

struct method {
	/* enum tlssf_reason, or NONE: the method is possible */
	int (*unavailable_reason)(const struct conn *c);
	/* Advance s->done up to `limit`: 0, TLSSF_WANT_*, TLSSF_ERROR. */
	int (*send)(struct conn *c, struct stream *s, uint64_t limit);
};

extern const struct method tlssf_method_ssl_sendfile;
extern const struct method tlssf_method_ktls;
extern const struct method tlssf_method_userspace;

/* ---- kernel_send.c: what both methods of the kernel do ---- */

#define SENDFILE_MAX	0x7ffff000u /* what Linux sends in one call */

/* Send a piece of the file `fd`: bytes sent, or -errno. */
typedef ssize_t file_sender(struct conn *c, int fd, uint64_t off, size_t len);

/* Why the kernel cannot encrypt this connection: a reason, or NONE. */
int tlssf_kernel_unavailable_reason(const struct conn *c);
int tlssf_kernel_send(struct conn *c, struct stream *s, uint64_t limit,
		      file_sender *send_file);
/* 0: nothing that was accepted is left above TCP; TLSSF_WANT_*, _ERROR. */
int tlssf_kernel_drain(struct conn *c);

/* ---- record_slots.c: records that we encrypt ourselves ---- */

/*
 * Fill the bridge's batch up to `target` bytes with records of the stream, no
 * further than `limit`: 0, TLSSF_ERROR.
 */
int tlssf_fill_batch_ourselves(struct conn *c, struct stream *s,
			       uint64_t limit, size_t target);

/* ---- method_userspace.c ---- */

int tlssf_userspace_drain(struct conn *c);	/* as tlssf_kernel_drain() */

/* ---- method.c: the choice ---- */

/*
 * Find out all that the choice depends on, and choose: 0, -ENOMEM. Until this
 * has succeeded, who encrypts is not known, and nothing may be sent.
 */
int tlssf_conn_examine(struct conn *c);
/* False: SSL_clear() was called at least, and the keys we know are gone. */
bool tlssf_conn_same_handshake(const struct conn *c);
int tlssf_method_in_force(const struct conn *c); /* enum tlssf_method */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit);

#endif
