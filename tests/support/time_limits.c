/* SPDX-License-Identifier: MIT */
#include "time_limits.h"

#include <sys/resource.h>
#include <time.h>

#define SHORT_TURNS	1000u

/* Check forks a process for each test, so the limit is per test. */
static void limit_cpu(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CPU, &limit) || limit.rlim_cur <= TEST_CPU_S)
		return;
	limit.rlim_cur = TEST_CPU_S;
	setrlimit(RLIMIT_CPU, &limit);
}

TCase *add_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	limit_cpu();
	tcase_set_timeout(tc, TEST_REAL_S);
	suite_add_tcase(suite, tc);
	return tc;
}

uint64_t real_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool pause_turn(unsigned int *turns)
{
	bool first = (*turns)++ < SHORT_TURNS;
	struct timespec some = { .tv_nsec = first ? 1000000 : 10000000 };

	nanosleep(&some, NULL);
	return *turns < SHORT_TURNS + HANG_MS / 10;
}
