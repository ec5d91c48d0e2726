/* SPDX-License-Identifier: MIT */
/*
 * Key derivation and AEAD by OpenSSL's providers. Our filter BIO calls these
 * functions while OpenSSL is inside a call of its own. So each function removes
 * the errors that it adds to the error queue, and leaves the others there.
 */
#include <errno.h>
#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>

#include "tls.h"

#define RANDOM_LEN	32

/* ---- key derivation ---- */

/*
 * A provider (FIPS) may refuse the derivation. Then the write keys cannot be
 * taken over from OpenSSL.
 */
static int derive(const char *name, const OSSL_PARAM *params,
		  unsigned char *out, size_t len)
{
	EVP_KDF_CTX *ctx;
	EVP_KDF *kdf;
	int r;

	ERR_set_mark();
	kdf = EVP_KDF_fetch(NULL, name, NULL);
	ctx = EVP_KDF_CTX_new(kdf);
	r = ctx && EVP_KDF_derive(ctx, out, len, params) > 0 ? 0 : -ENOTSUP;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_pop_to_mark();
	return r;
}

/* OSSL_PARAM has no pointer to const, but EVP_KDF_derive() only reads. */
static OSSL_PARAM octets(const char *name, const void *data, size_t len)
{
	return OSSL_PARAM_construct_octet_string(name,
						 (void *)(uintptr_t)data, len);
}

static OSSL_PARAM digest(const char *name)
{
	return OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						(char *)(uintptr_t)name, 0);
}

int tl_hkdf_expand(const unsigned char *secret, size_t secret_len,
		   const void *info, size_t info_len, unsigned char *out,
		   size_t len)
{
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		digest(secret_len == 48 ? "SHA2-384" : "SHA2-256"),
		octets(OSSL_KDF_PARAM_KEY, secret, secret_len),
		octets(OSSL_KDF_PARAM_INFO, info, info_len),
		OSSL_PARAM_construct_end(),
	};

	return derive("HKDF", params, out, len);
}

/* RFC 5246, 6.3 and 5. OpenSSL concatenates the three seeds. */
int tl_key_block(SSL *ssl, unsigned char *block, size_t len)
{
	static const char label[] = "key expansion";
	const EVP_MD *md =
		SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
	unsigned char master[SSL_MAX_MASTER_KEY_LENGTH];
	unsigned char client[RANDOM_LEN], server[RANDOM_LEN];
	size_t n = SSL_SESSION_get_master_key(SSL_get_session(ssl), master,
					      sizeof(master));
	int r = -ENOTSUP;

	SSL_get_client_random(ssl, client, sizeof(client));
	SSL_get_server_random(ssl, server, sizeof(server));
	if (md && n) {
		OSSL_PARAM params[] = {
			digest(EVP_MD_get0_name(md)),
			octets(OSSL_KDF_PARAM_SECRET, master, n),
			octets(OSSL_KDF_PARAM_SEED, label, sizeof(label) - 1),
			octets(OSSL_KDF_PARAM_SEED, server, sizeof(server)),
			octets(OSSL_KDF_PARAM_SEED, client, sizeof(client)),
			OSSL_PARAM_construct_end(),
		};

		r = derive("TLS1-PRF", params, block, len);
	}
	OPENSSL_cleanse(master, sizeof(master));
	return r;
}

/* OpenSSL reports the secrets of TLS 1.3 to the key log callback only. */
size_t tl_write_secret(const SSL *ssl, unsigned char secret[SECRET_MAX])
{
	(void)ssl, (void)secret;
	return 0;
}

/* ---- AEAD ---- */

struct tl_aead {
	EVP_CIPHER_CTX *ctx;
	bool ccm;
};

/* CCM needs the length of the tag before the key. */
static bool set_key(const struct tl_aead *a, const EVP_CIPHER *type,
		    const unsigned char *key, bool encrypt)
{
	return EVP_CipherInit_ex(a->ctx, type, NULL, NULL, NULL, encrypt) > 0 &&
	       EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_IVLEN, NONCE_LEN,
				   NULL) > 0 &&
	       (!a->ccm || EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG,
					       TAG_LEN, NULL) > 0) &&
	       EVP_CipherInit_ex(a->ctx, NULL, NULL, key, NULL, encrypt) > 0;
}

