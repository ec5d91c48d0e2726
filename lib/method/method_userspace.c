/* SPDX-License-Identifier: MIT */
/*
 * Method `userspace`: needs nothing but SSL_write(). The file is read many
 * records at a time, the library seals them into the bridge's batch, and the
 * batch leaves in few large sends. Sealed bytes cannot be taken back, so what
 * the socket refused stays with the connection and is told to the caller when
 * it is out: struct unreported remembers whose bytes these are.
 *
 * AUTO does better where the keys can be taken over (takeover.c): the file is
 * read straight to where its records are sealed, in next_slot, by us.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "method.h"

#define MEMORY_PRESSURE_MS	100u

static int unavailable_reason(const struct conn *c)
{
	return c->kernel_tx ? TLSSF_REASON_KERNEL_KEYS : TLSSF_REASON_NONE;
}

/* ---- what is sealed ahead of the caller ---- */

static uint64_t position(const struct stream *s)
{
	return s->job ? s->done : s->off + s->done;
}

/* After WANT the caller comes back for the same bytes. */
static bool resumes(const struct unreported *a, const struct stream *s)
{
	return !a || (a->job == s->job && a->fd == s->fd &&
		      a->pos == position(s));
}

static int remember_unreported(struct conn *c, const struct stream *s)
{
	if (c->unreported)
		return 0;
	c->unreported = tlssf_unreported_get();
	if (!c->unreported)
		return -ENOMEM;
	*c->unreported = (struct unreported){ .job = s->job, .fd = s->fd,
				    .pos = position(s) };
	return 0;
}

/* Tell the caller what is out, up to `limit`; the rest is told later. */
static void report_written(struct conn *c, struct stream *s, uint64_t limit)
{
	struct unreported *a = c->unreported;
	uint64_t n;

	if (!a)
		return;
	n = a->written < limit - s->done ? a->written : limit - s->done;
	a->written -= n;
	a->len -= n;
	a->pos += n;
	s->done += n;
	c->bytes += n;
	if (n)
		c->backoff_ms = 0;
	if (a->len)
		return;
	tlssf_unreported_put(a);
	c->unreported = NULL;
}

/* ---- the batch ---- */

/*
 * Where TCP runs out of memory, sockets take less than they have room for. What
 * is sealed has to be kept, so nobody seals much for a while.
 */
static _Atomic uint64_t memory_pressure_until;

static void note_memory_pressure(void)
{
	atomic_store(&memory_pressure_until, tlssf_sys.now_ms() + MEMORY_PRESSURE_MS);
}

static bool under_memory_pressure(void)
{
	uint64_t until = atomic_load(&memory_pressure_until);

	return until && tlssf_sys.now_ms() < until;
}

/* What the socket refused is kept in a buffer of its size, and counted. */
static void shrink_to_fit(struct conn *c)
{
	struct batch *out = tlssf_queue_batch(c->bridge);

	if (!out)
		return;
	if (out->used - out->head > BATCH_SMALL + BATCH_SLACK)
		note_memory_pressure();
	/* another BIO may want its retry from the same next_slot */
	if (tlssf_bridge_reaches_socket(c->bridge))
		out = tlssf_batch_shrink_to_fit(out);
	tlssf_queue_set_batch(c->bridge, out);
	tlssf_set_buffered(c, out->used - out->head);
}

/* Does a send return before all is taken? */
static bool may_stop_short(const struct conn *c, struct stream *s)
{
	int limit = -1;

	return tlssf_stream_nonblocking(s, c->fd) ||
	       tlssf_sys.send_timeout_ms(c->fd, &limit) || limit >= 0;
}

/*
 * As large as pays, but where the socket may refuse some, no larger than it
 * will take: that must be kept, and a slow reader is to cost no more than
 * BATCH_SMALL. A quarter is left for the kernel's own overhead.
 */
static size_t batch_target(const struct conn *c, struct stream *s)
{
	size_t room;

	if (!may_stop_short(c, s))
		return BATCH_LARGE;
	if (c->fd < 0 || under_memory_pressure() || tlssf_sys.send_room(c->fd, &room))
		return BATCH_SMALL;
	room -= room / 4;
	if (room <= PLAIN_SIZE)
		return BATCH_SMALL;
	return room < BATCH_LARGE ? room : BATCH_LARGE;
}

/* ---- sealing ---- */

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

/* Seal one record; a takeover may want to know how the library did it. */
static int write_record(struct conn *c, unsigned char *buf, size_t len,
		       size_t *done)
{
	size_t before = tlssf_queue_batch(c->bridge)->used;
	enum tl_result r = tl_write(c->ssl, buf, len, done);
	struct batch *b = tlssf_queue_batch(c->bridge);

	if (r != TL_OK)
		return write_failed(c, r);
	c->unreported->len += *done;
	tlssf_batch_mark(b, *done);
	if (c->observing) {
		c->observing = false;
		tlssf_sample_find_sequence(c, buf, *done, b->data + before,
				       b->used - before, buf + len);
	}
	return 0;
}

