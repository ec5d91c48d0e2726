/* SPDX-License-Identifier: MIT */
/* Names, texts, and the trace. */
#include "base.h"
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 500

/* ---- names and texts ---- */

static const int outside[] = { -1, INT_MIN, INT_MAX, 1000 };

static void check_names(const char *(*name)(int), int count)
{
	for (int i = 0; i < count; i++) {
		ck_assert_str_ne(name(i), "");
		ck_assert_str_ne(name(i), "unknown");
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(name(i), name(j));
	}
	ck_assert_str_eq(name(count), "unknown");
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		ck_assert_str_eq(name(outside[i]), "unknown");
}

START_TEST(names_are_unique)
{
	check_names(tlssf_reason_name, TLSSF_REASON_COUNT);
	check_names(tlssf_reason_text, TLSSF_REASON_COUNT);
	check_names(tlssf_method_name, TLSSF_METHOD_COUNT);
	check_names(tlssf_cipher_name, TLSSF_CIPHER_COUNT);
}
END_TEST

/* A table that is shifted by one entry would have unique names, too. */
START_TEST(names_belong_to_their_values)
{
	ck_assert_str_eq(tlssf_reason_name(TLSSF_REASON_NONE), "none");
	ck_assert_str_eq(tlssf_reason_name(TLSSF_REASON_ULP_ABSENT),
			 "ulp_absent");
	ck_assert_str_eq(tlssf_reason_name(TLSSF_REASON_REKEY), "rekey");
	ck_assert_str_eq(tlssf_reason_name(TLSSF_REASON_FILE_TRUNCATED),
			 "file_truncated");
	ck_assert_str_eq(tlssf_reason_name(TLSSF_REASON_INTERRUPTED),
			 "interrupted");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_AUTO), "auto");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_SSL_SENDFILE),
			 "ssl_sendfile");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_KTLS), "ktls");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_USERSPACE),
			 "userspace");
	ck_assert_str_eq(tlssf_cipher_name(TLSSF_AES_128_GCM), "AES-128-GCM");
	ck_assert_str_eq(tlssf_cipher_name(TLSSF_CHACHA20_POLY1305),
			 "ChaCha20-Poly1305");
	ck_assert_str_eq(tlssf_cipher_name(TLSSF_ARIA_256_GCM),
			 "ARIA-256-GCM");
}
END_TEST

START_TEST(names_are_words_and_texts_are_clauses)
{
	for (int i = 0; i < TLSSF_REASON_COUNT; i++) {
		const char *text = tlssf_reason_text(i);

		for (const char *p = tlssf_reason_name(i); *p != '\0'; p++)
			ck_assert(islower((unsigned char)*p) || *p == '_');
		/* callers print the text after "...: ", and add a full stop */
		ck_assert_uint_gt(strlen(text), 20);
		ck_assert_int_ne(text[strlen(text) - 1], '.');
		ck_assert_ptr_null(strchr(text, '\n'));
	}
	ck_assert_ptr_nonnull(strstr(tlssf_reason_text(
		TLSSF_REASON_ULP_NOT_LOADED), "modprobe tls"));
}
END_TEST

START_TEST(version_is_the_header_s)
{
	char version[32];

	snprintf(version, sizeof(version), "%d.%d.%d", TLSSF_VERSION_MAJOR,
		 TLSSF_VERSION_MINOR, TLSSF_VERSION_PATCH);
	ck_assert_str_eq(tlssf_version(), version);
}
END_TEST

/* ---- the trace ---- */

struct heard {
	char line[1024];
	unsigned int lines;
};

static void record_line(void *arg, const char *line)
{
	struct heard *h = arg;

	ck_assert_uint_lt(strlen(line), sizeof(h->line));
	strcpy(h->line, line);
	h->lines++;
	errno = ENOSPC;
}

START_TEST(trace_calls_the_function)
{
	struct heard h = { .lines = 0 };
	char want[128];

	unsetenv("TLSSF_TRACE");
	ck_assert(!tlssf_tracing());
	tlssf_trace(&h, "nobody listens");
	tlssf_set_trace(record_line, &h);
	ck_assert(tlssf_tracing());
	errno = EILSEQ;
	tlssf_trace(&h, "method %s, %d", "ktls", 7);
	ck_assert_int_eq(errno, EILSEQ);
	snprintf(want, sizeof(want), "tlssf: ssl=%p: method ktls, 7",
		 (void *)&h);
	ck_assert_str_eq(h.line, want);
	ck_assert_ptr_nonnull(strstr(h.line, "ssl=0x"));
	tlssf_trace(NULL, "probe");
	ck_assert_str_eq(h.line, "tlssf: probe");
	tlssf_set_trace(NULL, NULL);
	ck_assert(!tlssf_tracing());
	tlssf_trace(&h, "nobody listens");
	ck_assert_uint_eq(h.lines, 2);
}
END_TEST