static int new_aead(struct tl_aead **aead, int cipher,
		    const unsigned char *key, bool encrypt)
{
	struct tl_aead *a = calloc(1, sizeof(*a));
	EVP_CIPHER *type;
	int r;

	ERR_set_mark();
	/* tlssf_cipher_name() is also OpenSSL's name of the cipher */
	type = EVP_CIPHER_fetch(NULL, tlssf_cipher_name(cipher), NULL);
	r = type ? -ENOMEM : -ENOTSUP;
	if (a && type) {
		a->ccm = EVP_CIPHER_get_mode(type) == EVP_CIPH_CCM_MODE;
		a->ctx = EVP_CIPHER_CTX_new();
		if (a->ctx && set_key(a, type, key, encrypt))
			r = 0;
	}
	EVP_CIPHER_free(type);
	ERR_pop_to_mark();
	if (r) {
		tl_aead_free(a);
		a = NULL;
	}
	*aead = a;
	return r;
}

int tl_aead_new_decryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key)
{
	return new_aead(aead, cipher, key, false);
}

int tl_aead_new_encryptor(struct tl_aead **aead, int cipher,
			  const unsigned char *key)
{
	return new_aead(aead, cipher, key, true);
}

void tl_aead_free(struct tl_aead *a)
{
	if (!a)
		return;
	EVP_CIPHER_CTX_free(a->ctx);	/* wipes the key */
	free(a);
}

static bool decrypt(const struct tl_aead *a, const unsigned char *nonce,
		    const void *aad, size_t aad_len, const unsigned char *in,
		    int len, unsigned char *out)
{
	void *tag = (void *)(uintptr_t)(in + len);
	int n;

	return EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN,
				   tag) > 0 &&
	       EVP_DecryptInit_ex(a->ctx, NULL, NULL, NULL, nonce) > 0 &&
	       (!a->ccm ||
		EVP_DecryptUpdate(a->ctx, NULL, &n, NULL, len) > 0) &&
	       EVP_DecryptUpdate(a->ctx, NULL, &n, aad, (int)aad_len) > 0 &&
	       EVP_DecryptUpdate(a->ctx, out, &n, in, len) > 0 &&
	       (a->ccm || EVP_DecryptFinal_ex(a->ctx, out + len, &n) > 0);
}

ssize_t tl_aead_open(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		     const void *aad, size_t aad_len, const unsigned char *in,
		     size_t in_len, unsigned char *out)
{
	ssize_t r = -EBADMSG;

	ERR_set_mark();
	if (in_len >= TAG_LEN &&
	    decrypt(a, nonce, aad, aad_len, in, (int)(in_len - TAG_LEN), out))
		r = (ssize_t)(in_len - TAG_LEN);
	ERR_pop_to_mark();
	return r;
}

int tl_aead_seal(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		 const void *aad, size_t aad_len, unsigned char *data,
		 size_t len)
{
	int n, r = -EIO;

	ERR_set_mark();
	if (EVP_EncryptInit_ex(a->ctx, NULL, NULL, NULL, nonce) > 0 &&
	    (!a->ccm ||
	     EVP_EncryptUpdate(a->ctx, NULL, &n, NULL, (int)len) > 0) &&
	    EVP_EncryptUpdate(a->ctx, NULL, &n, aad, (int)aad_len) > 0 &&
	    EVP_EncryptUpdate(a->ctx, data, &n, data, (int)len) > 0 &&
	    EVP_EncryptFinal_ex(a->ctx, data + len, &n) > 0 &&
	    EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN,
				data + len) > 0)
		r = 0;
	ERR_pop_to_mark();
	return r;
}

/* The stream ciphers in GCM and ChaCha20-Poly1305 decrypt without the tag. */
int tl_aead_peek(struct tl_aead *a, const unsigned char nonce[NONCE_LEN],
		 const unsigned char *in, size_t len, unsigned char *out)
{
	int n, r = -ENOTSUP;

	ERR_set_mark();
	if (!a->ccm &&
	    EVP_DecryptInit_ex(a->ctx, NULL, NULL, NULL, nonce) > 0 &&
	    EVP_DecryptUpdate(a->ctx, out, &n, in, (int)len) > 0)
		r = 0;
	ERR_pop_to_mark();
	return r;
}
