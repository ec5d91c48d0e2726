/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation fails, in libtlssf or in OpenSSL. The whole scenario runs
 * again for n = 1, 2, 3 ... until no allocation is left to fail. Each run must
 * end with success or with a clean error: without a crash, a leak (the
 * sanitizer's build checks), wrong bytes, or a clean end of a truncated stream.
 */
#include "util.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE		(200 * KIB + 1)
#define MAX_N		2000
#define MAX_TRIES	100000
/*
 * One failed allocation makes one call fail. After more errors than this, the
 * connection counts as lost.
 */
#define MAX_ERRORS	10
#define GUEST_STEP	13
/* exit status: clean, and an allocation has failed */
#define FIRED		42
/* exit status: clean, and no allocation had to fail */
#define UNTOUCHED	43

/* ---- malloc ---- */

/* The memory that dlsym() itself gets before the real functions are known. */
static _Alignas(16) char early[16384];
static size_t early_used;
static void *(*real_malloc)(size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);
static bool resolving;
static atomic_long countdown; /* 1: the next allocation fails; 0: none fails */

static void resolve(void)
{
	resolving = true;
	*(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
	*(void **)&real_free = dlsym(RTLD_NEXT, "free");
	*(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
	resolving = false;
}

static void *early_malloc(size_t size)
{
	void *p = early + early_used;

	size = (size + 15) & ~(size_t)15;
	if (size > sizeof(early) - early_used)
		abort();
	early_used += size;
	return p;
}

static bool is_early(const void *p)
{
	return (const char *)p >= early &&
	       (const char *)p < early + sizeof(early);
}

static bool must_fail(void)
{
	if (atomic_load(&countdown) <= 0)
		return false;
	return atomic_fetch_sub(&countdown, 1) == 1;
}

void *malloc(size_t size)
{
	if (!real_malloc && !resolving)
		resolve();
	if (!real_malloc)
		return early_malloc(size);
	if (must_fail()) {
		errno = ENOMEM;
		return NULL;
	}
	return real_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	size_t all;
	void *p;

	if (__builtin_mul_overflow(n, size, &all))
		return NULL;
	p = malloc(all);
	/* volatile: else the compiler makes this loop a call of calloc() */
	for (volatile char *c = p; c && all; all--)
		*c++ = 0;
	return p;
}

void *realloc(void *old, size_t size)
{
	if (!real_malloc && !resolving)
		resolve();
	if (!old || is_early(old))	/* early blocks are never grown */
		return malloc(size);
	if (must_fail()) {
		errno = ENOMEM;
		return NULL;
	}
	return real_realloc(old, size);
}

void free(void *p)
{
	if (p && !is_early(p))
		real_free(p);
}

/* ---- the scenario; its functions must not allocate ---- */

static struct link l;
static struct file file;
static struct tlssf_job job;
static bool lost;		/* the connection cannot be used any more */
static int errors;	/* failures after which the connection was usable */
static bool queued;		/* libtlssf left an error in OpenSSL's queue */

static void wait_a_little(void)
{
	struct pollfd pfd = { .fd = l.fd, .events = POLLOUT };

	poll(&pfd, 1, 5);
}

/* After an error that is not sticky, the same call must succeed later. */
static bool stays(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	/* without memory for tlssf_status() there is no struct conn */
	bool dead = tlssf_status(l.ssl, &st) == 0 && st.dead;

	queued |= ERR_peek_error() != 0;
	return dead;
}

static bool again(ssize_t n, int *tries)
{
	queued |= ERR_peek_error() != 0;
	if (n == TLSSF_WANT_WRITE)
		wait_a_little();
	else if (n == TLSSF_ERROR)
		lost = stays();
	if (n == TLSSF_ERROR && !lost)
		lost = ++errors > MAX_ERRORS;
	return !lost && ++*tries < MAX_TRIES;
}

static void send_file(void)
{
	size_t done = 0;
	int tries = 0;
	ssize_t n;

	while (!lost && done < SIZE) {
		n = tlssf_send(l.ssl, file.fd, (off_t)done, SIZE - done);
		if (n > 0)
			done += (size_t)n;
		else if (!again(n, &tries))
			return;
	}
}

static void send_job(void)
{
	int tries = 0, n;

	while (!lost && (n = tlssf_send_job(l.ssl, &job)))
		if (!again(n, &tries))
			return;
}

/* OpenSSL may or may not survive its own lack of memory: try once more. */
static void write_text(void)
{
	for (int i = 0; !lost && i < MAX_TRIES; i++) {
		int n = SSL_write(l.ssl, "text", 4);

		if (n == 4)
			return;
		if (SSL_get_error(l.ssl, n) != SSL_ERROR_WANT_WRITE)
			lost = true;
		else
			wait_a_little();
	}
}

static void repeat(int (*call)(SSL *))
{
	int tries = 0, n;

	while (!lost && (n = call(l.ssl)))
		if (!again(n, &tries))
			return;
}

/* What the application sends before the first tlssf_send(). */
enum first { NOTHING, KEY_UPDATE, SOME_TEXT };

/* The bridge examines the connection before any tlssf call. */
static void update_key(void)
{
	lost = SSL_key_update(l.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 ||
	       SSL_do_handshake(l.ssl) != 1;
}

/* The bridge is attached by the first tlssf call, which may fail half-way. */
static void attach_and_write(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	tlssf_status(l.ssl, &st);
	write_text();
}

static void scenario(enum first first)
{
	if (first == KEY_UPDATE)
		update_key();
	if (first == SOME_TEXT)
		attach_and_write();
	send_file();
	write_text();
	send_job();
	repeat(tlssf_flush);
	write_text();
	repeat(tlssf_shutdown);
}

/* ---- one run ---- */

extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void account(enum first first)
{
	if (first == SOME_TEXT)
		expect_bytes(&l, "text", 4);
	expect_file(&l, &file, 0, SIZE);
	expect_bytes(&l, "text", 4);
	expect_bytes(&l, "header", 6);
	expect_file(&l, &file, 1, SIZE - 1);
	expect_bytes(&l, "trailer", 7);
	expect_bytes(&l, "text", 4);
}

static void check_peer(void)
{
	if (!lost) {
		compare(&l);
		ck_assert_int_eq(l.report.end, END_NOTIFY);
		return;
	}
	SSL_free(l.ssl);
	l.ssl = NULL;
	close(l.fd);
	l.fd = 0;
	get_report(&l);
	ck_assert_int_ne(l.report.end, END_NOTIFY);
	ck_assert_uint_eq(l.report.markers, 0);
	ck_assert_uint_le(l.report.bytes, l.bytes);
}

static int finish(bool fired)
{
	link_close(&l);
	file_free(&file);
	if (__lsan_do_recoverable_leak_check)
		ck_assert_int_eq(__lsan_do_recoverable_leak_check(), 0);
	return fired ? FIRED : UNTOUCHED;
}

static struct link_conf conf_of(int i)
{
	return (struct link_conf){ .method = ways[i / 2].method,
		.version = ways[i / 2].version, .nonblocking = i % 2,
		.sndbuf = i % 2 ? 16384 : 0 };
}

static int run(struct link_conf conf, long n, enum first first)
{
	bool fired;

	file_make(&file, SIZE);
	job = (struct tlssf_job){ .size = sizeof(job), .fd = file.fd,
		.off = 1, .file_len = SIZE - 1, .header = "header",
		.header_len = 6, .trailer = "trailer", .trailer_len = 7 };
	link_open(&l, &conf);
	account(first);
	peer_do(&l, PEER_READ, PEER_ALL);
	atomic_store(&countdown, n);
	scenario(first);
	fired = atomic_exchange(&countdown, 0) == 0;
	ck_assert(!queued);
	ERR_clear_error();
	ck_assert_msg(errors <= MAX_ERRORS, "the call keeps failing: %s",
		      tlssf_strerror(l.ssl));
	check_peer();
	return finish(fired);
}

static int run_connection(int i, long n)
{
	return run(conf_of(i), n, NOTHING);
}

static int run_key_first(int i, long n)
{
	return run(conf_of(i), n, KEY_UPDATE);
}

/* The application has enabled kernel TLS itself. */
static int run_late(int i, long n)
{
	struct link_conf conf = { .no_init = true, .nonblocking = true,
		.version = i ? TLS1_3_VERSION : TLS1_2_VERSION,
		.options = SSL_OP_ENABLE_KTLS, .sndbuf = 16384 };

	return run(conf, n, SOME_TEXT);
}

/*
 * tlssf_ctx_init() failed: it has changed nothing, and the SSL_CTX still works.
 */
static int run_init(int i, long n)
{
	struct link_conf conf = conf_of(i);
	struct tlssf_options o = { .size = sizeof(o), .method = conf.method };
	uint64_t before;
	bool fired;
	int r, err;

	file_make(&file, SIZE);
	conf.ctx = plain_ctx(true);
	before = SSL_CTX_get_options(conf.ctx);
	atomic_store(&countdown, n);
	r = tlssf_ctx_init(conf.ctx, &o);
	err = errno;
	queued = ERR_peek_error() != 0;
	fired = atomic_exchange(&countdown, 0) == 0;
	ck_assert(!queued);
	if (r) {
		ck_assert(fired);
		ck_assert_int_eq(err, ENOMEM);
		ck_assert_uint_eq(SSL_CTX_get_options(conf.ctx), before);
	}
	link_open(&l, &conf);
	SSL_CTX_free(conf.ctx);
	deliver(&l, &file, 1, SIZE - 1);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
	return finish(fired);
}

/*
 * Make this run in a child process, so that what is done once in a process can
 * fail in each run.
 */
static int in_child(int (*run_it)(int, long), int i, long n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run_it(i, n));
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "n = %ld: signal %d", n,
		      WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void for_each_n(int (*run_it)(int, long), int i, long step)
{
	for (long n = 1; n < MAX_N; n += step) {
		int status = in_child(run_it, i, n);

		if (status == UNTOUCHED) {
			ck_assert_int_gt(n, 1);
			return;
		}
		ck_assert_msg(status == FIRED, "n = %ld: status %d", n,
			      status);
	}
	ck_abort_msg("some allocation fails for every n");
}

/* OpenSSL's key derivation allocates often, and a guest is slow. */
static long step_of(int method)
{
	bool derives = method == TLSSF_METHOD_KTLS ||
		       method == TLSSF_METHOD_AUTO;

	return derives && LIBRARY_KTLS && in_guest() ? GUEST_STEP : 1;
}

static void try_way(int (*run_it)(int, long), int i, const char *test)
{
	struct link_conf conf = { 0 };

	signal(SIGPIPE, SIG_IGN);
	if (!link_open_way(&l, i / 2, &conf, test))
		return;
	link_close(&l);
	for_each_n(run_it, i, step_of(conf.method));
}

START_TEST(connection)
{
	try_way(run_connection, _i, __func__);
}
END_TEST

START_TEST(key_first)	/* only the ways with TLS 1.3: every second one */
{
	try_way(run_key_first, 2 * (2 * _i + 1), __func__);
}
END_TEST

START_TEST(late)
{
	signal(SIGPIPE, SIG_IGN);
	for_each_n(run_late, _i, 1);
}
END_TEST

START_TEST(init)
{
	try_way(run_init, 2 * _i, __func__);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_alloc");
	TCase *tc = add_case(suite, "n-th allocation");

	/* no warm_up(): what is done once in a process must fail, too */
	if (peer_prepare())
		return 1;
	add_ways(tc, connection, 2);
	tcase_add_loop_test(tc, key_first, first_way() / 2, end_of_ways() / 2);
	tcase_add_loop_test(tc, late, 0, 2);
	add_ways(tc, init, 1);
	return run_suite("e2e_alloc", suite);
}
