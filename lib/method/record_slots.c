/* SPDX-License-Identifier: MIT */
/*
 * Encrypts records after a takeover to user space, when we have taken the write
 * keys over from the TLS library. A slot is the place in the batch where the
 * content of one record lies. One preadv() reads the file straight into the
 * slots of many records, and each record is encrypted in place. That avoids the
 * two copies that the TLS library makes.
 */
#include <errno.h>
#include <string.h>

#include "method.h"

/* The slots of the full records in a batch, which lie one after the other. */
struct record_slots {
	unsigned char *first;	/* the content of the first record */
	size_t stride;		/* from one content to the next */
};

static struct record_slots record_slots_in(const struct conn *c,
					   struct batch *b)
{
	const struct kernel_key *k = &c->takeover->ours.key;

	return (struct record_slots){
		.first = b->data + b->used + tlssf_record_start(k),
		.stride = RECORD_MAX +
			  tlssf_record_overhead(k->version, k->cipher),
	};
}

/*
 * Returns the piece of a slot that begins at byte `at` of the joined contents.
 * The piece has at most `len` bytes.
 */
static struct iovec slot_at(const struct record_slots *p, size_t at, size_t len)
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
		struct iovec v = slot_at(p, at, len);

		memcpy(v.iov_base, from, v.iov_len);
		from += v.iov_len;
		at += v.iov_len;
		len -= v.iov_len;
	}
}

static ssize_t read_to_slots(const struct stream *s,
			     const struct record_slots *p, size_t at,
			     uint64_t off, size_t len)
{
	struct iovec v[BATCH_LARGE / RECORD_MAX + 1];
	const int most = (int)(sizeof(v) / sizeof(v[0]));
	int n;

	for (n = 0; n < most && len > 0; n++) {
		v[n] = slot_at(p, at, len);
		at += v[n].iov_len;
		len -= v[n].iov_len;
	}
	return tlssf_sys.preadv(s->fd, v, n, off);
}

/*
 * Copy or read the stream from `pos` on into the slots. Returns the number of
 * bytes, or -errno.
 */
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
						 b->data + b->used, plain, 0);

		if (n < 0)	/* no sequence number is left */
			return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
		b->used += (size_t)n;
		c->unreported->len += plain;
		tlssf_batch_mark(b, plain);
		c->bridge->records++;
		len -= plain;
	}
	return 0;
}

/*
 * Returns how many records of data the key may still protect. Half of
 * KEY_RESERVE is kept for other records.
 */
static uint64_t records_left(struct conn *c)
{
	uint64_t left = tlssf_keys_records_left(c);

	return left > KEY_RESERVE / 2 ? left - KEY_RESERVE / 2 : 0;
}

int tlssf_fill_batch_ourselves(struct conn *c, struct stream *s,
			       uint64_t limit, size_t target)
{
	struct batch *b = tlssf_queue_batch(c->bridge);
	struct record_slots p = record_slots_in(c, b);
	uint64_t left = limit - s->done - tlssf_unreported_bytes(c);
	uint64_t records = records_left(c);
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
