/* SPDX-License-Identifier: MIT */
/*
 * KeyUpdate, RFC 8446 section 4.6.3, from either side and at any time. Where
 * library and kernel follow it, and in user space always, every byte arrives.
 * Where they cannot, the connection ends with a fatal alert and the reason
 * `rekey`: never with data under a wrong key, never as if it were complete.
 */
#include "util.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define EVERY		(256 * KIB)
#define DOWNLOAD	(4 * MIB)
#define SNDBUF		65536	/* so that we do not run far ahead */
#define PATIENCE_MS	10000

static struct link l;
static struct file file;	/* shared by all tests */

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&l, 0, sizeof(l));
}

static void teardown(void)
{
	link_close(&l);
}

/* Of a link of this method, an update that comes after the first send. */
static bool breaks(int method)
{
	uint64_t seq;

	if (method == TLSSF_METHOD_KTLS)
		return !kernel_rekeys();
	return kernel_seq(&l, &seq) && !survives_rekey();
}

/* What AUTO comes to in a long download. */
static int auto_method(void)
{
	uint64_t seq;

	if (kernel_seq(&l, &seq))
		return TLSSF_METHOD_SSL_SENDFILE;
	return kernel_can(TLS1_3_VERSION, &ciphers[0]) ?
	       TLSSF_METHOD_KTLS : TLSSF_METHOD_USERSPACE;
}

/* Handle what the peer has sent: KeyUpdates, there is no data. */
static void read_updates(void)
{
	char buf[16];
	int n;

	do {
		ERR_clear_error();
		n = SSL_read(l.ssl, buf, sizeof(buf));
	} while (n > 0);
}

static void wait_readable(void)
{
	struct pollfd pfd = { .fd = l.fd, .events = POLLIN };

	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
}

/* All the file while handling the peer's requests; the last result. */
static ssize_t download(uint64_t *done)
{
	ssize_t n = 0;

	for (*done = 0; *done < DOWNLOAD; read_updates()) {
		n = tlssf_send(l.ssl, file.fd, (off_t)(1 + *done),
			       DOWNLOAD - *done);
		if (n == TLSSF_WANT_WRITE)
			wait_writable(&l);
		else if (n < 0)
			break;
		else
			*done += (uint64_t)n;
	}
	return n;
}

static void tell_update_reader(uint64_t every)
{
	struct peer_command c = { .op = PEER_READ, .n = PEER_ALL,
				  .update_every = every };

	ck_assert_int_eq(peer_tell(&l.peer, &c), 0);
}

/* What came is the beginning of the file. */
static void check_prefix(void)
{
	unsigned char sha[32];

	ck_assert_uint_le(l.report.bytes, DOWNLOAD);
	ck_assert_int_eq(EVP_Digest(file.map + 1, l.report.bytes, sha, NULL,
				    EVP_sha256(), NULL), 1);
	ck_assert_mem_eq(l.report.sha, sha, sizeof(sha));
	ck_assert_uint_eq(l.report.markers, 0);
	count_comparison();
}

static void dead_of_rekey(ssize_t n)
{
	for (int i = 0; i < 4; i++) {
		/* the alert goes out first */
		while (n == TLSSF_WANT_WRITE) {
			wait_writable(&l);
			n = tlssf_send(l.ssl, file.fd, 0, 1);
		}
		assert_failed(&l, n, EPROTO, TLSSF_REASON_REKEY, true);
		n = i % 2 ? tlssf_shutdown(l.ssl)
			  : tlssf_send(l.ssl, file.fd, 0, 1);
	}
	ERR_clear_error();
	ck_assert_int_le(SSL_write(l.ssl, "x", 1), 0);
}

/* A fatal alert that the peer could read: its own key was never wrong. */
static void expect_alert(ssize_t n)
{
	dead_of_rekey(n);
	hear(&l);
	check_prefix();
	ck_assert_int_eq(l.report.end, END_ALERT);
	ck_assert_int_eq(l.report.alert_in, SSL_AD_INTERNAL_ERROR);
	ck_assert_int_eq(l.report.alert_out, -1);
}

