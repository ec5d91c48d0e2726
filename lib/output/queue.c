/* SPDX-License-Identifier: MIT */
/*
 * The records of ours that go through the bridge: gathered or sealed here, and
 * queued until the BIO below has taken them; and where among the application's
 * BIOs the bridge stands.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "output.h"

static _Atomic size_t process_buffered;

/* ---- what is kept between calls ---- */

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

	if (c->unreported)	/* not where the queue has messages only */
		c->unreported->written += plain;
}

uint64_t tlssf_unreported_bytes(const struct conn *c)
{
	return c->unreported ? c->unreported->len : 0;
}

/* ---- the queue ---- */

static int below_error(BIO *next)
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

/* Straight to the socket where there is one: MSG_NOSIGNAL, no retry flags. */
static ssize_t write_below(struct bridge *b, const void *data, size_t len)
{
	BIO *next = BIO_next(b->bio);
	int n;

	if (!next)
		return -EPIPE;	/* popped */
	b->conn->calls++;
	if (is_socket(next)) {
		int fd = (int)BIO_get_fd(next, NULL);

		return tlssf_sys.send(fd, data, len, false);
	}
	errno = 0;
	n = BIO_write(next, data, (int)len);
	return n > 0 ? n : below_error(next);
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
	if (b->guard)
		return -b->guard;
	if (tlssf_sys.process() != b->conn->process)
		return -ECHILD;	/* the parent sends these records */
	do {
		want = out->used - out->head;
		n = write_below(b, out->data + out->head, want);
		if (n == -EAGAIN || n == -EINTR)
			return WOULD_BLOCK;
		if (n < 0)
			return (int)n;
		out->head += (size_t)n;
		tlssf_count_written(b->conn, out);
		/* short: the socket is full, or a signal interrupted; any other
		 * BIO may take as little as it likes */
	} while (out->head < out->used && !is_socket(BIO_next(b->bio)));
	if (out->head < out->used)
		return WOULD_BLOCK;
	tlssf_queue_discard(b);
	return 0;
}

int tlssf_queue_encrypt(struct bridge *b, struct generation *g, int type,
		      const void *plain, size_t len)
{
	size_t start = tlssf_record_start(&g->key);
	unsigned char *at;
	ssize_t n;

	if (!b->out)
		b->out = tlssf_batch_get(BATCH_SMALL);
	at = b->out ? tlssf_batch_room(&b->out, start + len + RECORD_SLACK)
		    : NULL;
	if (!at)
		return -ENOMEM;
	memcpy(at + start, plain, len);
	n = tlssf_record_encrypt(&g->key, g->aead, type, at, len);
	if (n < 0)
		return (int)n;
	b->out->used += (size_t)n;
	b->records++;
	tlssf_set_buffered(b->conn, b->out->used - b->out->head);
	return 0;
}

void tlssf_bridge_count_record(struct bridge *b)
{
	b->records++;
}

void tlssf_bridge_begin_gather(struct bridge *b, struct batch *batch)
{
	b->out = batch;
	b->gathering = true;
}

void tlssf_bridge_end_gather(struct bridge *b)
{
	b->gathering = false;
	if (b->guard || b->out->head == b->out->used)
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

void tlssf_bridge_reset_wrote(struct bridge *b)
{
	b->wrote = false;
}

bool tlssf_bridge_wrote_since_sample(const struct bridge *b)
{
	return b->wrote;
}

unsigned int tlssf_bridge_io_calls(const struct bridge *b)
{
	return b->asked;
}

uint64_t tlssf_bridge_records(const struct bridge *b)
{
	return b->records;
}

/* ---- what else is known of the bridge ---- */

bool tlssf_bridge_renewed(const struct bridge *b)
{
	return b->renewed;
}

void tlssf_bridge_examined(struct bridge *b)
{
	b->renewed = false;
}

bool tlssf_bridge_write_pending(const struct bridge *b)
{
	return b->pending;
}

void tlssf_bridge_set_write_pending(struct bridge *b, bool pending)
{
	b->pending = pending;
}

bool tlssf_bridge_guarded(const struct bridge *b)
{
	return b->guard != 0;
}

void tlssf_bridge_guard(struct bridge *b, int err)
{
	b->guard = err ? err : EPIPE;
	if (!b->gathering)
		tlssf_queue_discard(b);
}

/* ---- the BIOs around ---- */

/* Not every filter above us hands on that the one below it waits. */
static bool waits(const struct bridge *b, BIO *top)
{
	while (top && top != b->bio && !BIO_should_retry(top))
		top = BIO_next(top);
	return top && BIO_should_retry(top);
}

/* All that lies in BIOs above and below us. A socket has nothing to flush. */
int tlssf_bridge_flush_bios(struct bridge *b)
{
	BIO *top = SSL_get_wbio(b->conn->ssl), *next = BIO_next(b->bio);

	if (top == b->bio && next && is_socket(next) && !tlssf_queue_has_bytes(b))
		return 0;
	errno = 0;
	if (BIO_flush(top) > 0)
		return 0;
	if (b->guard)
		return -b->guard;
	return waits(b, top) ? WOULD_BLOCK : below_error(top);
}

/* Nothing is held in the BIOs between us and the socket. */
bool tlssf_bridge_bios_empty(struct bridge *b)
{
	return !tlssf_queue_has_bytes(b) &&
	       BIO_wpending(SSL_get_wbio(b->conn->ssl)) == 0;
}

/*
 * Could we write to the socket ourselves? A BIO of the application's own may
 * do with the bytes what it likes, so only OpenSSL's plain ones may be there.
 */
bool tlssf_bridge_reaches_socket(const struct bridge *b)
{
	BIO *bio;

	for (bio = BIO_next(b->bio); bio; bio = BIO_next(bio)) {
		/* one of ours that another BIO has covered: it only passes */
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
