/* SPDX-License-Identifier: MIT */
/*
 * Records that are encrypted and decrypted: which are accepted, and which not.
 */
#include "record.h"
#include "util.h"

#include <errno.h>
#include <string.h>

#define PLAIN	100
#define TAG	16

static const int aeads[] = { TLSSF_CHACHA20_POLY1305, TLSSF_AES_128_GCM,
			     TLSSF_AES_256_GCM, TLSSF_AES_128_CCM };
/* each cipher with both versions */
#ifdef OPENSSL_IS_BORINGSSL
#define N_KEYS	6	/* BoringSSL has no CCM */
#else
#define N_KEYS	8
#endif

static struct kernel_key key;
static struct tl_aead *opener, *encryptor;
static unsigned char plain[PLAIN], rec[PLAIN + 200], out[PLAIN + 200];
static struct opened o;

static void setup_key(int i)
{
	key = (struct kernel_key){ .version = i % 2 ? TLS13 : TLS12,
				   .cipher = aeads[i / 2], .seq = 0x1234567890 };
	for (int n = 0; n < 32; n++)
		key.key[n] = (unsigned char)(n * 11 + i);
	for (int n = 0; n < 12; n++)
		key.nonce[n] = (unsigned char)(n * 7 + i);
	memset(plain, 'p', sizeof(plain));
	ck_assert_int_eq(tl_aead_new_decryptor(&opener, key.cipher, key.key), 0);
	ck_assert_int_eq(tl_aead_new_encryptor(&encryptor, key.cipher, key.key), 0);
}

static void drop_key(void)
{
	tl_aead_free(opener);
	tl_aead_free(encryptor);
}

/*
 * Encrypt with a copy of the key, so that `key` keeps the sequence number to
 * decrypt.
 */
static size_t encrypted(int type, size_t len)
{
	struct kernel_key k = key;
	ssize_t n;

	memcpy(rec + tlssf_record_start(&k), plain, len);
	n = tlssf_record_encrypt(&k, encryptor, type, rec, len, 0);
	ck_assert_int_eq(n, (ssize_t)(len + tlssf_record_overhead(k.version,
								  k.cipher)));
	ck_assert_uint_eq(k.seq, key.seq + 1);
	ck_assert_uint_eq(tlssf_record_len(rec), (size_t)n);
	return (size_t)n;
}

static int opens(size_t len)
{
	memset(&o, 0, sizeof(o));
	return tlssf_record_decrypt(&key, opener, rec, len, out, &o);
}

START_TEST(round_trip)
{
	static const int types[] = { RECORD_ALERT, RECORD_HANDSHAKE,
				     RECORD_DATA };

	setup_key(_i);
	for (size_t len = 0; len <= PLAIN; len++)
		for (int t = 0; t < 3; t++) {
			size_t n = encrypted(types[t], len);
			unsigned char *at = rec + tlssf_record_start(&key);

			ck_assert_int_eq(opens(n), 0);
			ck_assert_int_eq(o.type, types[t]);
			ck_assert_uint_eq(o.len, len);
			ck_assert_uint_eq(o.padding, 0);
			ck_assert_mem_eq(out, plain, len);
			/* decrypt in place */
			ck_assert_int_eq(tlssf_record_decrypt(&key, opener, rec,
							   n, at, &o), 0);
			ck_assert_mem_eq(at, plain, len);
		}
	drop_key();
}
END_TEST

/* One wrong bit, a wrong length or another sequence number is rejected. */
START_TEST(nothing_else_opens)
{
	size_t n;

	setup_key(_i);
	n = encrypted(RECORD_DATA, PLAIN);
	for (size_t i = 0; i < n; i++) {
		rec[i] ^= 1;
		ck_assert_int_eq(opens(n), -EBADMSG);
		rec[i] ^= 1;
	}
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(opens(i), -EBADMSG);
	ck_assert_int_eq(opens(n + 1), -EBADMSG);
	key.seq++;
	ck_assert_int_eq(opens(n), -EBADMSG);
	key.seq -= 2;
	ck_assert_int_eq(opens(n), -EBADMSG);
	key.seq++;
	ck_assert_int_eq(opens(n), 0);
	drop_key();
}
END_TEST

/* tlssf_record_may_begin() must never reject a record that does begin so. */
START_TEST(may_begin)
{
	unsigned char other[PLAIN];
	size_t n;
	int wrong = 0;

	setup_key(_i);
	n = encrypted(RECORD_DATA, PLAIN);
	ck_assert(tlssf_record_may_begin(&key, opener, rec, n, plain, PLAIN));
	ck_assert(tlssf_record_may_begin(&key, opener, rec, n, plain, 1));
	/* the guess has not changed the record */
	ck_assert_int_eq(opens(n), 0);
	memset(other, 'o', sizeof(other));
	if (key.cipher != TLSSF_AES_128_CCM)
		ck_assert(!tlssf_record_may_begin(&key, opener, rec, n, other,
						  PLAIN));
	for (int i = 0; i < 100; i++) {
		key.seq++;
		wrong += tlssf_record_may_begin(&key, opener, rec, n, plain,
						PLAIN);
	}
	/*
	 * The guess detects a wrong sequence number only if the nonce follows
	 * it, and never for CCM.
	 */
	if (!tlssf_explicit_nonce(&key) && key.cipher != TLSSF_AES_128_CCM)
		ck_assert_int_eq(wrong, 0);
	drop_key();
}
END_TEST