static void expect_all(ssize_t n, uint64_t done)
{
	struct tlssf_status st;

	ck_assert_msg(n > 0, "%zd: %s", n, tlssf_strerror(l.ssl));
	ck_assert_uint_eq(done, DOWNLOAD);
	shutdown_all(&l);
	hear(&l);
	check_prefix();
	ck_assert_uint_eq(l.report.bytes, DOWNLOAD);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
	ck_assert_uint_ge(l.report.updates, 4);
	get_status(&l, &st);
	if (st.kernel_tx)
		ck_assert_uint_eq(st.rekeys, l.report.updates);
}

static void run_download(int method)
{
	bool broken = breaks(method);
	uint64_t done;
	ssize_t n;

	tell_update_reader(EVERY);
	n = download(&done);
	if (broken)
		expect_alert(n);
	else
		expect_all(n, done);
}

/* ---- the peer asks during a download ---- */

static struct link_conf rekey_conf(void)
{
	return (struct link_conf){ .nonblocking = true, .sndbuf = SNDBUF,
		.max_per_call = 64 * KIB, .version = TLS1_3_VERSION };
}

START_TEST(requested)
{
	struct link_conf conf = rekey_conf();

	if (link_open_way(&l, TLS13_WAY(_i), &conf, __func__))
		run_download(conf.method);
}
END_TEST

