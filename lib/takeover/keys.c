/* SPDX-License-Identifier: MIT */
/* The keys of a connection: generations, KeyUpdate, how long one lasts. */
#include <errno.h>
#include <string.h>

#include "takeover.h"

/* ---- secrets ---- */

/* From the library, where it tells: then it is the present one. */
void tlssf_keys_refresh_secret(struct conn *c)
{
	size_t n = c->info.version == TLS13 ?
		   tl_write_secret(c->ssl, c->secret) : 0;

	if (n)
		c->secret_len = (uint8_t)n;
}

/* Nothing is tried inside a send where tlssf_ctx_init() has done it. */
bool tlssf_kernel_can_rekey(const struct conn *c)
{
	return c->conf ? c->conf->kernel_rekeys : tlssf_probe_rekey();
}

/* ---- generations ---- */

/* Key material of one generation, with sequence number 0. */
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

/* The one after `from`, unless it is there already. */
static int prepare_next(const struct conn *c, const struct generation *from,
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

/* Records that the key in use may still protect. */
uint64_t tlssf_keys_records_left(struct conn *c)
{
	uint64_t limit = tlssf_key_record_limit(c), seq = c->takeover->ours.key.seq;

	if (c->kernel_tx)
		return tlssf_tx_records_left(c);
	return seq < limit ? limit - seq : 0;
}

/* ---- KeyUpdate ---- */

/*
 * The library's keys and ours change at the same message when it is the library
 * that sends it. Ours may change more often: see tlssf_keys_send_own_update().
 */
static int prepare_ours(struct conn *c)
{
	struct takeover *t = c->takeover;

	return prepare_next(c, &t->ours, c->kernel_tx ? KEY_EXPORT : KEY_ENCRYPT,
			    &t->ours_next);
}

static int commit_ours(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r;

	if (c->kernel_tx)
		tlssf_tx_before_new_key(c);
	advance(&t->ours, &t->ours_next);
	if (!c->kernel_tx)
		return 0;
	r = tlssf_keys_install(c->fd, &t->ours.key);
	explicit_bzero(&t->ours.key, sizeof(t->ours.key));
	return r;
}

/* All that may fail, before the library's message leaves. */
int tlssf_keys_prepare_update(struct conn *c)
{
	struct takeover *t = c->takeover;
	int r = prepare_next(c, &t->library, KEY_DECRYPT, &t->library_next);

	return r ? r : prepare_ours(c);
}

/* The message is out: all that follows is sealed with the next key. */
int tlssf_keys_commit_update(struct conn *c)
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
		return tlssf_queue_encrypt(c->bridge, &c->takeover->ours,
					 RECORD_HANDSHAKE, message,
					 sizeof(message));
	c->calls++;
	n = tlssf_sys.send_record(c->fd, RECORD_HANDSHAKE, message,
				  sizeof(message));
	if (n > 0) {
		tlssf_tx_add(c, sizeof(message));
		c->tx->open = false;
	}
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
	/* the peer waits for the new key, the kernel has the old one */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	return -EPROTO;
}
