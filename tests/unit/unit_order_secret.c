/* SPDX-License-Identifier: MIT */
/*
 * The write secret in struct conn: it is wiped as soon as no takeover can come
 * any more, whatever write BIO the application sets. It stays as long as one
 * may come.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define TLS13_ROW	2
#define MUCH		(256 * KIB)
#define KERNEL		(ROWS + TLS13_ROW)

static bool wiped(void)
{
	static const unsigned char zeros[SECRET_MAX];
	const struct conn *c = tl_conn(w.p.ssl);

	return c->secret_len == 0 && !memcmp(c->secret, zeros, SECRET_MAX);
}

static void open_named(int row, int method)
{
	struct tlssf_options o = { .size = sizeof(o), .method = method };

	world_open(row, &o);
#ifndef OPENSSL_IS_BORINGSSL	/* which returns its secret on request */
	ck_assert_uint_eq(tl_conn(w.p.ssl)->secret_len, 48);
	ck_assert(!wiped());
#endif
}

/*
 * Set another write BIO, equal to the present one, so that the next call
 * examines the connection again.
 */
static void new_write_bio(void)
{
	BIO *below = BIO_next(SSL_get_wbio(w.p.ssl));

	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, below);
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
}

static int ktls_reason(void)
{
	return status().why_not[TLSSF_METHOD_KTLS];
}

/*
 * Check that the secret is wiped, and that there is no takeover for `reason`,
 * before and after a new write BIO.
 */
static void gone_with_reason(int reason)
{
	ck_assert(wiped());
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(tlssf_reason_name(ktls_reason()),
				 tlssf_reason_name(reason));
		ck_assert(wiped());
		new_write_bio();
	}
}

/* ---- methods that were requested by name ---- */

START_TEST(other_method_by_name)
{
	static const int methods[] = { TLSSF_METHOD_USERSPACE,
				       TLSSF_METHOD_SSL_SENDFILE };

	open_named(_i / 2 % 2 ? KERNEL : TLS13_ROW, methods[_i % 2]);
	if (_i / 4)
		tlssf_send(w.p.ssl, FILE_FD, 1, 100);
	else
		status();
	gone_with_reason(TLSSF_REASON_NOT_ASKED);
	pair_close(&w.p);
}
END_TEST

/* ---- where a takeover may still come ---- */

START_TEST(kept_for_a_takeover)
{
	bool named = _i == 1;

	open_named(_i == 2 ? TLS13_ROW : KERNEL,
		   named ? TLSSF_METHOD_KTLS : TLSSF_METHOD_AUTO);
	ck_assert_int_eq(status().takeover, 0);
	ck_assert(!wiped());
	if (!named)
		do_send(1, 100);
	do_write((const unsigned char *)"x", 1);
	ck_assert(!wiped());
	new_write_bio();
	ck_assert_int_eq(status().takeover, 0);
	ck_assert(!wiped());
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	ck_assert(wiped());
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* The write BIO is no socket, but the next one may be: the secret stays. */
START_TEST(kept_without_a_socket)
{
	BIO *below, *mem = BIO_new(BIO_s_mem());
	char *data;
	long len;

	open_named(_i ? KERNEL : TLS13_ROW, TLSSF_METHOD_AUTO);
	below = SSL_get_wbio(w.p.ssl);
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, mem);
	expect_file_part(1, 40000);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 40000), 40000);
	ck_assert_int_eq(ktls_reason(), TLSSF_REASON_NOT_SOCKET);
	ck_assert(!wiped());
	len = BIO_get_mem_data(mem, &data);
	ck_assert_int_eq(pair_send(&w.p, data, (size_t)len), len);
	SSL_set0_wbio(w.p.ssl, below);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* The kernel refuses, but libtlssf may still encrypt itself. */
START_TEST(kept_without_a_kernel)
{
	open_named(KERNEL, TLSSF_METHOD_KTLS);
	SCRIPT_DEFAULT(tls_tx_set, .fd = SOCK, .result = -ENOENT);
	expect_file_part(1, SAMPLE_LEN);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH), SAMPLE_LEN);
	ck_assert_int_eq(ktls_reason(), TLSSF_REASON_KERNEL_CIPHER);
	ck_assert(!wiped());
	pair_close(&w.p);
}
END_TEST

/* BoringSSL has no padding, no record limit and no such cipher. */
#ifndef OPENSSL_IS_BORINGSSL

/* OpenSSL has given its keys to the kernel, and encrypts nothing any more. */
START_TEST(keys_of_the_library_in_the_kernel)
{
	open_named(KERNEL, TLSSF_METHOD_AUTO);
	SCRIPT_DEFAULT(tls_tx_get, .fd = SOCK);
	w.p.kernel = true;
	ck_assert_int_eq(status().method, TLSSF_METHOD_SSL_SENDFILE);
	ck_assert_int_eq(status().takeover, 0);
	ck_assert(wiped());
	pair_close(&w.p);
}
END_TEST

/* ---- properties of the handshake ---- */

static void shake_hands_again(void)
{
	ck_assert_int_eq(SSL_clear(w.p.peer), 1);
	ck_assert_int_eq(SSL_clear(w.p.ssl), 1);
	for (int i = 0; i < 10; i++) {
		int theirs = SSL_do_handshake(w.p.peer);

		if (SSL_do_handshake(w.p.ssl) == 1 && theirs == 1)
			return;
	}
	ck_abort_msg("handshake");
}

