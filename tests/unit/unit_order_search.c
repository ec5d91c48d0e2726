/* SPDX-License-Identifier: MIT */
/*
 * Finding the key and the number: after any number of records and KeyUpdates
 * up to the bounds, never on a record that the application wants otherwise; and
 * what is left of the keys in memory afterwards.
 */
#include "unit_order.h"

#ifdef OPENSSL_IS_BORINGSSL
/* It tells its present secret, knows no padding, and cannot be lied to. */
void add_search_tests(Suite *suite)
{
	(void)suite;
}
#else

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#define TLS13_ROW	2
#define MUCH		(256 * KIB)

/* The key log reports another secret than the one that OpenSSL writes with. */
static void report_wrong_secret(void)
{
	static const unsigned char wrong[48];

	tl_conf(w.p.ssl)->on_write_secret(w.p.ssl, wrong, sizeof(wrong));
}

/* As if the key log had reported no secret; examined again at the next call. */
static void report_no_secret(void)
{
	tlssf_keys_wipe_secret(tl_conn(w.p.ssl));
	tlssf_set_sealer(tl_conn(w.p.ssl), SEALER_UNKNOWN);
}

static void take_over_or_not(bool expected, int reason)
{
	struct tlssf_status st;

	do_send(1, MUCH);
	st = status();
	ck_assert_int_eq(st.takeover, expected);
	if (!expected)
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	if (reason)
		ck_assert_str_eq(tlssf_reason_name(st.why_not[TLSSF_METHOD_KTLS]),
				 tlssf_reason_name(reason));
	do_write((const unsigned char *)"after", 5);
	do_send(5, 1000);
	good_bye();
	pair_close(&w.p);
}

/* Records before the one that is observed; TLS 1.2's Finished is number 0. */
static const unsigned int numbers[] = { 0, 1, 62, 63, 64, 65, 1000, 4094, 4095,
					4096, 5000 };
#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

START_TEST(records_before)
{
	unsigned int n = numbers[_i / 2];
	int row = _i % 2 ? TLS13_ROW : 0;
	unsigned int seq = n + (row == TLS13_ROW ? 0 : 1);

	world_open(ROWS + row, NULL);
	for (unsigned int i = 0; i < n; i++)
		do_write((const unsigned char *)"x", 1);
	take_over_or_not(seq < 4096, seq < 4096 ? 0 :
			 TLSSF_REASON_SEQUENCE_NOT_FOUND);
}
END_TEST

START_TEST(key_updates_before)
{
	world_open(ROWS + TLS13_ROW, NULL);
	for (int i = 0; i < _i; i++) {
		ck_assert_int_eq(SSL_key_update(w.p.ssl,
						SSL_KEY_UPDATE_NOT_REQUESTED),
				 1);
		do_write((const unsigned char *)"x", 1);
	}
	take_over_or_not(_i < 16, _i < 16 ? 0 :
			 TLSSF_REASON_SEQUENCE_NOT_FOUND);
}
END_TEST

static void count_searches(void *arg, const char *line)
{
	*(unsigned int *)arg += strstr(line, "sequence number") != NULL;
}

/*
 * A search that finds nothing is long, and a peer can see to it: with many
 * KeyUpdates before, a small window, and another KeyUpdate behind each record
 * that is observed. It must not be repeated.
 */
START_TEST(searched_once_in_vain)
{
	unsigned int searches = 0;
	off_t off = 1;
	size_t rest;

	world_open(_i * ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(status().takeover, 0);
	report_wrong_secret();
	tlssf_set_trace(count_searches, &searches);
	for (int i = 0; i < 4; i++) {
		const struct unreported *a;
		ssize_t n;

		w.p.wire.room = 1000;
		n = tlssf_send(w.p.ssl, FILE_FD, off, MUCH);
		ck_assert(n > 0 || n == TLSSF_WANT_WRITE);
		off += n > 0 ? n : 0;
		a = tl_conn(w.p.ssl)->unreported;
		ck_assert_ptr_nonnull(a);
		want_file_part(a->pos, a->len);
		w.p.wire.room = UNLIMITED;
		do_write((const unsigned char *)"x", 1);
	}
	tlssf_set_trace(NULL, NULL);
	ck_assert_uint_eq(searches, 1);
	ck_assert_int_eq(status().takeover, 0);
	rest = (size_t)tlssf_unreported_bytes(tl_conn(w.p.ssl));
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, off, rest), rest);
	good_bye();
	pair_close(&w.p);
}
END_TEST

/* Blocks of any size show in the record that is observed. */
START_TEST(padding)
{
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(SSL_CTX_set_block_padding(ctx, (size_t)_i), 1);
	world_open_with(ctx, ROWS + TLS13_ROW, NULL);
	take_over_or_not(false, TLSSF_REASON_PADDING);
}
END_TEST

START_TEST(small_fragments)
{
	static const long sizes[] = { 512, 4000, 15989 };
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(SSL_CTX_set_max_send_fragment(ctx, sizes[_i / 2]), 1);
	world_open_with(ctx, ROWS + (_i % 2 ? TLS13_ROW : 0), NULL);
	take_over_or_not(false, TLSSF_REASON_MAX_FRAGMENT);
}
END_TEST

