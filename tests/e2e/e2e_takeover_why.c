/* SPDX-License-Identifier: MIT */
/*
 * Reasons why libtlssf does not take the keys over: padding, small records,
 * secrets that are not known. Each is reported by its name, and none is an
 * error with AUTO.
 */
#include "e2e_takeover.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#define SMALL		512	/* the smallest max_send_fragment */
#define LINES		5	/* in the key log of a TLS 1.3 handshake */

/* ---- the key log ---- */

static unsigned int lines;

static void app_log(const SSL *ssl, const char *line)
{
	(void)ssl;
	lines += strlen(line) > 64;
}

static SSL_CTX *logged_ctx(const struct link_conf *conf)
{
	struct tlssf_options o = { .size = sizeof(o), .method = conf->method };
	SSL_CTX *ctx = plain_ctx(true);

	SSL_CTX_set_keylog_callback(ctx, app_log);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(tlssf_ctx_init(ctx, &o), 0);
	return ctx;
}

/*
 * The application reads the key log, too: each line comes once, though
 * tlssf_ctx_init() was called twice.
 */
START_TEST(key_log)
{
	struct link_conf conf = tk_conf(versions[_i]);

	conf.ctx = logged_ctx(&conf);
	link_open(&tk, &conf);
	SSL_CTX_free(conf.ctx);
	tk_take_over(&tk);
	ck_assert_uint_eq(lines, conf.version == TLS1_3_VERSION ? LINES : 1);
	tk_ends_well(&tk);
}
END_TEST

/* ---- a virtual host: the servername callback changes the SSL_CTX ---- */

static int on_name(SSL *ssl, int *alert, void *other)
{
	(void)alert;
	ck_assert_ptr_eq(SSL_set_SSL_CTX(ssl, other), other);
	return SSL_TLSEXT_ERR_OK;
}

static void open_by_name(struct link_conf *conf, SSL_CTX *other)
{
	conf->peer.name = "other";
	conf->ctx = test_ctx(conf);
	SSL_CTX_set_tlsext_servername_callback(conf->ctx, on_name);
	SSL_CTX_set_tlsext_servername_arg(conf->ctx, other);
	link_open(&tk, conf);
	SSL_CTX_free(conf->ctx);
	SSL_CTX_free(other);
}

/*
 * Only the new SSL_CTX must be prepared for a takeover. In odd loops the first
 * one was not.
 */
START_TEST(other_is_prepared)
{
	struct link_conf conf = tk_conf(versions[_i / 2]), host = conf;

	conf.no_init = _i % 2;
	open_by_name(&conf, test_ctx(&host));
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
/*
 * These tests are not for BoringSSL, which never pads, returns its secret on
 * request, and treats the maximum fragment size as a hint.
 */

/* AUTO continues in user space and reports why. */
static void assert_auto_reason(int version, int reason)
{
	struct tlssf_status st;

	deliver(&tk, &tk_file, 1, 3 * TAKEOVER_PAYS);
	get_status(&tk, &st);
	ck_assert_int_eq(st.takeover, 0);
	ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	if (tk_kernel(version))
		ck_assert_msg(st.reason == reason, "reason %s",
			      tlssf_reason_name(st.reason));
	tk_ends_well(&tk);
}

static void still_works(void)
{
	write_all(&tk, "still here", 10);
	shutdown_all(&tk);
	expect_end(&tk, END_NOTIFY);
}

/* ---- secrets that are not known ---- */

static unsigned int lines_of_other;

static void other_log(const SSL *ssl, const char *line)
{
	(void)ssl, (void)line;
	lines_of_other++;
}

/* Our key log callback is not called any more. */
START_TEST(key_log_replaced)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	if (_i)
		conf.method = TLSSF_METHOD_AUTO;
	conf.ctx = logged_ctx(&conf);
	SSL_CTX_set_keylog_callback(conf.ctx, _i ? other_log : NULL);
	link_open(&tk, &conf);
	SSL_CTX_free(conf.ctx);
	ck_assert_uint_eq(lines, 0);
	ck_assert_uint_eq(lines_of_other, _i ? LINES : 0);
	if (!_i) {
		tk_refused(&tk, TLSSF_REASON_KEYLOG_REPLACED);
		still_works();
	} else {
		deliver(&tk, &tk_file, 1, 3 * TAKEOVER_PAYS);
		tk_ends_well(&tk);
	}
}
END_TEST

START_TEST(other_is_bare)
{
	struct link_conf conf = { .version = TLS1_3_VERSION,
				  .no_init = _i };
	struct link_conf host = { .no_init = true };
	uint64_t seq;

	open_by_name(&conf, test_ctx(&host));
	/* the option of the first SSL_CTX may have enabled kernel TLS */
	if (kernel_seq(&tk, &seq))
		tk_ends_well(&tk);
	else
		assert_auto_reason(TLS1_3_VERSION, TLSSF_REASON_NO_SECRET);
}
END_TEST

