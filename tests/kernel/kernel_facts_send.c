/* SPDX-License-Identifier: MIT */
/* Part of kernel_facts: open records, sendfile(), closing, lost peers. */
#include "kernel_facts_util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TAIL_MAX (40 * RECORD_MAX)
#define SMALL_BUF 32768
/* an internal errno of the kernel, which reaches user space */
#ifndef ERESTARTSYS
#define ERESTARTSYS 512
#endif

static int so_error(void)
{
	int e = -1;
	socklen_t len = sizeof(e);

	ck_assert_int_eq(getsockopt(c.tx, SOL_SOCKET, SO_ERROR, &e, &len), 0);
	return e;
}

static ssize_t send_range(off_t off, size_t len)
{
	return sendfile(c.tx, c.file, &off, len);
}

/* ---- the open record ---- */

START_TEST(open_record_is_held)
{
	int on = 1;

	open_default();
	ck_assert_int_eq(send(c.tx, buf, 10, MSG_MORE), 10);
	ck_assert_int_eq(send(c.tx, "", 0, 0), 0);
	ck_assert_int_eq(opt_int(c.tx, IPPROTO_TCP, TCP_NODELAY, on), 0);
	ck_assert_int_eq(opt_int(c.tx, IPPROTO_TCP, TCP_CORK, on), 0);
	ck_assert_int_eq(opt_int(c.tx, IPPROTO_TCP, TCP_CORK, !on), 0);
	ck_assert(peer_quiet(&c.peer, 2 * QUIET));
	ck_assert_int_eq(out_queue(c.tx), 0);
	ck_assert_uint_eq(rec_seq(), c.seq0);
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert(peer_wait(&c.peer, 10, PATIENCE));
	ck_assert_uint_eq(rec_seq(), c.seq0 + 1);
	/* no record is open: nothing is sent, not even an empty record */
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert_uint_eq(rec_seq(), c.seq0 + 1);
	ck_assert(peer_quiet(&c.peer, QUIET));
	ck_assert_uint_eq(c.peer.n_records, 1);
}
END_TEST

/* A byte without MSG_MORE, or a record of another type, sends the open one. */
START_TEST(open_record_is_pushed)
{
	static const struct record want[] = {
		{ TYPE_DATA, 11 }, { TYPE_DATA, 5 }, { TYPE_ALERT, 2 },
	};

	open_default();
	ck_assert_int_eq(send(c.tx, buf, 10, MSG_MORE), 10);
	ck_assert_int_eq(send(c.tx, buf + 10, 1, 0), 1);
	ck_assert_int_eq(send(c.tx, buf + 11, 5, MSG_MORE), 5);
	ck_assert_int_eq(send_cmsg(c.tx, TYPE_ALERT, buf + 16, 2, 0), 2);
	ck_assert(peer_wait(&c.peer, 18, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 0));
	ck_assert_uint_eq(c.peer.n_records, 3);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(c.peer.records[i].type, want[i].type);
		ck_assert_uint_eq(c.peer.records[i].len, want[i].len);
	}
}
END_TEST

START_TEST(open_record_is_lost)
{
	open_default();
	ck_assert_int_eq(send(c.tx, buf, 10, MSG_MORE), 10);
	if (_i)
		ck_assert_int_eq(shutdown(c.tx, SHUT_WR), 0);
	else
		close_fd(&c.tx);
	ck_assert(peer_finish(&c.peer, PATIENCE));
	ck_assert_uint_eq(c.peer.wire_total, 0);
}
END_TEST

START_TEST(header_and_file_share_a_record)
{
	open_default();
	c.file = memory_file(100);
	ck_assert_int_eq(send(c.tx, buf, 3, MSG_MORE), 3);
	ck_assert_int_eq(send_range(0, 100), 100);
	ck_assert(peer_wait(&c.peer, 103, PATIENCE));
	ck_assert_uint_eq(c.peer.n_records, 1);
	ck_assert(peer_matches(&c.peer, 3, 0));
}
END_TEST

/* ---- sendfile ---- */