/* One record's worth at a time, so that progress is known per record. */
static int write_records(struct conn *c, unsigned char *buf, size_t len)
{
	size_t at = 0, n, done;
	int r = 0;

	while (at < len && !r) {
		n = len - at < RECORD_MAX ? len - at : RECORD_MAX;
		r = write_record(c, buf + at, n, &done);
		at += done;
	}
	return r;
}

static int fill_by_library(struct conn *c, struct stream *s, uint64_t limit,
		   size_t target, unsigned char *buf)
{
	int r = 0;

	while (!r && !s->short_file) {
		uint64_t left = limit - s->done - tlssf_unreported_bytes(c);
		size_t used = tlssf_queue_batch(c->bridge)->used;
		size_t want;
		ssize_t n;

		if (!left || used >= target)
			break;
		want = (target - used + RECORD_MAX - 1) / RECORD_MAX;
		want = want < PLAIN_SIZE / RECORD_MAX ? want * RECORD_MAX
						      : PLAIN_SIZE;
		if (want > left)
			want = (size_t)left;
		n = tlssf_stream_read(s, s->done + tlssf_unreported_bytes(c), buf, want);
		if (n < 0)
			return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ,
					       (int)-n);
		r = write_records(c, buf, (size_t)n);
	}
	return r;
}

static int fill_batch_by_library(struct conn *c, struct stream *s, uint64_t limit,
		      size_t target)
{
	unsigned char *buf = tlssf_plaintext_buffer_get();
	int r;

	if (!buf)
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	r = fill_by_library(c, s, limit, target, buf);
	tlssf_plaintext_buffer_put(buf);
	return r;
}

/* ---- the same with keys of our own ---- */

/* Full records stand one after the other, so each has its fixed next_slot. */
struct record_slots {
	unsigned char *first;	/* of the first record's content */
	size_t stride;		/* from one content to the next */
};

static struct record_slots record_slots_in(const struct conn *c, struct batch *b)
{
	const struct kernel_key *k = &c->takeover->ours.key;

	return (struct record_slots){
		.first = b->data + b->used + tlssf_record_start(k),
		.stride = RECORD_MAX +
			  tlssf_record_overhead(k->version, k->cipher),
	};
}

/* The next piece of content from byte `at` on, at most `len` long. */
static struct iovec next_slot(const struct record_slots *p, size_t at, size_t len)
{
	size_t in = at % RECORD_MAX, left = RECORD_MAX - in;

	return (struct iovec){
		.iov_base = p->first + at / RECORD_MAX * p->stride + in,
		.iov_len = len < left ? len : left,
	};
}

static void copy_to_slots(const struct record_slots *p, size_t at,
			   const unsigned char *from, size_t len)
{
	while (len > 0) {
		struct iovec v = next_slot(p, at, len);

		memcpy(v.iov_base, from, v.iov_len);
		from += v.iov_len;
		at += v.iov_len;
		len -= v.iov_len;
	}
}

static ssize_t read_to_slots(const struct stream *s, const struct record_slots *p,
			      size_t at, uint64_t off, size_t len)
{
	struct iovec v[BATCH_LARGE / RECORD_MAX + 1];
	const int most = (int)(sizeof(v) / sizeof(v[0]));
	int n;

	for (n = 0; n < most && len > 0; n++) {
		v[n] = next_slot(p, at, len);
		at += v[n].iov_len;
		len -= v[n].iov_len;
	}
	return tlssf_sys.preadv(s->fd, v, n, off);
}

