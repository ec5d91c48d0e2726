/* SPDX-License-Identifier: MIT */
/*
 * After tlssf_shutdown() or tlssf_flush(), close() loses none of the bytes that
 * were accepted: with any size of the socket's send buffer, in level- and
 * edge-triggered event loops, and without busy waiting. The negative control
 * shows what close() alone loses where the kernel encrypts.
 */
#include "util.h"

#include <openssl/err.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int sndbufs[] = { 8192, 32768, 65536, 0 };
#define N_SNDBUFS	4
#define RCVBUF		16384
#define MAX_UNREPORTED	(65536 + 16384)	/* encrypted, and not reported yet */
#define STALL_US	100000	/* the peer starts to read after that */
/* A loop that makes more turns without a wait is busy waiting. */
#define MAX_TURNS	2000
#define MAX_CALLS	500	/* system calls, besides some for each wait */
#define CALLS_PER_WAIT	16

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

/* ---- an event loop, written as tlssf.h prescribes ---- */

struct loop {
	int ep;
	bool edge;
	unsigned int turns;	/* turns that did not really wait */
	unsigned int waits;	/* turns that did really wait */
};

static void loop_open(struct loop *loop, bool edge)
{
	struct epoll_event ev = { .events = EPOLLOUT };

	if (edge)
		ev.events |= EPOLLET;
	loop->edge = edge;
	loop->turns = loop->waits = 0;
	loop->ep = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_ge(loop->ep, 0);
	ck_assert_int_eq(epoll_ctl(loop->ep, EPOLL_CTL_ADD, l.fd, &ev), 0);
}

/*
 * Wait after TLSSF_WANT_WRITE. With retry_ms set, no edge will come, and
 * level-triggered epoll would report the same event at once: only time helps.
 */
static void loop_wait(struct loop *loop)
{
	struct epoll_event ev;
	struct tlssf_status st;
	uint64_t start;
	int n;

	get_status(&l, &st);
	if (st.retry_ms) {
		usleep(st.retry_ms * 1000);
		loop->waits++;
		return;
	}
	start = real_ms();
	n = epoll_wait(loop->ep, &ev, 1, HANG_MS);
	ck_assert_msg(n == 1, "no event, retry_ms 0: the loop sleeps for ever");
	if (real_ms() - start > 1)
		loop->waits++;
	else
		ck_assert_msg(++loop->turns < MAX_TURNS, "busy waiting");
}

/*
 * Send without blocking, from `off` until the socket is full or, with `all`,
 * until everything is accepted.
 */
static size_t send_part(struct loop *loop, uint64_t off, size_t len, bool all)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = tlssf_send(l.ssl, file.fd, (off_t)(off + done),
			       len - done);
		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%zd: %s", n,
			      tlssf_strerror(l.ssl));
		if (n > 0)
			done += (size_t)n;
		else if (all)
			loop_wait(loop);
		else
			break;
	}
	expect_file(&l, &file, off, done);
	return done;
}

static void shut_down(struct loop *loop)
{
	int n;

	while ((n = tlssf_shutdown(l.ssl))) {
		ck_assert_msg(n == TLSSF_WANT_WRITE, "%d: %s", n,
			      tlssf_strerror(l.ssl));
		loop_wait(loop);
	}
}

static void flush(struct loop *loop)
{
	int n;

	while ((n = tlssf_flush(l.ssl))) {
		ck_assert_msg(n == TLSSF_WANT_WRITE, "%d: %s", n,
			      tlssf_strerror(l.ssl));
		loop_wait(loop);
	}
}

static void close_socket(void)
{
	close(l.fd);
	l.fd = 0;
}

static uint64_t calls(void)
{
	struct tlssf_status st;

	get_status(&l, &st);
	return st.calls;
}

/* The limit grows with the waits: a slow reader needs more of them. */
static void assert_few_calls(const struct loop *loop, uint64_t before)
{
	ck_assert_uint_lt(calls() - before,
			  MAX_CALLS + CALLS_PER_WAIT * loop->waits);
}

/*
 * The peer pauses, and then reads everything. It gets the command now, since
 * the test is about to block.
 */
static void start_slow_reader(void)
{
	struct peer_command c = { .op = PEER_READ, .n = PEER_ALL,
				  .stall_us = STALL_US };

	ck_assert_int_eq(peer_send(&l.peer, &c), 0);
}

/* Returns the cases of a way: each size, level and edge (a guest: only one). */
static int cases(void)
{
	return in_guest() && !full_run() ? N_SNDBUFS : 2 * N_SNDBUFS;
}

static bool edge_of(int i)
{
	int n = i % cases();

	return (n + n / N_SNDBUFS) % 2;
}

static bool open_for(int i, bool nonblocking, const char *test)
{
	int size = i % cases() % N_SNDBUFS;
	struct link_conf conf = { .nonblocking = nonblocking,
		.sndbuf = sndbufs[size],
		.peer.rcvbuf = size < N_SNDBUFS - 1 ? RCVBUF : 0 };

	return link_open_way(&l, i / cases(), &conf, test);
}

