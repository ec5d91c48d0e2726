/* SPDX-License-Identifier: MIT */
/*
 * Taking the sending side of an established connection over: what key and
 * sequence number is the TLS library using right now?
 *
 * It is not counted but observed. A record that the library has just sealed
 * for us is opened with the key from the key schedule, for sequence number 0,
 * 1, 2 ...; RFC 8446's KeyUpdate gives further generations of the key to try.
 * A match proves key, IV and number at once. Only when that record is the last
 * one and wholly in TCP are the keys given to the kernel, or used here, and up
 * to that moment every failure leaves an ordinary connection behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define GENERATIONS	16u	/* KeyUpdates that may have been before */
#define NEAR		64u	/* where the number nearly always is */
#define FAR		4096u
#define FAR_LATER	256u	/* the same, after a KeyUpdate */

/*
 * Bytes from which on a takeover has paid for itself: bench/kernel counts 70 to 82
 * KiB where the kernel gets the keys, about 100 where we seal.
 */
#define WORTH_IT	(96u << 10)

/* ---- keys of a connection ---- */

/* Key material of one generation, with sequence number 0. */
static int derive(const struct conn *c, const unsigned char *secret,
		  struct kernel_key *key)
{
	unsigned char block[KEY_BLOCK_MAX];
	int cipher = c->info.kernel_cipher;
	int r;

	if (c->info.version == TLS13)
		return tlssf_keys_from_secret(secret, c->info.hash_len, cipher,
					      key);
	r = tl_key_block(c->ssl, block, tlssf_key_block_len(cipher));
	if (!r)
		tlssf_keys_from_block(block, tl_is_server(c->ssl), cipher, key);
	explicit_bzero(block, sizeof(block));
	return r;
}

static void drop_generation(struct generation *g)
{
	tl_aead_free(g->aead);
	explicit_bzero(g, sizeof(*g));
}

static int make_generation(const struct conn *c, const unsigned char *secret,
			   enum use use, struct generation *g)
{
	int r = derive(c, secret, &g->key);

	memcpy(g->secret, secret, sizeof(g->secret));
	if (!r && use == TO_OPEN)
		r = tl_aead_new(&g->aead, g->key.cipher, g->key.key);
	if (!r && use == TO_SEAL)
		r = tl_aead_new_sealer(&g->aead, g->key.cipher, g->key.key);
	if (r)
		drop_generation(g);
	g->made = !r;
	return r;
}

/* The one after `from`, unless it is there already. */
static int prepare_next(const struct conn *c, const struct generation *from,
			enum use use, struct generation *next)
{
	unsigned char secret[SECRET_MAX];
	int r = 0;

	if (next->made)
		return 0;
	memcpy(secret, from->secret, sizeof(secret));
	r = tlssf_next_secret(secret, c->info.hash_len);
	if (!r)
		r = make_generation(c, secret, use, next);
	explicit_bzero(secret, sizeof(secret));
	return r;
}

static void advance(struct generation *g, struct generation *next)
{
	drop_generation(g);
	*g = *next;
	explicit_bzero(next, sizeof(*next));
}

static void free_keys(struct takeover *t)
{
	drop_generation(&t->library);
	drop_generation(&t->library_next);
	drop_generation(&t->ours);
	drop_generation(&t->ours_next);
	tlssf_resend_free(&t->resend);
	explicit_bzero(t, sizeof(*t));
	free(t);
}

void tlssf_takeover_forget(struct conn *c)
{
	explicit_bzero(c->secret, sizeof(c->secret));
	c->secret_len = 0;
	if (c->takeover)
		free_keys(c->takeover);
	c->takeover = NULL;
}

