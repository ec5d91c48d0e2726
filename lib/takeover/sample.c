/* SPDX-License-Identifier: MIT */
/* Which key and sequence number made this record? */
#include <errno.h>
#include <string.h>

#include "takeover.h"

#define GENERATIONS	16u	/* KeyUpdates that may have been before */
#define NEAR		64u	/* where the number nearly always is */
#define FAR		4096u
#define FAR_LATER	256u	/* the same, after a KeyUpdate */

/* The record, what must be in it, and room to open it. */
struct sample {
	const unsigned char *rec;
	size_t rec_len;
	const unsigned char *plain;
	size_t plain_len;
	unsigned char *room;
};

/* TLSSF_REASON_NONE, or why the record that opened is none to build on. */
static int judge(const struct sample *s, const struct opened *o)
{
	if (o->padded)
		return TLSSF_REASON_PADDING;
	if (o->type != RECORD_DATA || o->len > s->plain_len ||
	    memcmp(s->room, s->plain + s->plain_len - o->len, o->len))
		return TLSSF_REASON_SEQUENCE_NOT_FOUND;
	/* the library was told to send smaller records than the kernel would */
	return o->len < s->plain_len ? TLSSF_REASON_MAX_FRAGMENT
				     : TLSSF_REASON_NONE;
}

/* A record that is smaller than what was written has the end of it. */
static size_t content_start(const struct kernel_key *key,
			    const struct sample *s)
{
	size_t more = tlssf_record_overhead(key->version, key->cipher);

	return s->rec_len < s->plain_len + more ?
	       s->plain_len + more - s->rec_len : 0;
}

/* With key->seq in [from, to): a reason, or -1 when none opens it. */
static int try_numbers(struct kernel_key *key, const struct sample *s,
		       unsigned int from, unsigned int to)
{
	size_t start = content_start(key, s);
	struct tl_aead *aead;
	struct opened o;
	int found = -1;

	if (tl_aead_new_decryptor(&aead, key->cipher, key->key))
		return TLSSF_REASON_KEY_SCHEDULE;
	for (key->seq = from; key->seq < to && found < 0; key->seq++) {
		if (tlssf_record_may_begin(key, aead, s->rec, s->rec_len,
					   s->plain + start,
					   s->plain_len - start) &&
		    !tlssf_record_decrypt(key, aead, s->rec, s->rec_len, s->room,
				       &o))
			found = judge(s, &o);
	}
	tl_aead_free(aead);
	return found;
}

/* Leaves the secret of the generation that matched, and *seq the next one. */
static int try_generations(struct conn *c, const struct sample *s,
			   unsigned int from, unsigned int to, uint64_t *seq)
{
	unsigned int generations = c->info.version == TLS13 ? GENERATIONS : 1;
	unsigned char secret[SECRET_MAX];
	struct kernel_key key;
	int found = -1;

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

/* One write may bring several records (tickets first): ours is the last. */
static bool last_record(const unsigned char *in, size_t len, struct sample *s)
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

void tlssf_sample_find_sequence(struct conn *c, const unsigned char *plain,
			    size_t plain_len, const unsigned char *sealed,
			    size_t sealed_len, unsigned char *room)
{
	struct sample_result *o = &c->observed;
	struct sample s = { .plain = plain, .plain_len = plain_len,
			    .room = room };
	int found = TLSSF_REASON_SEQUENCE_NOT_FOUND;

	if (last_record(sealed, sealed_len, &s)) {
		found = try_generations(c, &s, 0, NEAR, &o->next_seq);
		/* CCM has no cheap guess: each try opens the whole record */
		if (found < 0 && c->info.kernel_cipher != TLSSF_AES_128_CCM)
			found = try_generations(c, &s, NEAR, FAR,
						&o->next_seq);
		memcpy(o->explicit_nonce, s.rec + RECORD_HEADER,
		       sizeof(o->explicit_nonce));
	}
	if (found < 0)
		found = TLSSF_REASON_SEQUENCE_NOT_FOUND;
	/* too short a record to tell */
	if (!found && plain_len < SAMPLE_LEN && tl_small_fragments(c->ssl))
		found = TLSSF_REASON_MAX_FRAGMENT;
	c->observed_why = (uint8_t)found;
	c->observed_valid = true;
	tlssf_bridge_reset_wrote(c->bridge);
	tlssf_trace(c->ssl, "takeover: sequence number %llu: %s",
		    (unsigned long long)o->next_seq,
		    tlssf_reason_name(found));
}