/* Content from `pos` on to its places: how much, or -errno. */
static ssize_t fill_slots(struct stream *s, uint64_t pos,
			   const struct record_slots *p, size_t len)
{
	size_t n = 0;

	while (n < len) {
		struct stream_part part = tlssf_stream_part(s, pos + n);
		size_t want = len - n < part.len ? len - n : (size_t)part.len;
		ssize_t got = (ssize_t)want;

		if (part.data)
			copy_to_slots(p, n, part.data, want);
		else
			got = read_to_slots(s, p, n, part.off, want);
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

static int encrypt_slots(struct conn *c, struct batch *b, size_t len)
{
	struct generation *g = &c->takeover->ours;

	while (len > 0) {
		size_t plain = len < RECORD_MAX ? len : RECORD_MAX;
		ssize_t n = tlssf_record_encrypt(&g->key, g->aead, RECORD_DATA,
					      b->data + b->used, plain);

		if (n < 0)	/* a number is lost: nothing can follow */
			return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
		b->used += (size_t)n;
		c->unreported->len += plain;
		tlssf_batch_mark(b, plain);
		tlssf_bridge_count_record(c->bridge);
		len -= plain;
	}
	return 0;
}

static int fill_batch_ourselves(struct conn *c, struct stream *s, uint64_t limit,
		    size_t target)
{
	struct batch *b = tlssf_queue_batch(c->bridge);
	struct record_slots p = record_slots_in(c, b);
	uint64_t left = limit - s->done - tlssf_unreported_bytes(c);
	uint64_t records = tlssf_keys_records_left(c) - KEY_RESERVE / 2;
	ssize_t n;

	if (left / RECORD_MAX >= records)
		left = records * RECORD_MAX;
	target = (target + RECORD_MAX - 1) / RECORD_MAX * RECORD_MAX;
	n = fill_slots(s, s->done + tlssf_unreported_bytes(c), &p,
			left < target ? (size_t)left : target);
	if (n < 0)
		return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ, (int)-n);
	return encrypt_slots(c, b, (size_t)n);
}

/* The keys could be ours. */
static bool may_take_over(const struct conn *c)
{
	/* without a socket to shut, stale records could leave by another BIO */
	return c->named == TLSSF_METHOD_AUTO && !c->takeover &&
	       !c->no_takeover && c->method == TLSSF_METHOD_USERSPACE &&
	       c->socket && tlssf_bridge_reaches_socket(c->bridge) &&
	       c->info.version >= TLS12 && c->info.kernel_cipher >= 0 &&
	       !c->info.compression && !c->info.max_fragment &&
	       !tlssf_secret_unavailable_reason(c);
}

/*
 * One record of SSL_write(), observed, and then the keys are ours; every
 * failure leaves things as they are. Returns how far to go now.
 */
static uint64_t step_to_takeover(struct conn *c, const struct stream *s,
			 uint64_t limit)
{
	if (!may_take_over(c))
		return limit;
	/* also where it was not the last record: a search is dear */
	if (tlssf_sample_rejected_why(c)) {
		c->no_takeover = true;
		return limit;
	}
	/* the dear part is done, however little is left to send */
	if (tlssf_sample_is_current(c)) {
		c->no_takeover = tlssf_takeover_to_userspace(c) != TLSSF_REASON_NONE;
		return limit;
	}
	if (!tlssf_takeover_worth_it(c, s))
		return limit;
	c->observed_valid = false;
	c->observing = true;
	tlssf_keys_refresh_secret(c);
	return limit - s->done > SAMPLE_LEN ? s->done + SAMPLE_LEN : limit;
}

/* RFC 8446, 5.5 */
static bool key_is_exhausted(struct conn *c)
{
	return c->takeover && tlssf_keys_records_left(c) <= KEY_RESERVE;
}

static int next_batch(struct conn *c, struct stream *s, uint64_t limit)
{
	size_t target = limit - s->done <= PLAIN_SIZE ? BATCH_SMALL
						      : batch_target(c, s);
	struct batch *b;
	int r;

	if (!tlssf_below_buffer_cap(c) && tlssf_stream_nonblocking(s, c->fd))
		return tlssf_conn_want_write(c);
	b = tlssf_batch_get(target);
	if (!b || remember_unreported(c, s)) {
		tlssf_batch_put(b);
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	}
	tlssf_bridge_begin_gather(c->bridge, b);
	r = c->takeover ? fill_batch_ourselves(c, s, limit, target)
			: fill_batch_by_library(c, s, limit, target);
	tlssf_bridge_end_gather(c->bridge);
	return r;
}

/* ---- the method ---- */

/* With a handshake message that the bridge may hold, see resend.c. */
static int drain_queue(struct conn *c)
{
	int r = tlssf_queue_send(c->bridge);

	if (!r && c->takeover)
		r = tlssf_reseal_flush(c);
	return tlssf_conn_result(c, r == -EAGAIN ? WOULD_BLOCK : r);
}

static int userspace_send(struct conn *c, struct stream *s, uint64_t limit)
{
	uint64_t step;
	int sealed = 0, r;

	if (!resumes(c->unreported, s))
		return tlssf_conn_fail(c, TLSSF_REASON_PENDING_SEND, EINVAL);
	if (c->takeover && !tlssf_bridge_on_top(c)) {
		/* what the application has written may wait above us */
		r = tlssf_conn_result(c, tlssf_bridge_flush_bios(c->bridge));
		if (r)
			return r;
	}
	for (;;) {
		r = drain_queue(c);
		report_written(c, s, limit);
		shrink_to_fit(c);
		if (r)
			return r;
		if (c->unreported && c->unreported->written < c->unreported->len) /* lost */
			return tlssf_conn_die(c, TLSSF_REASON_IO, EPROTO);
		/* what stopped the sealing counts once its records are out */
		if (sealed || s->done >= limit || s->short_file)
			return sealed;
		if (key_is_exhausted(c)) {
			r = tlssf_keys_send_own_update(c);
			if (r)
				return tlssf_conn_io_error(c, -r);
			continue;	/* its record first */
		}
		step = step_to_takeover(c, s, limit);
		sealed = next_batch(c, s, step);
		c->observing = false;
	}
}

int tlssf_userspace_drain(struct conn *c)
{
	int r = drain_queue(c);

	shrink_to_fit(c);
	if (r)
		return r;
	return tlssf_conn_result(c, tlssf_bridge_flush_bios(c->bridge));
}

const struct method tlssf_method_userspace = {
	.unavailable_reason = unavailable_reason,
	.send = userspace_send,
};