/* A secret that is not this connection's: nothing is given to anybody. */
START_TEST(wrong_secret)
{
	world_open(ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(status().takeover, 0);
	report_wrong_secret();
	take_over_or_not(false, TLSSF_REASON_SEQUENCE_NOT_FOUND);
}
END_TEST

START_TEST(keylog_replaced)
{
	world_open(ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(status().takeover, 0);
	report_no_secret();
	SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(w.p.ssl), NULL);
	take_over_or_not(false, TLSSF_REASON_KEYLOG_REPLACED);
}
END_TEST

/* Every refusal of the kernel leaves an ordinary connection. */
static void refused(int err)
{
	world_open(ROWS + TLS13_ROW, NULL);
	SCRIPT_DEFAULT(tls_tx_set, .fd = SOCK, .result = -err);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 0);
	ck_assert_int_eq(status().dead, 0);
	ck_assert_int_ne(status().why_not[TLSSF_METHOD_KTLS],
			 TLSSF_REASON_NONE);
	good_bye();
	pair_close(&w.p);
	world_open(ROWS, NULL);
	SCRIPT_DEFAULT(ulp_attach, .fd = SOCK, .result = -err);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 0);
	good_bye();
	pair_close(&w.p);
}

START_TEST(every_refusal)
{
	for_each_errno(refused);
}
END_TEST

/* ---- nothing of the keys stays behind ---- */

static unsigned char disguised[SECRET_MAX + 32];	/* secret, key: XORed */

static void disguise(size_t at, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		disguised[at + i] = p[i] ^ 0x5a;
}

/* It looks at freed memory on purpose. */
#define ANY_MEMORY __attribute__((no_sanitize("address", "thread")))

ANY_MEMORY
static bool is_there(const unsigned char *p, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((p[i] ^ 0x5a) != disguised[at + i])
			return false;
	return true;
}

/* In all writable memory of this process. */
ANY_MEMORY
static unsigned int count_copies(size_t at, size_t len)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	unsigned int n = 0;
	char line[512], mode[8];

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 ||
		    mode[0] != 'r' || mode[1] != 'w')
			continue;
		if (to - from > 1ul << 30)	/* a sanitizer's own */
			continue;
		for (unsigned long p = from; p + len <= to; p++)
			n += is_there((const unsigned char *)p, at, len);
	}
	fclose(maps);
	return n;
}

/* The copies that a connection leaves, with or without a takeover. */
static void leave_copies(int row, int method, unsigned int n[2])
{
	struct tlssf_options o = { .size = sizeof(o), .method = method };
	struct kernel_key k;

	world_open(row, &o);
	ck_assert_int_eq(status().takeover, 0);
	disguise(0, tl_conn(w.p.ssl)->secret, SECRET_MAX);
	ck_assert_int_eq(tlssf_keys_from_secret(tl_conn(w.p.ssl)->secret, 48,
						TLSSF_AES_256_GCM, &k), 0);
	disguise(SECRET_MAX, k.key, 32);
	explicit_bzero(&k, sizeof(k));
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, method == TLSSF_METHOD_AUTO);
	good_bye();
	pair_close(&w.p);
	kernel_reset();		/* the model has the key of course */
	script_reset();
	n[0] = count_copies(0, SECRET_MAX);
	n[1] = count_copies(SECRET_MAX, 32);
}

/* What OpenSSL itself leaves is not ours: no more than without us. */
START_TEST(wiped)
{
	unsigned int ours[2], theirs[2];

	leave_copies(TLS13_ROW, TLSSF_METHOD_USERSPACE, theirs);
	leave_copies(_i * ROWS + TLS13_ROW, TLSSF_METHOD_AUTO, ours);
	ck_assert_uint_le(ours[0], theirs[0]);
	ck_assert_uint_le(ours[1], theirs[1]);
}
END_TEST

/* The scan does find what is there. */
START_TEST(scan_finds)
{
	unsigned char *p = malloc(SECRET_MAX);

	for (size_t i = 0; i < SECRET_MAX; i++)
		p[i] = (unsigned char)(i * 3 + 77);
	disguise(0, p, SECRET_MAX);
	ck_assert_uint_ge(count_copies(0, SECRET_MAX), 1);
	free(p);
}
END_TEST

void add_search_tests(Suite *suite)
{
	static const int blocks[] = { 2, 3, 5, 100, 512, 4096, 16384 };
	TCase *tc = add_case(suite, "search");

	tcase_add_loop_test(tc, records_before, 0, 2 * (int)N_NUMBERS);
	tcase_add_loop_test(tc, key_updates_before, 0, 19);
	tcase_add_loop_test(tc, searched_once_in_vain, 0, 2);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		tcase_add_loop_test(tc, padding, blocks[i], blocks[i] + 1);
	tcase_add_loop_test(tc, small_fragments, 0, 6);
	tcase_add_test(tc, wrong_secret);
	tcase_add_test(tc, keylog_replaced);
	tcase_add_test(tc, every_refusal);
	tc = add_case(suite, "memory");
	tcase_add_test(tc, scan_finds);
	tcase_add_loop_test(tc, wiped, 0, 2);
}

#endif
