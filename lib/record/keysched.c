/* SPDX-License-Identifier: MIT */
/* The key schedule from a traffic secret on: bytes in, key material out. */
#include "record.h"

#include <errno.h>
#include <string.h>

#define SALT_LEN	4u	/* TLS 1.2 GCM and CCM: the implicit part */
#define LABEL_MAX	20u

/*
 * HKDF-Expand-Label (RFC 8446, 7.1) with an empty context:
 * length, "tls13 " and label with their length, length 0.
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

/* RFC 8446, 7.3 */
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

/* RFC 8446, 7.2: what a KeyUpdate makes of it. */
int tlssf_next_secret(unsigned char *secret, size_t len)
{
	unsigned char next[SECRET_MAX];
	int r = expand_label(secret, len, "traffic upd", next, len);

	if (!r)
		memcpy(secret, next, len);
	explicit_bzero(next, sizeof(next));
	return r;
}

/* ChaCha20's nonce is all implicit (RFC 7905); GCM's and CCM's a salt only. */
static size_t implicit_len(int cipher)
{
	return cipher == TLSSF_CHACHA20_POLY1305 ? NONCE_LEN : SALT_LEN;
}

/* RFC 5246, 6.3, without MAC keys: keys of client and server, then IVs. */
size_t tlssf_key_block_len(int cipher)
{
	return 2 * (tlssf_cipher_key_len(cipher) + implicit_len(cipher));
}

void tlssf_keys_from_block(const unsigned char *block, bool server, int cipher,
			   struct kernel_key *key)
{
	size_t key_len = tlssf_cipher_key_len(cipher);
	size_t iv_len = implicit_len(cipher);

	*key = (struct kernel_key){ .version = TLS12, .cipher = cipher };
	memcpy(key->key, block + (server ? key_len : 0), key_len);
	memcpy(key->nonce, block + 2 * key_len + (server ? iv_len : 0), iv_len);
}
