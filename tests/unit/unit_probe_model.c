/* SPDX-License-Identifier: MIT */
#include "unit_probe_model.h"

#include "time_limits.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#define EXPLICIT 8	/* in TLS 1.2 GCM and CCM, nonce bytes on the wire */
#define TAG 16
#define LAST_ERRNO 133

/* The layout of a key in linux/tls.h, written here a second time. */
static const struct {
	const char *evp;
	unsigned int type, iv, key, salt;
} kinds[TLSSF_CIPHER_COUNT] = {
	[TLSSF_AES_128_GCM] = { "AES-128-GCM", 51, 8, 16, 4 },
	[TLSSF_AES_256_GCM] = { "AES-256-GCM", 52, 8, 32, 4 },
	[TLSSF_AES_128_CCM] = { "AES-128-CCM", 53, 8, 16, 4 },
	[TLSSF_CHACHA20_POLY1305] = { "ChaCha20-Poly1305", 54, 12, 32, 0 },
	[TLSSF_SM4_GCM] = { "SM4-GCM", 55, 8, 16, 4 },
	[TLSSF_SM4_CCM] = { "SM4-CCM", 56, 8, 16, 4 },
	[TLSSF_ARIA_128_GCM] = { "ARIA-128-GCM", 57, 8, 16, 4 },
	[TLSSF_ARIA_256_GCM] = { "ARIA-256-GCM", 58, 8, 32, 4 },
};

/* ---- the model of a kernel: libcrypto encrypts its records ---- */

struct model model;

int64_t take_key(const struct sys_args *a)
{
	ck_assert_uint_le(a->in_len, SYS_CRYPTO_MAX);
	memcpy(model.info[1], model.info[0], SYS_CRYPTO_MAX);
	memcpy(model.info[0], a->in, a->in_len);
	model.keys++;
	return 0;
}

static void encrypt_with(const char *evp, const unsigned char *key,
			 const unsigned char *nonce, const unsigned char *aad,
			 int aad_len, const unsigned char *in, int len,
			 unsigned char *out)
{
	EVP_CIPHER *type = EVP_CIPHER_fetch(NULL, evp, NULL);
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
	bool ccm = strstr(evp, "CCM") != NULL;
	int n;

	ck_assert(type != NULL && x != NULL);
	ck_assert(EVP_EncryptInit_ex(x, type, NULL, NULL, NULL));
	ck_assert(EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL));
	if (ccm)
		ck_assert(EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, TAG,
					      NULL));
	ck_assert(EVP_EncryptInit_ex(x, NULL, NULL, key, nonce));
	if (ccm)
		ck_assert(EVP_EncryptUpdate(x, NULL, &n, NULL, len));
	ck_assert(EVP_EncryptUpdate(x, NULL, &n, aad, aad_len));
	ck_assert(EVP_EncryptUpdate(x, out, &n, in, len));
	ck_assert_int_eq(n, len);
	ck_assert(EVP_EncryptFinal_ex(x, out + len, &n));
	ck_assert(EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, TAG,
				      out + len));
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_free(type);
}

bool library_has(int cipher)
{
	EVP_CIPHER *type = EVP_CIPHER_fetch(NULL, kinds[cipher].evp, NULL);

	EVP_CIPHER_free(type);
	return type != NULL;
}

int cipher_of(const unsigned char *info)
{
	uint16_t type;

	memcpy(&type, info + 2, sizeof(type));
	ck_assert_uint_ge(type, 51);
	ck_assert_uint_le(type, 58);
	return type - 51;
}

int version_of(const unsigned char *info)
{
	uint16_t version;

	memcpy(&version, info, sizeof(version));
	return version;
}

/* Set model.record to the record that a kernel makes of model.plain. */
static void encrypt_record(void)
{
	static const unsigned char zero[8];
	const unsigned char *info = model.info[model.stale];
	int cipher = cipher_of(info);
	bool v13 = version_of(info) == TLS13;
	unsigned int iv = kinds[cipher].iv, key = kinds[cipher].key;
	unsigned int salt = kinds[cipher].salt;
	const unsigned char *seq = info + 4 + iv + key + salt;
	bool explicit = !v13 && iv == EXPLICIT;
	unsigned char nonce[12], aad[13], *rec = model.record;
	size_t skip = 5 + (explicit ? EXPLICIT : 0);
	size_t inner = model.plain_len, aad_len = 5;

	memcpy(nonce, info + 4 + iv + key, salt);
	memcpy(nonce + salt, info + 4, iv);
	memcpy(rec + 5, nonce + 4, EXPLICIT);
	if (model.damage == NUMBER)
		seq = zero;
	for (int i = 0; i < 8 && !explicit; i++)
		nonce[4 + i] ^= seq[i];
	if (v13)
		model.plain[inner++] = model.damage == INNER_TYPE ? 22 : 23;
	if (model.damage == PLAINTEXT)
		model.plain[0] ^= 1;
	model.len = skip + inner + TAG;
	memcpy(rec, "\x17\x03\x03", 3);
	rec[0] -= model.damage == OUTER_TYPE;
	rec[3] = (unsigned char)((model.len - 5) >> 8);
	rec[4] = (unsigned char)(model.len - 5);
	memcpy(aad, rec, 5);
	if (!v13) {
		memcpy(aad, seq, 8);
		memcpy(aad + 8, rec, 3);
		aad[11] = (unsigned char)(inner >> 8);
		aad[12] = (unsigned char)inner;
		aad_len = 13;
	}
	if (library_has(cipher))
		encrypt_with(kinds[cipher].evp, info + 4 + iv, nonce, aad,
			     (int)aad_len, model.plain, (int)inner, rec + skip);
}

