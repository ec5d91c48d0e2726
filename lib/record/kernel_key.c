/* SPDX-License-Identifier: MIT */
/* Conversion of a key to and from struct tls12_crypto_info_* of linux/tls.h. */
#include "record.h"

#include <linux/tls.h>
#include <string.h>

#define INNER_TYPE_LEN	1	/* TLS 1.3 */

/* Offsets and lengths of the members of one struct tls12_crypto_info_*. */
struct layout {
	uint16_t type;
	uint8_t size;
	uint8_t iv, iv_len;
	uint8_t key, key_len;
	uint8_t salt, salt_len;
	uint8_t seq;
};

#define INFO(name) struct tls12_crypto_info_##name
#define LEN(name, member) sizeof(((INFO(name) *)0)->member)
#define LAYOUT(name, number) {					\
	.type = number,						\
	.size = sizeof(INFO(name)),				\
	.iv = offsetof(INFO(name), iv),				\
	.iv_len = LEN(name, iv),				\
	.key = offsetof(INFO(name), key),			\
	.key_len = LEN(name, key),				\
	.salt = offsetof(INFO(name), salt),			\
	.salt_len = NONCE_LEN - LEN(name, iv),			\
	.seq = offsetof(INFO(name), rec_seq),			\
}

static const struct layout layouts[] = {
	[TLSSF_AES_128_GCM] = LAYOUT(aes_gcm_128, TLS_CIPHER_AES_GCM_128),
	[TLSSF_AES_256_GCM] = LAYOUT(aes_gcm_256, TLS_CIPHER_AES_GCM_256),
	[TLSSF_AES_128_CCM] = LAYOUT(aes_ccm_128, TLS_CIPHER_AES_CCM_128),
	[TLSSF_CHACHA20_POLY1305] = LAYOUT(chacha20_poly1305,
					   TLS_CIPHER_CHACHA20_POLY1305),
	[TLSSF_SM4_GCM] = LAYOUT(sm4_gcm, TLS_CIPHER_SM4_GCM),
	[TLSSF_SM4_CCM] = LAYOUT(sm4_ccm, TLS_CIPHER_SM4_CCM),
	[TLSSF_ARIA_128_GCM] = LAYOUT(aria_gcm_128, TLS_CIPHER_ARIA_GCM_128),
	[TLSSF_ARIA_256_GCM] = LAYOUT(aria_gcm_256, TLS_CIPHER_ARIA_GCM_256),
};

_Static_assert(sizeof(layouts) / sizeof(layouts[0]) == TLSSF_CIPHER_COUNT,
	       "a layout for each cipher");
_Static_assert(sizeof(INFO(aes_gcm_256)) <= SYS_CRYPTO_MAX &&
	       sizeof(INFO(chacha20_poly1305)) <= SYS_CRYPTO_MAX &&
	       sizeof(INFO(aria_gcm_256)) <= SYS_CRYPTO_MAX, "info fits");
_Static_assert(LEN(aes_gcm_128, iv) + LEN(aes_gcm_128, salt) == NONCE_LEN &&
	       LEN(chacha20_poly1305, iv) == NONCE_LEN, "salt and iv: nonce");

static const struct layout *layout_of(int cipher)
{
	if (cipher < 0 || cipher >= TLSSF_CIPHER_COUNT)
		return NULL;
	return &layouts[cipher];
}

/*
 * The nonce is salt || iv. In TLS 1.3 and with ChaCha20, the kernel XORs the
 * sequence number into the nonce; otherwise iv is the explicit nonce of the
 * next record.
 */
size_t tlssf_kernel_key_pack(void *info, const struct kernel_key *key)
{
	const struct layout *l = layout_of(key->cipher);
	struct tls_crypto_info head;
	unsigned char *p = info;

	if (!l)
		return 0;
	memset(info, 0, SYS_CRYPTO_MAX);
	head.version = (uint16_t)key->version;
	head.cipher_type = l->type;
	memcpy(p, &head, sizeof(head));
	memcpy(p + l->key, key->key, l->key_len);
	memcpy(p + l->salt, key->nonce, l->salt_len);
	memcpy(p + l->iv, key->nonce + l->salt_len, l->iv_len);
	for (unsigned int i = 0; i < 8; i++)
		p[l->seq + i] = (unsigned char)(key->seq >> (56 - 8 * i));
	return l->size;
}

uint64_t tlssf_kernel_key_seq(const void *info, int cipher)
{
	const struct layout *l = layout_of(cipher);
	const unsigned char *p = info;
	uint64_t seq = 0;

	for (unsigned int i = 0; l && i < 8; i++)
		seq = seq << 8 | p[l->seq + i];
	return seq;
}

size_t tlssf_kernel_key_size(int cipher)
{
	const struct layout *l = layout_of(cipher);

	return l ? l->size : 0;
}

size_t tlssf_cipher_key_len(int cipher)
{
	const struct layout *l = layout_of(cipher);

	return l ? l->key_len : 0;
}

size_t tlssf_record_overhead(int version, int cipher)
{
	if (version == TLS13)
		return RECORD_HEADER + INNER_TYPE_LEN + TAG_LEN;
	if (cipher == TLSSF_CHACHA20_POLY1305)
		return RECORD_HEADER + TAG_LEN;
	return RECORD_HEADER + EXPLICIT_LEN + TAG_LEN;
}
