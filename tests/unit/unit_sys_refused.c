/* SPDX-License-Identifier: MIT */
/* The system calls where a seccomp filter refuses some of them. */
#include "base.h"
#include "seccomp.h"
#include "unit_sys.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct sys *const sys = &tlssf_sys;
static int pair[2];

/*
 * Refused calls fail as in a sandbox (even loops), or as on a kernel that does
 * not have them (odd loops).
 */
#define ERR	(_i % 2 ? ENOSYS : EPERM)

/* Refuse these calls from now on. Skips the test if that is impossible. */
#define REFUSE_OR_SKIP(...) do { \
	if (!REFUSE(ERR, __VA_ARGS__)) { \
		skip_test("unit_sys: no seccomp filters here"); \
		return; \
	} } while (0)

static void open_pair(void)
{
	ck_assert_int_eq(sys->tcp_pair(pair), 0);
}

static void expect_text(const char *text)
{
	char buf[16] = "";

	ck_assert_int_eq(recv(pair[1], buf, strlen(text), MSG_WAITALL),
			 (ssize_t)strlen(text));
	ck_assert_str_eq(buf, text);
}

START_TEST(preadv_refused)
{
	const uint64_t far = UINT64_C(5) << 30;
	char a[4], b[8];
	const struct iovec v[] = { { a, 4 }, { b, 8 } };
	int fd = memfd_create("unit_sys", MFD_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, "0123456789", 10, (off_t)far), 10);
	REFUSE_OR_SKIP(SYS_preadv);
	/* preadv() may always return fewer bytes than were wanted */
	ck_assert_int_eq(sys->preadv(fd, v, 2, far + 1), 4);
	ck_assert_mem_eq(a, "1234", 4);
	ck_assert_int_eq(sys->preadv(fd, v + 1, 1, far + 5), 5);
	ck_assert_mem_eq(b, "56789", 5);
	ck_assert_int_eq(sys->preadv(fd, v, 2, far + 10), 0);
	ck_assert_int_eq(sys->preadv(-1, v, 2, 0), -EBADF);
	REFUSE_OR_SKIP(SYS_pread64);
	ck_assert_int_eq(sys->preadv(fd, v, 2, 0), -ERR);
}
END_TEST

START_TEST(sendto_refused)
{
	signal(SIGPIPE, SIG_DFL);	/* must not come */
	REFUSE_OR_SKIP(SYS_sendto);
	ck_assert_int_eq(sys->send(pair[0], "ab", 2, true), 2);
	ck_assert_int_eq(sys->send(pair[0], "cd", 2, false), 2);
	expect_text("abcd");
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(sys->send(pair[0], "e", 1, false), -EPIPE);
	ck_assert_int_eq(sys->send(-1, "e", 1, false), -EBADF);
}
END_TEST

static bool sigpipe_pending(void)
{
	sigset_t pending;

	ck_assert_int_eq(sigpending(&pending), 0);
	return sigismember(&pending, SIGPIPE);
}

static bool sigpipe_blocked(void)
{
	sigset_t now;

	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	return sigismember(&now, SIGPIPE);
}

START_TEST(only_write_is_left)
{
	signal(SIGPIPE, SIG_DFL);	/* must not come */
	REFUSE_OR_SKIP(SYS_sendto, SYS_sendmsg);
	ck_assert_int_eq(sys->send(pair[0], "abcd", 4, false), 4);
	expect_text("abcd");
	/* write(), the replacement, has no MSG_MORE */
	ck_assert_int_eq(sys->send(pair[0], "e", 1, true), -ERR);
	ck_assert_int_eq(sys->send(-1, "e", 1, false), -EBADF);
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(sys->send(pair[0], "e", 1, false), -EPIPE);
	ck_assert(!sigpipe_pending());
	ck_assert(!sigpipe_blocked());
}
END_TEST

/* The signals of the application stay as they are. */
START_TEST(write_leaves_signals_alone)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	REFUSE_OR_SKIP(SYS_sendto, SYS_sendmsg);
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(sys->send(pair[0], "e", 1, false), -EPIPE);
	ck_assert(!sigpipe_pending());
	ck_assert(sigpipe_blocked());
	ck_assert_int_eq(raise(SIGPIPE), 0);
	ck_assert_int_eq(sys->send(pair[0], "e", 1, false), -EPIPE);
	ck_assert(sigpipe_pending());
	ck_assert(sigpipe_blocked());
}
END_TEST

