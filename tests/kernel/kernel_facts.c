/* SPDX-License-Identifier: MIT */
/*
 * What the library assumes about the kernel's TLS, tested with plain system
 * calls and without the library. If a test fails, the library's assumptions do
 * not hold on this kernel. TLSSF_EXPECT has the features that this kernel must
 * have (a row of tests/vm/kernels.txt). A test fails if a feature is missing,
 * and also if the kernel has a feature that is not listed. Without TLSSF_EXPECT
 * and without kernel TLS there is nothing to test, so the exit status is 77.
 */
#include "kernel_facts_util.h"

#include <check.h>
#include <errno.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns -1 without TLSSF_EXPECT, otherwise whether the word is in it. */
static int expected(const char *word)
{
	const char *s = getenv("TLSSF_EXPECT");
	size_t n = strlen(word);

	if (!s)
		return -1;
	for (; (s = strstr(s, word)); s += n) {
		bool start = s == getenv("TLSSF_EXPECT") || s[-1] == ' ';

		if (start && (s[n] == ' ' || !s[n]))
			return 1;
	}
	return 0;
}

bool feature(const char *word, bool shown)
{
	int want = expected(word);

	ck_assert_msg(want < 0 || want == shown, "%s: %s, but %s", word,
		      shown ? "present" : "missing",
		      want ? "expected" : "not expected");
	return shown;
}

/* ---- versions, ciphers, options ---- */

/* Check that after a refused TLS_TX the socket works as ordinary TCP. */
static void assert_plain(void)
{
	char in[3];

	ck_assert_int_eq(send(c.tx, "abc", 3, 0), 3);
	ck_assert(!peer_quiet(&c.peer, PATIENCE));
	ck_assert_int_eq(recv(c.peer.fd, in, 3, 0), 3);
	ck_assert_int_eq(memcmp(in, "abc", 3), 0);
}

static void suite_word(int i, char *word, size_t size)
{
	snprintf(word, size, "tls1%d-%s", i < N_AEAD ? 2 : 3,
		 aeads[i % N_AEAD].word);
}

/* TLSSF_EXPECT must not have a word that no test checks. */
START_TEST(expect_has_no_unknown_word)
{
	static const char *const others[] = { "rekey", "zerocopy-ro",
		"max-payload-len", "msg-eor", "splice-pages" };
	const char *all = getenv("TLSSF_EXPECT");
	size_t known = 0, words = 0;
	char word[32];

	for (int i = 0; i < 2 * N_AEAD; i++) {
		suite_word(i, word, sizeof(word));
		known += expected(word) > 0;
	}
	for (int i = 0; i < 5; i++)
		known += expected(others[i]) > 0;
	for (const char *p = all; p && *p; p++)
		words += *p != ' ' && (p == all || p[-1] == ' ');
	ck_assert_msg(words == known, "TLSSF_EXPECT: %zu of %zu words known",
		      known, words);
}
END_TEST

START_TEST(suite_and_one_record)
{
	const struct aead *a = &aeads[_i % N_AEAD];
	uint16_t version = _i < N_AEAD ? V12 : V13;
	bool aria13 = version == V13 && !strncmp(a->word, "aria", 4);
	char word[32];
	int e;

	suite_word(_i, word, sizeof(word));
	conn_open(0, 0);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	keys_make(&c.keys, version, a, 1);
	c.peer.keys = c.keys;
	c.peer.seq = 1;
	e = set_tx(c.tx, &c.keys);
	if (!feature(word, e == 0)) {
		/*
		 * ENOENT means that the kernel knows the cipher, but has no
		 * such crypto algorithm.
		 */
		ck_assert_msg(e == (aria13 ? EINVAL : ENOENT), "%s: %s", word,
			      strerror(e));
		assert_plain();
		return;
	}
	ck_assert_int_eq(send(c.tx, buf, 100, 0), 100);
	ck_assert(!peer_quiet(&c.peer, PATIENCE));
	if (!can_open(a))
		return;
	ck_assert(peer_wait(&c.peer, 100, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 0));
	ck_assert_uint_eq(c.peer.n_records, 1);
	ck_assert_uint_eq(c.peer.wire_total, 100 + overhead(&c.keys));
}
END_TEST

