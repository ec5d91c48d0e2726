/* SPDX-License-Identifier: MIT */
/*
 * The time limits of all test programs. No verdict may depend on how fast or
 * how busy the machine is, so only a hang reaches any of them.
 */
#ifndef TLSSF_TEST_TIME_LIMITS_H
#define TLSSF_TEST_TIME_LIMITS_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

/* One wait for something that must come: 5 minutes. */
#define HANG_MS		300000
#define HANG_S		(HANG_MS / 1000)
/* One test: this much CPU time if it spins, this much real time if it waits. */
#define TEST_CPU_S	600
#define TEST_REAL_S	1200

/* Check's tcase_create() with these limits. No test calls that itself. */
TCase *add_case(Suite *suite, const char *name);

/* The real clock, CLOCK_MONOTONIC. */
uint64_t real_ms(void);
/*
 * Sleep a millisecond or, with more turns, ten; false once that has taken
 * HANG_MS in all. The condition of a loop that waits for what has no event:
 * unsigned int turns = 0; while (!done() && pause_turn(&turns)) ;
 */
bool pause_turn(unsigned int *turns);

#endif