/* Encrypt a given inner plaintext: content, type, zeros. */
static size_t encrypt_inner(size_t content, size_t zeros)
{
	unsigned char nonce[12];
	size_t len = content + 1 + zeros;

	memset(rec, 0, sizeof(rec));
	rec[0] = RECORD_DATA;
	rec[1] = rec[2] = 3;
	rec[3] = (unsigned char)((len + TAG) >> 8);
	rec[4] = (unsigned char)(len + TAG);
	memcpy(rec + 5, plain, content);
	rec[5 + content] = content ? RECORD_HANDSHAKE : 0;
	memcpy(nonce, key.nonce, 12);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= (unsigned char)(key.seq >> (56 - 8 * i));
	ck_assert_int_eq(tl_aead_seal(encryptor, nonce, rec, 5, rec + 5, len), 0);
	return 5 + len + TAG;
}

START_TEST(padding)
{
	setup_key(_i * 2 + 1);
	ck_assert_int_eq(opens(encrypt_inner(10, 0)), 0);
	ck_assert_uint_eq(o.padding, 0);
	for (size_t zeros = 1; zeros < 90; zeros++) {
		ck_assert_int_eq(opens(encrypt_inner(10, zeros)), 0);
		ck_assert_uint_eq(o.padding, zeros);
		ck_assert_int_eq(o.type, RECORD_HANDSHAKE);
		ck_assert_uint_eq(o.len, 10);
	}
	/* RFC 8446, 5.4: an inner plaintext of zeros alone is an error */
	ck_assert_int_eq(opens(encrypt_inner(0, 20)), -EBADMSG);
	drop_key();
}
END_TEST

/* The explicit nonce has 64 bits, grows by 1 and is on the wire. */
START_TEST(explicit_nonces)
{
	static const unsigned char last[8] = { 0xff, 0xff, 0xff, 0xff, 0xff,
					       0xff, 0xff, 0xff };
	static const unsigned char carry[8] = { 0, 0, 0, 1, 0xff, 0xff, 0xff,
						0xff };
	static const unsigned char carried[8] = { 0, 0, 0, 2 };
	static const unsigned char zero[8];

	setup_key(_i * 2);
	memcpy(key.nonce + 4, carry, 8);
	encrypted(RECORD_DATA, 1);
	ck_assert_mem_eq(rec + 5, carry, 8);
	tlssf_next_nonce(&key);
	ck_assert_mem_eq(key.nonce + 4, carried, 8);
	memcpy(key.nonce + 4, last, 8);
	tlssf_next_nonce(&key);
	ck_assert_mem_eq(key.nonce + 4, zero, 8);
	drop_key();
}
END_TEST

/* Padding makes the record longer by its length; the content is the same. */
START_TEST(padded_round_trip)
{
	static const size_t contents[] = { 0, 1, 5, PLAIN };

	setup_key(_i * 2 + 1);
	for (size_t i = 0; i < 4; i++) {
		size_t len = contents[i], zeros = i * 40 + 1;
		size_t bare = encrypted(RECORD_HANDSHAKE, len);
		struct kernel_key k = key;

		memset(rec, 0xff, sizeof(rec));
		memcpy(rec + tlssf_record_start(&k), plain, len);
		ck_assert_int_eq(tlssf_record_encrypt(&k, encryptor,
						      RECORD_HANDSHAKE, rec,
						      len, zeros),
				 (ssize_t)(bare + zeros));
		ck_assert_uint_eq(tlssf_record_len(rec), bare + zeros);
		ck_assert_int_eq(opens(bare + zeros), 0);
		ck_assert_int_eq(o.type, RECORD_HANDSHAKE);
		ck_assert_uint_eq(o.len, len);
		ck_assert_uint_eq(o.padding, zeros);
	}
	drop_key();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_record");
	TCase *tc = add_case(suite, "records");

	tcase_add_loop_test(tc, round_trip, 0, N_KEYS);
	tcase_add_loop_test(tc, nothing_else_opens, 0, N_KEYS);
	tcase_add_loop_test(tc, may_begin, 0, N_KEYS);
	tcase_add_loop_test(tc, padding, 0, N_KEYS / 2);
	tcase_add_loop_test(tc, padded_round_trip, 0, N_KEYS / 2);
	tcase_add_loop_test(tc, explicit_nonces, 1, N_KEYS / 2);
	return run_suite("unit_record", suite);
}
