/* SPDX-License-Identifier: MIT */
/*
 * Method `userspace`: always possible, since it needs only SSL_write(). It
 * reads the file in pieces of many records, the TLS library encrypts these
 * records into a batch, and the batch leaves in few large sends. Encrypted
 * bytes cannot be withdrawn. So the connection keeps what the socket does not
 * accept, and struct unreported notes which bytes of the file these are. Later
 * calls report them to the caller.
 *
 * With AUTO, this method takes the write keys over from the TLS library (a
 * takeover, takeover.c). We then encrypt the records ourselves, which is faster
 * (record_slots.c).
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "method.h"

#define MEMORY_PRESSURE_MS	100u	/* batches stay small this long */

static int unavailable_reason(const struct conn *c)
{
	return tlssf_kernel_seals(c) ? TLSSF_REASON_KERNEL_KEYS
				      : TLSSF_REASON_NONE;
}

/* ---- encrypted, but not reported yet ---- */

static uint64_t position(const struct stream *s)
{
	return s->job ? s->done : s->off + s->done;
}

/*
 * True if this call continues the send whose bytes are not reported yet, or if
 * there are no such bytes.
 */
static bool resumes(const struct unreported *u, const struct stream *s)
{
	return !u || (u->job == s->job && u->fd == s->fd &&
		      u->pos == position(s));
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

/* Report bytes that have left, up to `limit`; later calls report the rest. */
static void report_written(struct conn *c, struct stream *s, uint64_t limit)
{
	struct unreported *u = c->unreported;
	uint64_t n;

	if (!u)
		return;
	n = u->written < limit - s->done ? u->written : limit - s->done;
	u->written -= n;
	u->len -= n;
	u->pos += n;
	s->done += n;
	c->bytes += n;
	if (n)
		c->backoff_ms = 0;
	if (u->len)
		return;
	tlssf_unreported_put(u);
	c->unreported = NULL;
}

/* ---- the batch ---- */

/*
 * Until this time, all connections of the process encrypt only small batches.
 * It is set when TCP is short of memory. A socket then accepts less than it has
 * room for, and what is encrypted already must be kept.
 */
static _Atomic uint64_t memory_pressure_until;

static void note_memory_pressure(void)
{
	atomic_store(&memory_pressure_until,
		     tlssf_sys.now_ms() + MEMORY_PRESSURE_MS);
}

static bool under_memory_pressure(void)
{
	uint64_t until = atomic_load(&memory_pressure_until);

	return until && tlssf_sys.now_ms() < until;
}

/* Keep what the socket did not accept, in a small buffer if it fits there. */
static void shrink_to_fit(struct conn *c)
{
	struct batch *out = tlssf_queue_batch(c->bridge);

	if (!out)
		return;
	if (out->used - out->head > BATCH_SMALL + BATCH_SLACK)
		note_memory_pressure();
	/*
	 * A BIO of the application may require the same address for a retry, so
	 * do not move the batch.
	 */
	if (tlssf_bridge_reaches_socket(c->bridge))
		out = tlssf_batch_shrink_to_fit(out);
	tlssf_queue_set_batch(c->bridge, out);
	tlssf_set_buffered(c, out->used - out->head);
}

/* May the socket accept only a part of what is sent? */
static bool may_accept_less(const struct conn *c, struct stream *s)
{
	int limit = -1;

	return tlssf_stream_nonblocking(s, c->fd) ||
	       tlssf_sys.send_timeout_ms(c->fd, &limit) || limit >= 0;
}

/*
 * Returns how many bytes to encrypt into one batch. A large batch costs the
 * fewest system calls. But if the socket may accept only a part, the batch is
 * no larger than the free send buffer, because the rest must be kept, and a
 * slow reader may cost no more memory than BATCH_SMALL. A quarter of the free
 * send buffer is left for the kernel's own overhead.
 */
static size_t batch_target(const struct conn *c, struct stream *s)
{
	size_t room;

	if (!may_accept_less(c, s))
		return BATCH_LARGE;
	if (c->fd < 0 || under_memory_pressure() ||
	    tlssf_sys.send_room(c->fd, &room))
		return BATCH_SMALL;
	room -= room / 4;
	if (room <= PLAIN_SIZE)
		return BATCH_SMALL;
	return room < BATCH_LARGE ? room : BATCH_LARGE;
}

/* ---- encrypted by the library ---- */

static int write_failed(struct conn *c, enum tl_result r)
{
	int err = errno;

	if (r == TL_OK)
		return 0;
	if (r == TL_CLOSED)
		return tlssf_conn_fail(c, TLSSF_REASON_SHUT_DOWN, EPIPE);
	/*
	 * Our SSL_write() has begun and cannot be repeated later, so the
	 * connection has failed for good.
	 */
	if (r == TL_SYSCALL && err == ENOMEM)
		return tlssf_conn_die(c, TLSSF_REASON_NO_MEMORY, err);
	if (r == TL_SYSCALL)
		return tlssf_conn_io_error(c, err ? err : EPIPE);
	if (r == TL_FATAL)
		tlssf_trace(c->ssl, "TLS library: %s", tl_error_text());
	return tlssf_conn_tls_result(c, r);
}

/*
 * One SSL_write() into the batch. Its record may be the sample, from which the
 * key is found.
 */
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
	if (c->sample_step == SAMPLE_NEXT)
		tlssf_sample_find_sequence(c, buf, *done, b->data + before,
					   b->used - before, buf + len);
	return 0;
}

