/* SPDX-License-Identifier: MIT */
/*
 * Sandboxes that refuse system calls. A child sends under a seccomp filter, and
 * the peer compares what arrives. tlssf(7) lists what each method needs.
 */
#include "seccomp.h"
#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE	300001u		/* more than TAKEOVER_PAYS, 96 KiB */
#define MAX_CALLS	24

static struct link link_;
static struct file file;

/*
 * If one of these calls is refused, a send uses a plainer system call, or does
 * without.
 */
#ifdef SYS_poll
#define ONE_POLL	SYS_poll
#else
#define ONE_POLL	SYS_ppoll
#endif
static const struct sandbox {
	const char *name;
	bool only;		/* refuse all system calls but `calls` */
	int calls[MAX_CALLS];	/* 0 ends the list: no test lists read() */
} sandboxes[] = {
	{ "preadv", false, { SYS_preadv } },
	{ "sendto", false, { SYS_sendto } },
	{ "sendto and sendmsg", false, { SYS_sendto, SYS_sendmsg } },
	{ "fcntl", false, { SYS_fcntl } },
	{ "fstat", false, { SYS_fstat } },
	{ "getsockopt", false, { SYS_getsockopt } },
	{ "ioctl", false, { SYS_ioctl } },
	{ "poll", false, { ONE_POLL } },
	{ "sendfile", false, { SYS_sendfile } },
	{ "setsockopt", false, { SYS_setsockopt } },
	{ "all of these", false, { SYS_preadv, SYS_sendto, SYS_sendmsg,
				   SYS_fcntl, SYS_fstat, SYS_getsockopt,
				   SYS_ioctl, ONE_POLL } },
};
#define N_SANDBOXES	(sizeof(sandboxes) / sizeof(sandboxes[0]))

/* What any program needs, and usleep() of this one. */
#define ANY_PROGRAM	SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, \
			SYS_madvise, SYS_futex, SYS_clock_gettime, \
			SYS_clock_nanosleep, SYS_nanosleep, SYS_getpid

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED	true
#else
#define SANITIZED	false
#endif

/* The lists of tlssf(7). */
#ifdef SYS_newfstatat
static const struct sandbox allowed[] = {
	{ "the usual calls", true,
	  { ANY_PROGRAM, SYS_write, SYS_fcntl, SYS_fstat, SYS_getsockopt,
	    SYS_pread64, SYS_preadv, SYS_sendto } },
	{ "the fewest calls", true,
	  { ANY_PROGRAM, SYS_write, SYS_newfstatat, SYS_pread64,
	    SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigtimedwait } },
};
#define N_ALLOWED	(sizeof(allowed) / sizeof(allowed[0]))
#else
static const struct sandbox allowed[1];
#define N_ALLOWED	0
#endif

static bool enter(const struct sandbox *s, int err)
{
	size_t n = 0;

	while (n < MAX_CALLS && s->calls[n])
		n++;
	return s->only ? refuse_all_calls_but(err, s->calls, n)
		       : refuse_calls(err, s->calls, n);
}

/* Exit statuses of a child. If a sanitizer finds an error, it exits with 1. */
enum { SENT, NO_FILTER = 40, FAILED, WRONG_RESULT };

static int send_file(void)
{
	size_t done = 0;

	while (done < SIZE) {
		ssize_t n = tlssf_send(link_.ssl, file.fd, (off_t)done,
				       SIZE - done);

		if (n == TLSSF_WANT_WRITE)
			usleep(1000);
		else if (n <= 0)
			return FAILED;
		else
			done += (size_t)n;
	}
	return SENT;
}

static int send_and_shut_down(void)
{
	int r = send_file();

	while (!r) {
		r = tlssf_shutdown(link_.ssl);
		if (!r)
			return SENT;
		if (r != TLSSF_WANT_WRITE)
			return FAILED;
		usleep(1000);
		r = 0;
	}
	return r;
}

