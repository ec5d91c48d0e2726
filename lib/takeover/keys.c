/* SPDX-License-Identifier: MIT */
/*
 * The keys of a connection's write direction: from the write secret to a key
 * generation, from one generation to the next by a KeyUpdate (RFC 8446, 4.6.3
 * and 7.2), how long a key lasts (5.5), and how keys are wiped.
 *
 * After a takeover there are two sequences of generations. `library` decrypts
 * what the TLS library encrypts; `ours` protects the records that leave. A
 * KeyUpdate that the library sends advances both. A KeyUpdate of our own
 * advances `ours` only, and the library need not know of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "takeover.h"

/*
 * A KeyUpdate message with update_not_requested: the peer need not change its
 * own write key.
 */
static const unsigned char key_update[] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0 };

bool tlssf_is_key_update(const void *message, size_t len)
{
	return len == sizeof(key_update) &&
	       !memcmp(message, key_update, HANDSHAKE_HEADER);
}

/* ---- the write secret ---- */

/*
 * BoringSSL returns the current write secret on request; prefer it to the key
 * log's, which may be older than a KeyUpdate.
 */
void tlssf_keys_refresh_secret(struct conn *c)
{
	size_t n = c->info.version == TLS13 ?
		   tl_write_secret(c->ssl, c->secret) : 0;

	if (n)
		c->secret_len = (uint8_t)n;
}

int tlssf_secret_unavailable_reason(const struct conn *c)
{
	if (c->info.version < TLS13 || c->secret_len == c->info.hash_len)
		return TLSSF_REASON_NONE;
	/* The secret was wiped because of that reason. */
	if (c->sample_step == SAMPLE_REFUSED)
		return c->sample_refused_why;
	return c->conf && !tl_keylog_ours(c->ssl) ? TLSSF_REASON_KEYLOG_REPLACED
						  : TLSSF_REASON_NO_SECRET;
}

void tlssf_keys_wipe_secret(struct conn *c)
{
	explicit_bzero(c->secret, sizeof(c->secret));
	c->secret_len = 0;
}

/*
 * Can the kernel rekey? tlssf_ctx_init() has stored the answer; without it, run
 * the probe.
 */
bool tlssf_kernel_can_rekey(const struct conn *c)
{
	return c->conf ? c->conf->kernel_rekeys : tlssf_probe_rekey();
}

/* ---- generations ---- */

int tlssf_keys_derive(const struct conn *c, const unsigned char *secret,
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

void tlssf_generation_drop(struct generation *g)
{
	tl_aead_free(g->aead);
	explicit_bzero(g, sizeof(*g));
}

int tlssf_generation_make(const struct conn *c, const unsigned char *secret,
			  enum key_use use, struct generation *g)
{
	int r = tlssf_keys_derive(c, secret, &g->key);

	memcpy(g->secret, secret, sizeof(g->secret));
	if (!r && use == KEY_DECRYPT)
		r = tl_aead_new_decryptor(&g->aead, g->key.cipher, g->key.key);
	if (!r && use == KEY_ENCRYPT)
		r = tl_aead_new_encryptor(&g->aead, g->key.cipher, g->key.key);
	if (r)
		tlssf_generation_drop(g);
	g->made = !r;
	return r;
}

/* Derive the generation after `from`, unless an earlier call has done so. */
static int make_next(const struct conn *c, const struct generation *from,
		     enum key_use use, struct generation *next)
{
	unsigned char secret[SECRET_MAX];
	int r = 0;

	if (next->made)
		return 0;
	memcpy(secret, from->secret, sizeof(secret));
	r = tlssf_next_secret(secret, c->info.hash_len);
	if (!r)
		r = tlssf_generation_make(c, secret, use, next);
	explicit_bzero(secret, sizeof(secret));
	return r;
}

static void advance(struct generation *g, struct generation *next)
{
	tlssf_generation_drop(g);
	*g = *next;
	explicit_bzero(next, sizeof(*next));
}

int tlssf_keys_install(int fd, const struct kernel_key *key)
{
	unsigned char info[SYS_CRYPTO_MAX];
	size_t len = tlssf_kernel_key_pack(info, key);
	int r = tlssf_sys.tls_tx_set(fd, info, len);

	explicit_bzero(info, sizeof(info));
	return r;
}

uint64_t tlssf_keys_records_left(struct conn *c)
{
	uint64_t limit = tlssf_key_record_limit(c);
	uint64_t seq = c->takeover->ours.key.seq;

	if (tlssf_kernel_seals(c))
		return tlssf_tx_records_left(c);
	return seq < limit ? limit - seq : 0;
}

/* ---- KeyUpdate ---- */

static int prepare_ours(struct conn *c)
{
	struct takeover *t = c->takeover;

	return make_next(c, &t->ours,
			 tlssf_kernel_seals(c) ? KEY_EXPORT : KEY_ENCRYPT,
			 &t->ours_next);
}

static int commit_ours(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r;

	if (tlssf_kernel_seals(c))
		tlssf_tx_before_new_key(c);
	advance(&t->ours, &t->ours_next);
	if (!tlssf_kernel_seals(c))
		return 0;
	r = tlssf_keys_install(c->fd, &t->ours.key);
	explicit_bzero(&t->ours.key, sizeof(t->ours.key));
	return r;
}

int tlssf_keys_prepare_update(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r = make_next(c, &t->library, KEY_DECRYPT, &t->library_next);

	return r ? r : prepare_ours(c);
}

int tlssf_keys_commit_update(struct conn *c)
{
	advance(&c->takeover->library, &c->takeover->library_next);
	return commit_ours(c);
}

static int send_key_update(struct conn *c)
{
	ssize_t n;

	if (!tlssf_kernel_seals(c))
		return tlssf_queue_encrypt(c->bridge, &c->takeover->ours,
					   RECORD_HANDSHAKE, key_update,
					   sizeof(key_update), 0);
	c->calls++;
	n = tlssf_tx_send_record(c, RECORD_HANDSHAKE, key_update,
				 sizeof(key_update));
	return n > 0 ? 0 : n == -EINTR ? -EAGAIN : (int)n;
}

int tlssf_keys_send_own_update(struct conn *c)
{
	int r;

	if (c->key_update_breaks || prepare_ours(c))
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_KEY_LIMIT);
	r = send_key_update(c);
	if (r)
		return r;
	c->rekeys++;
	if (commit_ours(c) == 0)
		return 0;
	/* The peer expects the new key, but the kernel has the old one. */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	return -EPROTO;
}
