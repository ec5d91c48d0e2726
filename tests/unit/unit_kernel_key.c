/* SPDX-License-Identifier: MIT */
/* The layout of the keys that TLS_TX takes. */
#include "record.h"
#include "util.h"

#include <string.h>

/*
 * The kernel's layout, written by hand. The order of the parts is version,
 * type, IV, key, salt, sequence number.
 */
static const struct {
	unsigned char type, size, iv, key, salt, tls12;
} layouts[TLSSF_CIPHER_COUNT] = {
	[TLSSF_AES_128_GCM] = { 51, 40, 8, 16, 4, 29 },
	[TLSSF_AES_256_GCM] = { 52, 56, 8, 32, 4, 29 },
	[TLSSF_AES_128_CCM] = { 53, 40, 8, 16, 4, 29 },
	[TLSSF_CHACHA20_POLY1305] = { 54, 56, 12, 32, 0, 21 },
	[TLSSF_SM4_GCM] = { 55, 40, 8, 16, 4, 29 },
	[TLSSF_SM4_CCM] = { 56, 40, 8, 16, 4, 29 },
	[TLSSF_ARIA_128_GCM] = { 57, 40, 8, 16, 4, 29 },
	[TLSSF_ARIA_256_GCM] = { 58, 56, 8, 32, 4, 29 },
};

static void check_pack(int version, int c)
{
	struct kernel_key k = { .version = version, .cipher = c,
				.seq = UINT64_C(0x0102030405060708) };
	unsigned char info[SYS_CRYPTO_MAX], *p = info;
	uint16_t head[2];

	for (unsigned int i = 0; i < 32; i++)
		k.key[i] = (unsigned char)(100 + i);
	for (unsigned int i = 0; i < 12; i++)
		k.nonce[i] = (unsigned char)(200 + i);
	memset(info, 0xee, sizeof(info));
	ck_assert_uint_eq(tlssf_kernel_key_pack(info, &k), layouts[c].size);
	memcpy(head, p, sizeof(head));
	ck_assert_uint_eq(head[0], version);
	ck_assert_uint_eq(head[1], layouts[c].type);
	p += 4;
	ck_assert_mem_eq(p, k.nonce + layouts[c].salt, layouts[c].iv);
	p += layouts[c].iv;
	ck_assert_mem_eq(p, k.key, layouts[c].key);
	p += layouts[c].key;
	ck_assert_mem_eq(p, k.nonce, layouts[c].salt);
	p += layouts[c].salt;
	ck_assert_mem_eq(p, "\1\2\3\4\5\6\7\10", 8);
	ck_assert_int_eq(p + 8 - info, layouts[c].size);
	ck_assert_uint_eq(tlssf_kernel_key_seq(info, c), k.seq);
}

START_TEST(keys_are_packed)
{
	struct kernel_key k = { .version = 0x0304, .cipher = -1 };
	unsigned char info[SYS_CRYPTO_MAX];

	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		check_pack(0x0303, c);
		check_pack(0x0304, c);
		ck_assert_uint_eq(tlssf_kernel_key_size(c), layouts[c].size);
		ck_assert_uint_eq(tlssf_cipher_key_len(c), layouts[c].key);
		ck_assert_uint_eq(tlssf_record_overhead(0x0303, c),
				  layouts[c].tls12);
		ck_assert_uint_eq(tlssf_record_overhead(0x0304, c), 22);
	}
	ck_assert_uint_eq(tlssf_kernel_key_pack(info, &k), 0);
	k.cipher = TLSSF_CIPHER_COUNT;
	ck_assert_uint_eq(tlssf_kernel_key_pack(info, &k), 0);
	ck_assert_uint_eq(tlssf_kernel_key_size(-1), 0);
	ck_assert_uint_eq(tlssf_cipher_key_len(TLSSF_CIPHER_COUNT), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_kernel_key");
	TCase *keys = add_case(suite, "keys");

	tcase_add_test(keys, keys_are_packed);
	return run_suite("unit_kernel_key", suite);
}
