/* SPDX-License-Identifier: MIT */
/* The probe against a scripted kernel. */
#include "scripted_sys.h"
#include "unit_probe_model.h"
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- ciphers ---- */

START_TEST(every_pair_is_verified)
{
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		for (int v = TLS12; v <= TLS13; v++) {
			expect_success();
			/*
			 * The probe cannot verify a cipher that libcrypto
			 * lacks. It then reports YES without verification.
			 */
			assert_cap(probe(v, c), TLSSF_YES, 0, library_has(c));
			ck_assert_int_eq(version_of(model.info[0]), v);
			ck_assert_int_eq(cipher_of(model.info[0]), c);
		}
}
END_TEST

START_TEST(unknown_pairs_need_no_call)
{
	static const int bad[][2] = {
		{ 0x0302, 0 }, { 0x0305, 0 }, { 0, 0 }, { TLS13, -1 },
		{ TLS12, TLSSF_CIPHER_COUNT },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_cap(probe(bad[i][0], bad[i][1]), TLSSF_NO, EINVAL, 0);
}
END_TEST

START_TEST(wrong_records_are_a_no)
{
	for (int v = TLS12; v <= TLS13; v++)
		for (int d = NONE + 1; d < DAMAGES; d++) {
			if (v == TLS12 && d == INNER_TYPE)
				continue;	/* there is no such cipher */
			model.damage = (enum damage)d;
			expect_success();
			script_advance(MINUTE);
			assert_cap(probe(v, TLSSF_AES_128_GCM), TLSSF_NO,
				   EBADMSG, 0);
		}
	model.damage = NONE;
	assert_recovers();
}
END_TEST

START_TEST(record_in_pieces)
{
	expect_ulp();
	expect_key();
	SCRIPT(send, .fd = TX, .play = take_plain);
	for (int i = 0; i < 13; i++) {	/* 64 + 22 bytes, seven at a time */
		SCRIPT(recv, .fd = RX, .result = -EINTR);
		SCRIPT(recv, .fd = RX, .play = send_seven_bytes);
	}
	expect_close();
	assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
}
END_TEST

/* ---- tlssf_probe() ---- */

static void expect_everything(void)
{
	for (int i = 0; i < 2 * TLSSF_CIPHER_COUNT; i++)
		expect_success();
	expect_ulp();
	expect_key();
	SCRIPT(tls_option, .value = OPT_ZEROCOPY, .play = zerocopy_option);
	SCRIPT(tls_option, .value = OPT_PAYLOAD, .play = payload_option);
	expect_key();
	expect_record();
	expect_close();
}

static void assert_everything(const struct tlssf_caps *caps)
{
	ck_assert_int_eq(caps->ulp, TLSSF_ULP_LOADED);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		assert_cap(caps->tls12[c], TLSSF_YES, 0, library_has(c));
		assert_cap(caps->tls13[c], TLSSF_YES, 0, library_has(c));
	}
	ck_assert_int_eq(caps->rekey, TLSSF_YES);
	ck_assert_int_eq(caps->zerocopy_ro, TLSSF_YES);
	ck_assert_int_eq(caps->max_payload_len, TLSSF_YES);
	ck_assert_ptr_nonnull(strstr(caps->library, "SSL"));
	ck_assert_int_ne(caps->library_ktls, TLSSF_UNKNOWN);
	ck_assert_int_ne(caps->library_rekey, TLSSF_UNKNOWN);
}

START_TEST(probe_tells_everything)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	expect_ulp();	/* first, is the module loaded? */
	expect_close();
	expect_everything();
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	script_done();
	assert_everything(&caps);
	script_advance(MINUTE);
	memset(&caps, 0, sizeof(caps));
	caps.size = sizeof(caps);
	ck_assert_int_eq(tlssf_probe(&caps), 0); /* all answers are cached */
	assert_everything(&caps);
}
END_TEST

START_TEST(probe_honours_the_size)
{
	const size_t least = offsetof(struct tlssf_caps, ulp);
	struct tlssf_caps caps, before;

	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
	memset(&before, 0xa5, sizeof(before));
	for (size_t size = 0; size <= sizeof(caps) + 8; size++) {
		size_t ours = size < sizeof(caps) ? size : sizeof(caps);

		caps = before;
		caps.size = size;
		errno = 0;
		if (size < least) {
			ck_assert_int_eq(tlssf_probe(&caps), TLSSF_ERROR);
			ck_assert_int_eq(errno, EINVAL);
			ours = sizeof(size_t);
		} else {
			ck_assert_int_eq(tlssf_probe(&caps), 0);
		}
		ck_assert_uint_eq(caps.size, size < least ? size : ours);
		ck_assert_mem_eq((char *)&caps + ours, (char *)&before + ours,
				 sizeof(caps) - ours);
	}
	errno = 0;
	ck_assert_int_eq(tlssf_probe(NULL), TLSSF_ERROR);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(probe_without_loopback)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	/* after one failure to make a socket pair, no other is tried */
	SCRIPT(tcp_pair, .result = -EADDRNOTAVAIL);
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	script_done();
	ck_assert_int_eq(caps.ulp, TLSSF_ULP_UNKNOWN);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		assert_cap(caps.tls12[c], TLSSF_UNKNOWN, EADDRNOTAVAIL, 0);
		assert_cap(caps.tls13[c], TLSSF_UNKNOWN, EADDRNOTAVAIL, 0);
	}
	ck_assert_int_eq(caps.rekey, TLSSF_UNKNOWN);
	ck_assert_int_eq(caps.zerocopy_ro, TLSSF_UNKNOWN);
	ck_assert_int_eq(caps.max_payload_len, TLSSF_UNKNOWN);
}
END_TEST

START_TEST(probe_without_module)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	expect_pair();
	SCRIPT(ulp_attach, .fd = TX, .result = -ENOENT);
	SCRIPT(kernel_release, .result = -EFAULT);
	expect_close();
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	script_done();
	ck_assert_int_eq(caps.ulp, TLSSF_ULP_ABSENT);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		assert_cap(caps.tls12[c], TLSSF_NO, ENOENT, 0);
		assert_cap(caps.tls13[c], TLSSF_NO, ENOENT, 0);
	}
	ck_assert_int_eq(caps.rekey, TLSSF_NO);
	/* a second later the module is loaded */
	script_advance(1000);
	expect_ulp();
	expect_close();
	expect_everything();
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	script_done();
	assert_everything(&caps);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_probe");

	/* the probe's cache lives as long as the process */
	setenv("CK_FORK", "yes", 1);
	ADD(suite, "ciphers", every_pair_is_verified,
	    unknown_pairs_need_no_call, wrong_records_are_a_no,
	    record_in_pieces);
	ADD(suite, "probe", probe_tells_everything, probe_honours_the_size,
	    probe_without_loopback, probe_without_module);
	add_errno_tests(suite);
	add_memory_tests(suite);
	add_thread_tests(suite);
	return run_suite("unit_probe", suite);
}
