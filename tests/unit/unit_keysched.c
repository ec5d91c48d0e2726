/* SPDX-License-Identifier: MIT */
/*
 * The key schedule, compared with the trace of RFC 8448 and with OpenSSL's own.
 */
#include "record.h"
#include "util.h"

#include <string.h>

#ifndef OPENSSL_IS_BORINGSSL
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#endif

/* RFC 8448, 3: simple 1-RTT handshake, TLS_AES_128_GCM_SHA256 */
struct trace {
	unsigned char secret[32], key[16], iv[12];
};

static const struct trace traces[] = {
	{	/* {server} derive write traffic keys for application data */
		{ 0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47,
		  0x11, 0x6b, 0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4,
		  0x4b, 0xfb, 0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63,
		  0x16, 0x43 },
		{ 0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b,
		  0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56 },
		{ 0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1,
		  0xe9, 0x84 },
	},
	{	/* {client} derive write traffic keys for application data */
		{ 0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a,
		  0xf8, 0x88, 0x9b, 0xce, 0x65, 0x52, 0x87, 0x5a, 0xfa, 0x0b,
		  0x06, 0xdf, 0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7, 0xc1, 0x75,
		  0x04, 0xa5 },
		{ 0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9, 0xac, 0xd8,
		  0x90, 0xe3, 0xc6, 0x3f, 0x50, 0x51 },
		{ 0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08, 0x57, 0x90, 0x33, 0xe5,
		  0x23, 0xd9 },
	},
};

START_TEST(rfc_8448)
{
	const struct trace *t = &traces[_i];
	struct kernel_key k;

	ck_assert_int_eq(tlssf_keys_from_secret(t->secret, 32,
						TLSSF_AES_128_GCM, &k), 0);
	ck_assert_mem_eq(k.key, t->key, 16);
	ck_assert_mem_eq(k.nonce, t->iv, 12);
	ck_assert_int_eq(k.version, TLS13);
	ck_assert_int_eq(k.cipher, TLSSF_AES_128_GCM);
	ck_assert_uint_eq(k.seq, 0);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
/* Compute HKDF-Expand-Label with OpenSSL's HKDF. */
static void label(const char *md, const unsigned char *secret, size_t len,
		  const char *name, unsigned char *out, size_t out_len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_utf8_string("digest", (char *)md, 0),
		OSSL_PARAM_construct_int("mode", &mode),
		OSSL_PARAM_construct_octet_string("key", (void *)secret, len),
		OSSL_PARAM_construct_octet_string("prefix", "tls13 ", 6),
		OSSL_PARAM_construct_octet_string("label", (char *)name,
						  strlen(name)),
		OSSL_PARAM_construct_end(),
	};

	ck_assert_int_eq(EVP_KDF_derive(ctx, out, out_len, p), 1);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}

/* Compare some key generations, with both hashes and all ciphers. */
START_TEST(as_openssl_does)
{
	const char *md = _i ? "SHA384" : "SHA256";
	size_t len = _i ? 48 : 32;
	unsigned char secret[SECRET_MAX], other[SECRET_MAX], want[32];
	struct kernel_key k;

	for (size_t i = 0; i < len; i++)
		secret[i] = (unsigned char)(i * 37 + 5);
	for (int round = 0; round < 5; round++) {
		for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
			size_t n = tlssf_cipher_key_len(c);

			ck_assert_int_eq(tlssf_keys_from_secret(secret, len, c,
								&k), 0);
			label(md, secret, len, "key", want, n);
			ck_assert_mem_eq(k.key, want, n);
			label(md, secret, len, "iv", want, 12);
			ck_assert_mem_eq(k.nonce, want, 12);
		}
		label(md, secret, len, "traffic upd", other, len);
		ck_assert_int_eq(tlssf_next_secret(secret, len), 0);
		ck_assert_mem_eq(secret, other, len);
	}
}
END_TEST
#endif

/*
 * The key block of TLS 1.2 (RFC 5246, 6.3) has the keys of client and server,
 * and then their IVs.
 */
START_TEST(key_block)
{
	bool server = _i % 2;
	int cipher = _i / 2;
	size_t key = tlssf_cipher_key_len(cipher);
	size_t iv = cipher == TLSSF_CHACHA20_POLY1305 ? 12 : 4;
	unsigned char block[KEY_BLOCK_MAX], none[12] = { 0 };
	struct kernel_key k;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (unsigned char)(i + 1);
	ck_assert_uint_eq(tlssf_key_block_len(cipher), 2 * (key + iv));
	ck_assert_uint_le(tlssf_key_block_len(cipher), sizeof(block));
	tlssf_keys_from_block(block, server, cipher, &k);
	ck_assert_mem_eq(k.key, block + (server ? key : 0), key);
	ck_assert_mem_eq(k.nonce, block + 2 * key + (server ? iv : 0), iv);
	ck_assert_mem_eq(k.nonce + iv, none, 12 - iv);
	ck_assert_int_eq(k.version, TLS12);
	ck_assert_int_eq(k.cipher, cipher);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_keysched");
	TCase *tc = add_case(suite, "keys");

	tcase_add_loop_test(tc, rfc_8448, 0, 2);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, as_openssl_does, 0, 2);
#endif
	tcase_add_loop_test(tc, key_block, 0, 2 * TLSSF_CIPHER_COUNT);
	return run_suite("unit_keysched", suite);
}
