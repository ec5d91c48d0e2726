/* SPDX-License-Identifier: MIT */
/*
 * The limits of the public calls: bad arguments are refused and leave the
 * connection usable, a failure is final and reported by every later call, and
 * no progress is lost or reported twice.
 */
#include "e2e_api.h"

#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <string.h>

#define FRAGMENT_512	1	/* RFC 6066, 4 */

struct link api;
struct file api_file;
static struct file base;	/* api_file, unless the test has its own */

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&api, 0, sizeof(api));
	api_file = base;
}

static void teardown(void)
{
	link_close(&api);
	if (api_file.fd != base.fd)
		file_free(&api_file);
}

void api_own_file(void)
{
	file_make(&api_file, base.size);
}

/* Check that some more bytes arrive, and then close_notify. */
void api_still_works(void)
{
	write_all(&api, "still here", 10);
	deliver(&api, &api_file, 4097, 100001);
	shutdown_all(&api);
	expect_end(&api, END_NOTIFY);
}

START_TEST(handshake_unfinished)
{
	struct link_conf conf = { .no_handshake = true,
				  .version = _i ? TLS1_3_VERSION
						: TLS1_2_VERSION };

	link_open(&api, &conf);
	for (int i = 0; i < 3; i++)
		assert_failed(&api, tlssf_send(api.ssl, api_file.fd, 0, 1),
			      EINVAL, TLSSF_REASON_HANDSHAKE, false);
	assert_failed(&api, tlssf_shutdown(api.ssl), EINVAL,
		      TLSSF_REASON_HANDSHAKE, false);
	link_handshake(&api);
	api_still_works();
}
END_TEST

START_TEST(after_shutdown)
{
	struct link_conf conf = { .nonblocking = true };

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	deliver(&api, &api_file, 0, 1000);
	shutdown_all(&api);
	for (int i = 0; i < 4; i++)
		assert_failed(&api, tlssf_send(api.ssl, api_file.fd, 0, 1000),
			      EPIPE, TLSSF_REASON_SHUT_DOWN, false);
	ck_assert_int_eq(tlssf_shutdown(api.ssl), 0);
	ck_assert_int_eq(tlssf_flush(api.ssl), 0);
	expect_end(&api, END_NOTIFY);
}
END_TEST

/*
 * Send until the reset is reported. Kernel TLS reports it late, and so does
 * SSL_write().
 */
static ssize_t send_until_error(void)
{
	unsigned int turns = 0;
	ssize_t n;

	do
		n = tlssf_send(api.ssl, api_file.fd, 0, 65536);
	while (n != TLSSF_ERROR && pause_turn(&turns));
	return n;
}

static void assert_stays_dead(int err)
{
	struct tlssf_status st;
	uint64_t calls;

	get_status(&api, &st);
	calls = st.calls;
	for (int i = 0; i < 4; i++)
		assert_failed(&api, tlssf_send(api.ssl, api_file.fd, i, 1),
			      err, TLSSF_REASON_PEER_GONE, true);
	assert_failed(&api, tlssf_flush(api.ssl), err, TLSSF_REASON_PEER_GONE,
		      true);
	assert_failed(&api, tlssf_shutdown(api.ssl), err,
		      TLSSF_REASON_PEER_GONE, true);
	get_status(&api, &st);
	ck_assert_uint_eq(st.calls, calls);	/* no system call was made */
	ERR_clear_error();
	for (int i = 0; i < 4; i++)
		ck_assert_int_le(SSL_write(api.ssl, "x", 1), 0);
}

static void read_byte(void)
{
	char c;

	peer_do(&api, PEER_WRITE, 1);
	get_report(&api);
	ck_assert_int_eq(SSL_read(api.ssl, &c, 1), 1);
}

