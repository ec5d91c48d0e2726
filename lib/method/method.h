/* SPDX-License-Identifier: MIT */
/*
 * Layer method/: which method a connection takes, and what each method does.
 * One file and one const table for each method.
 */
#ifndef TLSSF_METHOD_H
#define TLSSF_METHOD_H

#include "takeover.h"

struct method {
	int (*unavailable_reason)(const struct conn *c);	/* enum tlssf_reason */
	/* Advance s->done up to `limit`: 0, TLSSF_WANT_*, TLSSF_ERROR. */
	int (*send)(struct conn *c, struct stream *s, uint64_t limit);
};

extern const struct method tlssf_method_ssl_sendfile;
extern const struct method tlssf_method_ktls;
extern const struct method tlssf_method_userspace;

/* ---- kernel_send.c: what both methods of the kernel do ---- */

#define SENDFILE_MAX	0x7ffff000u /* what Linux sends in one call */

typedef ssize_t file_sender(struct conn *c, int fd, uint64_t off, size_t len);

int tlssf_kernel_unavailable_reason(const struct conn *c);	/* enum tlssf_reason */
int tlssf_kernel_send(struct conn *c, struct stream *s, uint64_t limit,
		      file_sender *send_file);
/* 0: nothing accepted is left above TCP; TLSSF_WANT_*, TLSSF_ERROR. */
int tlssf_kernel_drain(struct conn *c);

/* ---- method_userspace.c ---- */

int tlssf_userspace_drain(struct conn *c);	/* as tlssf_kernel_drain() */

/* ---- method.c: the choice ---- */

/* Find out all that the choice depends on, and choose: 0, -ENOMEM. */
int tlssf_conn_examine(struct conn *c);
bool tlssf_conn_same_handshake(const struct conn *c);	/* as when examined */
void tlssf_method_choose(struct conn *c);	/* for an examined one */
int tlssf_method_in_force(const struct conn *c); /* enum tlssf_method */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit);

#endif
