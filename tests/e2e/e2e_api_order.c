/* SPDX-License-Identifier: MIT */
/* Calls that return before they are done, and which calls may follow them. */
#include "e2e_api.h"

#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SNDBUF	16384
#define RCVBUF	8192
#define MANY	1000

static uint64_t at;	/* bytes that tlssf_send() has reported so far */

/* A peer that does not read, and small buffers. */
static bool open_stalled(int way, bool nonblocking, const char *test)
{
	struct link_conf conf = { .nonblocking = nonblocking,
		.sndbuf = SNDBUF, .peer.rcvbuf = RCVBUF };

	at = 0;
	return link_open_way(&api, way, &conf, test);
}

static void reported(ssize_t n)
{
	if (n > 0) {
		expect_file(&api, &api_file, at, (size_t)n);
		at += (uint64_t)n;
	}
}

/* Send from `at` on until the socket is full. */
static void send_until_want(void)
{
	ssize_t n = 0;

	for (int i = 0; i < MANY && n >= 0; i++) {
		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, MIB);
		reported(n);
	}
	ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	ck_assert_uint_gt(at, 0);
}

/* Send the rest of the file up to `end`, to a peer that reads all of it. */
static void send_rest(uint64_t end)
{
	peer_do_read(&api, api.bytes + (end - at), 0, 0);
	send_all(&api, &api_file, at, (size_t)(end - at));
	compare(&api);
	at = end;
}

static void end_well(void)
{
	api_still_works();
}

/* ---- the file changes ---- */

static void cut_file(void)
{
	ck_assert_int_eq(ftruncate(api_file.fd, 0), 0);
}

/*
 * The file is truncated to 0 bytes while encrypted bytes wait. These are still
 * reported; only then comes the end of the file.
 */
START_TEST(truncated_send)
{
	ssize_t n = 1;

	api_own_file();
	if (!open_stalled(_i, true, __func__))
		return;
	send_until_want();
	cut_file();
	peer_do_read(&api, PEER_ALL, 0, 0);
	for (int i = 0; i < MANY && n; i++) {
		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, MIB);
		ck_assert_int_ne(n, TLSSF_ERROR);
		if (n < 0)
			wait_writable(&api);
		else
			expect_pattern(&api, at, (size_t)n), at += (size_t)n;
	}
	ck_assert_int_eq(n, 0);
	write_all(&api, "after", 5);
	shutdown_all(&api);
	compare(&api);
	ck_assert_int_eq(api.report.end, END_NOTIFY);
}
END_TEST

