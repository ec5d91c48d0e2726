/* SPDX-License-Identifier: MIT */
/*
 * Tests of the search for key and sequence number. It succeeds after any number
 * of records and KeyUpdates up to the limits, and never on a connection whose
 * records have another format. Other tests count the copies of keys that stay
 * in memory afterwards.
 */
#include "unit_order.h"

#ifdef OPENSSL_IS_BORINGSSL
/*
 * BoringSSL returns its present secret, never pads, and has no key log to
 * falsify.
 */
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

/*
 * Make the connection as it is if the key log reports no secret. The next call
 * examines it again.
 */
static void report_no_secret(void)
{
	tlssf_keys_wipe_secret(tl_conn(w.p.ssl));
	tlssf_set_sealer(tl_conn(w.p.ssl), SEALER_UNKNOWN);
}

static void assert_takeover(bool expected, int reason)
{
	struct tlssf_status st;

	do_send(1, MUCH);
	st = status();
	ck_assert_int_eq(st.takeover, expected);
	if (!expected)
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	if (reason)
		ck_assert_int_eq(st.why_not[TLSSF_METHOD_KTLS], reason);
	do_write((const unsigned char *)"after", 5);
	do_send(5, 1000);
	shut_down_and_check();
	pair_close(&w.p);
}

/*
 * How many records were sent before the sample, the record from which key and
 * sequence number are found. In TLS 1.2 the Finished is record 0.
 */
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
	assert_takeover(seq < 4096, seq < 4096 ? 0 :
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
	assert_takeover(_i < 16, _i < 16 ? 0 :
			TLSSF_REASON_SEQUENCE_NOT_FOUND);
}
END_TEST

static void count_searches(void *arg, const char *line)
{
	*(unsigned int *)arg += strstr(line, "sequence number") != NULL;
}

/*
 * A search without success takes long, and a peer can cause one: with many
 * KeyUpdates before it, a small window, and another KeyUpdate after each
 * sample. The search must not be repeated.
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
		expect_file_part(a->pos, a->len);
		w.p.wire.room = UNLIMITED;
		do_write((const unsigned char *)"x", 1);
	}
	tlssf_set_trace(NULL, NULL);
	ck_assert_uint_eq(searches, 1);
	ck_assert_int_eq(status().takeover, 0);
	rest = (size_t)tlssf_unreported_bytes(tl_conn(w.p.ssl));
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, off, rest), rest);
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* The sample shows padding to blocks of any size. */
START_TEST(padding)
{
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(SSL_CTX_set_block_padding(ctx, (size_t)_i), 1);
	world_open_with(ctx, ROWS + TLS13_ROW, NULL);
	assert_takeover(false, TLSSF_REASON_PADDING);
}
END_TEST

START_TEST(small_fragments)
{
	static const long sizes[] = { 512, 4000, 15989 };
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(SSL_CTX_set_max_send_fragment(ctx, sizes[_i / 2]), 1);
	world_open_with(ctx, ROWS + (_i % 2 ? TLS13_ROW : 0), NULL);
	assert_takeover(false, TLSSF_REASON_MAX_FRAGMENT);
}
END_TEST

/* With a wrong secret there is no takeover. */
START_TEST(wrong_secret)
{
	world_open(ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(status().takeover, 0);
	report_wrong_secret();
	assert_takeover(false, TLSSF_REASON_SEQUENCE_NOT_FOUND);
}
END_TEST

START_TEST(keylog_replaced)
{
	world_open(ROWS + TLS13_ROW, NULL);
	ck_assert_int_eq(status().takeover, 0);
	report_no_secret();
	SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(w.p.ssl), NULL);
	assert_takeover(false, TLSSF_REASON_KEYLOG_REPLACED);
}
END_TEST

/* If the kernel refuses TLS or the key, the connection works as before. */
static void refused(int err)
{
	world_open(ROWS + TLS13_ROW, NULL);
	SCRIPT_DEFAULT(tls_tx_set, .fd = SOCK, .result = -err);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 0);
	ck_assert_int_eq(status().dead, 0);
	ck_assert_int_ne(status().why_not[TLSSF_METHOD_KTLS],
			 TLSSF_REASON_NONE);
	shut_down_and_check();
	pair_close(&w.p);
	world_open(ROWS, NULL);
	SCRIPT_DEFAULT(ulp_attach, .fd = SOCK, .result = -err);
	do_send(1, MUCH);
	ck_assert_int_eq(status().kernel_tx, 0);
	shut_down_and_check();
	pair_close(&w.p);
}

START_TEST(every_refusal)
{
	for_each_errno(refused);
}
END_TEST

/* ---- copies of keys in memory ---- */

/* secret and key, XORed with 0x5a */
static unsigned char masked[SECRET_MAX + 32];

static void mask_bytes(size_t at, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		masked[at + i] = p[i] ^ 0x5a;
}

/* The scan reads freed memory on purpose. */
#define ANY_MEMORY __attribute__((no_sanitize("address", "thread")))

ANY_MEMORY
static bool is_copy(const unsigned char *p, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((p[i] ^ 0x5a) != masked[at + i])
			return false;
	return true;
}

/* Count copies in all writable memory of this process. */
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
		if (to - from > 1ul << 30) /* shadow memory of a sanitizer */
			continue;
		for (unsigned long p = from; p + len <= to; p++)
			n += is_copy((const unsigned char *)p, at, len);
	}
	fclose(maps);
	return n;
}

/* Count the copies after a connection with or without a takeover. */
static void count_copies_left(int row, int method, unsigned int n[2])
{
	struct tlssf_options o = { .size = sizeof(o), .method = method };
	struct kernel_key k;

	world_open(row, &o);
	/* before the first call, which may wipe the secret */
	ck_assert_uint_eq(tl_conn(w.p.ssl)->secret_len, SECRET_MAX);
	mask_bytes(0, tl_conn(w.p.ssl)->secret, SECRET_MAX);
	ck_assert_int_eq(tlssf_keys_from_secret(tl_conn(w.p.ssl)->secret, 48,
						TLSSF_AES_256_GCM, &k), 0);
	mask_bytes(SECRET_MAX, k.key, 32);
	explicit_bzero(&k, sizeof(k));
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, method == TLSSF_METHOD_AUTO);
	shut_down_and_check();
	pair_close(&w.p);
	kernel_reset();		/* the modelled kernel has the key */
	script_reset();
	n[0] = count_copies(0, SECRET_MAX);
	n[1] = count_copies(SECRET_MAX, 32);
}

/* A takeover leaves no more copies than OpenSSL leaves without one. */
START_TEST(wiped)
{
	unsigned int ours[2], theirs[2];

	count_copies_left(TLS13_ROW, TLSSF_METHOD_USERSPACE, theirs);
	count_copies_left(_i * ROWS + TLS13_ROW, TLSSF_METHOD_AUTO, ours);
	ck_assert_uint_le(ours[0], theirs[0]);
	ck_assert_uint_le(ours[1], theirs[1]);
}
END_TEST

/* The scan finds a copy that is there. */
START_TEST(scan_finds)
{
	unsigned char *p = malloc(SECRET_MAX);

	for (size_t i = 0; i < SECRET_MAX; i++)
		p[i] = (unsigned char)(i * 3 + 77);
	mask_bytes(0, p, SECRET_MAX);
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