static int run_in(const struct sandbox *s, int err, int (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(enter(s, err) ? child() : NO_FILTER);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s: signal %d", s->name,
		      WTERMSIG(status));
	return WEXITSTATUS(status);
}

/*
 * The TLS library gives no keys to the kernel before the child enters its
 * sandbox. A takeover to the kernel begins in the sandbox, and must see what is
 * refused.
 */
static void open_link(int test)
{
	struct link_conf conf = { .nonblocking = test & 1,
		.version = test & 2 ? TLS1_2_VERSION : TLS1_3_VERSION,
		.method = test & 4 ? TLSSF_METHOD_AUTO
				   : TLSSF_METHOD_USERSPACE };

	conf.ctx = test_ctx(&conf);
#ifdef SSL_OP_ENABLE_KTLS
	SSL_CTX_clear_options(conf.ctx, SSL_OP_ENABLE_KTLS);
#endif
	link_open(&link_, &conf);
	SSL_CTX_free(conf.ctx);
}

/* Whatever is refused, the whole file arrives, and then close_notify. */
START_TEST(plainer_calls)
{
	const struct sandbox *s = _i / 16 < (int)N_SANDBOXES ?
		&sandboxes[_i / 16] : &allowed[_i / 16 - (int)N_SANDBOXES];
	int status;

	if (s->only && SANITIZED) {
		skip_test("plainer_calls, %s: a sanitizer needs more", s->name);
		return;
	}
	open_link(_i % 8);
	expect_file(&link_, &file, 0, SIZE);
	peer_do(&link_, PEER_READ, PEER_ALL);
	status = run_in(s, _i & 8 ? EPERM : ENOSYS, send_and_shut_down);
	if (status == NO_FILTER) {
		skip_test("plainer_calls: no seccomp filters here");
		return;
	}
	ck_assert_msg(status == SENT, "%s: status %d", s->name, status);
	close(link_.fd);
	link_.fd = 0;
	compare(&link_);
	ck_assert_int_eq(link_.report.end, END_NOTIFY);
}
END_TEST

static int refused_for;		/* errno that must be reported */
static int refused_reason;

static int send_fails(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (send_file() != FAILED || errno != refused_for)
		return WRONG_RESULT;
	if (tlssf_status(link_.ssl, &st) || st.error != refused_reason)
		return WRONG_RESULT;
	return SENT;
}

/* If nothing is left to fall back to, the caller learns the cause. */
START_TEST(nothing_left)
{
	static const struct sandbox unwritable = { "all that write", false,
		{ SYS_sendto, SYS_sendmsg, SYS_write } };
	static const struct sandbox unreadable = { "all that read", false,
		{ SYS_preadv, SYS_pread64 } };
	const struct sandbox *s = _i & 8 ? &unreadable : &unwritable;
	int status;

	refused_for = _i & 16 ? ENOSYS : EPERM;
	refused_reason = _i & 8 ? TLSSF_REASON_FILE_READ : TLSSF_REASON_IO;
	open_link(_i % 8);
	status = run_in(s, refused_for, send_fails);
	if (status == NO_FILTER)
		skip_test("nothing_left: no seccomp filters here");
	else
		ck_assert_msg(status == SENT, "%s: status %d", s->name,
			      status);
}
END_TEST

static void teardown(void)
{
	link_close(&link_);
}

int main(void)
{
	Suite *suite = suite_create("e2e_seccomp");
	TCase *tc = add_case(suite, "seccomp");

	setenv("CK_FORK", "yes", 1);
	signal(SIGPIPE, SIG_IGN);
	warm_up();
	file_make(&file, SIZE);
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_loop_test(tc, plainer_calls, 0,
			    16 * (int)(N_SANDBOXES + N_ALLOWED));
	tcase_add_loop_test(tc, nothing_left, 0, 32);
	return run_suite("e2e_seccomp", suite);
}