/* ---- the search ---- */

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

	if (tl_aead_new(&aead, key->cipher, key->key))
		return TLSSF_REASON_KEY_SCHEDULE;
	for (key->seq = from; key->seq < to && found < 0; key->seq++) {
		if (tlssf_record_may_begin(key, aead, s->rec, s->rec_len,
					   s->plain + start,
					   s->plain_len - start) &&
		    !tlssf_record_open(key, aead, s->rec, s->rec_len, s->room,
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
		    derive(c, secret, &key))
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

void tlssf_takeover_observe(struct conn *c, const unsigned char *plain,
			    size_t plain_len, const unsigned char *sealed,
			    size_t sealed_len, unsigned char *room)
{
	struct observed *o = &c->observed;
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
	if (!found && plain_len < OBSERVE_LEN && tl_small_fragments(c->ssl))
		found = TLSSF_REASON_MAX_FRAGMENT;
	c->observed_why = (uint8_t)found;
	c->observed_valid = true;
	tlssf_bridge_observe(c->bridge);
	tlssf_trace(c->ssl, "takeover: sequence number %llu: %s",
		    (unsigned long long)o->next_seq,
		    tlssf_reason_name(found));
}

/* ---- the one step that cannot be undone ---- */

static int install(int fd, const struct kernel_key *key)
{
	unsigned char info[SYS_CRYPTO_MAX];
	size_t len = tlssf_crypto_pack(info, key);
	int r = tlssf_sys.tls_tx_set(fd, info, len);

	explicit_bzero(info, sizeof(info));
	return r;
}

/* The library's next number is ours, too, and so is its next nonce. */
static void set_start(const struct conn *c, struct kernel_key *key)
{
	key->seq = c->observed.next_seq;
	if (tlssf_explicit_nonce(key))
		memcpy(key->nonce + 4, c->observed.explicit_nonce,
		       sizeof(c->observed.explicit_nonce));
	tlssf_next_nonce(key);
}

static struct takeover *prepare(const struct conn *c, enum use use)
{
	struct takeover *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (make_generation(c, c->secret, TO_OPEN, &t->library) ||
	    make_generation(c, c->secret, use, &t->ours) ||
	    !c->socket) {
		free_keys(t);
		return NULL;
	}
	set_start(c, &t->library.key);
	set_start(c, &t->ours.key);
	return t;
}

/* From here on the library's records are taken by resend.c. */
static void begin(struct conn *c, struct takeover *t)
{
	c->takeover = t;
	explicit_bzero(c->secret, sizeof(c->secret));
	c->secret_len = 0;
	tl_no_renegotiation(c->ssl);
}

static int refusal(int err)
{
	switch (err) {
	case -ENOENT:
	case -EINVAL:
		return TLSSF_REASON_KERNEL_CIPHER;
	case -ENOMEM:
		return TLSSF_REASON_NO_MEMORY;
	}
	return TLSSF_REASON_REFUSED;
}

/* The kernel has the keys: what it says must be what it was given. */
static int confirm(struct conn *c)
{
	struct kernel_key *key = &c->takeover->ours.key;
	bool right;

	c->kernel_tx = true;
	c->key_update_breaks = c->info.version == TLS13 &&
			       !tlssf_conn_kernel_rekeys(c);
	right = tlssf_ktx_start(c, true) == 0 && c->ktx->first_seq == key->seq;
	explicit_bzero(key, sizeof(*key));
	if (!right) {
		tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
		return TLSSF_REASON_TLS;
	}
	tlssf_trace(c->ssl, "takeover: the kernel seals from record %llu on",
		    (unsigned long long)c->ktx->first_seq);
	return TLSSF_REASON_NONE;
}

/* TLSSF_REASON_NONE, or why not: then the kernel holds nothing of ours. */
static int give(const struct conn *c, const struct kernel_key *key)
{
	int r = tlssf_sys.ulp_attach(c->fd);

	if (r == -ENOENT)
		return TLSSF_REASON_ULP_NOT_LOADED;
	if (r)
		return TLSSF_REASON_REFUSED;
	r = install(c->fd, key);
	return r ? refusal(r) : TLSSF_REASON_NONE;
}

int tlssf_takeover_install(struct conn *c)
{
	struct takeover *t = prepare(c, TO_GIVE);
	int why;

	if (!t)
		return TLSSF_REASON_KEY_SCHEDULE;
	why = tlssf_ktx_make(c) ? TLSSF_REASON_NO_MEMORY
				: give(c, &t->ours.key);
	if (why) {
		free_keys(t);
		return why;
	}
	begin(c, t);
	return confirm(c);
}

/* Nobody seals but we. */
int tlssf_takeover_keep(struct conn *c)
{
	struct takeover *t = prepare(c, TO_SEAL);

	if (!t)
		return TLSSF_REASON_KEY_SCHEDULE;
	begin(c, t);
	tlssf_trace(c->ssl, "takeover: sealed here from record %llu on",
		    (unsigned long long)t->ours.key.seq);
	return TLSSF_REASON_NONE;
}

/*
 * A record that is opened, and a key schedule, cost something; and there must
 * be enough left for a record that tells all, and for one that profits.
 */
bool tlssf_takeover_pays(const struct conn *c, const struct stream *s)
{
	uint64_t left = s->total - s->done, from = WORTH_IT;

	if (c->conf && c->conf->options.takeover_from)
		from = c->conf->options.takeover_from;
	return left > OBSERVE_LEN && left + c->bytes >= from;
}

/* What was observed, is it nothing to build on? Another record is no better. */
int tlssf_takeover_refused(const struct conn *c)
{
	return c->observed_valid ? c->observed_why : TLSSF_REASON_NONE;
}

/* Is what was observed still the last record, and no other begun? */
bool tlssf_takeover_ready(const struct conn *c)
{
	return c->observed_valid && !tlssf_conn_ahead(c) &&
	       !tl_renegotiates(c->ssl) &&	/* with the library's keys */
	       !tlssf_bridge_wrote(c->bridge) &&
	       !tlssf_bridge_pending(c->bridge);
}

/* Without the write secret there is no key: TLSSF_REASON_NONE, or why not. */
int tlssf_takeover_lacks(const struct conn *c)
{
	if (c->info.version < TLS13 || c->secret_len == c->info.hash_len)
		return TLSSF_REASON_NONE;
	return c->conf && !tl_keylog_ours(c->ssl) ? TLSSF_REASON_KEYLOG_REPLACED
						  : TLSSF_REASON_NO_SECRET;
}

/* Records that the key in use may still protect. */
uint64_t tlssf_takeover_left(struct conn *c)
{
	uint64_t limit = tlssf_key_limit(c), seq = c->takeover->ours.key.seq;

	if (c->kernel_tx)
		return tlssf_ktx_left(c);
	return seq < limit ? limit - seq : 0;
}

/* ---- KeyUpdate ---- */

/*
 * The library's keys and ours change at the same message when it is the library
 * that sends it. Ours may change more often: see tlssf_takeover_new_key().
 */
static int prepare_ours(struct conn *c)
{
	struct takeover *t = c->takeover;

	return prepare_next(c, &t->ours, c->kernel_tx ? TO_GIVE : TO_SEAL,
			    &t->ours_next);
}

static int commit_ours(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r;

	if (c->kernel_tx)
		tlssf_ktx_rekey(c);
	advance(&t->ours, &t->ours_next);
	if (!c->kernel_tx)
		return 0;
	r = install(c->fd, &t->ours.key);
	explicit_bzero(&t->ours.key, sizeof(t->ours.key));
	return r;
}

/* All that may fail, before the library's message leaves. */
int tlssf_takeover_prepare_rekey(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r = prepare_next(c, &t->library, TO_OPEN, &t->library_next);

	return r ? r : prepare_ours(c);
}

/* The message is out: all that follows is sealed with the next key. */
int tlssf_takeover_rekey(struct conn *c)
{
	advance(&c->takeover->library, &c->takeover->library_next);
	return commit_ours(c);
}

static int send_key_update(struct conn *c)
{
	/* update_not_requested, RFC 8446 4.6.3 */
	static const unsigned char message[] = { 24, 0, 0, 1, 0 };
	ssize_t n;

	if (!c->kernel_tx)
		return tlssf_bridge_seal(c->bridge, RECORD_HANDSHAKE, message,
					 sizeof(message));
	c->calls++;
	n = tlssf_sys.send_record(c->fd, RECORD_HANDSHAKE, message,
				  sizeof(message));
	if (n > 0) {
		tlssf_ktx_count(c, sizeof(message));
		c->ktx->open = false;
	}
	return n > 0 ? 0 : n == -EINTR ? -EAGAIN : (int)n;
}

int tlssf_takeover_new_key(struct conn *c)
{
	int r;

	if (c->key_update_breaks || prepare_ours(c))
		return tlssf_conn_end(c, TLSSF_REASON_KEY_LIMIT);
	r = send_key_update(c);
	if (r)
		return r;
	c->rekeys++;
	if (commit_ours(c) == 0)
		return 0;
	/* the peer waits for the new key, the kernel has the old one */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	return -EPROTO;
}
