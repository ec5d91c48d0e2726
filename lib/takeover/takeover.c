/* SPDX-License-Identifier: MIT */
/*
 * Takes over the write direction of an established connection from the TLS
 * library. A sample has shown the key and the sequence number (sample.c). They
 * are given to the kernel, or we use them ourselves, and the library's later
 * records are resealed (reseal.c). The sample must be the library's last
 * record, and all of it must be in TCP.
 *
 * Until the system call that installs the key, every failure leaves an ordinary
 * connection and a reason.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "takeover.h"

/*
 * A takeover is worthwhile only if a connection sends at least this many bytes.
 * According to bench/kernel it has paid off after 70 to 82 KiB if the kernel
 * gets the keys, and after about 100 KiB if we encrypt ourselves.
 */
#define WORTH_IT	(96u << 10)

static void free_keys(struct takeover *t)
{
	tlssf_generation_drop(&t->library);
	tlssf_generation_drop(&t->library_next);
	tlssf_generation_drop(&t->ours);
	tlssf_generation_drop(&t->ours_next);
	tlssf_reseal_free(&t->reseal);
	explicit_bzero(t, sizeof(*t));
	free(t);
}

void tlssf_keys_wipe(struct conn *c)
{
	tlssf_keys_wipe_secret(c);
	if (c->takeover)
		free_keys(c->takeover);
	c->takeover = NULL;
}

/* ---- may it be, and is it worth it? ---- */

/* The part of the answer that a new write BIO cannot change. */
static int lasting_reason(const struct conn *c)
{
	if (c->info.version < TLS12)
		return TLSSF_REASON_VERSION;
	if (c->info.kernel_cipher < 0)
		return TLSSF_REASON_CIPHER;
	if (c->info.compression)
		return TLSSF_REASON_COMPRESSION;
	if (c->info.max_fragment)
		return TLSSF_REASON_MAX_FRAGMENT;
	return TLSSF_REASON_NONE;
}

int tlssf_takeover_unavailable_reason(const struct conn *c)
{
	/*
	 * If there is no socket that can be shut down, stale records could
	 * leave by another BIO.
	 */
	if (c->fd < 0 || !tlssf_bridge_reaches_socket(c->bridge))
		return TLSSF_REASON_NOT_SOCKET;
	return lasting_reason(c);
}

bool tlssf_takeover_lacked_memory(int why)
{
	return why == TLSSF_REASON_KEY_SCHEDULE ||
	       why == TLSSF_REASON_NO_MEMORY;
}

/*
 * Is the refusal of the sample final? Only if the method ktls was requested by
 * name and memory was short, another sample is taken.
 */
static bool refused_for_good(const struct conn *c)
{
	bool repeats = c->requested_method == TLSSF_METHOD_KTLS &&
		       c->method == TLSSF_METHOD_KTLS &&
		       tlssf_takeover_lacked_memory(c->sample_refused_why);

	return c->sample_step == SAMPLE_REFUSED && !repeats;
}

bool tlssf_takeover_ruled_out(const struct conn *c)
{
	return c->requested_method == TLSSF_METHOD_USERSPACE ||
	       c->requested_method == TLSSF_METHOD_SSL_SENDFILE ||
	       c->sealer == SEALER_LIBRARY_IN_KERNEL || lasting_reason(c) ||
	       refused_for_good(c);
}

/*
 * A takeover costs one trial decryption and two key set-ups. So there must be
 * enough data for a full sample, and after the sample for records that gain
 * from the takeover.
 */
bool tlssf_takeover_worth_it(const struct conn *c, const struct stream *s)
{
	uint64_t left = s->total - s->done, from = WORTH_IT;

	if (c->conf && c->conf->options.takeover_from)
		from = c->conf->options.takeover_from;
	return left > SAMPLE_LEN && left + c->bytes >= from;
}

/* ---- the takeover ---- */

/*
 * Set the sequence number and the explicit nonce of the next record: those that
 * follow the sample's.
 */
static void set_start(const struct conn *c, struct kernel_key *key)
{
	key->seq = c->sample.next_seq;
	if (tlssf_explicit_nonce(key))
		memcpy(key->nonce + NONCE_LEN - EXPLICIT_LEN,
		       c->sample.explicit_nonce, EXPLICIT_LEN);
	tlssf_next_nonce(key);
}

/* All that can fail before the system calls; NULL: it failed. */
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

static void begin(struct conn *c, struct takeover *t, enum sealer sealer)
{
	c->takeover = t;
	tlssf_set_sealer(c, sealer);
	tlssf_keys_wipe_secret(c);
	tl_no_renegotiation(c->ssl);
}

static int reason_of_refusal(int err)
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

/*
 * Read the sequence number back from the kernel. If it is not the one that the
 * kernel was given, the connection has failed.
 */
static int confirm(struct conn *c)
{
	struct kernel_key *key = &c->takeover->ours.key;
	bool right;

	c->key_update_breaks = c->info.version == TLS13 &&
			       !tlssf_kernel_can_rekey(c);
	right = tlssf_tx_open(c, true) == 0 && c->tx->first_seq == key->seq;
	explicit_bzero(key, sizeof(*key));
	if (!right) {
		tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
		return TLSSF_REASON_TLS;
	}
	tlssf_trace(c->ssl, "takeover: the kernel encrypts from record %llu on",
		    (unsigned long long)c->tx->first_seq);
	return TLSSF_REASON_NONE;
}

/*
 * Returns TLSSF_REASON_NONE, or the reason for a failure. After a failure the
 * kernel has no key of ours.
 */
static int give_to_kernel(const struct conn *c, const struct kernel_key *key)
{
	int r = tlssf_sys.ulp_attach(c->fd);

	if (r == -ENOENT)
		return TLSSF_REASON_ULP_NOT_LOADED;
	if (r)
		return TLSSF_REASON_REFUSED;
	r = tlssf_keys_install(c->fd, key);
	return r ? reason_of_refusal(r) : TLSSF_REASON_NONE;
}

int tlssf_takeover_to_kernel(struct conn *c)
{
	struct takeover *t = prepare(c, KEY_EXPORT);
	int why;

	if (!t)
		return TLSSF_REASON_KEY_SCHEDULE;
	why = tlssf_tx_allocate(c) ? TLSSF_REASON_NO_MEMORY
				   : give_to_kernel(c, &t->ours.key);
	if (why) {
		free_keys(t);
		return why;
	}
	begin(c, t, SEALER_KERNEL);
	return confirm(c);
}

/* Without kernel TLS, we encrypt the records ourselves from here on. */
int tlssf_takeover_to_userspace(struct conn *c)
{
	struct takeover *t = prepare(c, KEY_ENCRYPT);

	if (!t)
		return TLSSF_REASON_KEY_SCHEDULE;
	begin(c, t, SEALER_OURSELVES);
	tlssf_trace(c->ssl, "takeover: libtlssf encrypts from record %llu on",
		    (unsigned long long)t->ours.key.seq);
	return TLSSF_REASON_NONE;
}
