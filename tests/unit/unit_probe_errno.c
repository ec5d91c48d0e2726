/* SPDX-License-Identifier: MIT */
/*
 * Every errno of every system call of the probe, and the two meanings of
 * ENOENT.
 */
#include "unit_probe_model.h"

#include <errno.h>

/* ---- every errno at every call ---- */

START_TEST(errno_of_pair)
{
	for (int e = 1; e != 0; e = next_errno(e)) {
		SCRIPT(tcp_pair, .result = -e);
		assert_cap(probe_gcm(), TLSSF_UNKNOWN, e, 0);
		ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_UNKNOWN);
	}
	assert_recovers();
}
END_TEST

START_TEST(errno_of_ulp)
{
	SCRIPT_DEFAULT(kernel_release, .result = -EFAULT);
	for (int e = 1; e != 0; e = next_errno(e)) {
		bool absent = e == ENOENT || e == ENOPROTOOPT;

		expect_pair();
		SCRIPT(ulp_attach, .fd = TX, .result = -e);
		expect_close();
		assert_cap(probe_gcm(), absent ? TLSSF_NO : TLSSF_UNKNOWN, e,
			   0);
		ck_assert_int_eq(tlssf_probe_ulp(), absent ?
				 TLSSF_ULP_ABSENT : TLSSF_ULP_UNKNOWN);
		ck_assert(!tlssf_probe_rekey());
		script_done();
	}
	assert_recovers();
}
END_TEST

START_TEST(errno_of_key)
{
	for (int e = 1; e != 0; e = next_errno(e)) {
		expect_ulp();
		SCRIPT(tls_tx_set, .fd = TX, .result = -e);
		expect_close();
		assert_cap(probe_gcm(), passes(e) ? TLSSF_UNKNOWN : TLSSF_NO, e,
			   0);
		/* this ENOENT is about the cipher, not about the module */
		ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_LOADED);
	}
	assert_recovers();
}
END_TEST

START_TEST(errno_of_send)
{
	for (int e = 1; e != 0; e = next_errno(e)) {
		expect_ulp();
		expect_key();
		SCRIPT(send, .fd = TX, .result = -e);
		expect_close();
		assert_cap(probe_gcm(), passes(e) ? TLSSF_UNKNOWN : TLSSF_NO, e,
			   0);
	}
	assert_recovers();
}
END_TEST

START_TEST(short_send)
{
	expect_ulp();
	expect_key();
	SCRIPT(send, .fd = TX, .result = 1);
	expect_close();
	assert_cap(probe_gcm(), TLSSF_NO, EIO, 0);
	assert_recovers();
}
END_TEST

START_TEST(errno_of_recv)
{
	for (int e = 1; e != 0; e = next_errno(e)) {
		if (e == EINTR)
			continue;	/* tested below */
		expect_ulp();
		expect_key();
		SCRIPT(send, .fd = TX, .play = take_plain);
		SCRIPT(recv, .fd = RX, .play = send_seven_bytes);
		SCRIPT(recv, .fd = RX, .result = -e);
		expect_close();
		assert_cap(probe_gcm(), passes(e) ? TLSSF_UNKNOWN : TLSSF_NO, e,
			   0);
	}
	assert_recovers();
}
END_TEST

START_TEST(recv_that_never_succeeds)
{
	expect_ulp();
	expect_key();
	SCRIPT(send, .fd = TX, .play = take_plain);
	SCRIPT_DEFAULT(recv, .fd = RX, .result = -EINTR);
	expect_close();
	assert_cap(probe_gcm(), TLSSF_UNKNOWN, ETIMEDOUT, 0);
	ck_assert_uint_le(script_count(CALL_recv), 64);

	expect_ulp();
	expect_key();
	SCRIPT(send, .fd = TX, .play = take_plain);
	SCRIPT(recv, .fd = RX, .result = 0);
	expect_close();
	assert_cap(probe_gcm(), TLSSF_UNKNOWN, ECONNRESET, 0);
	assert_recovers();
}
END_TEST

START_TEST(errno_of_options)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	for (int e = 1; e != 0; e = next_errno(e)) {
		int want = passes(e) ? TLSSF_UNKNOWN : TLSSF_NO;

		script_advance(MINUTE);
		if (e == 1) {
			expect_ulp();
			expect_close();
			for (int i = 0; i < 2 * TLSSF_CIPHER_COUNT; i++)
				expect_success();
		}
		expect_ulp();
		expect_key();
		SCRIPT(tls_option, .value = OPT_ZEROCOPY, .result = -e);
		SCRIPT(tls_option, .value = OPT_PAYLOAD, .result = -e);
		SCRIPT(tls_tx_set, .fd = TX, .result = -e);
		expect_close();
		ck_assert_int_eq(tlssf_probe(&caps), 0);
		script_done();
		ck_assert_int_eq(caps.zerocopy_ro, want);
		ck_assert_int_eq(caps.max_payload_len, want);
		ck_assert_int_eq(caps.rekey, want);
	}
}
END_TEST

