/* SPDX-License-Identifier: MIT */
/* Threads that are cancelled in the probe, and forks during a probe. */
#include "unit_probe_model.h"
#include "util.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

static sem_t in_probe;
static int gate[2];		/* a byte ends the system call of the probe */
static struct tlssf_cap slow;	/* the answer of that probe */

/* A system call of the probe that takes long, and is a cancellation point. */
static int64_t send_late(const struct sys_args *a)
{
	char c;

	sem_post(&in_probe);
	ck_assert_int_eq(read(gate[0], &c, 1), 1);
	return send_record_bytes(a);
}

static void *run_probe(void *arg)
{
	(void)arg;
	slow = *tlssf_probe_cap(TLS13, TLSSF_AES_128_GCM);
	pthread_testcancel();
	return NULL;
}

static pthread_t start_slow_probe(void)
{
	pthread_t thread;

	ck_assert_int_eq(sem_init(&in_probe, 0, 0), 0);
	ck_assert_int_eq(pipe(gate), 0);
	expect_ulp();
	expect_key();
	SCRIPT(send, .fd = TX, .play = take_plain);
	SCRIPT(recv, .fd = RX, .play = send_late);
	expect_close();
	ck_assert_int_eq(pthread_create(&thread, NULL, run_probe, NULL), 0);
	ck_assert_int_eq(sem_wait(&in_probe), 0);
	return thread;
}

static void *end_slow_probe(pthread_t thread)
{
	void *result;

	ck_assert_int_eq(write(gate[1], "", 1), 1);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	return result;
}

/* Check that the answer is cached, so that the probe makes no system call. */
static void assert_known(void)
{
	script_done();
	script_reset();
	assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
}

START_TEST(cancelled_in_the_probe)
{
	pthread_t thread = start_slow_probe();

	ck_assert_int_eq(pthread_cancel(thread), 0);
	ck_assert_ptr_eq(end_slow_probe(thread), PTHREAD_CANCELED);
	script_done();
	assert_cap(slow, TLSSF_YES, 0, 1);
	assert_known();
}
END_TEST

/* The probe restores the cancellation state that the caller has set. */
START_TEST(cancellation_is_restored)
{
	static const int states[] = { PTHREAD_CANCEL_DISABLE,
				      PTHREAD_CANCEL_ENABLE };
	int was, ulp, tx;

	for (int i = 0; i < 2; i++) {
		pthread_setcancelstate(states[i], NULL);
		tlssf_probe_peek(TLS13, TLSSF_AES_128_GCM, &ulp, &tx);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &was);
		ck_assert_int_eq(was, states[i]);
	}
}
END_TEST

static void expect_exit(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* A forked child must not wait for the thread that probes in the parent. */
START_TEST(forked_while_another_thread_probes)
{
	pthread_t thread = start_slow_probe();
	pid_t child = fork();

	if (child == 0) {
		script_reset();
		expect_success();
		assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
		_exit(0);
	}
	expect_exit(child);
	ck_assert_ptr_null(end_slow_probe(thread));
	assert_cap(slow, TLSSF_YES, 0, 1);
	assert_known();
}
END_TEST

START_TEST(forked_after_the_probe)
{
	pid_t child;

	expect_success();
	assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
	child = fork();
	if (child == 0) {
		assert_known();
		_exit(0);
	}
	expect_exit(child);
	assert_known();
}
END_TEST

static pid_t forked_in_trace = -1;

static void fork_once(void *arg, const char *line)
{
	(void)arg, (void)line;
	if (forked_in_trace < 0)
		forked_in_trace = fork();
}

/* Both processes continue the probe. */
START_TEST(forked_by_the_trace_function)
{
	tlssf_set_trace(fork_once, NULL);
	expect_success();
	assert_cap(probe_gcm(), TLSSF_YES, 0, 1);
	ck_assert_int_ge(forked_in_trace, 0);
	assert_known();
	if (forked_in_trace == 0)
		_exit(0);
	expect_exit(forked_in_trace);
}
END_TEST

void add_thread_tests(Suite *suite)
{
	ADD(suite, "threads", cancelled_in_the_probe, cancellation_is_restored,
	    forked_while_another_thread_probes, forked_after_the_probe,
	    forked_by_the_trace_function);
}