START_TEST(truncated_job)
{
	struct tlssf_job job = { .size = sizeof(job),
		.header = "header", .header_len = 6, .off = 1,
		.file_len = 3 * MIB, .trailer = "trailer", .trailer_len = 7 };
	int n;

	api_own_file();
	job.fd = api_file.fd;
	if (!open_stalled(_i, true, __func__))
		return;
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(tlssf_send_job(api.ssl, &job),
				 TLSSF_WANT_WRITE);
	cut_file();
	peer_do_read(&api, PEER_ALL, 0, 0);
	while ((n = tlssf_send_job(api.ssl, &job)) == TLSSF_WANT_WRITE)
		wait_writable(&api);
	assert_failed(&api, n, ENODATA, TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_gt(job.done, 6);
	expect_bytes(&api, "header", 6);
	expect_pattern(&api, 1, job.done - 6);
	write_all(&api, "after", 5);
	shutdown_all(&api);
	compare(&api);
	ck_assert_int_eq(api.report.end, END_NOTIFY);
}
END_TEST

START_TEST(growing)
{
	struct link_conf conf = { .nonblocking = _i % 2 };
	unsigned char more[5000];

	api_own_file();
	if (!link_open_way(&api, _i / 2, &conf, __func__))
		return;
	deliver(&api, &api_file, api_file.size - 5000, 5000);
	ck_assert_int_eq(tlssf_send(api.ssl, api_file.fd,
				    (off_t)api_file.size, SIZE_MAX), 0);
	fill(more, api_file.size, sizeof(more));
	ck_assert_int_eq(pwrite(api_file.fd, more, sizeof(more),
				(off_t)api_file.size), sizeof(more));
	ck_assert_int_eq(tlssf_send(api.ssl, api_file.fd,
				    (off_t)api_file.size, SIZE_MAX),
			 sizeof(more));
	expect_bytes(&api, more, sizeof(more));
	end_well();
}
END_TEST

/* ---- an SSL_write() that is unfinished, and a tlssf_send() ---- */

/* The socket stops an SSL_write() after an unknown number of bytes. */
static void write_until_want(const unsigned char *buf, size_t len)
{
	int n;

	ERR_clear_error();
	n = SSL_write(api.ssl, buf, (int)len);
	ck_assert_int_le(n, 0);
	ck_assert_int_eq(SSL_get_error(api.ssl, n), SSL_ERROR_WANT_WRITE);
}

/*
 * In odd loops the unfinished SSL_write() follows a tlssf_send(); in even loops
 * the first tlssf call comes after it.
 */
START_TEST(pending_write)
{
	if (!open_stalled(_i / 2, true, __func__))
		return;
	if (_i % 2)
		send_all(&api, &api_file, 0, 1000);
	write_until_want(api_file.map, MIB);
	for (int i = 0; i < 3; i++)
		assert_failed(&api, tlssf_send(api.ssl, api_file.fd, 7, 100),
			      EBUSY, TLSSF_REASON_PENDING_WRITE, false);
	peer_do_read(&api, api.bytes + MIB, 0, 0);
	write_all(&api, api_file.map, MIB);
	compare(&api);
	end_well();
}
END_TEST

START_TEST(other_offset_after_want)
{
	ssize_t n;

	if (!open_stalled(_i, true, __func__))
		return;
	send_until_want();
	n = tlssf_send(api.ssl, api_file.fd, (off_t)at + 12345, 100);
	ck_assert_int_lt(n, 0);		/* the socket is full */
	if (n == TLSSF_ERROR)
		assert_failed(&api, n, EINVAL, TLSSF_REASON_PENDING_SEND,
			      false);
	send_rest(2 * MUCH);
	end_well();
}
END_TEST

/* Returns whether the stream is `all` bytes of the file, "WRITE" at `place`. */
static bool matches(uint64_t place, uint64_t all, const unsigned char *sha)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char got[32];

	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	EVP_DigestUpdate(md, api_file.map, place);
	EVP_DigestUpdate(md, "WRITE", 5);
	EVP_DigestUpdate(md, api_file.map + place, all - place);
	EVP_DigestFinal_ex(md, got, NULL);
	EVP_MD_CTX_free(md);
	return !memcmp(got, sha, sizeof(got));
}

/*
 * Bytes that were encrypted before the SSL_write() leave before it, and all
 * others leave after it. Only the peer sees where the SSL_write() is in the
 * stream: after all bytes that were reported, and at the end of a record.
 */
START_TEST(write_after_want)
{
	uint64_t all = MUCH, place, first;
	bool found = false;

	if (!open_stalled(_i, true, __func__))
		return;
	send_until_want();
	first = at;
	peer_do_read(&api, all + 5, 0, 0);
	write_all(&api, "WRITE", 5);
	send_all(&api, &api_file, at, (size_t)(all - at));
	get_report(&api);
	ck_assert_uint_eq(api.report.bytes, all + 5);
	for (place = first; !found && place <= all; place += 16384)
		found = matches(place, all, api.report.sha);
	ck_assert_msg(found, "bytes lost, repeated or out of order");
	EVP_DigestInit_ex(api.sha, EVP_sha256(), NULL);
	api.bytes = 0;
	end_well();
}
END_TEST

/*
 * Bytes that are encrypted already are reported in parts when the caller asks
 * for less.
 */
START_TEST(shorter_after_want)
{
	ssize_t n;

	if (!open_stalled(_i, true, __func__))
		return;
	send_until_want();
	peer_do_read(&api, MIB, 0, 0);
	for (int i = 0; i < MANY && at < MIB; i++) {
		size_t len = i < 100 ? 10 : MIB - at;

		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, len);
		ck_assert_int_ne(n, TLSSF_ERROR);
		ck_assert_int_le(n, (ssize_t)len);
		reported(n);
		if (n < 0)
			wait_writable(&api);
	}
	ck_assert_uint_eq(at, MIB);
	compare(&api);
	end_well();
}
END_TEST

/* ---- blocking sockets with a time limit ---- */

/* A call that ignores SO_SNDTIMEO waits for ever, so it would hang here. */
START_TEST(send_timeout)
{
	struct timeval limit = { .tv_usec = 200000 };
	ssize_t n;

	if (!open_stalled(_i, false, __func__))
		return;
	setsockopt(api.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	for (int i = 0; i < 3; i++) {
		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, 3 * MIB);
		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%zd", n);
		reported(n);
	}
	ck_assert_uint_gt(at, 0);
	send_rest(2 * MUCH);
	end_well();
}
END_TEST

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/*
 * Kernels without the fix return ERESTARTSYS in the middle of a record. The
 * connection cannot go on then, and must report that.
 */