START_TEST(sendfile_arguments)
{
	off_t off = -1;

	open_default();
	c.file = memory_file(1000);
	ck_assert_int_eq(send(c.tx, buf, 3, MSG_MORE), 3);
	ck_assert_int_eq(send_range(0, 0), 0);
	ck_assert_int_eq(send_range(1000, 10), 0);
	ck_assert_int_eq(send_range(5000, 10), 0);
	assert_errno(send_range(-1, 10), EINVAL);
	ck_assert_int_eq(pipe(spare), 0);
	off = 0;
	assert_errno(sendfile(c.tx, spare[0], &off, 1), ESPIPE);
	assert_errno(sendfile(c.tx, spare[0], NULL, 1), EINVAL);
	close_fd(&spare[0]);
	spare[0] = open("/", O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(spare[0], 0);
	assert_errno(sendfile(c.tx, spare[0], &off, 1), EINVAL);
	assert_errno(sendfile(c.tx, spare[1], NULL, 1), EBADF);
	/* none of these sent the open record */
	ck_assert(peer_quiet(&c.peer, QUIET));
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert(peer_wait(&c.peer, 3, PATIENCE));
}
END_TEST

START_TEST(sendfile_beyond_the_end)
{
	open_default();
	c.file = memory_file(20000);
	ck_assert_int_eq(send_range(100, 1 << 20), 19900);
	ck_assert_uint_eq(rec_seq(), c.seq0 + 2);
	ck_assert(peer_wait(&c.peer, 19900, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 100));
}
END_TEST

/*
 * Kernels with MSG_SPLICE_PAGES fill every record whatever the offset; older
 * ones leave one record in each pipe (16 pages) short.
 */
START_TEST(sendfile_record_sizes)
{
	size_t len = 5 * RECORD_MAX, want = RECORD_MAX;
	bool full;

	open_default();
	c.file = memory_file(len + 1);
	ck_assert_int_eq(send_range(1, len), (ssize_t)len);
	ck_assert(peer_wait(&c.peer, len, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 1));
	full = feature("splice-pages", c.peer.n_records == 5);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(c.peer.records[i].len, RECORD_MAX);
	if (!full)
		want = RECORD_MAX - 1;
	ck_assert_uint_eq(c.peer.records[3].len, want);
	ck_assert_uint_eq(c.peer.n_records, full ? 5 : 6);
}
END_TEST

/*
 * sendfile() returns a short count at a record boundary, and then EAGAIN. After
 * POLLOUT it sends the rest.
 */
START_TEST(sendfile_short_counts)
{
	struct pollfd pfd = { .events = POLLOUT };
	size_t len = 300001, done = 0;
	ssize_t n;

	conn_open_tls(V13, &aeads[AES128GCM], SMALL_BUF, SMALL_BUF);
	c.file = memory_file(len);
	nonblocking(c.tx, true);
	/* more than one succeeds if an acknowledgement arrives in between */
	while ((n = send_range((off_t)done, len - done)) > 0) {
		done += (size_t)n;
		ck_assert_uint_lt(done, len);
		ck_assert_uint_eq((rec_seq() - c.seq0) * RECORD_MAX, done);
	}
	assert_errno(n, EAGAIN);
	ck_assert_uint_gt(done, 0);
	pfd.fd = c.tx;
	for (; done < len; done += (size_t)n) {
		while (poll(&pfd, 1, 0) == 0)
			ck_assert(peer_take(&c.peer, 4096) ||
				  !peer_quiet(&c.peer, PATIENCE));
		n = send_range((off_t)done, len - done);
		ck_assert_int_gt(n, 0);
	}
	ck_assert(peer_wait(&c.peer, len, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 0));
}
END_TEST

static void signals(int first_us, int every_us)
{
	struct itimerval it = { { 0, every_us }, { 0, first_us } };

	ck_assert_int_eq(setitimer(ITIMER_REAL, &it, NULL), 0);
}

/* Returns the short count of a sendfile() that is ended by signals alone. */
static size_t signalled_sendfile(size_t len)
{
	for (int i = 0; i < 20000; i++) {
		ssize_t n;

		conn_close();
		conn_open_tls(V13, &aeads[AES128GCM], 1 << 18, 1 << 18);
		c.file = memory_file(len + 1);
		signals(200, 200);
		n = send_range(1, len);
		signals(0, 0);
		if (n > 0 && n < (ssize_t)len && n % RECORD_MAX)
			return (size_t)n;
	}
	ck_abort_msg("no signal makes sendfile return early");
	return 0;
}

/*
 * A signal ends sendfile() after a multiple of a pipe's size. With
 * MSG_SPLICE_PAGES the last record stays open: it is counted and not sent. The
 * empty record of type 23 sends it.
 */
START_TEST(signal_leaves_an_open_record)
{
	size_t done = signalled_sendfile(200000);
	size_t open = done % RECORD_MAX;
	bool full = true;

	ck_assert(peer_wait(&c.peer, done - (size_t)pending(done), PATIENCE));
	peer_finish(&c.peer, 2 * QUIET);
	for (unsigned int i = 0; i < c.peer.n_records; i++)
		full = full && c.peer.records[i].len == RECORD_MAX;
	if (!full)
		open = 0;
	ck_assert_uint_eq(c.peer.plain_len, done - open);
	ck_assert_int_eq(pending(done), (int64_t)open);
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert(peer_wait(&c.peer, done, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 1));
	ck_assert_int_eq(so_error(), 0);
}
END_TEST

/*
 * A signal comes while a record waits for room in TCP. Kernels without the fix
 * end the connection: errno is ERESTARTSYS or, with SO_SNDTIMEO, EINTR for each
 * later call. Only SO_ERROR tells that EINTR from a harmless one.
 */
START_TEST(signal_while_blocked)
{
	struct timeval none = { 0 };
	ssize_t n, more;
	int e;

	conn_open_tls(V13, &aeads[AES128GCM], 8192, SMALL_BUF);
	if (!_i)
		ck_assert_int_eq(setsockopt(c.tx, SOL_SOCKET, SO_SNDTIMEO,
					    &none, sizeof(none)), 0);
	c.file = memory_file(300000);
	signals(300000, 100000);
	n = send_range(0, 300000);
	ck_assert_int_gt(n, 0);
	ck_assert_int_lt(n, 300000);
	more = send_range(n, 300000 - (size_t)n);
	e = more < 0 ? errno : 0;
	if (more > 0)
		n += more;
	ck_assert_int_lt(n, 300000);
	signals(0, 0);
	peer_finish(&c.peer, 2 * QUIET);
	if (e == ERESTARTSYS || (e == EINTR && pending((size_t)n))) {
		ck_assert_int_eq(e, _i ? EINTR : ERESTARTSYS);
		ck_assert_int_gt(pending((size_t)n), 0);
		assert_errno(send_range(n, 1), e);
		ck_assert_int_eq(so_error(), e);
		return;
	}
	ck_assert_int_eq(so_error(), 0);
	ck_assert_int_eq(push_open(c.tx), 0);
	ck_assert(peer_wait(&c.peer, (size_t)n, PATIENCE));
	ck_assert_int_eq(pending((size_t)n), 0);
	ck_assert_int_eq(send_range(n, 100), 100);
	ck_assert(peer_wait(&c.peer, (size_t)n + 100, PATIENCE));
	ck_assert(peer_matches(&c.peer, 0, 0));
}
END_TEST

/* ---- records above TCP ---- */

static void tail_open(int i)
{
	static const struct { uint16_t version; int aead; } rows[] = {
		{ V12, 0 }, { V12, 1 }, { V12, CHACHA20 },
		{ V13, 0 }, { V13, 1 }, { V13, CHACHA20 },
	};

	conn_open_tls(rows[i].version, &aeads[rows[i].aead], SMALL_BUF,
		      SMALL_BUF);
	c.file = memory_file(TAIL_MAX);
	nonblocking(c.tx, true);
}

/*
 * Send whole records until the kernel holds one above TCP. The peer reads no
 * more than that needs. Each sendfile() returns the full count. Returns the
 * bytes sent.
 */
static size_t tail_send(void)
{
	size_t done = 0;

	for (int i = 0; i < 1000 && done < TAIL_MAX; i++) {
		ssize_t n = send_range((off_t)done, RECORD_MAX);

		if (n > 0) {
			ck_assert_int_eq(n, RECORD_MAX);
			done += RECORD_MAX;
			if (pending(done) > 0)
				return done;
		} else {
			peer_take(&c.peer, 4096);
		}
	}
	ck_abort_msg("the kernel never holds a record above TCP");
	return 0;
}

/* All bytes were accepted; close in this way, and return how many are lost. */
static size_t tail_lost(int way)
{
	size_t sent;

	tail_open(3);
	sent = tail_send();
	if (way == 1) {
		set_linger(c.tx, 5);
		nonblocking(c.tx, false);
	}
	if (way == 2)
		ck_assert_int_eq(shutdown(c.tx, SHUT_WR), 0);
	else
		close_fd(&c.tx);
	peer_finish(&c.peer, PATIENCE);
	return sent - c.peer.plain_len;
}

/* close() loses the last records, unless an acknowledgement comes in time. */
START_TEST(tail_is_lost)
{
	for (int i = 0; i < 20; i++) {
		conn_close();
		if (tail_lost(_i))
			return;
	}
	ck_abort_msg("close() never loses a record");
}
END_TEST

/* pending() is 0 only when all bytes are in TCP: close() loses none then. */
START_TEST(pending_is_exact)
{
	size_t sent, records;

	tail_open(_i);
	sent = tail_send();
	for (int i = 0; i < 100000 && pending(sent) > 0; i++)
		if (!peer_take(&c.peer, 4096))
			peer_quiet(&c.peer, QUIET);
	ck_assert_int_eq(pending(sent), 0);
	ck_assert_int_gt(out_queue(c.tx), 0);
	records = rec_seq() - c.seq0;
	close_fd(&c.tx);
	ck_assert(peer_finish(&c.peer, PATIENCE));
	ck_assert_uint_eq(c.peer.plain_len, sent);
	ck_assert_uint_eq(c.peer.n_records, records);
	ck_assert(peer_matches(&c.peer, 0, 0));
	ck_assert_uint_eq(c.peer.wire_total,
			  sent + records * overhead(&c.keys));
}
END_TEST

/* ---- connections that have ended ---- */

static void wait_state(int state)
{
	unsigned int turns = 0;

	while (tcp_state(c.tx) != state && pause_turn(&turns))
		;
	ck_assert_int_eq(tcp_state(c.tx), state);
}

/* The peer has closed: one call fails with EPIPE, and later calls succeed. */
START_TEST(peer_closed)
{
	open_default();
	c.file = memory_file(1000);
	close_fd(&c.peer.fd);
	ck_assert_int_eq(send(c.tx, buf, 1, 0), 1);
	wait_state(ST_CLOSE);
	ck_assert_int_ne(poll_now(c.tx) & POLLHUP, 0);
	assert_errno(send(c.tx, buf, 1, MSG_NOSIGNAL), EPIPE);
	ck_assert_int_eq(pipes, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(send_range(0, 1000), 1000);
	ck_assert_int_gt(pipes, 0);
	ck_assert_int_eq(send(c.tx, buf, 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(so_error(), 0);
	ck_assert_int_ne(poll_now(c.tx) & POLLHUP, 0);
	ck_assert_int_eq(tcp_state(c.tx), ST_CLOSE);
}
END_TEST

START_TEST(peer_reset)
{
	open_default();
	c.file = memory_file(1000);
	set_linger(c.peer.fd, 0);	/* close() resets */
	close_fd(&c.peer.fd);
	wait_state(ST_CLOSE);
	ck_assert_int_ne(poll_now(c.tx) & POLLHUP, 0);
	assert_errno(send(c.tx, buf, 1, 0), ECONNRESET);
	assert_errno(send_range(0, 1000), ECONNRESET);
	ck_assert_int_eq(so_error(), ECONNRESET);
	ck_assert_int_eq(send(c.tx, buf, 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(send_range(0, 1000), 1000);
	ck_assert_int_ne(poll_now(c.tx) & POLLHUP, 0);
}
END_TEST

/* After our own shutdown(), nothing is sent and every call succeeds. */
START_TEST(own_shutdown)
{
	open_default();
	c.file = memory_file(1000);
	ck_assert_int_eq(send(c.tx, buf, 5, 0), 5);
	ck_assert_int_eq(shutdown(c.tx, SHUT_WR), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(send_range(0, 1000), 1000);
	ck_assert_int_eq(send(c.tx, buf, 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(send_cmsg(c.tx, TYPE_ALERT, buf, 2, MSG_NOSIGNAL), 2);
	wait_state(ST_FIN_WAIT2);
	ck_assert_int_eq(poll_now(c.tx), POLLOUT);
	ck_assert(peer_finish(&c.peer, PATIENCE));
	ck_assert_uint_eq(c.peer.plain_len, 5);
}
END_TEST

/* For comparison: plain TCP, with and without the ULP, always returns EPIPE. */
START_TEST(own_shutdown_plain)
{
	conn_open(0, 0);
	if (_i)
		ck_assert_int_eq(set_ulp(c.tx), 0);
	ck_assert_int_eq(shutdown(c.tx, SHUT_WR), 0);
	for (int i = 0; i < 3; i++)
		assert_errno(send(c.tx, buf, 1, MSG_NOSIGNAL), EPIPE);
}
END_TEST

void add_send_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "send");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, open_record_is_held);
	tcase_add_test(tc, open_record_is_pushed);
	tcase_add_loop_test(tc, open_record_is_lost, 0, 2);
	tcase_add_test(tc, header_and_file_share_a_record);
	tcase_add_test(tc, sendfile_arguments);
	tcase_add_test(tc, sendfile_beyond_the_end);
	tcase_add_test(tc, sendfile_record_sizes);
	tcase_add_test(tc, sendfile_short_counts);
	tcase_add_test(tc, signal_leaves_an_open_record);
	tcase_add_loop_test(tc, signal_while_blocked, 0, 2);
	tcase_add_loop_test(tc, tail_is_lost, 0, 3);
	tcase_add_loop_test(tc, pending_is_exact, 0, 6);
	tcase_add_test(tc, peer_closed);
	tcase_add_test(tc, peer_reset);
	tcase_add_test(tc, own_shutdown);
	tcase_add_loop_test(tc, own_shutdown_plain, 0, 2);
}
