/* SPDX-License-Identifier: MIT */
/* The table of system calls, on the kernel of this machine. */
#include "record.h"
#include "unit_sys.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct sys *const sys = &tlssf_sys;

/* ---- files ---- */

static int memory_fd(const char *text, uint64_t size)
{
	int fd = memfd_create("unit_sys", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

START_TEST(file_size_of_regular_files)
{
	uint64_t size = 1;
	int fd = memory_fd("", 0);

	ck_assert_int_eq(sys->file_size(fd, &size), 0);
	ck_assert_uint_eq(size, 0);
	close(fd);
	fd = memory_fd("abc", UINT64_C(5) << 30);
	ck_assert_int_eq(sys->file_size(fd, &size), 0);
	ck_assert_uint_eq(size, UINT64_C(5) << 30);
	close(fd);
	ck_assert_int_eq(sys->file_size(fd, &size), -EBADF);
	ck_assert_int_eq(sys->file_size(-1, &size), -EBADF);
}
END_TEST

static int size_error(int fd)
{
	uint64_t size;
	int err;

	ck_assert_int_ge(fd, 0);
	err = sys->file_size(fd, &size);
	close(fd);
	return err;
}

START_TEST(file_size_of_others)
{
	char path[] = "/tmp/unit_sys.XXXXXX";
	int fd = mkstemp(path), fds[2];

	ck_assert_int_eq(size_error(open(path, O_WRONLY)), -EBADF);
	ck_assert_int_eq(size_error(open(path, O_PATH)), -EBADF);
	ck_assert_int_eq(size_error(open(path, O_RDONLY)), 0);
	ck_assert_int_eq(size_error(fd), 0);
	unlink(path);
	ck_assert_int_eq(size_error(open("/", O_RDONLY)), -EINVAL);
	ck_assert_int_eq(size_error(open("/dev/zero", O_RDONLY)), -EINVAL);
	ck_assert_int_eq(size_error(socket(AF_INET, SOCK_STREAM, 0)),
			 -EINVAL);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(size_error(fds[0]), -EINVAL);
	ck_assert_int_eq(size_error(fds[1]), -EBADF);
}
END_TEST

START_TEST(pread_does_not_move)
{
	int fd = memory_fd("0123456789", UINT64_C(6) << 30);
	char buf[4];

	ck_assert_int_eq(lseek(fd, 2, SEEK_SET), 2);
	ck_assert_int_eq(sys->pread(fd, buf, 4, 6), 4);
	ck_assert_mem_eq(buf, "6789", 4);
	ck_assert_int_eq(sys->pread(fd, buf, 4, (UINT64_C(6) << 30) - 1), 1);
	ck_assert_int_eq(sys->pread(fd, buf, 4, UINT64_C(6) << 30), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 2);
	close(fd);
	ck_assert_int_eq(sys->pread(fd, buf, 4, 0), -EBADF);
}
END_TEST

START_TEST(text_files)
{
	char path[64], buf[16];
	int fd = memory_fd("0123456789", 10);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(buf, 'x', sizeof(buf));
	ck_assert_int_eq(sys->read_text(path, buf, 11), 10);
	ck_assert_str_eq(buf, "0123456789");
	ck_assert_int_eq(buf[11], 'x');
	ck_assert_int_eq(sys->read_text(path, buf, 10), -EFBIG);
	ck_assert_int_eq(sys->read_text("/proc/self/uid_mapp", buf, 16),
			 -ENOENT);
	ck_assert_int_eq(sys->read_text("/", buf, 16), -EISDIR);
	close(fd);
}
END_TEST

START_TEST(release_and_clock)
{
	char name[128];
	uint64_t before = real_ms(), start = sys->now_ms(), now;

	ck_assert_int_eq(sys->kernel_release(name, sizeof(name)), 0);
	ck_assert_uint_gt(strlen(name), 2);
	ck_assert_int_eq(sys->kernel_release(name, strlen(name)),
			 -ENAMETOOLONG);
	sys->sleep_ms(30);
	now = sys->now_ms();
	ck_assert_uint_ge(now, start + 30);
	/* now_ms() returns CLOCK_MONOTONIC */
	ck_assert_uint_ge(start, before);
	ck_assert_uint_le(now, real_ms());
}
END_TEST

/* ---- sockets ---- */

#define HELD_MS	150

static int pair[2];

static void open_pair(void)
{
	ck_assert_int_eq(sys->tcp_pair(pair), 0);
}

static void close_pair(void)
{
	sys->close(pair[0]);
	sys->close(pair[1]);
}

/*
 * TCP holds bytes back for at most 200 ms. If the test took longer since
 * `start`, it has shown nothing. Then this makes a new pair and returns false,
 * and the test tries again.
 */
static bool in_time(uint64_t start)
{
	if (real_ms() - start < HELD_MS)
		return true;
	close_pair();
	open_pair();
	return false;
}

START_TEST(pair_is_ours_and_limited)
{
	char buf[8];
	uint64_t start;
	int ms;

	for (int i = 0; i < 2; i++) {
		ck_assert(fcntl(pair[i], F_GETFD) & FD_CLOEXEC);
		ck_assert_int_eq(sys->nonblocking(pair[i]), 0);
		ck_assert_int_eq(sys->send_timeout_ms(pair[i], &ms), 0);
		ck_assert_int_eq(ms, 2000);
		ck_assert_int_eq(sys->send(pair[i], "hello", 5, false), 5);
		ck_assert_int_eq(sys->recv(pair[!i], buf, 8), 5);
		ck_assert_mem_eq(buf, "hello", 5);
	}
	start = sys->now_ms();
	ck_assert_int_eq(sys->recv(pair[1], buf, 8), -EAGAIN);
	ck_assert_uint_ge(sys->now_ms(), start + 1900);
}
END_TEST

/* If tcp_pair() fails since no descriptor is left, it leaks none. */
START_TEST(pair_without_descriptors)
{
	struct rlimit limit;
	int fds[2], next;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	next = fcntl(0, F_DUPFD, 100);	/* above all open descriptors */
	close(next);
	for (int fd = dup(0); fd < next - 1; )
		fd = dup(0);
	for (int room = 0; room < 3; room++) {
		limit.rlim_cur = (rlim_t)(next + room);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(sys->tcp_pair(fds), -EMFILE);
	}
	limit.rlim_cur = (rlim_t)(next + 3);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(sys->tcp_pair(fds), 0);
	sys->close(fds[0]);
	sys->close(fds[1]);
	ck_assert_int_eq(sys->close(fds[1]), -EBADF);
}
END_TEST

START_TEST(send_holds_back_and_reports)
{
	uint64_t start;
	int events;
	char buf[8];

	signal(SIGPIPE, SIG_DFL);	/* SIGPIPE would end the test */
	do {
		start = real_ms();
		ck_assert_int_eq(sys->send(pair[0], "ab", 2, true), 2);
		events = sys->poll(pair[1], POLLIN, 20);
	} while (!in_time(start));
	ck_assert_int_eq(events, 0);
	ck_assert_int_eq(sys->send(pair[0], "cd", 2, false), 2);
	ck_assert_int_eq(sys->poll(pair[1], POLLIN, HANG_MS), POLLIN);
	ck_assert_int_eq(sys->recv(pair[1], buf, 8), 4);
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(sys->send(pair[0], "ef", 2, false), -EPIPE);
	ck_assert_int_eq(sys->send_record(pair[0], 21, "ef", 2), -EPIPE);
	ck_assert_int_eq(sys->recv(pair[1], buf, 8), 0);
	ck_assert_int_eq(sys->send(-1, "x", 1, false), -EBADF);
	ck_assert_int_eq(sys->recv(-1, buf, 1), -EBADF);
	ck_assert_int_eq(sys->send_record(-1, 23, NULL, 0), -EBADF);
	ck_assert(sys->poll(-1, POLLIN, 0) == 0);
}
END_TEST

START_TEST(tcp_counts_bytes)
{
	struct sys_tcp before, after;
	char data[1000] = "", buf[1000];
	unsigned int turns = 0;
	uint64_t start;
	int err;

	do {
		start = real_ms();
		ck_assert_int_eq(sys->tcp(pair[0], &before), 0);
		ck_assert_int_eq(before.state, TCP_ESTABLISHED);
		ck_assert_uint_eq(before.queued, 0);
		ck_assert_int_eq(sys->send(pair[0], data, 1000, true), 1000);
		ck_assert_int_eq(sys->tcp(pair[0], &after), 0);
	} while (!in_time(start));
	ck_assert_uint_eq(after.queued, 1000);
	ck_assert_uint_eq(after.in_tcp, before.in_tcp + 1000);
	ck_assert_int_eq(sys->send(pair[0], data, 1, false), 1);
	ck_assert_int_gt(sys->recv(pair[1], buf, 1000), 0);
	do {	/* until the bytes are acknowledged */
		err = sys->tcp(pair[0], &after);
		ck_assert_int_eq(err, 0);
		ck_assert_uint_le(after.in_tcp, before.in_tcp + 1001);
	} while (after.queued && pause_turn(&turns));
	ck_assert_uint_eq(after.in_tcp, before.in_tcp + 1001);
	ck_assert_int_eq(sys->tcp(-1, &after), -EBADF);
}
END_TEST

START_TEST(corks)
{
	uint64_t start;
	int events;

	do {
		start = real_ms();
		ck_assert_int_eq(sys->tcp_corked(pair[0]), 0);
		ck_assert_int_eq(sys->tcp_cork(pair[0], true), 0);
		ck_assert_int_eq(sys->tcp_corked(pair[0]), 1);
		ck_assert_int_eq(sys->send(pair[0], "ab", 2, false), 2);
		events = sys->poll(pair[1], POLLIN, 20);
	} while (!in_time(start));
	ck_assert_int_eq(events, 0);
	ck_assert_int_eq(sys->tcp_cork(pair[0], false), 0);
	ck_assert_int_eq(sys->poll(pair[1], POLLIN, HANG_MS), POLLIN);
	ck_assert_int_eq(sys->tcp_corked(pair[0]), 0);
	ck_assert_int_eq(sys->tcp_corked(-1), -EBADF);
	ck_assert_int_eq(sys->tcp_cork(-1, true), -EBADF);
}
END_TEST

START_TEST(tcp_state_follows)
{
	int un = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_eq(sys->tcp_state(pair[0]), TCP_ESTABLISHED);
	ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
	ck_assert_int_eq(sys->poll(pair[0], POLLIN, HANG_MS), POLLIN);
	ck_assert_int_eq(sys->tcp_state(pair[0]), TCP_CLOSE_WAIT);
	ck_assert_int_eq(sys->tcp_state(un), -EOPNOTSUPP);
	ck_assert_int_eq(sys->tcp_state(-1), -EBADF);
	close(un);
}
END_TEST

START_TEST(room_shrinks)
{
	static const char data[100000];
	size_t before, after;
	int size = 65536;

	ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size,
				    sizeof(size)), 0);
	ck_assert_int_eq(sys->send_room(pair[0], &before), 0);
	ck_assert_uint_eq(before, 2 * 65536);
	ck_assert_int_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(sys->nonblocking(pair[0]), 1);
	for (int i = 0; i < 1000; i++)
		if (sys->send(pair[0], data, sizeof(data), false) < 0)
			break;
	ck_assert_int_eq(sys->send(pair[0], data, 1, false), -EAGAIN);
	ck_assert_int_eq(sys->send_room(pair[0], &after), 0);
	ck_assert_uint_lt(after, before / 2);
	ck_assert_int_eq(sys->send_room(-1, &after), -EBADF);
	ck_assert_int_eq(sys->nonblocking(-1), -EBADF);
}
END_TEST