/* write() is not used if a call to hold SIGPIPE back is refused, too. */
START_TEST(signals_refused)
{
	static const int calls[] = { SYS_rt_sigprocmask, SYS_rt_sigpending,
				     SYS_rt_sigtimedwait };

	int status;
	pid_t child;

	signal(SIGPIPE, SIG_DFL);	/* must not come */
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	REFUSE_OR_SKIP(SYS_sendto, SYS_sendmsg);
	child = fork();	/* a sanitizer needs these calls in exit() */
	if (child == 0)
		_exit(!REFUSE(ERR, calls[_i / 2]) ||
		      sys->send(pair[0], "e", 1, false) != -ERR);
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(recv_refused)
{
	char buf[4];

	REFUSE_OR_SKIP(SYS_recvfrom);
	ck_assert_int_eq(send(pair[0], "ab", 2, 0), 2);
	ck_assert_int_eq(sys->recv(pair[1], buf, 4), 2);
	ck_assert_mem_eq(buf, "ab", 2);
	ck_assert_int_eq(sys->recv(-1, buf, 4), -EBADF);
}
END_TEST

START_TEST(waiting_refused)
{
	uint64_t start = sys->now_ms();

#ifdef SYS_poll
	REFUSE_OR_SKIP(SYS_poll, SYS_nanosleep, SYS_clock_nanosleep);
#else
	REFUSE_OR_SKIP(SYS_nanosleep, SYS_clock_nanosleep);
#endif
	ck_assert_int_eq(sys->poll(pair[0], POLLIN, 30), 0);
	ck_assert_uint_ge(sys->now_ms(), start + 30);
	ck_assert_int_eq(sys->poll(pair[0], POLLIN | POLLOUT, -1), POLLOUT);
	ck_assert_int_eq(sys->poll(pair[0], POLLIN | POLLOUT, 1), POLLOUT);
	start = sys->now_ms();
	sys->sleep_ms(30);
	ck_assert_uint_ge(sys->now_ms(), start + 30);
}
END_TEST

START_TEST(file_size_without_flags)
{
	int fd = memfd_create("unit_sys", MFD_CLOEXEC);
	uint64_t size;

	ck_assert_int_eq(pwrite(fd, "abc", 3, 0), 3);
	REFUSE_OR_SKIP(SYS_fcntl, SYS_fstat);
	ck_assert_int_eq(sys->file_size(fd, &size), 0);
	ck_assert_uint_eq(size, 3);
	ck_assert_int_eq(sys->file_size(pair[0], &size), -EINVAL);
	ck_assert_int_eq(sys->file_size(-1, &size), -EBADF);
	ck_assert_int_eq(sys->nonblocking(fd), -ERR);
}
END_TEST

/*
 * Kernel TLS cannot be taken off a socket. So it is not attached if the sandbox
 * refuses a call that it needs afterwards.
 */
START_TEST(no_kernel_tls_in_a_sandbox)
{
	static const int calls[] = { SYS_sendmsg, SYS_sendfile, SYS_ioctl,
				     SYS_getsockopt };
	char byte;

	REFUSE_OR_SKIP(calls[_i / 2]);
	ck_assert_int_eq(sys->ulp_attach(pair[0]), -ERR);
	ck_assert_int_eq(sys->send(pair[0], "a", 1, false), 1);
	ck_assert_int_eq(sys->recv(pair[1], &byte, 1), 1);
}
END_TEST

static void close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

void add_refused_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "refused");

	tcase_add_checked_fixture(tc, open_pair, close_pair);
	tcase_add_loop_test(tc, preadv_refused, 0, 2);
	tcase_add_loop_test(tc, sendto_refused, 0, 2);
	tcase_add_loop_test(tc, only_write_is_left, 0, 2);
	tcase_add_loop_test(tc, write_leaves_signals_alone, 0, 2);
	tcase_add_loop_test(tc, signals_refused, 0, 6);
	tcase_add_loop_test(tc, recv_refused, 0, 2);
	tcase_add_loop_test(tc, waiting_refused, 0, 2);
	tcase_add_loop_test(tc, file_size_without_flags, 0, 2);
	tcase_add_loop_test(tc, no_kernel_tls_in_a_sandbox, 0, 8);
}
