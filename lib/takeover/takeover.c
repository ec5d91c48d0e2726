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

#include "takeover.h"

/*
 * Bytes from which on a takeover has paid for itself: bench/kernel counts 70 to 82
 * KiB where the kernel gets the keys, about 100 where we seal.
 */
#define WORTH_IT	(96u << 10)

/* ---- keys of a connection ---- */

static void free_keys(struct takeover *t)
{
	tlssf_generation_drop(&t->library);
	tlssf_generation_drop(&t->library_next);
	tlssf_generation_drop(&t->ours);
	tlssf_generation_drop(&t->ours_next);
	tlssf_reseal_free(&t->resend);
	explicit_bzero(t, sizeof(*t));
	free(t);
}

void tlssf_keys_wipe(struct conn *c)
{
	explicit_bzero(c->secret, sizeof(c->secret));
	c->secret_len = 0;
	if (c->takeover)
		free_keys(c->takeover);
	c->takeover = NULL;
}

/* ---- the one step that cannot be undone ---- */

/* The library's next number is ours, too, and so is its next nonce. */
static void set_start(const struct conn *c, struct kernel_key *key)
{
	key->seq = c->observed.next_seq;
	if (tlssf_explicit_nonce(key))
		memcpy(key->nonce + 4, c->observed.explicit_nonce,
		       sizeof(c->observed.explicit_nonce));
	tlssf_next_nonce(key);
}

static struct takeover *prepare(const struct conn *c, enum key_use use)
{
	struct takeover *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (tlssf_generation_make(c, c->secret, KEY_DECRYPT, &t->library) ||
	    tlssf_generation_make(c, c->secret, use, &t->ours) ||
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
			       !tlssf_kernel_can_rekey(c);
	right = tlssf_tx_open(c, true) == 0 && c->tx->first_seq == key->seq;
	explicit_bzero(key, sizeof(*key));
	if (!right) {
		tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
		return TLSSF_REASON_TLS;
	}
	tlssf_trace(c->ssl, "takeover: the kernel seals from record %llu on",
		    (unsigned long long)c->tx->first_seq);
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
	r = tlssf_keys_install(c->fd, key);
	return r ? refusal(r) : TLSSF_REASON_NONE;
}

int tlssf_takeover_to_kernel(struct conn *c)
{
	struct takeover *t = prepare(c, KEY_EXPORT);
	int why;

	if (!t)
		return TLSSF_REASON_KEY_SCHEDULE;
	why = tlssf_tx_allocate(c) ? TLSSF_REASON_NO_MEMORY
				: give(c, &t->ours.key);
	if (why) {
		free_keys(t);
		return why;
	}
	begin(c, t);
	return confirm(c);
}

/* Nobody seals but we. */
int tlssf_takeover_to_userspace(struct conn *c)
{
	struct takeover *t = prepare(c, KEY_ENCRYPT);

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
bool tlssf_takeover_worth_it(const struct conn *c, const struct stream *s)
{
	uint64_t left = s->total - s->done, from = WORTH_IT;

	if (c->conf && c->conf->options.takeover_from)
		from = c->conf->options.takeover_from;
	return left > SAMPLE_LEN && left + c->bytes >= from;
}

/* What was observed, is it nothing to build on? Another record is no better. */
int tlssf_sample_rejected_why(const struct conn *c)
{
	return c->observed_valid ? c->observed_why : TLSSF_REASON_NONE;
}

/* Is what was observed still the last record, and no other begun? */
bool tlssf_sample_is_current(const struct conn *c)
{
	return c->observed_valid && !tlssf_unreported_bytes(c) &&
	       !tl_renegotiates(c->ssl) &&	/* with the library's keys */
	       !tlssf_bridge_wrote_since_sample(c->bridge) &&
	       !tlssf_bridge_write_pending(c->bridge);
}

/* Without the write secret there is no key: TLSSF_REASON_NONE, or why not. */
int tlssf_secret_unavailable_reason(const struct conn *c)
{
	if (c->info.version < TLS13 || c->secret_len == c->info.hash_len)
		return TLSSF_REASON_NONE;
	return c->conf && !tl_keylog_ours(c->ssl) ? TLSSF_REASON_KEYLOG_REPLACED
						  : TLSSF_REASON_NO_SECRET;
}
