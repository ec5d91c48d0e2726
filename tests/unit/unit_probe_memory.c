/* SPDX-License-Identifier: MIT */
/* How long the probe's answers stay cached; rekey and options. */
#include "unit_probe_model.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* ---- how long an answer stays cached ---- */

START_TEST(positives_are_kept)
{
	assert_recovers();
	for (int i = 0; i < 3; i++) {
		script_advance(UINT64_C(1000) * MINUTE);
		assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
		ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_LOADED);
	}
}
END_TEST

START_TEST(negatives_last_a_second)
{
	expect_ulp();
	SCRIPT(tls_tx_set, .result = -ENOENT);
	expect_close();
	assert_cap(probe_gcm(), TLSSF_NO, ENOENT, 0);
	script_advance(999);
	assert_cap(probe(TLS13, TLSSF_AES_128_GCM), TLSSF_NO, ENOENT, 0);
	script_advance(1);
	expect_success();
	assert_cap(probe(TLS13, TLSSF_AES_128_GCM), TLSSF_YES, 0, 1);
}
END_TEST

START_TEST(missing_loopback_is_asked_once_a_second)
{
	SCRIPT(tcp_pair, .result = -EADDRNOTAVAIL);
	assert_cap(probe_gcm(), TLSSF_UNKNOWN, EADDRNOTAVAIL, 0);
	script_advance(999);
	assert_cap(probe(TLS12, TLSSF_SM4_GCM), TLSSF_UNKNOWN, EADDRNOTAVAIL,
		   0);
	ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_UNKNOWN);
	ck_assert(!tlssf_probe_rekey());
	script_done();
	script_advance(1);
	expect_success();
	assert_cap(probe(TLS13, TLSSF_AES_128_GCM), TLSSF_YES, 0, 1);
}
END_TEST

static int64_t slow_failure(const struct sys_args *a)
{
	(void)a;
	script_advance(4000);
	return -ETIMEDOUT;
}

/*
 * If loopback drops packets, each trial takes long. It must be repeated so
 * seldom that the probe does not take most of the time.
 */
START_TEST(slow_failures_last_longer)
{
	SCRIPT(tcp_pair, .play = slow_failure);
	assert_cap(probe_gcm(), TLSSF_UNKNOWN, ETIMEDOUT, 0);
	script_advance(63999);
	assert_cap(probe(TLS13, TLSSF_AES_128_GCM), TLSSF_UNKNOWN, ETIMEDOUT,
		   0);
	script_advance(1);
	expect_success();
	assert_cap(probe(TLS13, TLSSF_AES_128_GCM), TLSSF_YES, 0, 1);
}
END_TEST

static void *probe_in_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		if (tlssf_probe_cap(TLS13, TLSSF_AES_128_GCM)->tx != TLSSF_YES)
			return arg;
	return NULL;
}

START_TEST(threads_share_one_trial)
{
	pthread_t threads[4];
	int failed = 0;
	void *r;

	expect_success();
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
						probe_in_thread, &failed), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &r), 0);
		ck_assert_ptr_null(r);
	}
	script_done();
}
END_TEST

/* ---- rekey and options ---- */

/* Rekey is probed again, but the answer stays for an option that has worked. */
START_TEST(options_are_kept)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	assert_recovers();
	expect_old_options();
	SCRIPT(tls_tx_set, .fd = TX, .result = -EBUSY);
	expect_close();
	ck_assert(!probe_rekey());
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
	script_advance(MINUTE);
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	ck_assert_int_eq(caps.zerocopy_ro, TLSSF_YES);
	ck_assert_int_eq(caps.max_payload_len, TLSSF_UNKNOWN);
	ck_assert_int_eq(caps.rekey, TLSSF_UNKNOWN);
}
END_TEST

START_TEST(rekey_works)
{
	assert_recovers();
	expect_rekey();
	ck_assert(probe_rekey());
	ck_assert_uint_eq(model.keys, 3);
	ck_assert(memcmp(model.info[0] + 12, model.info[1] + 12, 16) != 0);
	ck_assert(probe_rekey());	/* from the cache */
}
END_TEST

START_TEST(rekey_errno)
{
	assert_recovers();
	for (int e = 1; e != 0; e = next_errno(e)) {
		expect_old_options();
		SCRIPT(tls_tx_set, .fd = TX, .result = -e);
		expect_close();
		ck_assert(!probe_rekey());
	}
	expect_rekey();
	ck_assert(probe_rekey());
}
END_TEST

START_TEST(rekey_once_a_second)
{
	assert_recovers();
	expect_old_options();
	SCRIPT(tls_tx_set, .fd = TX, .result = -EBUSY);
	expect_close();
	ck_assert(!probe_rekey());
	script_advance(999);
	ck_assert(!tlssf_probe_rekey());
	script_advance(1);
	expect_rekey();
	ck_assert(tlssf_probe_rekey());
	script_done();
}
END_TEST

/* A kernel that accepts the second key and then uses the first cannot rekey. */
START_TEST(rekey_without_effect)
{
	assert_recovers();
	model.stale = true;
	expect_rekey();
	ck_assert(!probe_rekey());
	model.stale = false;
	expect_rekey();
	ck_assert(probe_rekey());
}
END_TEST

START_TEST(rekey_needs_a_cipher)
{
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		expect_ulp();
		SCRIPT(tls_tx_set, .fd = TX, .result = -EINVAL);
		expect_close();
	}
	ck_assert(!probe_rekey());
}
END_TEST

START_TEST(rekey_with_another_cipher)
{
	expect_ulp();
	SCRIPT(tls_tx_set, .fd = TX, .result = -ENOENT);
	expect_close();
	expect_success();
	expect_rekey();
	ck_assert(probe_rekey());
	ck_assert_int_eq(cipher_of(model.info[0]), TLSSF_AES_256_GCM);
}
END_TEST

void add_memory_tests(Suite *suite)
{
	ADD(suite, "memory", positives_are_kept, negatives_last_a_second,
	    missing_loopback_is_asked_once_a_second,
	    slow_failures_last_longer, threads_share_one_trial);
	ADD(suite, "rekey", options_are_kept, rekey_works, rekey_errno,
	    rekey_once_a_second, rekey_without_effect, rekey_needs_a_cipher,
	    rekey_with_another_cipher);
}
