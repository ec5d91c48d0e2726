/* SPDX-License-Identifier: MIT */
/* Keys, key derivation and AEAD by BoringSSL. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/aead.h>
#include <openssl/chacha.h>
#include <openssl/cipher.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/hkdf.h>
#include <openssl/mem.h>
#include <openssl/ssl.h>

#include "tls.h"

#define KEY_MAX		32

/* ---- keys ---- */

/*
 * bssl::SSL_get_traffic_secrets() is a public C++ function of ssl.h. The symbol
 * is weak: if a version of BoringSSL lacks this symbol, the pointer is NULL and
 * there is no secret.
 */
struct span {			/* bssl::Span<const uint8_t> */
	const uint8_t *data;
	size_t size;
};

extern bool get_traffic_secrets(const SSL *ssl, struct span *read,
				struct span *write)
	__asm__("_ZN4bssl23SSL_get_traffic_secretsEPK6ssl_stPNS_4SpanIKhEES6_")
	__attribute__((weak));

/*
 * The secret after a KeyUpdate is returned as soon as that KeyUpdate is queued,
 * before BoringSSL writes the message.
 */
size_t tl_write_secret(const SSL *ssl, unsigned char secret[SECRET_MAX])
{
	struct span reading, writing = { NULL, 0 };

	if (!get_traffic_secrets ||
	    !get_traffic_secrets(ssl, &reading, &writing) ||
	    writing.size > SECRET_MAX) {
		ERR_clear_error();
		return 0;
	}
	memcpy(secret, writing.data, writing.size);
	return writing.size;
}

int tl_key_block(SSL *ssl, unsigned char *block, size_t len)
{
	if (SSL_version(ssl) != TLS1_2_VERSION ||
	    !SSL_generate_key_block(ssl, block, len)) {
		ERR_clear_error();
		return -ENOTSUP;
	}
	return 0;
}

int tl_hkdf_expand(const unsigned char *secret, size_t secret_len,
		   const void *info, size_t info_len, unsigned char *out,
		   size_t len)
{
	const EVP_MD *md = secret_len == 48 ? EVP_sha384() : EVP_sha256();

	if (HKDF_expand(out, len, md, secret, secret_len, info, info_len))
		return 0;
	ERR_clear_error();
	return -ENOTSUP;
}

/* ---- AEAD ---- */

struct tl_aead {
	EVP_AEAD_CTX ctx;	/* EVP_AEAD_CTX_new() crashes without memory */
	EVP_CIPHER_CTX *peek;	/* AES in counter mode; NULL: ChaCha20 */
	unsigned char key[KEY_MAX];
};

/* BoringSSL has no CCM with a nonce of 12 bytes. */
static const EVP_AEAD *evp_aead(int cipher)
{
	switch (cipher) {
	case TLSSF_AES_128_GCM:
		return EVP_aead_aes_128_gcm();
	case TLSSF_AES_256_GCM:
		return EVP_aead_aes_256_gcm();
	case TLSSF_CHACHA20_POLY1305:
		return EVP_aead_chacha20_poly1305();
	}
	return NULL;
}

static bool init_peek(struct tl_aead *a, int cipher)
{
	const EVP_CIPHER *ctr = cipher == TLSSF_AES_256_GCM ?
				EVP_aes_256_ctr() : EVP_aes_128_ctr();

	if (cipher == TLSSF_CHACHA20_POLY1305)
		return true;
	a->peek = EVP_CIPHER_CTX_new();
	return a->peek && EVP_DecryptInit_ex(a->peek, ctr, NULL, a->key, NULL);
}

int tl_aead_new_decryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key)
{
	const EVP_AEAD *type = evp_aead(cipher);
	struct tl_aead *a;

	*aead = NULL;
	if (!type)
		return -ENOTSUP;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	memcpy(a->key, key, EVP_AEAD_key_length(type));
	if (EVP_AEAD_CTX_init(&a->ctx, type, key, EVP_AEAD_key_length(type),
			      TAG_LEN, NULL) && init_peek(a, cipher)) {
		*aead = a;
		return 0;
	}
	tl_aead_free(a);
	ERR_clear_error();
	return -ENOMEM;
}

/* An EVP_AEAD_CTX encrypts and decrypts. */
int tl_aead_new_encryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key)
{
	return tl_aead_new_decryptor(aead, cipher, key);
}

void tl_aead_free(struct tl_aead *a)
{
	if (!a)
		return;
	EVP_AEAD_CTX_cleanup(&a->ctx);
	EVP_CIPHER_CTX_free(a->peek);	/* wipes its key */
	OPENSSL_cleanse(a, sizeof(*a));
	free(a);
}

ssize_t tl_aead_open(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		     const void *aad, size_t aad_len, const unsigned char *in,
		     size_t in_len, unsigned char *out)
{
	size_t n;

	if (EVP_AEAD_CTX_open(&a->ctx, out, &n, in_len, nonce, NONCE_LEN, in,
			      in_len, aad, aad_len))
		return (ssize_t)n;
	ERR_clear_error();
	return -EBADMSG;
}

int tl_aead_seal(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		 const void *aad, size_t aad_len, unsigned char *data,
		 size_t len)
{
	size_t n;

	if (EVP_AEAD_CTX_seal(&a->ctx, data, &n, len + TAG_LEN, nonce,
			      NONCE_LEN, data, len, aad, aad_len))
		return 0;
	ERR_clear_error();
	return -EIO;
}

/*
 * Both ciphers use the first block of the key stream for the tag and encrypt
 * the data from the second block on: AES-GCM counts blocks from 1, ChaCha20
 * from 0.
 */
int tl_aead_peek(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		 const unsigned char *in, size_t len, unsigned char *out)
{
	unsigned char block[16] = { [15] = 2 };
	int n;

	if (!a->peek) {
		CRYPTO_chacha_20(out, in, len, a->key, nonce, 1);
		return 0;
	}
	memcpy(block, nonce, NONCE_LEN);
	if (EVP_DecryptInit_ex(a->peek, NULL, NULL, NULL, block) &&
	    EVP_DecryptUpdate(a->peek, out, &n, in, (int)len))
		return 0;
	ERR_clear_error();
	return -ENOTSUP;
}