START_TEST(peer_reset)
{
	struct link_conf conf = { .nonblocking = _i % 2 };
	int err;

	if (!link_open_way(&api, _i / 4, &conf, __func__))
		return;
	deliver(&api, &api_file, 0, 1000);
	/* data of the peer arrived just before the reset */
	if (conf.nonblocking)
		read_byte();
	peer_do(&api, _i % 4 < 2 ? PEER_RESET : PEER_CLOSE, 0);
	get_report(&api);
	ck_assert_int_eq(send_until_error(), TLSSF_ERROR);
	err = errno;
	ck_assert(err == EPIPE || err == ECONNRESET);
	assert_stays_dead(err);
}
END_TEST

/* The bridge sees the reset before the first tlssf call. */
START_TEST(peer_reset_before_the_first_call)
{
	struct link_conf conf = { .nonblocking = true };
	int n = 1, err = 0;

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	peer_do(&api, PEER_RESET, 0);
	get_report(&api);
	for (int i = 0; i < 1000 && n > 0; i++) {
		ERR_clear_error();
		n = SSL_write(api.ssl, "x", 1);
		err = errno;
	}
	ck_assert_int_le(n, 0);
	assert_stays_dead(err);
}
END_TEST

/* libtlssf never raises SIGPIPE and never changes its disposition. */
START_TEST(sigpipe_not_ignored)
{
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
				  .nonblocking = _i };
	struct sigaction sa;

	signal(SIGPIPE, SIG_DFL);
	link_open(&api, &conf);
	peer_do(&api, PEER_RESET, 0);
	get_report(&api);
	ck_assert_int_eq(send_until_error(), TLSSF_ERROR);
	ck_assert_int_eq(tlssf_shutdown(api.ssl), TLSSF_ERROR);
	ck_assert_int_eq(sigaction(SIGPIPE, NULL, &sa), 0);
	ck_assert_ptr_eq((void *)(uintptr_t)sa.sa_handler,
			 (void *)(uintptr_t)SIG_DFL);
}
END_TEST

/*
 * Check that a send fails for `reason`: a method that the application has named
 * is never replaced by another one.
 */
static void impossible(struct link_conf *conf, int reason)
{
	struct tlssf_status st;

	link_open(&api, conf);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tlssf_send(api.ssl, api_file.fd, 0, 1),
				 TLSSF_ERROR);
		get_status(&api, &st);
		ck_assert_int_eq(st.error, reason);
		ck_assert_int_eq(st.reason, reason);
		ck_assert_int_eq(st.why_not[conf->method], reason);
		ck_assert_int_eq(st.dead, 0);
	}
	write_all(&api, "still here", 10);
	sync_peer(&api);
	shutdown_all(&api);
	expect_end(&api, END_NOTIFY);
}

START_TEST(named_but_impossible)
{
	struct link_conf cbc = { .version = TLS1_2_VERSION,
		.cipher_name = "ECDHE-RSA-AES128-SHA" };

	cbc.method = _i ? TLSSF_METHOD_KTLS : TLSSF_METHOD_SSL_SENDFILE;
	impossible(&cbc, TLSSF_REASON_CIPHER);
}
END_TEST

#ifdef OPENSSL_IS_BORINGSSL
START_TEST(library_without_ktls)
{
	struct link_conf conf = { .method = TLSSF_METHOD_SSL_SENDFILE,
				  .version = ways[_i].version };

	impossible(&conf, TLSSF_REASON_LIBRARY_NO_KTLS);
}
END_TEST
#else
START_TEST(named_with_fragments)
{
	struct link_conf conf = { .method = TLSSF_METHOD_SSL_SENDFILE,
		.peer.max_fragment = FRAGMENT_512 };

	if (expected_cipher(TLS1_3_VERSION, &ciphers[0]) == 1)
		impossible(&conf, TLSSF_REASON_MAX_FRAGMENT);
	else
		skip_test("named_with_fragments: no TLS in TLSSF_EXPECT");
}
END_TEST