START_TEST(long_lines_are_cut)
{
	struct heard h = { .lines = 0 };
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	tlssf_set_trace(record_line, &h);
	tlssf_trace(&h, "%s", text);
	ck_assert_uint_eq(h.lines, 1);
	ck_assert_uint_gt(strlen(h.line), 300);
	ck_assert_uint_lt(strlen(h.line), sizeof(text) - 1);
}
END_TEST

/* Run `talk` with standard error redirected to a file. */
static void catch_stderr(void (*talk)(void), char *buf, size_t cap)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	size_t n;

	ck_assert(file != NULL && saved >= 0);
	ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
	talk();
	fflush(stderr);
	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	rewind(file);
	n = fread(buf, 1, cap - 1, file);
	buf[n] = '\0';
	fclose(file);
	close(saved);
}

static struct heard heard;

static void talk_with_and_without_function(void)
{
	tlssf_trace(NULL, "first");
	tlssf_set_trace(record_line, &heard);
	tlssf_trace(NULL, "second");
	tlssf_set_trace(NULL, NULL);
	tlssf_trace(NULL, "third");
}

START_TEST(environment_prints_to_stderr)
{
	char out[256];

	setenv("TLSSF_TRACE", "1", 1);
	catch_stderr(talk_with_and_without_function, out, sizeof(out));
	ck_assert_str_eq(out, "tlssf: first\ntlssf: third\n");
	ck_assert_str_eq(heard.line, "tlssf: second");
	ck_assert(tlssf_tracing());
}
END_TEST

START_TEST(environment_is_read_once)
{
	unsetenv("TLSSF_TRACE");
	ck_assert(!tlssf_tracing());
	setenv("TLSSF_TRACE", "1", 1);
	ck_assert(!tlssf_tracing());
}
END_TEST

START_TEST(other_values_do_not_switch_it_on)
{
	static const char *const values[] = { "", "0", "yes", "10" };
	char out[256];

	setenv("TLSSF_TRACE", values[_i], 1);
	catch_stderr(talk_with_and_without_function, out, sizeof(out));
	ck_assert_str_eq(out, "");
	ck_assert_str_eq(heard.line, "tlssf: second");
}
END_TEST

/* ---- function and argument are replaced together ---- */

static char odd, even;
static atomic_int mixed, in_use[2];
static atomic_bool stop;

static void trace_odd(void *arg, const char *line)
{
	atomic_fetch_add(&in_use[1], 1);
	if (arg != &odd || strcmp(line, "tlssf: x"))
		atomic_store(&mixed, 1);
	atomic_fetch_sub(&in_use[1], 1);
}

static void trace_even(void *arg, const char *line)
{
	atomic_fetch_add(&in_use[0], 1);
	if (arg != &even || strcmp(line, "tlssf: x"))
		atomic_store(&mixed, 1);
	atomic_fetch_sub(&in_use[0], 1);
}

static void *talk(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		tlssf_trace(NULL, "x");
	return NULL;
}

static void start_talking(pthread_t *threads, int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, talk, NULL),
				 0);
}

static void end_talking(const pthread_t *threads, int n)
{
	atomic_store(&stop, true);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(function_and_argument_are_one)
{
	pthread_t threads[3];

	start_talking(threads, 3);
	for (int i = 0; i < ROUNDS; i++) {
		if (i % 2)
			tlssf_set_trace(trace_odd, &odd);
		else
			tlssf_set_trace(trace_even, &even);
		/* no thread is in the previous function any more */
		ck_assert_int_eq(atomic_load(&in_use[(i + 1) % 2]), 0);
	}
	end_talking(threads, 3);
	ck_assert_int_eq(atomic_load(&mixed), 0);
}
END_TEST

static void trace_slowly(void *arg, const char *line)
{
	struct timespec some = { .tv_nsec = 100000 };

	(void)arg;
	(void)line;
	nanosleep(&some, NULL);
}

/* Threads that trace all the time must not delay tlssf_set_trace() for ever. */
START_TEST(busy_threads_do_not_keep_us_out)
{
	pthread_t threads[8];

	tlssf_set_trace(trace_slowly, NULL);
	start_talking(threads, 8);
	for (int i = 0; i < 20; i++)
		tlssf_set_trace(trace_slowly, NULL);
	end_talking(threads, 8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_reason");
	TCase *names = add_case(suite, "names");
	TCase *trace = add_case(suite, "trace");

	/* the library reads the environment once in a process */
	setenv("CK_FORK", "yes", 1);
	tcase_add_test(names, names_are_unique);
	tcase_add_test(names, names_belong_to_their_values);
	tcase_add_test(names, names_are_words_and_texts_are_clauses);
	tcase_add_test(names, version_is_the_header_s);
	tcase_add_test(trace, trace_calls_the_function);
	tcase_add_test(trace, long_lines_are_cut);
	tcase_add_test(trace, environment_prints_to_stderr);
	tcase_add_test(trace, environment_is_read_once);
	tcase_add_loop_test(trace, other_values_do_not_switch_it_on, 0, 4);
	tcase_add_test(trace, function_and_argument_are_one);
	tcase_add_test(trace, busy_threads_do_not_keep_us_out);
	return run_suite("unit_reason", suite);
}