int64_t take_plain(const struct sys_args *a)
{
	ck_assert_uint_lt(a->in_len, sizeof(model.plain));
	ck_assert_int_eq(a->value, 0);	/* without MSG_MORE */
	memcpy(model.plain, a->in, a->in_len);
	model.plain_len = a->in_len;
	model.given = 0;
	encrypt_record();
	model.record[4] ^= model.damage == LENGTH;
	model.record[5] ^= model.damage == NONCE;
	model.record[model.len - 1] ^= model.damage == TAG_BIT;
	return (int64_t)a->in_len;
}

static int64_t send_up_to(const struct sys_args *a, size_t max)
{
	size_t n = model.len - model.given;

	n = n < a->out_len ? n : a->out_len;
	n = n < max ? n : max;
	memcpy(a->out, model.record + model.given, n);
	model.given += n;
	return (int64_t)n;
}

int64_t send_record_bytes(const struct sys_args *a)
{
	return send_up_to(a, sizeof(model.record));
}

int64_t send_seven_bytes(const struct sys_args *a)
{
	return send_up_to(a, 7);
}

/* ---- parts of scripts ---- */

static void setup(void)
{
	script_reset();
	memset(&model, 0, sizeof(model));
}

void expect_pair(void)
{
	static const int fds[2] = { TX, RX };

	SCRIPT(tcp_pair, .data = fds, .len = sizeof(fds));
}

void expect_ulp(void)
{
	expect_pair();
	SCRIPT(ulp_attach, .fd = TX);
}

void expect_key(void)
{
	SCRIPT(tls_tx_set, .fd = TX, .play = take_key);
}

void expect_record(void)
{
	SCRIPT(send, .fd = TX, .play = take_plain);
	SCRIPT(recv, .fd = RX, .play = send_record_bytes);
}

void expect_close(void)
{
	SCRIPT(close, .fd = TX);
	SCRIPT(close, .fd = RX);
}

void expect_success(void)
{
	expect_ulp();
	expect_key();
	expect_record();
	expect_close();
}

struct tlssf_cap probe(int version, int cipher)
{
	struct tlssf_cap cap = *tlssf_probe_cap(version, cipher);

	script_done();
	return cap;
}

void assert_cap(struct tlssf_cap cap, int tx, int error, int verified)
{
	ck_assert_int_eq(cap.tx, tx);
	ck_assert_int_eq(cap.error, error);
	ck_assert_int_eq(cap.verified, verified);
}

struct tlssf_cap probe_gcm(void)
{
	script_advance(MINUTE);
	return probe(TLS13, TLSSF_AES_128_GCM);
}

bool passes(int err)
{
	static const int list[] = { EAGAIN, EINTR, 512, ETIMEDOUT, ENOMEM,
		ENOBUFS, EMFILE, ENFILE, EPIPE, ECONNRESET, ENOTCONN };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i] == err)
			return true;
	return false;
}

int next_errno(int err)
{
	return err < LAST_ERRNO ? err + 1 : err == LAST_ERRNO ? 512 : 0;
}

void assert_recovers(void)
{
	expect_success();
	assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
	ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_LOADED);
}

int64_t payload_option(const struct sys_args *a)
{
	ck_assert_uint_eq(a->in_len, 2);
	ck_assert_int_eq(a->value2, 16384);
	return 0;
}

int64_t zerocopy_option(const struct sys_args *a)
{
	ck_assert_uint_eq(a->in_len, 4);
	ck_assert_int_eq(a->value2, 1);
	return 0;
}

void expect_old_options(void)
{
	expect_ulp();
	expect_key();
	SCRIPT(tls_option, .fd = TX, .value = OPT_ZEROCOPY,
	       .play = zerocopy_option);
	SCRIPT(tls_option, .fd = TX, .value = OPT_PAYLOAD,
	       .result = -ENOPROTOOPT);
}

void expect_rekey(void)
{
	expect_old_options();
	expect_key();
	expect_record();
	expect_close();
}

bool probe_rekey(void)
{
	bool yes;

	script_advance(MINUTE);
	yes = tlssf_probe_rekey();
	script_done();
	return yes;
}

void add_tests(Suite *suite, const char *name, const TTest *const *tests)
{
	TCase *tc = add_case(suite, name);

	tcase_add_checked_fixture(tc, setup, NULL);
	for (; *tests != NULL; tests++)
		tcase_add_test(tc, *tests);
}