START_TEST(send_timeouts)
{
	static const struct {
		struct timeval tv;
		int ms;
	} cases[] = {
		{ { 0, 0 }, -1 }, { { 3, 0 }, 3000 }, { { 1, 500000 }, 1500 },
		{ { 100000, 0 }, 100000000 },
	};
	struct timeval small = { 0, 1 };
	int ms;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO,
					    &cases[i].tv,
					    sizeof(cases[i].tv)), 0);
		ck_assert_int_eq(sys->send_timeout_ms(pair[0], &ms), 0);
		ck_assert_int_eq(ms, cases[i].ms);
	}
	ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &small,
				    sizeof(small)), 0);
	ck_assert_int_eq(sys->send_timeout_ms(pair[0], &ms), 0);
	ck_assert_int_ge(ms, 1);	/* the kernel rounds up */
	ck_assert_int_le(ms, 20);
	ck_assert_int_eq(sys->send_timeout_ms(-1, &ms), -EBADF);
}
END_TEST

static void ignore(int number)
{
	(void)number;
}

/* The caller must be able to react to a signal, so no call restarts. */
START_TEST(signals_interrupt)
{
	struct sigaction act = { .sa_handler = ignore };
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	uint64_t start = sys->now_ms();
	char c;

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	ck_assert_int_eq(sys->recv(pair[0], &c, 1), -EINTR);
	ck_assert_int_eq(sys->poll(pair[0], POLLIN, HANG_MS), -EINTR);
	sys->sleep_ms(HANG_MS);
	ck_assert_uint_lt(sys->now_ms(), start + HANG_MS);
	/* tcp_pair() succeeds despite the signals */
	for (int i = 0; i < 20; i++) {
		int fds[2];

		ck_assert_int_eq(sys->tcp_pair(fds), 0);
		sys->close(fds[0]);
		sys->close(fds[1]);
	}
}
END_TEST