static bool ended_by_signal(ssize_t n)
{
	struct tlssf_status st;

	if (n != TLSSF_ERROR)
		return false;
	get_status(&api, &st);
	ck_assert_int_eq(st.kernel_tx, 1);
	ck_assert_int_eq(st.error, TLSSF_REASON_INTERRUPTED);
	ck_assert_int_eq(st.dead, 1);
	peer_do(&api, PEER_READ, PEER_ALL);
	link_close(&api);
	return true;
}

START_TEST(signals)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval every = { { 0, 50000 }, { 0, 50000 } }, off = { 0 };
	ssize_t n;

	if (!open_stalled(_i, false, __func__))
		return;
	alarms = 0;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 5; i++) {
		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, 3 * MIB);
		if (ended_by_signal(n))
			return;
		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%zd", n);
		reported(n);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	ck_assert_int_ge(alarms, 5);
	ck_assert_uint_gt(at, 0);
	/* what was reported arrives, even if nothing is sent any more */
	peer_do_read(&api, at, 0, 0);
	compare(&api);
	send_rest(2 * MUCH);
	end_well();
}
END_TEST

/* ---- OpenSSL's error queue and modes ---- */

START_TEST(stale_error)
{
	ssize_t n = 0;

	if (!open_stalled(_i, true, __func__))
		return;
	for (int i = 0; i < MANY && n >= 0; i++) {
		ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
		n = tlssf_send(api.ssl, api_file.fd, (off_t)at, MIB);
		ck_assert_uint_eq(ERR_peek_error(), 0);
		reported(n);
	}
	ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
	n = tlssf_flush(api.ssl); /* a kernel may have no record above TCP */
	ck_assert(n == TLSSF_WANT_WRITE ||
		  (n == 0 && ways[_i].method != TLSSF_METHOD_USERSPACE));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
	ck_assert_int_eq(tlssf_status(NULL, NULL), TLSSF_ERROR);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	send_rest(MUCH);
	ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
	end_well();
}
END_TEST

static const long modes[] = {
	SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
	SSL_MODE_RELEASE_BUFFERS, SSL_MODE_AUTO_RETRY,
};
#define N_MODES	(int)(sizeof(modes) / sizeof(modes[0]))

START_TEST(library_modes)
{
	long mode = modes[_i % N_MODES];

	if (!open_stalled(_i / N_MODES, true, __func__))
		return;
	if (mode == SSL_MODE_AUTO_RETRY) /* set by default: test without it */
		SSL_clear_mode(api.ssl, mode);
	else
		SSL_set_mode(api.ssl, mode);
	send_until_want();
	send_rest(MUCH);
	peer_do_read(&api, 3 * MUCH, 0, 0);
	write_all(&api, api_file.map, MUCH);
	send_all(&api, &api_file, 1, MUCH);
	write_all(&api, api_file.map, MUCH);
	compare(&api);
	end_well();
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL never pads */
/* Record padding makes records longer than the library can predict. */
static size_t pad(SSL *ssl, int type, size_t len, void *arg)
{
	(void)ssl, (void)type, (void)arg;
	return 100 + len % 1000;
}

START_TEST(record_padding)
{
	struct link_conf conf = { .version = TLS1_3_VERSION,
		.nonblocking = true, .sndbuf = SNDBUF, .peer.rcvbuf = RCVBUF };
	SSL_CTX *ctx = test_ctx(&conf);

	if (_i)
		SSL_CTX_set_record_padding_callback(ctx, pad);
	else
		ck_assert_int_eq(SSL_CTX_set_block_padding(ctx, 4096), 1);
	conf.ctx = ctx;
	link_open(&api, &conf);
	SSL_CTX_free(ctx);
	at = 0;
	send_until_want();
	send_rest(MUCH);
	end_well();
}
END_TEST
#endif

void add_order_tests(TCase *tc)
{
	add_ways(tc, truncated_send, 1);
	add_ways(tc, truncated_job, 1);
	add_ways(tc, growing, 2);
	add_ways(tc, pending_write, 2);
	add_ways(tc, other_offset_after_want, 1);
	add_ways(tc, write_after_want, 1);
	add_ways(tc, shorter_after_want, 1);
	add_ways(tc, send_timeout, 1);
	add_ways(tc, signals, 1);
	add_ways(tc, stale_error, 1);
	add_ways(tc, library_modes, N_MODES);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, record_padding, 0, 2);
#endif
}
