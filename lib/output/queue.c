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

static _Atomic size_t process_held;

/* ---- what is kept between calls ---- */

void tlssf_conn_hold(struct conn *c, size_t bytes)
{
	atomic_fetch_add(&process_held, bytes - c->held);
	c->held = (uint32_t)bytes;
}

bool tlssf_conn_may_hold(const struct conn *c)
{
	size_t cap = c->conf ? c->conf->options.max_buffered : 0;

	return !cap || atomic_load(&process_held) < cap;
}

void tlssf_conn_taken(struct conn *c, struct batch *batch)
{
	size_t plain = tlssf_batch_taken(batch);

	if (c->ahead)	/* not where the queue has messages only */
		c->ahead->taken += plain;
}

uint64_t tlssf_conn_ahead(const struct conn *c)
{
	return c->ahead ? c->ahead->len : 0;
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
static ssize_t put(struct bridge *b, const void *data, size_t len)
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

bool tlssf_bridge_queued(const struct bridge *b)
{
	return b->out && !b->gathering && b->out->head < b->out->used;
}

void tlssf_bridge_drop(struct bridge *b)
{
	tlssf_batch_put(b->out);
	b->out = NULL;
	tlssf_conn_hold(b->conn, 0);
}

int tlssf_bridge_drain(struct bridge *b)
{
	struct batch *out = b->out;
	size_t want;
	ssize_t n;

	if (!tlssf_bridge_queued(b))
		return 0;
	if (b->guard)
		return -b->guard;
	if (tlssf_sys.process() != b->conn->process)
		return -ECHILD;	/* the parent sends these records */
	do {
		want = out->used - out->head;
		n = put(b, out->data + out->head, want);
		if (n == -EAGAIN || n == -EINTR)
			return WOULD_BLOCK;
		if (n < 0)
			return (int)n;
		out->head += (size_t)n;
		tlssf_conn_taken(b->conn, out);
		/* short: the socket is full, or a signal interrupted; any other
		 * BIO may take as little as it likes */
	} while (out->head < out->used && !is_socket(BIO_next(b->bio)));
	if (out->head < out->used)
		return WOULD_BLOCK;
	tlssf_bridge_drop(b);
	return 0;
}

int tlssf_bridge_seal(struct bridge *b, struct generation *g, int type,
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
	n = tlssf_record_seal(&g->key, g->aead, type, at, len);
	if (n < 0)
		return (int)n;
	b->out->used += (size_t)n;
	b->records++;
	tlssf_conn_hold(b->conn, b->out->used - b->out->head);
	return 0;
}

void tlssf_bridge_count(struct bridge *b)
{
	b->records++;
}

void tlssf_bridge_gather(struct bridge *b, struct batch *batch)
{
	b->out = batch;
	b->gathering = true;
}

void tlssf_bridge_release(struct bridge *b)
{
	b->gathering = false;
	if (b->guard || b->out->head == b->out->used)
		tlssf_bridge_drop(b);
}

struct batch *tlssf_bridge_batch(struct bridge *b)
{
	return b->out;
}

void tlssf_bridge_set_batch(struct bridge *b, struct batch *batch)
{
	b->out = batch;
}

void tlssf_bridge_observe(struct bridge *b)
{
	b->wrote = false;
}

bool tlssf_bridge_wrote(const struct bridge *b)
{
	return b->wrote;
}

unsigned int tlssf_bridge_asked(const struct bridge *b)
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

bool tlssf_bridge_pending(const struct bridge *b)
{
	return b->pending;
}

void tlssf_bridge_set_pending(struct bridge *b, bool pending)
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
		tlssf_bridge_drop(b);
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
int tlssf_bridge_flush(struct bridge *b)
{
	BIO *top = SSL_get_wbio(b->conn->ssl), *next = BIO_next(b->bio);

	if (top == b->bio && next && is_socket(next) && !tlssf_bridge_queued(b))
		return 0;
	errno = 0;
	if (BIO_flush(top) > 0)
		return 0;
	if (b->guard)
		return -b->guard;
	return waits(b, top) ? WOULD_BLOCK : below_error(top);
}

/* Nothing is held in the BIOs between us and the socket. */
bool tlssf_bridge_empty(struct bridge *b)
{
	return !tlssf_bridge_queued(b) &&
	       BIO_wpending(SSL_get_wbio(b->conn->ssl)) == 0;
}

/*
 * Could we write to the socket ourselves? A BIO of the application's own may
 * do with the bytes what it likes, so only OpenSSL's plain ones may be there.
 */
bool tlssf_bridge_direct(const struct bridge *b)
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