START_TEST(kernel_tls_errors)
{
	unsigned char info[SYS_CRYPTO_MAX] = { 0 };
	size_t len = sizeof(info);
	int un = socket(AF_UNIX, SOCK_STREAM, 0);
	unsigned int one = 1;

	ck_assert_int_eq(sys->ulp_attach(-1), -EBADF);
	ck_assert_int_eq(sys->ulp_attach(un), -EOPNOTSUPP);
	/* the socket has no ULP "tls" yet */
	ck_assert_int_eq(sys->tls_tx_set(pair[0], info, 40), -ENOPROTOOPT);
	ck_assert_int_lt(sys->tls_tx_get(pair[0], info, &len), 0);
	ck_assert_int_eq(sys->tls_option(pair[0], 3, &one, 4), -ENOPROTOOPT);
	ck_assert_int_eq(sys->tls_option(pair[0], 5, &one, 2), -ENOPROTOOPT);
	ck_assert_int_eq(sys->tls_option(pair[0], 5, &one, 3), -EINVAL);
	close(un);
}
END_TEST

START_TEST(kernel_tls_calls)
{
	struct kernel_key k = { .version = 0x0303, .seq = 41,
				.cipher = TLSSF_AES_128_GCM };
	unsigned char info[SYS_CRYPTO_MAX], rec[64];
	size_t len = tlssf_kernel_key_pack(info, &k);
	unsigned int value = 1;

	if (expected("tls12-aes128gcm") <= 0 && sys->ulp_attach(pair[0])) {
		skip_test("kernel_tls_calls: this kernel has no TLS module");
		return;
	}
	ck_assert_int_eq(sys->ulp_attach(pair[0]), 0);
	/* attaching it twice succeeds */
	ck_assert_int_eq(sys->ulp_attach(pair[0]), 0);
	ck_assert_int_eq(sys->tls_tx_set(pair[0], info, len), 0);
	ck_assert_int_eq(sys->tls_tx_set(pair[0], info, len), -EBUSY);
	ck_assert_int_eq(sys->send(pair[0], "ab", 2, true), 2);
	ck_assert_int_eq(sys->poll(pair[1], POLLIN, 20), 0);
	ck_assert_int_eq(sys->send_record(pair[0], 23, NULL, 0), 0);
	ck_assert_int_eq(sys->recv(pair[1], rec, sizeof(rec)), 2 + 29);
	ck_assert_int_eq(rec[0], 23);
	ck_assert_int_eq(sys->send_record(pair[0], 21, "ab", 2), 2);
	ck_assert_int_eq(sys->recv(pair[1], rec, sizeof(rec)), 2 + 29);
	ck_assert_int_eq(rec[0], 21);
	ck_assert_int_eq(sys->tls_tx_get(pair[0], info, &len), 0);
	ck_assert_uint_eq(len, tlssf_kernel_key_size(TLSSF_AES_128_GCM));
	ck_assert_uint_eq(tlssf_kernel_key_seq(info, TLSSF_AES_128_GCM), 43);
	ck_assert_int_eq(sys->tls_option(pair[0], 3, &value, 4), 0);
	ck_assert_uint_eq(value, 1);
	if (expected("max-payload-len") <= 0)
		return;
	value = 1000;
	ck_assert_int_eq(sys->tls_option(pair[0], 5, &value, 2), 0);
	ck_assert_uint_eq(value, 1000);
	value = 1;
	ck_assert_int_eq(sys->tls_option(pair[0], 5, &value, 2), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_sys");
	TCase *files = add_case(suite, "files");
	TCase *sockets = add_case(suite, "sockets");

	/* a process cannot undo its limits and privileges */
	setenv("CK_FORK", "yes", 1);
	tcase_add_test(files, file_size_of_regular_files);
	tcase_add_test(files, file_size_of_others);
	tcase_add_test(files, pread_does_not_move);
	tcase_add_test(files, text_files);
	tcase_add_test(files, release_and_clock);
	tcase_add_test(files, pair_without_descriptors);
	tcase_add_checked_fixture(sockets, open_pair, close_pair);
	tcase_add_test(sockets, pair_is_ours_and_limited);
	tcase_add_test(sockets, send_holds_back_and_reports);
	tcase_add_test(sockets, tcp_counts_bytes);
	tcase_add_test(sockets, corks);
	tcase_add_test(sockets, tcp_state_follows);
	tcase_add_test(sockets, room_shrinks);
	tcase_add_test(sockets, send_timeouts);
	tcase_add_test(sockets, signals_interrupt);
	tcase_add_test(sockets, kernel_tls_errors);
	tcase_add_test(sockets, kernel_tls_calls);
	add_refused_tests(suite);
	return run_suite("unit_sys", suite);
}
