/* SPDX-License-Identifier: MIT */
/*
 * KeyUpdates of our own side: requested by the application, or due to the limit
 * of a key.
 */
#include "e2e_rekey.h"

#include <errno.h>

#define MANY		35
#define PIECE		20000u
#define KEY_RECORDS	64
#define FULL_RECORD	16384u

/*
 * The application requests many KeyUpdates; every second one makes the peer
 * send one, too. In odd loops the next tlssf_send() sends the message.
 */
START_TEST(own_updates)
{
	struct link_conf conf = rekey_conf();
	bool later = _i % 2;

	if (!link_open_way(&rekey, _i / 2, &conf, __func__))
		return;
	deliver(&rekey, &rekey_file, 1, TAKEOVER_PAYS);
	peer_do(&rekey, PEER_READ, PEER_ALL);
	for (int i = 0; i < MANY; i++) {
		ck_assert_int_eq(SSL_key_update(rekey.ssl, i % 2
					? SSL_KEY_UPDATE_REQUESTED
					: SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		if (!later)
			SSL_do_handshake(rekey.ssl);
		if (rekey_breaks(conf.method))
			break;
		send_all(&rekey, &rekey_file, 7, PIECE);
		write_all(&rekey, rekey_file.map, PIECE);
		rekey_read();
	}
	if (rekey_breaks(conf.method)) {
		rekey_expect_alert(tlssf_send(rekey.ssl, rekey_file.fd, 1,
					      PIECE), TLSSF_REASON_REKEY);
		return;
	}
	shutdown_all(&rekey);
	compare(&rekey);
	ck_assert_int_eq(rekey.report.end, END_NOTIFY);
	ck_assert_uint_eq(rekey.report.updates, MANY);
}
END_TEST

/* ---- RFC 8446, 5.5 ---- */

static void check_key(void)
{
	uint64_t seq;

	if (kernel_seq(&rekey, &seq))
		ck_assert_uint_le(seq, KEY_RECORDS);
}

/* Send all of the file, or until the key has reached its limit. */
static ssize_t send_and_check_key(void)
{
	uint64_t done = 0;
	ssize_t n = 0;

	while (done < rekey_size) {
		n = tlssf_send(rekey.ssl, rekey_file.fd, (off_t)(1 + done),
			       rekey_size - done);
		check_key();
		if (n == TLSSF_WANT_WRITE)
			wait_writable(&rekey);
		else if (n < 0)
			break;
		else
			done += (uint64_t)n;
	}
	return n;
}

static bool open_with_limit(int way, const char *test)
{
	struct link_conf conf = rekey_conf();

	conf.key_records = KEY_RECORDS;
	return link_open_way(&rekey, way, &conf, test);
}

/*
 * Before the limit of the key, libtlssf sends a KeyUpdate, or the connection
 * ends with an alert.
 */
START_TEST(key_limit)
{
	ssize_t n;

	if (!open_with_limit(_i, __func__))
		return;
	peer_do(&rekey, PEER_READ, PEER_ALL);
	n = send_and_check_key();
	if (rekey_breaks(ways[_i].method)) {
		rekey_expect_alert(n, TLSSF_REASON_KEY_LIMIT);
		/* kernels fill each record at least by half */
		ck_assert_uint_ge(rekey.report.bytes,
				  KEY_RECORDS / 2 * FULL_RECORD / 2);
		return;
	}
	rekey_expect_all(n);
	ck_assert_uint_ge(rekey.report.updates,
			  rekey_size / FULL_RECORD / KEY_RECORDS);
	/* there is no KeyUpdate for each single record */
	ck_assert_uint_le(rekey.report.updates,
			  rekey_size / FULL_RECORD / 2);
}
END_TEST

/* The records of the application's SSL_write() count as well. */
START_TEST(key_limit_by_ssl_write)
{
	bool failed = false;

	if (!open_with_limit(_i, __func__))
		return;
	deliver(&rekey, &rekey_file, 1, TAKEOVER_PAYS);
	peer_do(&rekey, PEER_READ, PEER_ALL);
	for (int i = 0; i < 3 * KEY_RECORDS && !failed; i++) {
		failed = SSL_write(rekey.ssl, "one record", 10) != 10;
		check_key();
		if (!failed)
			expect_bytes(&rekey, "one record", 10);
	}
	ck_assert_int_eq(failed, rekey_breaks(ways[_i].method));
	if (failed) {
		assert_failed(&rekey, tlssf_send(rekey.ssl, rekey_file.fd, 0,
						 1), EPROTO,
			      TLSSF_REASON_KEY_LIMIT, true);
		compare(&rekey);
		ck_assert_int_eq(rekey.report.end, END_ALERT);
		return;
	}
	send_all(&rekey, &rekey_file, 1, PIECE);
	shutdown_all(&rekey);
	compare(&rekey);
	ck_assert_int_eq(rekey.report.end, END_NOTIFY);
	ck_assert_uint_ge(rekey.report.updates, 2);
}
END_TEST

void add_own_tests(TCase *tc)
{
	for (int way = first_way() + 1; way < end_of_ways(); way += 2) {
		tcase_add_loop_test(tc, own_updates, 2 * way, 2 * way + 2);
		/* the library's own kernel TLS has no limit */
		if (way < KERNEL_WAYS)
			continue;
		tcase_add_loop_test(tc, key_limit, way, way + 1);
		/* OpenSSL's own records, encrypted by OpenSSL's kernel TLS */
		if (ways[way].method != TLSSF_METHOD_SSL_SENDFILE)
			tcase_add_loop_test(tc, key_limit_by_ssl_write, way,
					    way + 1);
	}
}