START_TEST(option_zerocopy_ro)
{
	int e;

	open_default();
	e = opt_int(c.tx, SOL_TLS, TLS_TX_ZEROCOPY_RO, 1);
	feature("zerocopy-ro", e == 0);
	ck_assert(e == 0 || e == ENOPROTOOPT);
}
END_TEST

START_TEST(option_max_payload_len)
{
	uint16_t max = 1000;
	int e;

	open_default();
	e = setsockopt(c.tx, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &max,
		       sizeof(max)) ? errno : 0;
	if (!feature("max-payload-len", e == 0)) {
		ck_assert_int_eq(e, ENOPROTOOPT);
		return;
	}
	ck_assert_int_eq(send(c.tx, buf, 2500, 0), 2500);
	ck_assert(peer_wait(&c.peer, 2500, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 0));
	for (unsigned int i = 0; i < c.peer.n_records; i++)
		ck_assert_uint_le(c.peer.records[i].len, max);
}
END_TEST

/* ---- errno of each failure ---- */

START_TEST(errno_ulp)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	spare[0] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(set_ulp(spare[0]), ENOTCONN);
	ck_assert_int_eq(listen(spare[0], 1), 0);
	ck_assert_int_eq(set_ulp(spare[0]), ENOTCONN);
	spare[1] = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(set_ulp(spare[1]), ENOPROTOOPT);
	close_fd(&spare[1]);
	spare[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(set_ulp(spare[1]), EOPNOTSUPP);

	conn_open(0, 0);
	keys_make(&c.keys, V13, &aeads[AES128GCM], 0);
	ck_assert_int_eq(set_tx(c.tx, &c.keys), ENOPROTOOPT);
	assert_errno(setsockopt(c.tx, IPPROTO_TCP, TCP_ULP, "none such", 9),
		     ENOENT);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	ck_assert_int_eq(set_ulp(c.tx), EEXIST);
	ck_assert_int_eq(getsockopt(c.tx, IPPROTO_TCP, TCP_ULP, name, &len),
			 0);
	ck_assert_str_eq(name, "tls");
}
END_TEST

START_TEST(errno_ulp_after_fin)
{
	unsigned int turns = 0;

	conn_open(0, 0);
	ck_assert_int_eq(shutdown(c.peer.fd, SHUT_WR), 0);
	while (tcp_state(c.tx) == ST_ESTABLISHED && pause_turn(&turns))
		;
	ck_assert_int_eq(set_ulp(c.tx), ENOTCONN);
}
END_TEST

START_TEST(errno_tls_tx)
{
	static const uint16_t bad_versions[] = { 0x301, 0x302, 0x305 };
	struct keys bad;

	conn_open(0, 0);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	keys_make(&c.keys, V13, &aeads[AES128GCM], 0);
	c.peer.keys = c.keys;
	for (int i = 0; i < 3; i++) {
		bad = c.keys;
		memcpy(bad.info, &bad_versions[i], 2);
		ck_assert_int_eq(set_tx(c.tx, &bad), EINVAL);
	}
	bad = c.keys;
	bad.info[2] = 99;
	ck_assert_int_eq(set_tx(c.tx, &bad), EINVAL);
	for (int d = -1; d <= 1; d += 2) {
		bad = c.keys;
		bad.len += (unsigned int)d;
		ck_assert_int_eq(set_tx(c.tx, &bad), EINVAL);
	}
	bad.len = 4;
	ck_assert_int_eq(set_tx(c.tx, &bad), EINVAL);
	assert_plain();
	/* after a failure the socket still accepts correct keys */
	ck_assert_int_eq(set_tx(c.tx, &c.keys), 0);
	ck_assert_int_eq(send(c.tx, buf, 10, 0), 10);
	ck_assert(peer_wait(&c.peer, 10, PATIENCE));
}
END_TEST

