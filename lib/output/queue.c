/* SPDX-License-Identifier: MIT */
/*
 * The queue of the bridge, our filter BIO. The queue keeps records that were
 * gathered from the TLS library, or that we have encrypted, until the BIO below
 * has taken them. This file also finds out where among the application's BIOs
 * the bridge stands.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "output.h"

const char *const tlssf_bridge_mode_names[] = {
	[BRIDGE_PASS] = "pass",
	[BRIDGE_GATHER] = "gather",
	[BRIDGE_RESEAL] = "reseal",
	[BRIDGE_FAIL] = "fail",
	[BRIDGE_BLOCK] = "block",
	[BRIDGE_ORPHAN] = "orphan",
};

/* ---- what is kept between calls ---- */

static _Atomic size_t process_buffered;

void tlssf_set_buffered(struct conn *c, size_t bytes)
{
	atomic_fetch_add(&process_buffered, bytes - c->buffered);
	c->buffered = (uint32_t)bytes;
}

bool tlssf_below_buffer_cap(const struct conn *c)
{
	size_t cap = c->conf ? c->conf->options.max_buffered : 0;

	return !cap || atomic_load(&process_buffered) < cap;
}

void tlssf_count_written(struct conn *c, struct batch *batch)
{
	size_t plain = tlssf_batch_plaintext_written(batch);

	if (c->unreported)	/* else the batch has no bytes of a caller */
		c->unreported->written += plain;
}

uint64_t tlssf_unreported_bytes(const struct conn *c)
{
	return c->unreported ? c->unreported->len : 0;
}

/* ---- the queue ---- */

static int error_of_bio(BIO *next)
{
	int err = errno;

	if (BIO_should_retry(next))
		return -EAGAIN;
	return err ? -err : -EIO;
}

static bool is_socket(const BIO *bio)
{
	int type = BIO_method_type(bio);

	return type == BIO_TYPE_SOCKET || type == BIO_TYPE_CONNECT;
}

/*
 * Write to the BIO below. If that is a socket BIO, it is bypassed: send() with
 * MSG_NOSIGNAL raises no SIGPIPE and leaves the BIO's retry flags as they are.
 */
static ssize_t write_below(struct bridge *b, const void *data, size_t len)
{
	BIO *next = BIO_next(b->bio);
	int n;

	if (!next)
		return -EPIPE;	/* the application has popped the bridge */
	b->conn->calls++;
	if (is_socket(next)) {
		int fd = (int)BIO_get_fd(next, NULL);

		return tlssf_sys.send(fd, data, len, false);
	}
	errno = 0;
	n = BIO_write(next, data, (int)len);
	return n > 0 ? n : error_of_bio(next);
}

bool tlssf_queue_has_bytes(const struct bridge *b)
{
	return b->out && !b->gathering && b->out->head < b->out->used;
}

void tlssf_queue_discard(struct bridge *b)
{
	tlssf_batch_put(b->out);
	b->out = NULL;
	tlssf_set_buffered(b->conn, 0);
}

int tlssf_queue_send(struct bridge *b)
{
	struct batch *out = b->out;
	size_t want;
	ssize_t n;

	if (!tlssf_queue_has_bytes(b))
		return 0;
	if (tlssf_failed(b->conn))
		return -b->conn->err;
	if (tlssf_sys.process() != b->conn->process)
		return -ECHILD;	/* the parent sends these records */
	do {
		want = out->used - out->head;
		n = write_below(b, out->data + out->head, want);
		if (n == -EINTR)
			return -EAGAIN;
		if (n < 0)
			return (int)n;
		out->head += (size_t)n;
		tlssf_count_written(b->conn, out);
		/*
		 * A socket that takes less than all is full, or a signal
		 * arrived, so stop. Another BIO may take less at any time, so
		 * try again.
		 */
	} while (out->head < out->used && !is_socket(BIO_next(b->bio)));
	if (out->head < out->used)
		return -EAGAIN;
	tlssf_queue_discard(b);
	return 0;
}

