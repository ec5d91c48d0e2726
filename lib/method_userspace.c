/* SPDX-License-Identifier: MIT */
/*
 * Method `userspace`: needs nothing but SSL_write(). The file is read many
 * records at a time, the library seals them into the bridge's batch, and the
 * batch leaves in few large sends. Sealed bytes cannot be taken back, so what
 * the socket refused stays with the connection and is told to the caller when
 * it is out: struct ahead remembers whose bytes these are.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static int why_not(const struct conn *c)
{
	return c->kernel_tx ? TLSSF_REASON_KERNEL_KEYS : TLSSF_REASON_NONE;
}

/* ---- what is sealed ahead of the caller ---- */

static uint64_t position(const struct stream *s)
{
	return s->job ? s->done : s->off + s->done;
}

/* After WANT the caller comes back for the same bytes. */
static bool is_his(const struct ahead *a, const struct stream *s)
{
	return !a->len || (a->job == s->job && a->fd == s->fd &&
			   a->pos == position(s));
}

static void claim(struct conn *c, const struct stream *s)
{
	struct ahead *a = &c->ahead;

	if (a->len)
		return;
	*a = (struct ahead){ .job = s->job, .fd = s->fd, .pos = position(s) };
}

/* Tell the caller what is out, up to `limit`; the rest is told later. */
static void credit(struct conn *c, struct stream *s, uint64_t limit)
{
	struct ahead *a = &c->ahead;
	uint64_t n = a->taken < limit - s->done ? a->taken : limit - s->done;

	a->taken -= n;
	a->len -= n;
	a->pos += n;
	s->done += n;
	if (n)
		c->backoff_ms = 0;
}

/* ---- the batch ---- */

/* What the socket refused is kept in a buffer of its size, and counted. */
static void settle(struct conn *c)
{
	struct batch *out = tlssf_bridge_batch(c->bridge);

	if (!out)
		return;
	out = tlssf_batch_settle(out);
	tlssf_bridge_set_batch(c->bridge, out);
	tlssf_conn_hold(c, out->used - out->head);
}

/*
 * As large as pays, but on a non-blocking socket no larger than the socket
 * will take: what it refuses must be kept, and a slow reader is to cost no
 * more than BATCH_SMALL. A quarter is left for the kernel's own overhead.
 */
static size_t batch_target(const struct conn *c, const struct stream *s)
{
	size_t room;

	if (!s->nonblocking)
		return BATCH_LARGE;
	if (c->fd < 0 || tlssf_sys.send_room(c->fd, &room))
		return BATCH_SMALL;
	room -= room / 4;
	if (room < BATCH_SMALL)
		return BATCH_SMALL;
	return room < BATCH_LARGE ? room : BATCH_LARGE;
}

/* ---- sealing ---- */

