/* SPDX-License-Identifier: MIT */
/*
 * KeyUpdate (RFC 8446, 4.6.3), from either side and at any time. In user space,
 * and where library and kernel can rekey, every byte arrives. Where they
 * cannot, the connection ends with a fatal alert and the reason `rekey`: no
 * data is sent under a wrong key, and a truncated stream never looks complete.
 */
#include "e2e_rekey.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define BUFFER		65536	/* small, so that few bytes are in flight */
#define SLOW_SNDBUF	8192
#define SLOW_RCVBUF	4096
#define DOWNLOAD	(4 * MIB)
#define LARGE_DOWNLOAD	(64 * MIB)	/* with TLSSF_FULL */
#define INTERLEAVED	(3 * MIB)
/* bytes that are sent from memory, before the file */
#define HEADER		300

struct link rekey;
struct file rekey_file;
uint64_t rekey_size;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&rekey, 0, sizeof(rekey));
	rekey_size = DOWNLOAD;
}

static void teardown(void)
{
	link_close(&rekey);
}

bool rekey_breaks(int method)
{
	if (method == TLSSF_METHOD_AUTO)
		method = auto_method(TLS1_3_VERSION, ciphers, rekey_size);
	return (method == TLSSF_METHOD_SSL_SENDFILE && !survives_rekey()) ||
	       (method == TLSSF_METHOD_KTLS && !kernel_rekeys());
}

static bool is_blocking(void)
{
	return !(fcntl(rekey.fd, F_GETFL) & O_NONBLOCK);
}

/* The socket is non-blocking meanwhile, since there may be nothing to read. */
void rekey_read(void)
{
	bool blocking = is_blocking();
	char buf[16];
	int n;

	set_nonblocking(rekey.fd, true);
	do {
		ERR_clear_error();
		n = SSL_read(rekey.ssl, buf, sizeof(buf));
	} while (n > 0);
	set_nonblocking(rekey.fd, !blocking);
}

static void wait_readable(void)
{
	struct pollfd pfd = { .fd = rekey.fd, .events = POLLIN };

	ck_assert_int_eq(poll(&pfd, 1, HANG_MS), 1);
}

/*
 * On a blocking socket each call sends little, so that we can read in between.
 */
ssize_t rekey_download(uint64_t done)
{
	bool blocking = is_blocking();
	ssize_t n = 0;

	for (; done < rekey_size; rekey_read()) {
		uint64_t len = rekey_size - done;

		n = tlssf_send(rekey.ssl, rekey_file.fd, (off_t)(1 + done),
			       blocking && len > 64 * KIB ? 64 * KIB : len);
		if (n == TLSSF_WANT_WRITE)
			wait_writable(&rekey);
		else if (n < 0)
			break;
		else
			done += (uint64_t)n;
	}
	return n;
}

/*
 * The peer reads everything, and requests new keys REQUESTS times in `total`
 * bytes.
 */
static void request_updates(uint64_t total, size_t chunk)
{
	struct peer_command c = { .op = PEER_READ, .n = PEER_ALL,
		.chunk = chunk, .update_every = total / REQUESTS };

	ck_assert_int_eq(peer_send(&rekey.peer, &c), 0);
}

/* Check that the beginning of the file has arrived, and nothing else. */
static void check_prefix(void)
{
	const struct peer_report *r = &rekey.report;
	unsigned char sha[32];

	ck_assert_uint_le(r->bytes, rekey_size);
	ck_assert_int_eq(EVP_Digest(rekey_file.map + 1, r->bytes, sha, NULL,
				    EVP_sha256(), NULL), 1);
	ck_assert_mem_eq(r->sha, sha, sizeof(sha));
	ck_assert_uint_eq(r->markers, 0);
	ck_assert_uint_eq(r->records_in_data, 0);
	count_comparison();
}

static void dead_of(int reason, ssize_t n)
{
	for (int i = 0; i < 4; i++) {
		/* the alert must leave first */
		while (n == TLSSF_WANT_WRITE) {
			wait_writable(&rekey);
			n = tlssf_send(rekey.ssl, rekey_file.fd, 0, 1);
		}
		assert_failed(&rekey, n, EPROTO, reason, true);
		n = i % 2 ? tlssf_shutdown(rekey.ssl)
			  : tlssf_send(rekey.ssl, rekey_file.fd, 0, 1);
	}
	ERR_clear_error();
	ck_assert_int_le(SSL_write(rekey.ssl, "x", 1), 0);
}

