/* SPDX-License-Identifier: MIT */
/*
 * A max_send_fragment below 16384 limits the records of the connection. Neither
 * the kernel nor libtlssf would respect it, so there must be no takeover.
 */
#include "unit_order.h"

#ifdef OPENSSL_IS_BORINGSSL	/* only a short sample shows it */
void add_fragment_tests(Suite *suite)
{
	(void)suite;
}
#else

#define TLS13_ROW	2
#define MUCH		(256 * KIB)

static const long sizes[] = { 512, SAMPLE_LEN - 1, SAMPLE_LEN, SAMPLE_LEN + 1,
			      16000, 16383, 16384 };
#define N_SIZES	((int)(sizeof(sizes) / sizeof(sizes[0])))

/* ---- the longest record on the wire ---- */

static unsigned char header[RECORD_HEADER];
static size_t have, left, longest;

static void watch_lengths(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (; len; len--, p++) {
		if (left) {
			left--;
			continue;
		}
		header[have++] = *p;
		if (have < RECORD_HEADER)
			continue;
		have = 0;
		left = tlssf_record_len(header) - RECORD_HEADER;
		if (left > longest)
			longest = left;
	}
}

/*
 * Set the limit on the SSL_CTX, or on the SSL after the handshake, and check
 * that no record is longer.
 */
static void honoured(int row, long size, bool on_ssl)
{
	SSL_CTX *ctx = plain_ctx(true);
	struct tlssf_status st;

	if (!on_ssl)
		ck_assert_int_eq(SSL_CTX_set_max_send_fragment(ctx, size), 1);
	world_open_with(ctx, row, NULL);
	if (on_ssl)
		ck_assert_int_eq(SSL_set_max_send_fragment(w.p.ssl, size), 1);
	have = left = longest = 0;
	w.p.watch = watch_lengths;
	do_send(1, MUCH);
	do_send(7, MUCH);
	st = status();
	ck_assert_int_eq(st.takeover, size == 16384);
	if (size < 16384) {
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
		if (row >= ROWS)
			ck_assert_int_eq(st.reason, TLSSF_REASON_MAX_FRAGMENT);
	}
	ck_assert_uint_le(longest, (size_t)size + 1 + 8 + TAG_LEN);
	ck_assert_uint_gt(longest, (size_t)size);
	shut_down_and_check();
	pair_close(&w.p);
}

START_TEST(every_size)
{
	int row = _i / N_SIZES % 4;

	honoured((row / 2 ? ROWS : 0) + (row % 2 ? TLS13_ROW : 0),
		 sizes[_i % N_SIZES], _i / N_SIZES / 4);
}
END_TEST

/* libtlssf finds the limit by setting the split size, and must restore it. */
START_TEST(limit_stays)
{
	world_open(TLS13_ROW, NULL);
	ck_assert_int_eq(SSL_set_max_send_fragment(w.p.ssl, 16000), 1);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 0);
	ck_assert_int_eq(SSL_set_split_send_fragment(w.p.ssl, 16001), 0);
	ck_assert_int_eq(SSL_set_split_send_fragment(w.p.ssl, 16000), 1);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

void add_fragment_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "fragments");

	tcase_add_loop_test(tc, every_size, 0, 8 * N_SIZES);
	tcase_add_test(tc, limit_stays);
}

#endif