/* Plaintext from `pos` on, header, file and trailer joined: bytes or -errno. */
static ssize_t gather_plain(struct stream *s, uint64_t pos,
			    unsigned char *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		struct part part = tlssf_stream_part(s, pos + n);
		size_t len = cap - n;
		ssize_t got;

		if (len > part.len)
			len = (size_t)part.len;
		if (part.data) {
			memcpy(buf + n, part.data, len);
			n += len;
			continue;
		}
		got = tlssf_sys.pread(s->fd, buf + n, len, part.off);
		if (got == -EINTR)
			continue;
		if (got < 0)
			return n ? (ssize_t)n : got;
		if (got == 0) {
			s->short_file = true;
			break;
		}
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int write_failed(struct conn *c, enum tl_result r)
{
	int err = errno;

	switch (r) {
	case TL_OK:
		return 0;
	case TL_WANT_READ:
		return TLSSF_WANT_READ;
	case TL_WANT_WRITE:	/* the bridge took all: the library waits */
		return tlssf_conn_want_write(c);
	case TL_CLOSED:
		return tlssf_conn_fail(c, TLSSF_REASON_SHUT_DOWN, EPIPE);
	case TL_SYSCALL:
		if (err == ENOMEM)
			return tlssf_conn_die(c, TLSSF_REASON_NO_MEMORY, err);
		return tlssf_conn_io_error(c, err ? err : EPIPE);
	case TL_FATAL:
		break;
	}
	tlssf_trace(c->ssl, "TLS library: %s", tl_error_text());
	return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
}

/* One record's worth at a time, so that progress is known per record. */
static int seal(struct conn *c, const unsigned char *buf, size_t len)
{
	size_t at = 0, n, done;
	enum tl_result r;

	while (at < len) {
		n = len - at < RECORD_MAX ? len - at : RECORD_MAX;
		r = tl_write(c->ssl, buf + at, n, &done);
		if (r != TL_OK)
			return write_failed(c, r);
		at += done;
		c->ahead.len += done;
		tlssf_batch_mark(tlssf_bridge_batch(c->bridge), done);
	}
	return 0;
}

static int fill_batch(struct conn *c, struct stream *s, uint64_t limit,
		      size_t target)
{
	unsigned char *buf = tlssf_plain_buffer();
	int r = 0;

	if (!buf)
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	while (!r && !s->short_file) {
		uint64_t left = limit - s->done - c->ahead.len;
		size_t used = tlssf_bridge_batch(c->bridge)->used;
		size_t want;
		ssize_t n;

		if (!left || used >= target)
			break;
		want = (target - used + RECORD_MAX - 1) / RECORD_MAX;
		want = want < PLAIN_SIZE / RECORD_MAX ? want * RECORD_MAX
						      : PLAIN_SIZE;
		if (want > left)
			want = (size_t)left;
		n = gather_plain(s, s->done + c->ahead.len, buf, want);
		if (n < 0)
			return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ,
					       (int)-n);
		r = seal(c, buf, (size_t)n);
	}
	return r;
}

static int next_batch(struct conn *c, struct stream *s, uint64_t limit)
{
	size_t target = batch_target(c, s);
	struct batch *b;
	int r;

	if (s->nonblocking && !tlssf_conn_may_hold(c))
		return tlssf_conn_want_write(c);
	if (limit - s->done <= BATCH_SMALL)
		target = BATCH_SMALL;
	b = tlssf_batch_get(target);
	if (!b)
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	claim(c, s);
	tlssf_bridge_gather(c->bridge, b);
	r = fill_batch(c, s, limit, target);
	tlssf_bridge_release(c->bridge);
	return r;
}

/* ---- the method ---- */

static int drain_queue(struct conn *c)
{
	return tlssf_conn_result(c, tlssf_bridge_drain(c->bridge));
}

static int send_stream(struct conn *c, struct stream *s, uint64_t limit)
{
	int sealed = 0, r;

	if (!is_his(&c->ahead, s))
		return tlssf_conn_fail(c, TLSSF_REASON_PENDING_SEND, EINVAL);
	for (;;) {
		r = drain_queue(c);
		credit(c, s, limit);
		settle(c);
		if (r)
			return r;
		if (c->ahead.taken < c->ahead.len)	/* records lost */
			return tlssf_conn_die(c, TLSSF_REASON_IO, EPROTO);
		/* what stopped the sealing counts once its records are out */
		if (sealed || s->done >= limit || s->short_file)
			return sealed;
		sealed = next_batch(c, s, limit);
	}
}

static int drain(struct conn *c)
{
	int r = drain_queue(c);

	settle(c);
	if (r)
		return r;
	return tlssf_conn_result(c, tlssf_bridge_flush_below(c->bridge));
}

static uint64_t records(struct conn *c)
{
	return tlssf_bridge_records(c->bridge);
}

const struct method tlssf_method_userspace = {
	.id = TLSSF_METHOD_USERSPACE,
	.why_not = why_not,
	.send = send_stream,
	.drain = drain,
	.records = records,
};