/* ---- padding ---- */

static bool padding_on;

static size_t pad(SSL *ssl, int type, size_t len, void *arg)
{
	(void)ssl, (void)type, (void)arg;
	return padding_on ? 100 + len % 100 : 0;
}

static void open_padded(struct link_conf *conf, bool by_callback)
{
	conf->ctx = test_ctx(conf);
	if (by_callback)
		SSL_CTX_set_record_padding_callback(conf->ctx, pad);
	else
		SSL_CTX_set_block_padding(conf->ctx, 4096);
	link_open(&tk, conf);
	SSL_CTX_free(conf->ctx);
}

START_TEST(padding_before)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	padding_on = true;
	open_padded(&conf, _i);
	tk_refused(&tk, TLSSF_REASON_PADDING);
	still_works();
}
END_TEST

/* The library's own kernel TLS does not pad: it may ignore the callback. */
START_TEST(padding_before_auto)
{
	struct link_conf conf = { .version = TLS1_3_VERSION };
	uint64_t seq;

	padding_on = true;
	open_padded(&conf, _i);
	if (kernel_seq(&tk, &seq))
		tk_ends_well(&tk);
	else
		assert_auto_reason(TLS1_3_VERSION, TLSSF_REASON_PADDING);
}
END_TEST

/* The application enables padding after the takeover. */
START_TEST(padding_after)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	padding_on = false;
	open_padded(&conf, true);
	tk_take_over(&tk);
	write_all(&tk, "good", 4);
	padding_on = true;
	if (!tk_kernel(TLS1_3_VERSION)) {	/* libtlssf pads, too */
		tk_ends_well(&tk);
		return;
	}
	ERR_clear_error();
	ck_assert_int_le(SSL_write(tk.ssl, MARKER, MARKER_LEN), 0);
	for (int i = 0; i < 3; i++)
		assert_failed(&tk, tlssf_send(tk.ssl, tk_file.fd, 0, 1),
			      EPROTO, TLSSF_REASON_PADDING, true);
	expect_end(&tk, END_ALERT);
	ck_assert_int_eq(tk.report.alert_in, SSL_AD_INTERNAL_ERROR);
	ck_assert_int_eq(tk.report.alert_out, -1);
}
END_TEST

START_TEST(padding_dropped)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	conf.drop_padding = 1;
	padding_on = false;
	open_padded(&conf, true);
	tk_take_over(&tk);
	padding_on = true;
	tk_ends_well(&tk);
}
END_TEST

/* ---- small records ---- */

static void open_small(struct link_conf *conf)
{
	conf->ctx = test_ctx(conf);
	ck_assert_int_eq(SSL_CTX_set_max_send_fragment(conf->ctx, SMALL), 1);
	link_open(&tk, conf);
	SSL_CTX_free(conf->ctx);
}

static void no_large_record(void)
{
	ck_assert_uint_le(tk.report.max_record, SMALL + 64);
}

START_TEST(small_records)
{
	struct link_conf conf = tk_conf(versions[_i]);

	open_small(&conf);
	tk_refused(&tk, TLSSF_REASON_MAX_FRAGMENT);
	still_works();
	if (tk_kernel(conf.version))
		no_large_record();
}
END_TEST

START_TEST(small_records_auto)
{
	struct link_conf conf = { .version = versions[_i] };
	uint64_t seq;

	open_small(&conf);
	if (kernel_seq(&tk, &seq)) {
		tk_ends_well(&tk);
		return;
	}
	assert_auto_reason(conf.version, TLSSF_REASON_MAX_FRAGMENT);
	no_large_record();
}
END_TEST

/* A first send that is smaller than a record does not show the record size. */
START_TEST(small_first_send)
{
	struct link_conf conf = tk_conf(versions[_i]);
	ssize_t n = 100;

	open_small(&conf);
	for (int i = 0; i < 3 && n > 0; i++) {
		n = tlssf_send(tk.ssl, tk_file.fd, 0, i ? 200000 : 100);
		if (n > 0)
			expect_file(&tk, &tk_file, 0, (size_t)n);
		sync_peer(&tk);
	}
	still_works();
	no_large_record();
}
END_TEST
#endif

void add_why_tests(TCase *tc)
{
	tcase_add_loop_test(tc, key_log, 0, 2);
	tcase_add_loop_test(tc, other_is_prepared, 0, 4);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, padding_before, 0, 2);
	tcase_add_loop_test(tc, padding_before_auto, 0, 2);
	tcase_add_test(tc, padding_after);
	tcase_add_test(tc, padding_dropped);
	tcase_add_loop_test(tc, small_records, 0, 2);
	tcase_add_loop_test(tc, small_records_auto, 0, 2);
	tcase_add_loop_test(tc, small_first_send, 0, 2);
	tcase_add_loop_test(tc, key_log_replaced, 0, 2);
	tcase_add_loop_test(tc, other_is_bare, 0, 2);
#endif
}