int tlssf_queue_encrypt(struct bridge *b, struct generation *g, int type,
			const void *plain, size_t len, size_t padding)
{
	size_t start = tlssf_record_start(&g->key);
	unsigned char *at;
	ssize_t n;

	if (!b->out)
		b->out = tlssf_batch_get(BATCH_SMALL);
	at = b->out ? tlssf_batch_room(&b->out, start + len + padding +
						RECORD_SLACK)
		    : NULL;
	if (!at)
		return -ENOMEM;
	memcpy(at + start, plain, len);
	n = tlssf_record_encrypt(&g->key, g->aead, type, at, len, padding);
	if (n < 0)
		return (int)n;
	b->out->used += (size_t)n;
	b->records++;
	tlssf_set_buffered(b->conn, b->out->used - b->out->head);
	return 0;
}

void tlssf_bridge_begin_gather(struct bridge *b, struct batch *batch)
{
	b->out = batch;
	b->gathering = true;
}

void tlssf_bridge_end_gather(struct bridge *b)
{
	b->gathering = false;
	if (tlssf_failed(b->conn) || b->out->head == b->out->used)
		tlssf_queue_discard(b);
}

struct batch *tlssf_queue_batch(struct bridge *b)
{
	return b->out;
}

void tlssf_queue_set_batch(struct bridge *b, struct batch *batch)
{
	b->out = batch;
}

/* ---- the BIOs around ---- */

/*
 * Look at every BIO above the bridge, too, since a filter may fail to copy the
 * retry flags of the BIO below it.
 */
static bool should_retry(const struct bridge *b, BIO *top)
{
	while (top && top != b->bio && !BIO_should_retry(top))
		top = BIO_next(top);
	return top && BIO_should_retry(top);
}

int tlssf_bridge_flush_bios(struct bridge *b)
{
	BIO *top = SSL_get_wbio(b->conn->ssl), *next = BIO_next(b->bio);

	/* A socket BIO has nothing to flush. */
	if (top == b->bio && next && is_socket(next) &&
	    !tlssf_queue_has_bytes(b))
		return 0;
	errno = 0;
	if (BIO_flush(top) > 0)
		return 0;
	if (tlssf_failed(b->conn))
		return -b->conn->err;
	return should_retry(b, top) ? -EAGAIN : error_of_bio(top);
}

bool tlssf_bridge_bios_empty(struct bridge *b)
{
	return !tlssf_queue_has_bytes(b) &&
	       BIO_wpending(SSL_get_wbio(b->conn->ssl)) == 0;
}

/*
 * Could we write to the socket ourselves? A BIO of the application's own may
 * change the bytes or hold them, so only BIOs that OpenSSL brings may stand
 * between the bridge and the socket.
 */
bool tlssf_bridge_reaches_socket(const struct bridge *b)
{
	BIO *bio;

	for (bio = BIO_next(b->bio); bio; bio = BIO_next(bio)) {
		/* skip a detached bridge, which passes everything */
		if (BIO_method_type(bio) == BIO_method_type(b->bio))
			continue;
		switch (BIO_method_type(bio)) {
		case BIO_TYPE_SOCKET:
		case BIO_TYPE_CONNECT:
		case BIO_TYPE_FD:
			return true;
		case BIO_TYPE_BUFFER:
		case BIO_TYPE_NULL_FILTER:
			continue;
		}
		return false;
	}
	return false;
}

bool tlssf_bridge_on_top(const struct conn *c)
{
	return c->bridge && SSL_get_wbio(c->ssl) == c->bridge->bio;
}

bool tlssf_bridge_in_chain(const struct conn *c)
{
	BIO *bio = SSL_get_wbio(c->ssl);

	while (bio && c->bridge && bio != c->bridge->bio)
		bio = BIO_next(bio);
	return bio && c->bridge;
}