/* The peer offers 512 bytes: no method sends a longer record. */
START_TEST(max_fragment)
{
	struct link_conf conf = { .version = ways[_i].version,
		.peer.max_fragment = FRAGMENT_512 };

	link_open(&api, &conf);
	api_still_works();
	ck_assert_uint_le(api.report.max_record, 512 + 24);
	ck_assert_uint_ge(api.report.data_records, 100001 / 512);
}
END_TEST
#endif

START_TEST(tickets)
{
	static const int numbers[] = { 0, 1, 2, 5 };
	struct link_conf conf = { .tickets = numbers[_i % 4] + 1 };

	if (!link_open_way(&api, TLS13_WAY(_i / 4), &conf, __func__))
		return;
	api_still_works();
}
END_TEST

START_TEST(client_sends)
{
	struct link_conf conf = { .client = true, .nonblocking = _i % 2 };

	if (!link_open_way(&api, _i / 2, &conf, __func__))
		return;
	api_still_works();
}
END_TEST

START_TEST(dtls)
{
	SSL_CTX *ctx = SSL_CTX_new(DTLS_method());
	SSL *ssl = SSL_new(ctx);
	struct tlssf_status st = { .size = sizeof(st) };

	ck_assert_int_eq(tlssf_send(ssl, api_file.fd, 0, 1), TLSSF_ERROR);
	ck_assert_int_eq(tlssf_status(ssl, &st), 0);
	ck_assert_int_eq(st.error, TLSSF_REASON_DTLS);
	ck_assert_int_eq(st.dead, 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}
END_TEST

/* The peer requests a renegotiation, and OpenSSL refuses it. */
START_TEST(no_renegotiation)
{
	struct link_conf conf = { 0 };
	char buf[100];

	if (!link_open_way(&api, TLS12_WAY(_i), &conf, __func__))
		return;
	deliver(&api, &api_file, 1, 70000);
	peer_do(&api, PEER_RENEGOTIATE, 0);
	ck_assert_int_le(SSL_read(api.ssl, buf, sizeof(buf)), 0);
	ck_assert_int_eq(get_report(&api)->result, -1);
	ck_assert_int_eq(api.report.alert_in, SSL_AD_NO_RENEGOTIATION);
	ck_assert_uint_eq(api.report.markers, 0);
}
END_TEST

static void add_tests(TCase *tc)
{
	add_input_tests(tc);
	tcase_add_loop_test(tc, handshake_unfinished, 0, 2);
	add_ways(tc, after_shutdown, 1);
	add_ways(tc, peer_reset, 4);
	add_ways(tc, peer_reset_before_the_first_call, 1);
	tcase_add_loop_test(tc, sigpipe_not_ignored, 0, 2);
	tcase_add_loop_test(tc, named_but_impossible, 0, 2);
#ifdef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, library_without_ktls, 0, 2);
#else	/* BoringSSL does not know max_fragment_length */
	tcase_add_test(tc, named_with_fragments);
	tcase_add_loop_test(tc, max_fragment, 0, 2);
#endif
	tcase_add_loop_test(tc, tickets, 2 * first_way(), 2 * end_of_ways());
	add_ways(tc, client_sends, 2);
	tcase_add_test(tc, dtls);
	tcase_add_loop_test(tc, no_renegotiation, first_way() / 2,
			    end_of_ways() / 2);
}

int main(void)
{
	Suite *suite = suite_create("e2e_api");
	TCase *tc = add_case(suite, "edges");

	warm_up();
	file_make(&base, 4 * MIB);
	tcase_add_checked_fixture(tc, setup, teardown);
	add_tests(tc);
	tc = add_case(suite, "order");
	tcase_add_checked_fixture(tc, setup, teardown);
	add_order_tests(tc);
	tc = add_case(suite, "sizes");
	tcase_add_checked_fixture(tc, setup, teardown);
	add_size_tests(tc);
	tc = add_case(suite, "BIOs");
	tcase_add_checked_fixture(tc, setup, teardown);
	add_bio_tests(tc);
	return run_suite("e2e_api", suite);
}