/* ---- the two meanings of ENOENT ---- */

static void expect_missing(void)
{
	expect_pair();
	SCRIPT(ulp_attach, .fd = TX, .result = -ENOENT);
}

static void expect_release(void)
{
	static const char release[] = "6.1.0-44-amd64";

	SCRIPT(kernel_release, .data = release, .len = sizeof(release));
}

static int64_t is_dep(const struct sys_args *a)
{
	ck_assert_str_eq(a->in, "/lib/modules/6.1.0-44-amd64/modules.dep");
	return a->out_len > 4 ? 4 : -EFBIG;
}

static int64_t is_builtin(const struct sys_args *a)
{
	ck_assert_str_eq(a->in, "/lib/modules/6.1.0-44-amd64/modules.builtin");
	return a->out_len > 4 ? 4 : -EFBIG;
}

#define TEXT(s)	.data = (s), .len = sizeof(s)

static int ulp_now(void)
{
	int ulp;

	expect_close();
	script_advance(MINUTE);
	ulp = tlssf_probe_ulp();
	script_done();
	return ulp;
}

START_TEST(module_in_dep)
{
	expect_missing();
	expect_release();
	SCRIPT(read_text, TEXT("kernel/net/tls/tls.ko.xz:\n"), .play = is_dep);
	ck_assert_int_eq(ulp_now(), TLSSF_ULP_NOT_LOADED);
	expect_missing();	/* /proc/modules is not read again */
	ck_assert_int_eq(ulp_now(), TLSSF_ULP_NOT_LOADED);
	script_advance(MINUTE);
	expect_missing();
	expect_close();
	assert_cap(probe(TLS12, TLSSF_AES_128_GCM), TLSSF_NO, ENOENT, 0);
	assert_recovers();
}
END_TEST

START_TEST(module_built_in)
{
	expect_missing();
	expect_release();
	SCRIPT(read_text, TEXT("kernel/foo.ko:\n"), .play = is_dep);
	SCRIPT(read_text, TEXT("kernel/net/tls/tls.ko\n"), .play = is_builtin);
	ck_assert_int_eq(ulp_now(), TLSSF_ULP_NOT_LOADED);
}
END_TEST

START_TEST(module_nowhere)
{
	expect_missing();
	expect_release();
	SCRIPT(read_text, TEXT("kernel/ktls.ko:\nnet/tls.c\n"),
	       .play = is_dep);
	SCRIPT(read_text, TEXT("kernel/foo.ko\n"), .play = is_builtin);
	ck_assert_int_eq(ulp_now(), TLSSF_ULP_ABSENT);
}
END_TEST

START_TEST(module_files_unreadable)
{
	for (int e = 1; e != 0; e = next_errno(e)) {
		expect_missing();
		expect_release();
		SCRIPT(read_text, .result = -e);
		SCRIPT(read_text, .result = -e);
		ck_assert_int_eq(ulp_now(), TLSSF_ULP_ABSENT);
		expect_missing();
		SCRIPT(kernel_release, .result = -e);
		ck_assert_int_eq(ulp_now(), TLSSF_ULP_ABSENT);
	}
}
END_TEST

START_TEST(unloaded_module_is_noticed)
{
	assert_recovers();
	SCRIPT_DEFAULT(kernel_release, .result = -EFAULT);
	expect_pair();
	SCRIPT(ulp_attach, .fd = TX, .result = -ENOENT);
	expect_close();
	assert_cap(probe(TLS12, TLSSF_AES_128_GCM), TLSSF_NO, ENOENT, 0);
	script_advance(MINUTE);
	SCRIPT(tcp_pair, .result = -EMFILE);
	ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_UNKNOWN);
	script_done();
}
END_TEST

/* A failure that passes does not change an answer that was verified. */
START_TEST(loaded_module_stays)
{
	assert_recovers();
	SCRIPT(tcp_pair, .result = -EMFILE);
	assert_cap(probe(TLS12, TLSSF_AES_128_GCM), TLSSF_UNKNOWN, EMFILE, 0);
	ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_LOADED);
	script_advance(MINUTE);
	expect_pair();
	SCRIPT(ulp_attach, .fd = TX, .result = -EEXIST);
	expect_close();
	assert_cap(probe(TLS12, TLSSF_AES_128_GCM), TLSSF_UNKNOWN, EEXIST, 0);
	ck_assert_int_eq(tlssf_probe_ulp(), TLSSF_ULP_LOADED);
	script_done();
}
END_TEST

void add_errno_tests(Suite *suite)
{
	ADD(suite, "errno", errno_of_pair, errno_of_ulp, errno_of_key,
	    errno_of_send, short_send, errno_of_recv,
	    recv_that_never_succeeds, errno_of_options);
	ADD(suite, "module", module_in_dep, module_built_in, module_nowhere,
	    module_files_unreadable,
	    unloaded_module_is_noticed, loaded_module_stays);
}
