/* SPDX-License-Identifier: MIT */
#include "peer_wire.h"

#include <string.h>

#define CHANGE_CIPHER_SPEC	20
#define HIGHEST_TYPE		23
#define RECORD_MIN		17	/* least length: a tag and one byte */
#define PLAIN_MAX		16384
#define RECORD_LIMIT		(PLAIN_MAX + 256)

static bool nonce_known(const struct nonces *n, uint64_t nonce)
{
	for (unsigned int i = 0; i < n->count; i++)
		if (nonce >= n->first[i] && nonce <= n->last[i])
			return true;
	return false;
}

/*
 * An explicit nonce was seen on the wire. The nonces of TLS 1.3 and ChaCha20
 * are not on the wire, since each end counts its sequence numbers. If they
 * repeat, the peer cannot decrypt the record and ends with END_BROKEN.
 */
static void nonce_seen(struct wire_watch *w, const unsigned char *p)
{
	struct nonces *n = &w->nonces;
	uint64_t nonce = 0;

	for (int i = 0; i < WIRE_NONCE; i++)
		nonce = nonce << 8 | p[i];
	if (nonce_known(n, nonce))
		w->nonce_repeats++;
	else if (n->count && nonce == n->last[n->count - 1] + 1)
		n->last[n->count - 1]++;
	else if (n->count < WIRE_RANGES)
		n->first[n->count] = n->last[n->count] = nonce, n->count++;
}

static size_t body_len(const unsigned char *head)
{
	return (size_t)head[3] << 8 | head[4];
}

/*
 * The header of a record has arrived (with the explicit nonce, if it has one).
 */
static void record_seen(struct wire_watch *w)
{
	size_t body = body_len(w->head);

	if (body > w->max_record)
		w->max_record = body;
	if (w->explicit_nonce && w->encrypted)
		nonce_seen(w, w->head + WIRE_HEADER);
	if (w->head[0] == CHANGE_CIPHER_SPEC)
		w->encrypted = true;
}

static size_t head_size(const struct wire_watch *w)
{
	size_t body;

	if (w->have < WIRE_HEADER)
		return WIRE_HEADER;
	body = body_len(w->head);
	return WIRE_HEADER + (body < WIRE_NONCE ? body : WIRE_NONCE);
}

static void follow_records(struct wire_watch *w, const unsigned char *p,
			   size_t n)
{
	size_t take;

	while (n) {
		if (w->left) {
			take = n < w->left ? n : w->left;
			w->left -= take;
		} else {
			take = head_size(w) - w->have;
			take = n < take ? n : take;
			memcpy(w->head + w->have, p, take);
			w->have += take;
			if (w->have > WIRE_HEADER && w->have == head_size(w)) {
				record_seen(w);
				w->left = body_len(w->head) + WIRE_HEADER -
					  w->have;
				w->have = 0;
			}
		}
		p += take;
		n -= take;
	}
}

static void count_markers(struct wire_watch *w, const unsigned char *p,
			  size_t n)
{
	const unsigned char *end = p + n;

	while ((p = memmem(p, (size_t)(end - p), MARKER, MARKER_LEN))) {
		w->markers++;
		p += MARKER_LEN;
	}
}

/* Count the MARKERs, also one that is split between two reads. */
static void find_markers(struct wire_watch *w, const unsigned char *p,
			 size_t n)
{
	unsigned char seam[2 * (MARKER_LEN - 1)];
	size_t head = n < MARKER_LEN - 1 ? n : MARKER_LEN - 1, len, keep;

	memcpy(seam, w->tail, w->tail_len);
	memcpy(seam + w->tail_len, p, head);
	len = w->tail_len + head;
	count_markers(w, seam, len);
	count_markers(w, p, n);
	if (n >= MARKER_LEN - 1) {
		memcpy(w->tail, p + n - (MARKER_LEN - 1), MARKER_LEN - 1);
		w->tail_len = MARKER_LEN - 1;
		return;
	}
	keep = len < MARKER_LEN - 1 ? len : MARKER_LEN - 1;
	memcpy(w->tail, seam + len - keep, keep);
	w->tail_len = keep;
}

void wire_seen(struct wire_watch *w, const unsigned char *p, size_t n)
{
	find_markers(w, p, n);
	follow_records(w, p, n);
}

static bool header(const unsigned char *p)
{
	size_t body = body_len(p);

	return p[0] >= CHANGE_CIPHER_SPEC && p[0] <= HIGHEST_TYPE &&
	       p[1] == 3 && p[2] == 3 && body >= RECORD_MIN &&
	       body <= RECORD_LIMIT;
}

/*
 * Such plaintext is exactly one record, the first part of one, or one followed
 * by others.
 */
bool wire_record_in_data(const unsigned char *p, size_t have, size_t whole)
{
	size_t inner;

	if (have < WIRE_HEADER || !header(p))
		return false;
	inner = WIRE_HEADER + body_len(p);
	if (inner > whole)
		return whole == PLAIN_MAX;
	return inner == whole ||
	       (inner + WIRE_HEADER <= have && header(p + inner));
}
