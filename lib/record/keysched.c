/* SPDX-License-Identifier: MIT */
/*
 * The key schedule: write keys from a traffic secret of TLS 1.3 or from a key
 * block of TLS 1.2, and the next secret after a KeyUpdate.
 */
#include "record.h"

#include <errno.h>
#include <string.h>

#define SALT_LEN	4u	/* of the nonce of TLS 1.2 GCM and CCM */
#define LABEL_MAX	20u

/*
 * HKDF-Expand-Label (RFC 8446, 7.1) with an empty context. `info` is the length
 * of the output, the length of the full label, the full label (label with the
 * prefix "tls13 "), and the length of the context, 0.
 */
static int expand_label(const unsigned char *secret, size_t secret_len,
			const char *label, unsigned char *out, size_t len)
{
	static const char prefix[] = { 't', 'l', 's', '1', '3', ' ' };
	unsigned char info[4 + sizeof(prefix) + LABEL_MAX];
	size_t label_len = strlen(label), n = 0;

	info[n++] = (unsigned char)(len >> 8);
	info[n++] = (unsigned char)len;
	info[n++] = (unsigned char)(sizeof(prefix) + label_len);
	memcpy(info + n, prefix, sizeof(prefix));
	n += sizeof(prefix);
	memcpy(info + n, label, label_len);
	n += label_len;
	info[n++] = 0;
	return tl_hkdf_expand(secret, secret_len, info, n, out, len);
}

int tlssf_keys_from_secret(const unsigned char *secret, size_t len, int cipher,
			   struct kernel_key *key)
{
	int r;

	*key = (struct kernel_key){ .version = TLS13, .cipher = cipher };
	r = expand_label(secret, len, "key", key->key,
			 tlssf_cipher_key_len(cipher));
	if (!r)
		r = expand_label(secret, len, "iv", key->nonce, NONCE_LEN);
	return r;
}

int tlssf_next_secret(unsigned char *secret, size_t len)
{
	unsigned char next[SECRET_MAX];
	int r = expand_label(secret, len, "traffic upd", next, len);

	if (!r)
		memcpy(secret, next, len);
	explicit_bzero(next, sizeof(next));
	return r;
}

/*
 * The implicit part of the nonce in TLS 1.2: with ChaCha20 the whole nonce (RFC
 * 7905), with GCM and CCM the salt.
 */
static size_t implicit_nonce_len(int cipher)
{
	return cipher == TLSSF_CHACHA20_POLY1305 ? NONCE_LEN : SALT_LEN;
}

/* Two keys (client, server), then two IVs; an AEAD cipher has no MAC keys. */
size_t tlssf_key_block_len(int cipher)
{
	return 2 * (tlssf_cipher_key_len(cipher) + implicit_nonce_len(cipher));
}

void tlssf_keys_from_block(const unsigned char *block, bool server, int cipher,
			   struct kernel_key *key)
{
	size_t key_len = tlssf_cipher_key_len(cipher);
	size_t iv_len = implicit_nonce_len(cipher);

	*key = (struct kernel_key){ .version = TLS12, .cipher = cipher };
	memcpy(key->key, block + (server ? key_len : 0), key_len);
	memcpy(key->nonce, block + 2 * key_len + (server ? iv_len : 0), iv_len);
}