/* Check that the peer could decrypt the fatal alert: the key was right. */
void rekey_expect_alert(ssize_t n, int reason)
{
	dead_of(reason, n);
	get_report(&rekey);
	check_prefix();
	ck_assert_int_eq(rekey.report.end, END_ALERT);
	ck_assert_int_eq(rekey.report.alert_in, SSL_AD_INTERNAL_ERROR);
	ck_assert_int_eq(rekey.report.alert_out, -1);
}

void rekey_expect_all(ssize_t n)
{
	struct tlssf_status st;

	ck_assert_msg(n >= 0, "%zd: %s", n, tlssf_strerror(rekey.ssl));
	shutdown_all(&rekey);
	get_report(&rekey);
	check_prefix();
	ck_assert_uint_eq(rekey.report.bytes, rekey_size);
	ck_assert_int_eq(rekey.report.end, END_NOTIFY);
	get_status(&rekey, &st);
	if (!st.kernel_tx)
		return;
	/* the answer to the first request may leave before a takeover */
	ck_assert_uint_le(st.rekeys, rekey.report.updates);
	ck_assert_uint_ge(st.rekeys + (st.method == TLSSF_METHOD_KTLS),
			  rekey.report.updates);
}

static void expect(int method, ssize_t n)
{
	if (rekey_breaks(method)) {
		rekey_expect_alert(n, TLSSF_REASON_REKEY);
		return;
	}
	rekey_expect_all(n);
	ck_assert_uint_ge(rekey.report.updates, REQUESTS / 4);
}

/* ---- the peer requests a KeyUpdate during a download ---- */

struct link_conf rekey_conf(void)
{
	return (struct link_conf){ .nonblocking = true, .sndbuf = BUFFER,
		.peer.rcvbuf = BUFFER, .max_per_call = 64 * KIB,
		.version = TLS1_3_VERSION };
}

/* The first two are non-blocking, with a fast and with a slow reader. */
enum { QUICK, SLOW, BLOCKING, N_PACES };

static struct link_conf pace_conf(int pace)
{
	struct link_conf conf = rekey_conf();

	conf.nonblocking = pace != BLOCKING;
	if (pace == SLOW) {
		conf.sndbuf = SLOW_SNDBUF;
		conf.peer.rcvbuf = SLOW_RCVBUF;
	}
	return conf;
}

START_TEST(requested)
{
	struct link_conf conf = pace_conf(_i % N_PACES);
	int way = _i / N_PACES / 2;

	conf.client = _i / N_PACES % 2;
	if (!link_open_way(&rekey, way, &conf, __func__))
		return;
	request_updates(rekey_size, _i % N_PACES == SLOW ? SLOW_RCVBUF : 0);
	expect(ways[way].method, rekey_download(0));
}
END_TEST

START_TEST(requested_in_large)
{
	struct link_conf conf = pace_conf(QUICK);

	rekey_size = LARGE_DOWNLOAD;
	if (!link_open_way(&rekey, _i, &conf, __func__))
		return;
	request_updates(rekey_size, 0);
	expect(ways[_i].method, rekey_download(0));
}
END_TEST

/* The peer requests KeyUpdates during the header, file and trailer of a job. */
START_TEST(requested_in_job)
{
	struct link_conf conf = rekey_conf();
	struct tlssf_job job = { .size = sizeof(job), .fd = rekey_file.fd,
		.header = rekey_file.map + 1, .header_len = HEADER,
		.off = 1 + HEADER, .file_len = rekey_size - 2 * HEADER,
		.trailer = rekey_file.map + 1 + rekey_size - HEADER,
		.trailer_len = HEADER };
	int n;

	if (!link_open_way(&rekey, _i, &conf, __func__))
		return;
	request_updates(rekey_size, 0);
	while ((n = tlssf_send_job(rekey.ssl, &job)) == TLSSF_WANT_WRITE) {
		wait_writable(&rekey);
		rekey_read();
	}
	expect(ways[_i].method, n);
}
END_TEST

/*
 * If the kernel cannot rekey, a KeyUpdate ends a connection with AUTO, but not
 * with TLSSF_KEY_UPDATE_USERSPACE, even if the application has enabled
 * OpenSSL's kernel TLS (last loop).
 */