START_TEST(errno_send)
{
	int e;

	open_default();
	assert_errno(send(c.tx, buf, 1, MSG_OOB), EOPNOTSUPP);
	assert_errno(send(c.tx, buf, 1, MSG_DONTROUTE), EOPNOTSUPP);
	assert_errno(send_cmsg(c.tx, TYPE_ALERT, buf, 2, MSG_MORE), EINVAL);
	assert_errno(send(c.tx, buf, 1, MSG_ZEROCOPY), EOPNOTSUPP);
	e = send(c.tx, buf, 10, MSG_EOR) == 10 ? 0 : errno;
	if (!feature("msg-eor", e == 0)) {
		ck_assert_int_eq(e, EOPNOTSUPP);
		ck_assert_int_eq(send(c.tx, buf, 10, 0), 10);
	} else {
		assert_errno(send(c.tx, buf, 1, MSG_EOR | MSG_MORE), EINVAL);
	}
	ck_assert(peer_wait(&c.peer, 10, PATIENCE));
	ck_assert_uint_eq(c.peer.n_records, 1);
}
END_TEST

/* TLS_TX ignores the state of the TCP connection. */
START_TEST(errno_tls_tx_after_reset)
{
	conn_open(0, 0);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	set_linger(c.peer.fd, 0);	/* close() resets */
	close_fd(&c.peer.fd);
	keys_make(&c.keys, V13, &aeads[AES128GCM], 0);
	ck_assert_int_eq(tcp_state(c.tx), ST_CLOSE);
	ck_assert_int_eq(set_tx(c.tx, &c.keys), 0);
}
END_TEST

/* ---- reading the key back, and a second TLS_TX ---- */

START_TEST(read_back)
{
	unsigned char info[INFO_MAX];
	socklen_t len = 4;
	uint16_t version = _i ? V13 : V12;

	conn_open(0, 0);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	assert_errno(getsockopt(c.tx, SOL_TLS, TLS_TX, info, &len), EBUSY);
	conn_close();
	conn_open_tls(version, &aeads[AES128GCM], 0, 0);
	ck_assert_int_eq(getsockopt(c.tx, SOL_TLS, TLS_TX, info, &len), 0);
	ck_assert_int_eq(memcmp(info, c.keys.info, 4), 0);
	len = c.keys.len - 1;
	assert_errno(getsockopt(c.tx, SOL_TLS, TLS_TX, info, &len), EINVAL);
	ck_assert_uint_eq(rec_seq(), c.seq0);
	/* after 1 + 1 + 3 records; the open record does not count */
	ck_assert_int_eq(send(c.tx, buf, 10, 0), 10);
	ck_assert_int_eq(send(c.tx, buf + 10, 10, 0), 10);
	ck_assert_int_eq(send(c.tx, buf + 20, 2 * RECORD_MAX + 1, 0),
			 2 * RECORD_MAX + 1);
	ck_assert_uint_eq(rec_seq(), c.seq0 + 5);
	ck_assert_int_eq(send(c.tx, buf, 1, MSG_MORE), 1);
	ck_assert_uint_eq(rec_seq(), c.seq0 + 5);
	ck_assert(peer_wait(&c.peer, 2 * RECORD_MAX + 21, PATIENCE));
	ck_assert_uint_eq(c.peer.n_records, 5);
	ck_assert(peer_matches(&c.peer, 0, 0));
}
END_TEST

/* The socket fails at the record whose sequence number would wrap to 0. */
START_TEST(sequence_wrap)
{
	conn_open(0, 0);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	keys_make(&c.keys, V13, &aeads[AES128GCM], UINT64_MAX - 1);
	ck_assert_int_eq(set_tx(c.tx, &c.keys), 0);
	ck_assert_int_eq(send(c.tx, buf, 1, 0), 1);
	assert_errno(send(c.tx, buf, 1, 0), EBADMSG);
	assert_errno(send(c.tx, buf, 1, 0), EBADMSG);
	ck_assert_int_ne(poll_now(c.tx) & POLLERR, 0);
}
END_TEST

