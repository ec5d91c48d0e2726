/* SPDX-License-Identifier: MIT */
/*
 * Layer method/: which method a connection takes, and what each method does.
 * Each method has one file and one const table.
 *
 * In a takeover, we take the write keys of a connection over from the TLS
 * library (takeover.h).
 */
#ifndef TLSSF_METHOD_H
#define TLSSF_METHOD_H

#include "takeover.h"

struct method {
	/* Returns enum tlssf_reason; NONE: the method is possible. */
	int (*unavailable_reason)(const struct conn *c);
	/*
	 * Send up to `limit` and advance s->done. Returns 0, TLSSF_WANT_* or
	 * TLSSF_ERROR.
	 */
	int (*send)(struct conn *c, struct stream *s, uint64_t limit);
};

extern const struct method tlssf_method_ssl_sendfile;
extern const struct method tlssf_method_ktls;
extern const struct method tlssf_method_userspace;

/* ---- kernel_send.c: for methods whose records the kernel encrypts ---- */

#define SENDFILE_MAX	0x7ffff000u /* what Linux sends in one call */

/* Send a piece of the file `fd`. Returns the bytes sent, or -errno. */
typedef ssize_t file_sender(struct conn *c, int fd, uint64_t off, size_t len);

/* Returns why the kernel cannot encrypt this connection, or REASON_NONE. */
int tlssf_kernel_unavailable_reason(const struct conn *c);
int tlssf_kernel_send(struct conn *c, struct stream *s, uint64_t limit,
		      file_sender *send_file);
/* Returns 0 when TCP has all that was accepted, else TLSSF_WANT_* or _ERROR. */
int tlssf_kernel_drain(struct conn *c);

/* ---- record_slots.c: records that we encrypt ourselves ---- */

/*
 * Encrypt records of the stream, no further than `limit`, until the batch of
 * the bridge (our filter BIO) holds `target` bytes: 0, TLSSF_ERROR.
 */
int tlssf_fill_batch_ourselves(struct conn *c, struct stream *s,
			       uint64_t limit, size_t target);

/* ---- method_userspace.c ---- */

int tlssf_userspace_drain(struct conn *c);	/* as tlssf_kernel_drain() */

/* ---- method.c: the choice ---- */

/*
 * Find out everything that the choice of the method depends on, and choose: 0,
 * -ENOMEM. Nothing may be sent before this function has succeeded, because
 * until then it is not known who encrypts.
 */
int tlssf_conn_examine(struct conn *c);
/*
 * Returns false if there was a new handshake, or at least an SSL_clear(). The
 * keys that we know are gone then.
 */
bool tlssf_conn_same_handshake(const struct conn *c);
int tlssf_method_in_force(const struct conn *c); /* enum tlssf_method */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit);

#endif
