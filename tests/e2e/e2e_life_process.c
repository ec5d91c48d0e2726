/* SPDX-License-Identifier: MIT */
/* fork(), threads, and shared libraries that are loaded and unloaded. */
#include "e2e_life.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS		20
#define GUEST_ROUNDS	4

/* ---- fork ---- */

/* In a forked child every call is refused, and SSL_free() sends nothing. */
static int forked_child(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	for (int i = 0; i < 3; i++) {
		if (tlssf_send(life.ssl, life_file.fd, 0, 1000) !=
		    TLSSF_ERROR || errno != EPERM)
			return 1;
		if (tlssf_flush(life.ssl) != TLSSF_ERROR ||
		    tlssf_shutdown(life.ssl) != TLSSF_ERROR)
			return 2;
	}
	if (tlssf_status(life.ssl, &st) || st.error != TLSSF_REASON_FORKED)
		return 3;
	SSL_free(life.ssl);
	return 0;
}

static void run_child(int (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(child());
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

/* A fork() while the connection is idle, or in odd loops the socket is full. */
START_TEST(forked)
{
	struct link_conf conf = { 0 };

	if (_i % 2 ? !life_open_full(&life, _i / 2, __func__)
		   : !link_open_way(&life, _i / 2, &conf, __func__))
		return;
	if (_i % 2 == 0)
		deliver(&life, &life_file, 0, 1000);
	run_child(forked_child);
	if (_i % 2)
		life_send_rest(&life);
	life_ends_well(&life);
}
END_TEST

static int sending_child(void)
{
	deliver(&life, &life_file, 7, MIB);
	return 0;
}

/*
 * The process of the first tlssf call owns the connection, not that of the
 * handshake.
 */
START_TEST(handed_to_child)
{
	struct link_conf conf = { 0 };

	if (link_open_way(&life, _i, &conf, __func__))
		run_child(sending_child);
}
END_TEST

/* ---- threads ---- */

static void *send_much(void *arg)
{
	unsigned int rounds = in_guest() ? GUEST_ROUNDS : ROUNDS;
	struct link *l = arg;

	for (unsigned int i = 0; i < rounds; i++) {
		deliver(l, &life_file, i, 300001);
		write_all(l, "between", 7);
	}
	return NULL;
}

START_TEST(two_threads)
{
	struct link_conf conf = { .nonblocking = true, .sndbuf = 16384,
				  .method = ways[_i].method,
				  .version = ways[_i].version };
	struct link other = { 0 };
	pthread_t thread;

	if (!link_open_way(&life, _i, &conf, __func__))
		return;
	link_open(&other, &conf);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_much, &other), 0);
	send_much(&life);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	life_ends_well(&life);
	life_ends_well(&other);
	link_close(&other);
}
END_TEST

static void *fill_it(void *arg)
{
	life_fill(arg);
	return NULL;
}

static void *send_rest(void *arg)
{
	life_send_rest(arg);
	return NULL;
}

static void run_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/*
 * A second thread continues a send of the first one, which has ended, and whose
 * cached buffers are freed.
 */
START_TEST(next_thread)
{
	struct link_conf conf = { .nonblocking = true, .sndbuf = 16384,
				  .peer.rcvbuf = 8192 };

	if (!link_open_way(&life, _i, &conf, __func__))
		return;
	run_thread(fill_it, &life);
	run_thread(send_rest, &life);
	life_ends_well(&life);
}
END_TEST

/* ---- libraries ---- */

/* Load a second instance of the library that contains `symbol`, from a copy. */
static void *open_copy(void *symbol)
{
	char path[64], buf[65536];
	int fd = memfd_create("copy", 0);
	void *copy;
	Dl_info info;
	FILE *in;
	size_t n;

	ck_assert(dladdr(symbol, &info));
	in = fopen(info.dli_fname, "rb");
	ck_assert_ptr_nonnull(in);
	while ((n = fread(buf, 1, sizeof(buf), in)))
		ck_assert_int_eq(write(fd, buf, n), (ssize_t)n);
	fclose(in);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(copy, "%s", dlerror());
	return copy;
}

typedef ssize_t send_fn(SSL *, int, off_t, size_t);

/* dlclose() while connections are open: the callbacks must stay loaded. */
START_TEST(dlclose_while_alive)
{
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
				  .no_init = true };
	void *copy = open_copy((void *)(uintptr_t)tlssf_version);
	send_fn *send = NULL;

	*(void **)&send = dlsym(copy, "tlssf_send");
	ck_assert_ptr_nonnull((void *)(uintptr_t)send);
	ck_assert_ptr_ne((void *)(uintptr_t)send,
			 (void *)(uintptr_t)tlssf_send);
	link_open(&life, &conf);
	expect_file(&life, &life_file, 0, 10000);
	ck_assert_int_eq(send(life.ssl, life_file.fd, 0, 10000), 10000);
	sync_peer(&life);
	ck_assert_int_eq(dlclose(copy), 0);
	write_all(&life, "after dlclose", 13);
	sync_peer(&life);
	ck_assert_int_ge(SSL_shutdown(life.ssl), 0);
	expect_end(&life, END_NOTIFY);
}
END_TEST

/*
 * An SSL_CTX of another libssl than the one that libtlssf is linked with is
 * refused.
 */
START_TEST(second_libssl)
{
	void *copy = open_copy((void *)(uintptr_t)SSL_CTX_new);
	const SSL_METHOD *(*method)(void) = NULL;
	SSL_CTX *(*new_ctx)(const SSL_METHOD *) = NULL;
	uint64_t before;
	SSL_CTX *ctx;

	*(void **)&method = dlsym(copy, "TLS_server_method");
	*(void **)&new_ctx = dlsym(copy, "SSL_CTX_new");
	ck_assert_ptr_ne((void *)(uintptr_t)method,
			 (void *)(uintptr_t)TLS_server_method);
	ctx = new_ctx(method());
	ck_assert_ptr_nonnull(ctx);
	before = SSL_CTX_get_options(ctx);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tlssf_ctx_init(ctx, NULL), TLSSF_ERROR);
		ck_assert_int_eq(errno, ELIBBAD);
	}
	ck_assert_uint_eq(SSL_CTX_get_options(ctx), before);
	SSL_CTX_free(ctx);
}
END_TEST

void add_process_tests(TCase *tc)
{
	add_ways(tc, forked, 2);
	add_ways(tc, handed_to_child, 1);
	add_ways(tc, two_threads, 1);
	add_ways(tc, next_thread, 1);
	tcase_add_test(tc, dlclose_while_alive);
	tcase_add_test(tc, second_libssl);
}