static void without_kernel_cipher(void)
{
	SSL *ends[] = { w.p.ssl, w.p.peer };

	for (int i = 0; i < 2; i++) {
		SSL_set_security_level(ends[i], 0);
		ck_assert_int_eq(SSL_set_ciphersuites(ends[i],
						"TLS_AES_128_CCM_8_SHA256"), 1);
	}
}

static void with_max_fragment_length(void)
{
	ck_assert_int_eq(SSL_set_tlsext_max_fragment_length(w.p.peer,
				TLSEXT_max_fragment_length_2048), 1);
}

START_TEST(by_the_handshake)
{
	bool cipher = _i % 2;

	open_named(_i / 2 % 2 ? KERNEL : TLS13_ROW,
		   _i / 4 ? TLSSF_METHOD_KTLS : TLSSF_METHOD_AUTO);
	if (cipher)
		without_kernel_cipher();
	else
		with_max_fragment_length();
	shake_hands_again();
	ck_assert(!wiped());
	status();
	gone_with_reason(cipher ? TLSSF_REASON_CIPHER :
				  TLSSF_REASON_MAX_FRAGMENT);
	pair_close(&w.p);
}
END_TEST

/* ---- a sample that was refused ---- */

static const int sample_reasons[] = { TLSSF_REASON_PADDING,
				      TLSSF_REASON_MAX_FRAGMENT,
				      TLSSF_REASON_SEQUENCE_NOT_FOUND };

static void open_refused(int row, int method, int reason)
{
	struct tlssf_options o = { .size = sizeof(o), .method = method };
	SSL_CTX *ctx = plain_ctx(true);

	if (reason == TLSSF_REASON_PADDING)
		SSL_CTX_set_block_padding(ctx, 512);
	if (reason == TLSSF_REASON_MAX_FRAGMENT)
		SSL_CTX_set_max_send_fragment(ctx, 16000);
	world_open_with(ctx, row, &o);
	ck_assert_int_eq(status().takeover, 0);
	ck_assert(!wiped());
	if (reason == TLSSF_REASON_SEQUENCE_NOT_FOUND)
		tl_conn(w.p.ssl)->secret[7] ^= 1;
}

START_TEST(sample_refused)
{
	int reason = sample_reasons[_i % 3];

	open_refused(KERNEL, TLSSF_METHOD_AUTO, reason);
	do_send(1, MUCH);
	gone_with_reason(reason);
	do_send(1, MUCH);
	ck_assert_int_eq(ktls_reason(), reason);
	ck_assert_int_eq(status().takeover, 0);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/*
 * Without kernel TLS, libtlssf would have encrypted. Then the reported reason
 * is that of the kernel, not that of the sample.
 */
START_TEST(sample_refused_without_a_kernel)
{
	open_refused(TLS13_ROW, TLSSF_METHOD_AUTO, sample_reasons[_i % 3]);
	do_send(1, MUCH);
	ck_assert(wiped());
	new_write_bio();
	do_send(1, MUCH);
	ck_assert(wiped());
	ck_assert_int_eq(status().takeover, 0);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

START_TEST(sample_refused_by_name)
{
	int reason = sample_reasons[_i % 3];

	open_refused(KERNEL, TLSSF_METHOD_KTLS, reason);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH), SAMPLE_LEN);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, MUCH),
				 TLSSF_ERROR);
		ck_assert_int_eq(errno, EOPNOTSUPP);
		ck_assert_int_eq(status().error, reason);
		ck_assert(wiped());
		new_write_bio();
	}
	pair_close(&w.p);
}
END_TEST

static void count_searches(void *arg, const char *line)
{
	*(unsigned int *)arg += strstr(line, "sequence number") != NULL;
}

/*
 * The sample waits for room, so the method is still ktls. The application then
 * sends no more than the rest of the sample, and begins again. There must be no
 * search without the secret, since that would be a long one.
 */
START_TEST(sample_refused_and_waiting)
{
	unsigned int searches = 0;
	ssize_t n;

	open_refused(KERNEL, TLSSF_METHOD_AUTO, sample_reasons[_i % 3]);
	tlssf_set_trace(count_searches, &searches);
	w.p.wire.room = 1000;
	n = tlssf_send(w.p.ssl, FILE_FD, 1, MUCH);
	ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	ck_assert(wiped());
	w.p.wire.room = UNLIMITED;
	do_send(1, SAMPLE_LEN);
	do_send(1, MUCH);
	tlssf_set_trace(NULL, NULL);
	ck_assert_uint_eq(searches, 1);
	gone_with_reason(sample_reasons[_i % 3]);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST
#endif

void add_secret_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "secret");

	tcase_add_loop_test(tc, other_method_by_name, 0, 8);
	tcase_add_loop_test(tc, kept_for_a_takeover, 0, 3);
	tcase_add_loop_test(tc, kept_without_a_socket, 0, 2);
	tcase_add_test(tc, kept_without_a_kernel);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_test(tc, keys_of_the_library_in_the_kernel);
	tcase_add_loop_test(tc, by_the_handshake, 0, 8);
	tcase_add_loop_test(tc, sample_refused, 0, 3);
	tcase_add_loop_test(tc, sample_refused_without_a_kernel, 0, 3);
	tcase_add_loop_test(tc, sample_refused_by_name, 0, 3);
	tcase_add_loop_test(tc, sample_refused_and_waiting, 0, 3);
#endif
}
