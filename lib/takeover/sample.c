/* SPDX-License-Identifier: MIT */
/*
 * Finds out which key and which sequence number the TLS library uses now. No
 * library returns the sequence number, and a count of records would be wrong if
 * one record had been missed. So a sample is taken: the library has just
 * encrypted a known plaintext into a record. That record is decrypted with the
 * key from the key schedule and the sequence numbers 0, 1, 2 ..., and then with
 * the keys that follow after KeyUpdates. A decryption that succeeds proves key,
 * IV and sequence number. The search is bounded, because a peer can request
 * KeyUpdates before the first send.
 */
#include <errno.h>
#include <string.h>

#include "takeover.h"

#define GENERATIONS	16u	/* keys to try: after 0 to 15 KeyUpdates */
#define NEAR		64u	/* most sequence numbers are below it */
#define FAR		4096u	/* numbers to try for the first key */
#define FAR_LATER	256u	/* numbers to try for a later key */

#define NOT_FOUND	(-1)	/* no value of enum tlssf_reason */

/*
 * The sample: the record, the plaintext that it must contain, and room to
 * decrypt the record.
 */
struct sample {
	const unsigned char *rec;
	size_t rec_len;
	const unsigned char *plain;
	size_t plain_len;
	unsigned char *room;
};

/*
 * Returns why a decrypted sample cannot be used, or NONE. If the library has
 * split the plaintext into several records, the application has limited their
 * size, and the kernel would not respect the limit.
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

/* Returns where in the plaintext the content of the last record starts. */
static size_t content_start(const struct kernel_key *key,
			    const struct sample *s)
{
	size_t more = tlssf_record_overhead(key->version, key->cipher);

	return s->rec_len < s->plain_len + more ?
	       s->plain_len + more - s->rec_len : 0;
}

/*
 * Try the sequence numbers from `from` to `to` - 1. Returns a reason, or
 * NOT_FOUND.
 */
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
 * Try these sequence numbers with the key of c->secret and with the keys that
 * follow after KeyUpdates. On success set c->secret to the secret of the key
 * that matched, and *seq to the sequence number after the sample's.
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

/*
 * Find the last record in `in`, which is the sample: one write may produce
 * several records, session tickets first.
 */
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

	/*
	 * CCM allows no cheap test of a number, so each try decrypts the
	 * record. Try fewer numbers with CCM.
	 */
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
	/*
	 * The sample does not show a size limit that is its own length or more.
	 */
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
	       !tl_renegotiates(c->ssl) &&	/* needs the library to encrypt */
	       !c->bridge->wrote_since_sample && !c->bridge->write_pending;
}