static const unsigned char *sha_of_file(uint64_t off, uint64_t len)
{
	static unsigned char sha[32];

	ck_assert_uint_le(off + len, file.size);
	ck_assert_int_eq(EVP_Digest(file.map + off, len, sha, NULL,
				    EVP_sha256(), NULL), 1);
	return sha;
}

/* ---- tests ---- */

/* Send what fits, then shut down and close at once. */
START_TEST(shutdown_delivers)
{
	struct loop loop;
	uint64_t before;

	if (!open_for(_i, true, __func__))
		return;
	loop_open(&loop, edge_of(_i));
	start_slow_reader();
	send_part(&loop, 1, 98304, true);
	before = calls();
	loop.turns = loop.waits = 0;
	shut_down(&loop);
	assert_few_calls(&loop, before);
	ck_assert_int_eq(tlssf_shutdown(l.ssl), 0);
	close(loop.ep);
	close_socket();
	compare(&l);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
}
END_TEST

/*
 * The socket is full. The peer gets all that was reported, what was encrypted
 * beyond that, nothing else, and close_notify.
 */
START_TEST(shutdown_when_full)
{
	struct peer_command c = { .op = PEER_READ, .n = PEER_ALL };
	struct loop loop;
	uint64_t reported;

	if (!open_for(_i, true, __func__))
		return;
	loop_open(&loop, edge_of(_i));
	reported = send_part(&loop, 1, 4 * MIB - 1, false);
	ck_assert_uint_lt(reported, 4 * MIB - 1);
	tlssf_shutdown(l.ssl);		/* there may be room for close_notify */
	ck_assert_int_eq(peer_send(&l.peer, &c), 0);
	shut_down(&loop);
	close(loop.ep);
	close_socket();
	get_report(&l);
	ck_assert_uint_ge(l.report.bytes, reported);
	ck_assert_uint_le(l.report.bytes, reported + MAX_UNREPORTED);
	ck_assert_mem_eq(l.report.sha, sha_of_file(1, l.report.bytes), 32);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
}
END_TEST

START_TEST(flush_delivers)
{
	struct loop loop;
	uint64_t before;

	if (!open_for(_i, true, __func__))
		return;
	loop_open(&loop, edge_of(_i));
	start_slow_reader();
	for (int i = 0; i < 3; i++) {
		send_part(&loop, 4097, 98304, true);
		before = calls();
		flush(&loop);
		assert_few_calls(&loop, before);
	}
	close(loop.ep);
	close_socket();
	compare(&l);
	ck_assert_int_eq(l.report.end, END_EOF); /* without close_notify */
}
END_TEST