/* Odd loops: the application wants to survive at any price. */
START_TEST(requested_auto)
{
	struct link_conf conf = rekey_conf();
	struct tlssf_status st;

	conf.key_update = _i ? TLSSF_KEY_UPDATE_USERSPACE
			     : TLSSF_KEY_UPDATE_END;
	link_open(&l, &conf);
	if (!_i) {
		run_download(auto_method());
		return;
	}
	get_status(&l, &st);
	if (!kernel_rekeys())
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	run_download(kernel_rekeys() ? auto_method() : st.method);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
/* The application switched kernel TLS on itself; even loops: no ctx_init. */
START_TEST(application_option)
{
	struct link_conf conf = rekey_conf();
	uint64_t seq;

	conf.options = SSL_OP_ENABLE_KTLS;
	conf.no_init = _i % 2 == 0;
	link_open(&l, &conf);
	if (!kernel_seq(&l, &seq)) {
		ck_assert_int_ne(expected_cipher(TLS1_3_VERSION,
						 &ciphers[0]), 1);
		skip_test("application_option: kernel TLS is not in force");
		return;
	}
	run_download(TLSSF_METHOD_SSL_SENDFILE);
}
END_TEST
#endif

/*
 * Answers wait for their turn in a full socket, and the application's own
 * SSL_write() finds them there.
 */
START_TEST(interleaved)
{
	struct link_conf conf = rekey_conf();

	conf.sndbuf = 16384;
	conf.peer.rcvbuf = 8192;
	if (!link_open_way(&l, TLS13_WAY(_i), &conf, __func__))
		return;
	if (breaks(conf.method)) {
		skip_test("interleaved, %s: ends at the first, see requested",
			  ways[TLS13_WAY(_i)].name);
		return;
	}
	tell_update_reader(EVERY / 2);	/* BoringSSL: 32 and no more */
	for (uint64_t off = 1; off < MIB; off += 10007) {
		send_all(&l, &file, off, 10007);
		write_all(&l, file.map + off, 20011);
		read_updates();
	}
	shutdown_all(&l);
	compare(&l);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
	ck_assert_uint_ge(l.report.updates, 8);
}
END_TEST

/* ---- before the first call ---- */

static void update_before_first_call(int type)
{
	tell(&l, PEER_KEY_UPDATE, (uint64_t)type);
	ck_assert_int_eq(hear(&l)->result, 0);
	wait_readable();
	read_updates();
}

/* The bridge is there from the handshake on. */
START_TEST(before_first_call)
{
	struct link_conf conf = rekey_conf();
	uint64_t done;
	ssize_t n;

	if (!link_open_way(&l, TLS13_WAY(_i), &conf, __func__))
		return;
	update_before_first_call(SSL_KEY_UPDATE_REQUESTED);
	/* ktls takes over after it */
	if (conf.method == TLSSF_METHOD_KTLS || !breaks(conf.method)) {
		deliver(&l, &file, 1, MIB);
		shutdown_all(&l);
		expect_end(&l, END_NOTIFY);
		ck_assert_uint_eq(l.report.updates, 1);
		return;
	}
	n = download(&done);
	ck_assert_uint_eq(done, 0);
	tell(&l, PEER_READ, PEER_ALL);
	expect_alert(n);
	ck_assert_uint_eq(l.report.bytes, 0);
}
END_TEST

/*
 * An update that wants no answer concerns only the peer's direction; which
 * OpenSSL 3.2 and later gives to the kernel, too.
 */
START_TEST(not_requested)
{
	struct link_conf conf = rekey_conf();

	if (!link_open_way(&l, TLS13_WAY(_i / 2), &conf, __func__))
		return;
	if (_i % 2)
		deliver(&l, &file, 1, 1000);
	update_before_first_call(SSL_KEY_UPDATE_NOT_REQUESTED);
	if (conf.method == TLSSF_METHOD_SSL_SENDFILE && breaks(conf.method) &&
	    OpenSSL_version_num() >= 0x30200000L) {
		tell(&l, PEER_READ, PEER_ALL);
		dead_of_rekey(tlssf_send(l.ssl, file.fd, 0, 1));
		hear(&l);
		ck_assert_int_eq(l.report.end, END_ALERT);
		return;
	}
	deliver(&l, &file, 1, MIB);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
	ck_assert_uint_eq(l.report.updates, 0);
}
END_TEST

/* ---- our own side ---- */

/* Odd loops leave the sending of the message to the next tlssf_send. */
START_TEST(own_update)
{
	struct link_conf conf = rekey_conf();
	ssize_t n;

	if (!link_open_way(&l, TLS13_WAY(_i / 2), &conf, __func__))
		return;
	deliver(&l, &file, 0, 1000);
	tell(&l, PEER_READ, PEER_ALL);
	ck_assert_int_eq(SSL_key_update(l.ssl, SSL_KEY_UPDATE_NOT_REQUESTED),
			 1);
	if (_i % 2 == 0)
		SSL_do_handshake(l.ssl);
	if (!breaks(conf.method)) {
		send_all(&l, &file, 1, MIB);
		shutdown_all(&l);
		compare(&l);
		ck_assert_int_eq(l.report.end, END_NOTIFY);
		ck_assert_uint_eq(l.report.updates, 1);
		return;
	}
	n = tlssf_send(l.ssl, file.fd, 1, MIB);
	dead_of_rekey(n);
	compare(&l);
	ck_assert_int_eq(l.report.end, END_ALERT);
	ck_assert_int_eq(l.report.alert_in, SSL_AD_INTERNAL_ERROR);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rekey");
	TCase *tc = add_case(suite, "KeyUpdate", 30);

	warm_up();
	file_make(&file, DOWNLOAD + KIB);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, requested, 0, N_WAYS / 2);
	tcase_add_loop_test(tc, requested_auto, 0, 2);
	tcase_add_loop_test(tc, interleaved, 0, N_WAYS / 2);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, application_option, 0, 2);
#endif
	tcase_add_loop_test(tc, before_first_call, 0, N_WAYS / 2);
	tcase_add_loop_test(tc, not_requested, 0, N_WAYS);
	tcase_add_loop_test(tc, own_update, 0, N_WAYS);
	return run_suite("e2e_rekey", suite);
}