/*
 * Call SSL_write() once for each record, so that the progress is known after
 * each record.
 */
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
		n = tlssf_stream_read(s, s->done + tlssf_unreported_bytes(c),
				      buf, want);
		if (n < 0)
			return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ,
					       (int)-n);
		r = write_records(c, buf, (size_t)n);
	}
	return r;
}

static int fill_batch_by_library(struct conn *c, struct stream *s,
				 uint64_t limit, size_t target)
{
	unsigned char *buf = tlssf_plaintext_buffer_get();
	int r;

	if (!buf)
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	r = fill_by_library(c, s, limit, target, buf);
	tlssf_plaintext_buffer_put(buf);
	return r;
}

/* ---- the takeover to user space ---- */

static bool may_take_over(const struct conn *c)
{
	return c->requested_method == TLSSF_METHOD_AUTO &&
	       c->method == TLSSF_METHOD_USERSPACE &&
	       c->sealer == SEALER_LIBRARY &&
	       c->sample_step != SAMPLE_REFUSED && c->socket &&
	       !tlssf_takeover_unavailable_reason(c) &&
	       !tlssf_secret_unavailable_reason(c);
}

/*
 * Do the next step of a takeover: first send one sample, and when it has left
 * take the keys over. If a step fails, the TLS library continues to encrypt.
 * Returns the position up to which to send before the next step.
 */
static uint64_t step_to_takeover(struct conn *c, const struct stream *s,
				 uint64_t limit)
{
	int why;

	if (!may_take_over(c))
		return limit;
	/*
	 * The expensive search is already done, so take over even if little is
	 * left to send.
	 */
	if (tlssf_sample_is_current(c)) {
		why = tlssf_takeover_to_userspace(c);
		if (why)
			tlssf_set_sample(c, SAMPLE_REFUSED, why);
		return limit;
	}
	if (!tlssf_takeover_worth_it(c, s))
		return limit;
	tlssf_set_sample(c, SAMPLE_NEXT, TLSSF_REASON_NONE);
	tlssf_keys_refresh_secret(c);
	return limit - s->done > SAMPLE_LEN ? s->done + SAMPLE_LEN : limit;
}

static bool key_is_exhausted(struct conn *c)
{
	return tlssf_taken_over(c) && tlssf_keys_records_left(c) <= KEY_RESERVE;
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
	r = tlssf_taken_over(c) ?
		    tlssf_fill_batch_ourselves(c, s, limit, target) :
		    fill_batch_by_library(c, s, limit, target);
	tlssf_bridge_end_gather(c->bridge);
	return r;
}

/* ---- the method ---- */

/*
 * Send the queue. After a takeover, also send the rest of a handshake message
 * that reseal.c acknowledged to the TLS library early.
 */
static int drain_queue(struct conn *c)
{
	int r = tlssf_queue_send(c->bridge);

	if (!r)
		r = tlssf_reseal_flush(c);
	return tlssf_conn_io_result(c, r);
}

static int userspace_send(struct conn *c, struct stream *s, uint64_t limit)
{
	uint64_t step;
	int sealed = 0, r;

	if (!resumes(c->unreported, s))
		return tlssf_conn_fail(c, TLSSF_REASON_PENDING_SEND, EINVAL);
	if (tlssf_taken_over(c) && !tlssf_bridge_on_top(c)) {
		/*
		 * Bytes that the application wrote may wait in a BIO above the
		 * bridge (our filter BIO), so flush them first.
		 */
		r = tlssf_conn_io_result(c, tlssf_bridge_flush_bios(c->bridge));
		if (r)
			return r;
	}
	for (;;) {
		r = drain_queue(c);
		report_written(c, s, limit);
		shrink_to_fit(c);
		if (r)
			return r;
		/*
		 * The queue is empty, so all records must have left. If the
		 * count of their bytes differs, the connection fails.
		 */
		if (c->unreported &&
		    c->unreported->written < c->unreported->len)
			return tlssf_conn_die(c, TLSSF_REASON_IO, EPROTO);
		/*
		 * The encryption has stopped with the result `sealed`. Return
		 * it now that the records which were encrypted before have
		 * left.
		 */
		if (sealed || s->done >= limit || s->short_file)
			return sealed;
		/*
		 * Check the key after the step: at a takeover, the TLS library
		 * may have used the key up.
		 */
		step = step_to_takeover(c, s, limit);
		if (key_is_exhausted(c)) {
			r = tlssf_keys_send_own_update(c);
			if (r)
				return tlssf_conn_io_error(c, -r);
			continue;	/* send its record first */
		}
		sealed = next_batch(c, s, step);
		tlssf_sample_stop(c);
	}
}

int tlssf_userspace_drain(struct conn *c)
{
	int r = drain_queue(c);

	shrink_to_fit(c);
	if (r)
		return r;
	return tlssf_conn_io_result(c, tlssf_bridge_flush_bios(c->bridge));
}

const struct method tlssf_method_userspace = {
	.unavailable_reason = unavailable_reason,
	.send = userspace_send,
};