START_TEST(second_tls_tx_12)
{
	conn_open_tls(V12, &aeads[AES128GCM], 0, 0);
	ck_assert_int_eq(set_tx(c.tx, &c.keys), EBUSY);
	ck_assert_int_eq(send(c.tx, buf, 10, 0), 10);
	ck_assert(peer_wait(&c.peer, 10, PATIENCE));
}
END_TEST

static void peer_rekey(const struct keys *k)
{
	c.peer.keys = *k;
	c.peer.seq = 0;
	c.peer.key_records = 0;
}

START_TEST(second_tls_tx_13)
{
	static const unsigned char key_update[] = { 24, 0, 0, 1, 0 };
	struct keys next, other;
	int e;

	open_default();
	keys_make(&next, V13, &aeads[AES128GCM], 0);
	keys_make(&other, V13, &aeads[CHACHA20], 0);
	ck_assert_int_eq(send_cmsg(c.tx, TYPE_HANDSHAKE, key_update, 5, 0), 5);
	ck_assert(peer_wait(&c.peer, 5, PATIENCE));
	ck_assert_int_eq(c.peer.records[0].type, TYPE_HANDSHAKE);
	e = set_tx(c.tx, &other);
	if (feature("rekey", set_tx(c.tx, &next) == 0))
		peer_rekey(&next);
	else
		ck_assert_int_eq(set_tx(c.tx, &next), EBUSY);
	ck_assert_int_eq(e, c.peer.seq ? EBUSY : EINVAL);
	/* if the kernel cannot rekey, the old key stays in use */
	ck_assert_int_eq(send(c.tx, buf, 10, 0), 10);
	ck_assert(peer_wait(&c.peer, 15, PATIENCE));
	ck_assert(peer_matches(&c.peer, 5, 0));
}
END_TEST

/* A rekey while a record is open encrypts that record with the new key. */
START_TEST(rekey_with_open_record)
{
	struct keys next;

	open_default();
	keys_make(&next, V13, &aeads[AES128GCM], 0);
	ck_assert_int_eq(send(c.tx, buf, 10, MSG_MORE), 10);
	if (!set_tx(c.tx, &next))
		peer_rekey(&next);
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert(peer_wait(&c.peer, 10, PATIENCE));
	ck_assert_uint_eq(c.peer.n_records, 1);
}
END_TEST

/* ---- main ---- */

/*
 * No ck_assert here: no test is running yet. On a socket that is not connected,
 * TCP_ULP fails with ENOTCONN if the kernel has the ULP, and with ENOENT if it
 * cannot load it.
 */
static bool kernel_has_tls(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int e = fd < 0 ? errno : set_ulp(fd);

	close_fd(&fd);
	if (e != ENOTCONN)
		printf("kernel_facts: skipped: no kernel TLS (TCP_ULP: %s)\n",
		       strerror(e));
	return e == ENOTCONN;
}

static Suite *suite(void)
{
	Suite *s = suite_create("kernel_facts");
	TCase *tc = add_case(s, "offer");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, expect_has_no_unknown_word);
	tcase_add_loop_test(tc, suite_and_one_record, 0, 2 * N_AEAD);
	tcase_add_test(tc, option_zerocopy_ro);
	tcase_add_test(tc, option_max_payload_len);
	tcase_add_test(tc, errno_ulp);
	tcase_add_test(tc, errno_ulp_after_fin);
	tcase_add_test(tc, errno_tls_tx);
	tcase_add_test(tc, errno_send);
	tcase_add_test(tc, errno_tls_tx_after_reset);
	tcase_add_loop_test(tc, read_back, 0, 2);
	tcase_add_test(tc, sequence_wrap);
	tcase_add_test(tc, second_tls_tx_12);
	tcase_add_test(tc, second_tls_tx_13);
	tcase_add_test(tc, rekey_with_open_record);
	add_send_tests(s);
	return s;
}

int main(void)
{
	SRunner *sr;
	int failed, run;

	if (!getenv("TLSSF_EXPECT") && !kernel_has_tls())
		return 77;
	sr = srunner_create(suite());
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	run = srunner_ntests_run(sr);
	srunner_free(sr);
	printf("kernel_facts: %d passed, %d failed\n", run - failed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