/* On a blocking socket one call does what the event loop does. */
START_TEST(blocking)
{
	int i = _i / N_SNDBUFS * cases() + _i % N_SNDBUFS;

	if (!open_for(i, false, __func__))
		return;
	start_slow_reader();
	send_all(&l, &file, 1, 98304);
	ck_assert_int_eq(tlssf_flush(l.ssl), 0);
	send_all(&l, &file, 4097, 98304);
	ck_assert_int_eq(tlssf_shutdown(l.ssl), 0);
	close_socket();
	compare(&l);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
}
END_TEST

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The peer never reads: SO_SNDTIMEO ends the wait, which uses no CPU time. */
START_TEST(blocking_timeout)
{
	struct timeval limit = { .tv_usec = 300000 };
	bool kernel = ways[_i].method != TLSSF_METHOD_USERSPACE &&
		      ways[_i].method != TLSSF_METHOD_AUTO;
	uint64_t start, cpu, least = 400;
	size_t reported = 0;
	ssize_t n;

	if (!open_for(_i * cases(), false, __func__))
		return;
	setsockopt(l.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	/*
	 * Send until no byte moves any more: the receive window opens in steps.
	 */
	for (int i = 0; i < 20; i++) {
		n = tlssf_send(l.ssl, file.fd, (off_t)reported,
			       4 * MIB - reported);
		if (n <= 0)
			break;
		expect_file(&l, &file, reported, (size_t)n);
		reported += (size_t)n;
	}
	ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	start = real_ms();
	cpu = cpu_ms();
	n = tlssf_flush(l.ssl);
	/* TCP, though full, has all that the kernel accepted */
	if (kernel && n == 0)
		least = 200;
	else
		ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	ck_assert_int_eq(tlssf_shutdown(l.ssl), TLSSF_WANT_WRITE);
	start = real_ms() - start;
	ck_assert_uint_ge(start, least);
	ck_assert_uint_lt(cpu_ms() - cpu, start / 2);
	peer_do_read(&l, PEER_ALL, 0, 0);
	limit.tv_sec = HANG_S;
	setsockopt(l.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	ck_assert_int_eq(tlssf_shutdown(l.ssl), 0);
	close_socket();
	get_report(&l);
	ck_assert_uint_ge(l.report.bytes, l.bytes);
	ck_assert_mem_eq(l.report.sha, sha_of_file(0, l.report.bytes), 32);
	ck_assert_int_eq(l.report.end, END_NOTIFY);
}
END_TEST

/*
 * With SSL_set_quiet_shutdown() no close_notify is sent, and all data leaves.
 */
START_TEST(quiet)
{
	struct loop loop;

	if (!open_for(_i, true, __func__))
		return;
	SSL_set_quiet_shutdown(l.ssl, 1);
	loop_open(&loop, edge_of(_i));
	start_slow_reader();
	send_part(&loop, 1, 98304, true);
	shut_down(&loop);
	ck_assert_int_eq(tlssf_shutdown(l.ssl), 0);
	close(loop.ep);
	close_socket();
	compare(&l);
	ck_assert_int_eq(l.report.end, END_EOF);
}
END_TEST

/*
 * The peer resets the connection while we wait. The wait ends, and the reset is
 * reported.
 */
START_TEST(reset_while_waiting)
{
	struct tlssf_status st;
	struct loop loop;
	uint64_t off = 1;
	int n;

	if (!open_for(_i, true, __func__))
		return;
	loop_open(&loop, edge_of(_i));
	do {	/* after WANT_WRITE the same offset is sent again */
		off = off < 4 * MIB ? off : 1;
		off += send_part(&loop, off, 4 * MIB - off, false);
	} while (tlssf_flush(l.ssl) == 0 && ++loop.turns < MAX_TURNS);
	peer_do(&l, PEER_RESET, 0);
	get_report(&l);
	/*
	 * a flush may succeed if the last bytes had just reached TCP;
	 * close_notify cannot be sent
	 */
	while ((n = tlssf_flush(l.ssl)) == TLSSF_WANT_WRITE)
		loop_wait(&loop);
	while ((n = tlssf_shutdown(l.ssl)) == TLSSF_WANT_WRITE)
		loop_wait(&loop);
	ck_assert_int_eq(n, TLSSF_ERROR);
	get_status(&l, &st);
	ck_assert_int_eq(st.error, TLSSF_REASON_PEER_GONE);
	ck_assert_int_eq(st.dead, 1);
	close(loop.ep);
}
END_TEST

/*
 * tlssf_shutdown() does not wait for the peer's close_notify; SSL_read() gets
 * it.
 */
START_TEST(both_directions)
{
	struct link_conf conf = { 0 };
	char buf[16];

	if (!link_open_way(&l, _i, &conf, __func__))
		return;
	deliver(&l, &file, 1, 1000);
	ck_assert_int_eq(tlssf_shutdown(l.ssl), 0);
	expect_end(&l, END_NOTIFY);
	peer_do(&l, PEER_NOTIFY, 0);
	ck_assert_int_eq(get_report(&l)->result, 0);
	ck_assert_int_eq(SSL_read(l.ssl, buf, sizeof(buf)), 0);
	ck_assert_int_eq(SSL_get_shutdown(l.ssl),
			 SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}
END_TEST

/*
 * The negative control: without libtlssf the kernel discards the last records.
 * So far every kernel does. If this test fails on a new kernel, tlssf_flush()
 * may not be needed any more.
 */
static bool loses_tail(int way, int sndbuf)
{
	struct link_conf conf = { .nonblocking = true, .sndbuf = sndbuf,
		.method = ways[way].method, .version = ways[way].version,
		.peer.rcvbuf = sndbuf ? RCVBUF : 0 };
	struct loop loop;
	size_t accepted;
	bool lost;

	link_open(&l, &conf);
	loop_open(&loop, false);
	accepted = send_part(&loop, 1, sndbuf ? 98304 : 4 * MIB - 1, false);
	SSL_shutdown(l.ssl);
	ERR_clear_error();
	close(loop.ep);
	close_socket();
	peer_do(&l, PEER_READ, PEER_ALL);
	lost = get_report(&l)->bytes < accepted;
	ck_assert(!lost || l.report.end != END_NOTIFY);
	link_close(&l);
	return lost;
}

START_TEST(plain_close_loses)
{
	struct link_conf conf = { .nonblocking = true };
	unsigned int lost = 0;

	if (!link_open_way(&l, KERNEL_WAYS, &conf, __func__))
		return;
	link_close(&l);
	for (int i = KERNEL_WAYS * N_SNDBUFS; i < AUTO_WAY * N_SNDBUFS; i++)
		lost += loses_tail(i / N_SNDBUFS, sndbufs[i % N_SNDBUFS]);
	ck_assert_uint_gt(lost, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_close");
	TCase *tc = add_case(suite, "close");
	int each = cases();

	warm_up();
	file_make(&file, 4 * MIB);
	tcase_add_checked_fixture(tc, setup, teardown);
	add_ways(tc, shutdown_delivers, each);
	add_ways(tc, shutdown_when_full, each);
	add_ways(tc, flush_delivers, each);
	add_ways(tc, blocking, N_SNDBUFS);
	add_ways(tc, blocking_timeout, 1);
	add_ways(tc, quiet, each);
	add_ways(tc, reset_while_waiting, each);
	add_ways(tc, both_directions, 1);
	tcase_add_test(tc, plain_close_loses);
	return run_suite("e2e_close", suite);
}
