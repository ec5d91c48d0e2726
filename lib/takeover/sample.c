/* SPDX-License-Identifier: MIT */
/*
 * Which key and which sequence number does the TLS library use right now? No
 * library returns the sequence number, and counting records would be wrong
 * after one that was missed. So a sample is taken: a record that the library
 * has just made of known plaintext is decrypted with the key from the key
 * schedule and the sequence numbers 0, 1, 2 ..., and then with the keys that
 * KeyUpdates would have made of it. Authentication proves key, IV and sequence
 * number at once.
 *
 * A peer can request KeyUpdates before the first send, so the search is
 * bounded.
 */
#include <errno.h>
#include <string.h>

#include "takeover.h"

#define GENERATIONS	16u	/* at most so many KeyUpdates */
#define NEAR		64u	/* nearly all sequence numbers are below */
#define FAR		4096u	/* all numbers that are tried are below */
#define FAR_LATER	256u	/* the same for keys after a KeyUpdate */

#define NOT_FOUND	(-1)	/* beside enum tlssf_reason */

/* The record, what its content must be, and room to decrypt it. */
struct sample {
	const unsigned char *rec;
	size_t rec_len;
	const unsigned char *plain;
	size_t plain_len;
	unsigned char *room;
};

/*
 * Why a record that could be decrypted cannot be used, or NONE. If the library
 * splits the plaintext into several records, its records are limited to a size
 * that the kernel would not respect.
 */
static int judge(const struct sample *s, const struct opened *o)
{
	if (o->padding)
		return TLSSF_REASON_PADDING;
	if (o->type != RECORD_DATA || o->len > s->plain_len ||
	    memcmp(s->room, s->plain + s->plain_len - o->len, o->len))
		return TLSSF_REASON_SEQUENCE_NOT_FOUND;
	return o->len < s->plain_len ? TLSSF_REASON_MAX_FRAGMENT
				     : TLSSF_REASON_NONE;
}

/* Where in the plaintext the content of the last record starts. */
static size_t content_start(const struct kernel_key *key,
			    const struct sample *s)
{
	size_t more = tlssf_record_overhead(key->version, key->cipher);

	return s->rec_len < s->plain_len + more ?
	       s->plain_len + more - s->rec_len : 0;
}

/* Try key->seq from `from` to below `to`: a reason, or NOT_FOUND. */
static int try_numbers(struct kernel_key *key, const struct sample *s,
		       unsigned int from, unsigned int to)
{
	size_t start = content_start(key, s);
	struct tl_aead *aead;
	struct opened o;
	int found = NOT_FOUND;

	if (tl_aead_new_decryptor(&aead, key->cipher, key->key))
		return TLSSF_REASON_KEY_SCHEDULE;
	for (key->seq = from; key->seq < to && found < 0; key->seq++) {
		if (tlssf_record_may_begin(key, aead, s->rec, s->rec_len,
					   s->plain + start,
					   s->plain_len - start) &&
		    !tlssf_record_decrypt(key, aead, s->rec, s->rec_len,
					  s->room, &o))
			found = judge(s, &o);
	}
	tl_aead_free(aead);
	return found;
}

/*
 * The same for the key of c->secret and its next generations. On success
 * c->secret becomes the secret of the generation that matched, and *seq the
 * sequence number after the sample's.
 */
static int try_generations(struct conn *c, const struct sample *s,
			   unsigned int from, unsigned int to, uint64_t *seq)
{
	unsigned int generations = c->info.version == TLS13 ? GENERATIONS : 1;
	unsigned char secret[SECRET_MAX];
	struct kernel_key key;
	int found = NOT_FOUND;

	memcpy(secret, c->secret, sizeof(secret));
	for (unsigned int g = 0; g < generations && found < 0; g++) {
		if (g == 1 && to > FAR_LATER)
			to = FAR_LATER;
		if ((g && tlssf_next_secret(secret, c->info.hash_len)) ||
		    tlssf_keys_derive(c, secret, &key))
			found = TLSSF_REASON_KEY_SCHEDULE;
		else
			found = try_numbers(&key, s, from, to);
	}
	if (found == TLSSF_REASON_NONE) {
		memcpy(c->secret, secret, sizeof(secret));
		*seq = key.seq;
	}
	explicit_bzero(&key, sizeof(key));
	explicit_bzero(secret, sizeof(secret));
	return found;
}

/* One write may produce several records, tickets first: the sample is last. */
static bool find_last_record(const unsigned char *in, size_t len,
			     struct sample *s)
{
	while (len >= RECORD_HEADER && len > tlssf_record_len(in)) {
		size_t n = tlssf_record_len(in);

		in += n;
		len -= n;
	}
	s->rec = in;
	s->rec_len = len;
	return len > RECORD_HEADER && len == tlssf_record_len(in);
}

static int search(struct conn *c, const struct sample *s)
{
	struct sample_result *result = &c->sample;
	int found = try_generations(c, s, 0, NEAR, &result->next_seq);

	/* With CCM no cheap guess is possible: each try decrypts all. */
	if (found < 0 && c->info.kernel_cipher != TLSSF_AES_128_CCM)
		found = try_generations(c, s, NEAR, FAR, &result->next_seq);
	memcpy(result->explicit_nonce, s->rec + RECORD_HEADER,
	       sizeof(result->explicit_nonce));
	return found;
}

void tlssf_sample_find_sequence(struct conn *c, const unsigned char *plain,
				size_t plain_len, const unsigned char *record,
				size_t record_len, unsigned char *room)
{
	struct sample s = { .plain = plain, .plain_len = plain_len,
			    .room = room };
	int found = find_last_record(record, record_len, &s) ? search(c, &s)
							      : NOT_FOUND;

	if (found == NOT_FOUND)
		found = TLSSF_REASON_SEQUENCE_NOT_FOUND;
	/* A size limit of this sample's length or more does not show in it. */
	if (!found && tl_small_fragments(c->ssl))
		found = TLSSF_REASON_MAX_FRAGMENT;
	tlssf_set_sample(c, found ? SAMPLE_REFUSED : SAMPLE_TAKEN, found);
	c->bridge->wrote_since_sample = false;
	tlssf_trace(c->ssl, "takeover: sequence number %llu: %s",
		    (unsigned long long)c->sample.next_seq,
		    tlssf_reason_name(found));
}

void tlssf_sample_stop(struct conn *c)
{
	if (c->sample_step == SAMPLE_NEXT)
		tlssf_set_sample(c, SAMPLE_NONE, TLSSF_REASON_NONE);
}

bool tlssf_sample_is_current(const struct conn *c)
{
	return c->sample_step == SAMPLE_TAKEN && !tlssf_unreported_bytes(c) &&
	       !tl_renegotiates(c->ssl) &&	/* needs the library's keys */
	       !c->bridge->wrote_since_sample && !c->bridge->write_pending;
}
