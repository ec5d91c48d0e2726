/* SPDX-License-Identifier: MIT */
/*
 * How many records one key protects (option key_records; RFC 8446, 5.5),
 * counted by the client that decrypts them. The records that the TLS library
 * sent before the takeover count, too.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define TLS13_ROW	2
#define MUCH		(256 * KIB)
#define KEY_UPDATE_TYPE	24
#define GCM_LIMIT	23726566u	/* 2^24.5 */
#define CCM_LIMIT	(1u << 23)

static struct {
	unsigned int records;	/* of the present key */
	unsigned int most;	/* of a key that was in use after the first */
	unsigned int first;	/* of the first key */
	unsigned int updates;
} seen;

static void key_ends(void)
{
	if (seen.updates == 0)
		seen.first = seen.records;
	else if (seen.records > seen.most)
		seen.most = seen.records;
}

/* OpenSSL calls this when the peer reads a record header or a message. */
static void on_message(int sent, int version, int type, const void *buf,
		       size_t len, SSL *ssl, void *arg)
{
	(void)version, (void)ssl, (void)arg;
	if (sent)
		return;
	if (type == SSL3_RT_HEADER)
		seen.records++;
	if (type != SSL3_RT_HANDSHAKE || len == 0 ||
	    *(const unsigned char *)buf != KEY_UPDATE_TYPE)
		return;
	key_ends();
	seen.updates++;
	seen.records = 0;
}

static void open_counted(bool kernel, uint64_t key_records)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .key_records = key_records };

	world_open((kernel ? ROWS : 0) + TLS13_ROW, &o);
	memset(&seen, 0, sizeof(seen));
	SSL_set_msg_callback(w.p.peer, on_message);
}

static void write_records(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		do_write((const unsigned char *)"x", 1);
}

static unsigned int most(unsigned int a, unsigned int b)
{
	return a > b ? a : b;
}

/*
 * Before the takeover the TLS library may have used the key for more records
 * than the limit allows. Then only the KeyUpdate follows, which the old key has
 * to protect. Each loop starts the takeover at another sequence number.
 */
START_TEST(never_exceeded)
{
	static const unsigned int limits[] = { 16, 17, 20 };
	static const size_t sizes[] = { MUCH, 4 * MIB - 1, 100001, 15991 };
	unsigned int limit = limits[_i % 3], before = (unsigned int)_i / 6;
	bool kernel = _i / 3 % 2;

	open_counted(kernel, limit);
	write_records(before);
	for (int i = 0; i < 4; i++)
		do_send(1, sizes[i]);
	ck_assert_int_eq(status().takeover, 1);
	ck_assert_int_eq(status().kernel_tx, kernel);
	write_records(3 * limit);
	do_send(1, MUCH);
	shut_down_and_check();
	key_ends();
	/* the sample is the first record after those of the application */
	ck_assert_uint_le(seen.first, most(limit, before + 2));
	ck_assert_uint_le(seen.most, limit);
	ck_assert_uint_gt(seen.updates, 10);
	ck_assert_uint_eq(status().rekeys, seen.updates);
	pair_close(&w.p);
}
END_TEST

/* Each send has about one record, so the limit is reached at every place. */
START_TEST(small_pieces)
{
	open_counted(_i % 2, 16);
	write_records((unsigned int)_i / 2);
	do_send(1, MUCH);
	for (size_t i = 0; i < 60; i++) {
		do_send(i, 1 + i % 2 * 16384);
		if (i % 3 == 0)
			write_records(1);
	}
	shut_down_and_check();
	key_ends();
	ck_assert_uint_le(seen.first, most(16, (unsigned int)_i / 2 + 2));
	ck_assert_uint_le(seen.most, 16);
	ck_assert_uint_gt(seen.updates, 3);
	pair_close(&w.p);
}
END_TEST

/* ---- the limits of the ciphers ---- */

static uint64_t limit_of(int version, int cipher, const struct ctx_conf *conf)
{
	struct conn c = { .conf = conf };

	c.info.version = (uint16_t)version;
	c.info.kernel_cipher = cipher;
	return tlssf_key_record_limit(&c);
}

START_TEST(limits_of_ciphers)
{
	static const struct ctx_conf few = { .options.key_records = 16 };
	static const struct ctx_conf many = {
		.options.key_records = UINT64_MAX
	};

	ck_assert_uint_eq(limit_of(TLS13, TLSSF_AES_128_GCM, NULL), GCM_LIMIT);
	ck_assert_uint_eq(limit_of(TLS13, TLSSF_AES_256_GCM, NULL), GCM_LIMIT);
	ck_assert_uint_eq(limit_of(TLS13, TLSSF_AES_128_CCM, NULL), CCM_LIMIT);
	ck_assert_uint_eq(limit_of(TLS13, TLSSF_CHACHA20_POLY1305, NULL),
			  UINT64_MAX);
	for (int cipher = 0; cipher <= TLSSF_CHACHA20_POLY1305; cipher++) {
		ck_assert_uint_eq(limit_of(TLS12, cipher, &few), UINT64_MAX);
		ck_assert_uint_eq(limit_of(TLS13, cipher, &few), 16);
		ck_assert_uint_eq(limit_of(TLS13, cipher, &many),
				  limit_of(TLS13, cipher, NULL));
	}
}
END_TEST

/*
 * The test sets the sequence number as if the key had protected nearly all
 * records that GCM allows. The peer does not have this sequence number, so
 * nobody decrypts the records.
 */
START_TEST(limit_of_gcm)
{
	struct kernel_key *key;
	uint64_t last = 0;

	world_open(TLS13_ROW, NULL);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	receive();
	key = &tl_conn(w.p.ssl)->takeover->ours.key;
	key->seq = GCM_LIMIT - 1 - (uint64_t)_i;
	for (int i = 0; i < 40 && status().rekeys == 0; i++) {
		last = key->seq;
		ck_assert_int_gt(tlssf_send(w.p.ssl, FILE_FD, 1, 40000), 0);
	}
	ck_assert_uint_lt(last, GCM_LIMIT);
	ck_assert_uint_eq(status().rekeys, 1);
	ck_assert_uint_le(key->seq, 3);
	pair_close(&w.p);
}
END_TEST

void add_limit_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "limit");

	tcase_add_loop_test(tc, never_exceeded, 0, 6 * 25);
	tcase_add_loop_test(tc, small_pieces, 0, 2 * 20);
	tcase_add_test(tc, limits_of_ciphers);
	tcase_add_loop_test(tc, limit_of_gcm, 0, 30);
}