START_TEST(requested_auto)
{
	struct link_conf conf = rekey_conf();
	struct tlssf_status st;
	ssize_t n;

	conf.key_update = _i ? TLSSF_KEY_UPDATE_USERSPACE
			     : TLSSF_KEY_UPDATE_END;
#ifndef OPENSSL_IS_BORINGSSL
	if (_i == 2)
		conf.options = SSL_OP_ENABLE_KTLS;
#endif
	link_open(&rekey, &conf);
	request_updates(rekey_size, 0);
	n = rekey_download(0);
	get_status(&rekey, &st);
	if (conf.key_update == TLSSF_KEY_UPDATE_END) {
		expect(TLSSF_METHOD_AUTO, n);
		return;
	}
	if (rekey_breaks(TLSSF_METHOD_AUTO)) {
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
		ck_assert_int_eq(st.reason, TLSSF_REASON_REKEY);
	}
	expect(TLSSF_METHOD_USERSPACE, n);
}
END_TEST

/*
 * TLSSF_KEY_UPDATE_USERSPACE forbids the method that is named. The call fails,
 * and the connection stays usable.
 */
START_TEST(policy_forbids)
{
	struct link_conf conf = rekey_conf();

	conf.key_update = TLSSF_KEY_UPDATE_USERSPACE;
	if (!link_open_way(&rekey, AUTO_WAY - 1, &conf, __func__))
		return;
	if (!kernel_rekeys()) {
		assert_failed(&rekey, tlssf_send(rekey.ssl, rekey_file.fd, 0,
						 1), EOPNOTSUPP,
			      TLSSF_REASON_REKEY, false);
		write_all(&rekey, "still here", 10);
	} else {
		deliver(&rekey, &rekey_file, 0, 1000);
	}
	shutdown_all(&rekey);
	expect_end(&rekey, END_NOTIFY);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
/*
 * The application has enabled kernel TLS itself. In even loops it has not
 * called tlssf_ctx_init().
 */
START_TEST(application_option)
{
	struct link_conf conf = rekey_conf();
	uint64_t seq;

	conf.options = SSL_OP_ENABLE_KTLS;
	conf.no_init = _i % 2 == 0;
	link_open(&rekey, &conf);
	if (!kernel_seq(&rekey, &seq)) {
		ck_assert_int_ne(expected_cipher(TLS1_3_VERSION, ciphers), 1);
		skip_test("application_option: kernel TLS is not in force");
		return;
	}
	request_updates(rekey_size, 0);
	expect(TLSSF_METHOD_SSL_SENDFILE, rekey_download(0));
}
END_TEST
#endif

/*
 * The answers to KeyUpdates wait since the socket is full; the application's
 * own SSL_write() sends them.
 */
START_TEST(interleaved)
{
	struct link_conf conf = pace_conf(SLOW);

	if (!link_open_way(&rekey, _i, &conf, __func__))
		return;
	if (rekey_breaks(conf.method)) {
		skip_test("interleaved, %s: the first KeyUpdate ends it",
			  ways[_i].name);
		return;
	}
	request_updates(INTERLEAVED, 0);
	for (uint64_t off = 1; off < INTERLEAVED; off += 30007) {
		send_all(&rekey, &rekey_file, off, 10007);
		write_all(&rekey, rekey_file.map + off, 20011);
		rekey_read();
	}
	shutdown_all(&rekey);
	compare(&rekey);
	ck_assert_int_eq(rekey.report.end, END_NOTIFY);
	ck_assert_uint_ge(rekey.report.updates, REQUESTS / 4);
}
END_TEST

/* ---- before the first tlssf call, and during an SSL_write() ---- */

void rekey_peer_update(int type)
{
	peer_do(&rekey, PEER_KEY_UPDATE, (uint64_t)type);
	ck_assert_int_eq(get_report(&rekey)->result, 0);
	wait_readable();
	rekey_read();
}

/*
 * The bridge is attached from the handshake on. A takeover starts with the key
 * that is in use then.
 */
START_TEST(before_first_call)
{
	struct link_conf conf = rekey_conf();

	if (!link_open_way(&rekey, _i, &conf, __func__))
		return;
	rekey_peer_update(SSL_KEY_UPDATE_REQUESTED);
	if (rekey_breaks(conf.method) &&
	    conf.method == TLSSF_METHOD_SSL_SENDFILE) {
		peer_do(&rekey, PEER_READ, PEER_ALL);
		rekey_expect_alert(rekey_download(0), TLSSF_REASON_REKEY);
		ck_assert_uint_eq(rekey.report.bytes, 0);
		return;
	}
	deliver(&rekey, &rekey_file, 1, MIB);
	shutdown_all(&rekey);
	expect_end(&rekey, END_NOTIFY);
	ck_assert_uint_eq(rekey.report.updates, 1);
}
END_TEST

/*
 * A KeyUpdate that requests no answer changes only the peer's write key.
 * OpenSSL 3.2 and later gives that direction to the kernel, too.
 */
START_TEST(not_requested)
{
	struct link_conf conf = rekey_conf();

	if (!link_open_way(&rekey, _i / 2, &conf, __func__))
		return;
	if (_i % 2)
		deliver(&rekey, &rekey_file, 1, 1000);
	rekey_peer_update(SSL_KEY_UPDATE_NOT_REQUESTED);
	if (conf.method == TLSSF_METHOD_SSL_SENDFILE && !kernel_rekeys() &&
	    OpenSSL_version_num() >= 0x30200000L) {
		peer_do(&rekey, PEER_READ, PEER_ALL);
		dead_of(TLSSF_REASON_REKEY,
			tlssf_send(rekey.ssl, rekey_file.fd, 0, 1));
		ck_assert_int_eq(get_report(&rekey)->end, END_ALERT);
		return;
	}
	deliver(&rekey, &rekey_file, 1, MIB);
	shutdown_all(&rekey);
	expect_end(&rekey, END_NOTIFY);
	ck_assert_uint_eq(rekey.report.updates, 0);
}
END_TEST

/*
 * SSL_write() is incomplete because the socket is full. OpenSSL answers a
 * KeyUpdate only after that write.
 */
START_TEST(in_ssl_write)
{
	struct link_conf conf = pace_conf(SLOW);
	uint64_t half = rekey_size / 8, begun = 1000;
	const unsigned char *rest = rekey_file.map + 1 + begun;
	int len = (int)(half - begun), n;

	if (!link_open_way(&rekey, _i, &conf, __func__))
		return;
	ck_assert_int_eq(tlssf_send(rekey.ssl, rekey_file.fd, 1, begun),
			 (ssize_t)begun);
	ck_assert_int_le(SSL_write(rekey.ssl, rest, len), 0);
	rekey_peer_update(SSL_KEY_UPDATE_REQUESTED);
	peer_do(&rekey, PEER_READ, PEER_ALL);
	for (;;) {
		ERR_clear_error();
		n = SSL_write(rekey.ssl, rest, len);
		if (n > 0 ||
		    SSL_get_error(rekey.ssl, n) != SSL_ERROR_WANT_WRITE)
			break;
		wait_writable(&rekey);
	}
	/* with AUTO the KeyUpdate came before the takeover */
	if (conf.method != TLSSF_METHOD_AUTO && rekey_breaks(conf.method)) {
		rekey_expect_alert(rekey_download(half), TLSSF_REASON_REKEY);
		return;
	}
	ck_assert_int_eq(n, len);
	rekey_expect_all(rekey_download(half));
	ck_assert_uint_eq(rekey.report.updates, 1);
}
END_TEST

/* Each second way is TLS 1.3. Only these have KeyUpdates. */
static void add_tests(TCase *tc)
{
	for (int way = first_way() + 1; way < end_of_ways(); way += 2) {
		tcase_add_loop_test(tc, requested, 2 * N_PACES * way,
				    2 * N_PACES * (way + 1));
		if (full_run())
			tcase_add_loop_test(tc, requested_in_large, way,
					    way + 1);
		tcase_add_loop_test(tc, requested_in_job, way, way + 1);
		tcase_add_loop_test(tc, interleaved, way, way + 1);
		tcase_add_loop_test(tc, before_first_call, way, way + 1);
		tcase_add_loop_test(tc, not_requested, 2 * way, 2 * way + 2);
		tcase_add_loop_test(tc, in_ssl_write, way, way + 1);
	}
	tcase_add_loop_test(tc, requested_auto, 0, 3);
	tcase_add_test(tc, policy_forbids);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, application_option, 0, 2);
#endif
}

int main(void)
{
	Suite *suite = suite_create("e2e_rekey");
	TCase *tc = add_case(suite, "KeyUpdate");

	warm_up();
	file_make(&rekey_file, KIB + (full_run() ? LARGE_DOWNLOAD : DOWNLOAD));
	tcase_add_checked_fixture(tc, setup, teardown);
	add_tests(tc);
	tc = add_case(suite, "our own");
	tcase_add_checked_fixture(tc, setup, teardown);
	add_own_tests(tc);
	return run_suite("e2e_rekey", suite);
}
