/* SPDX-License-Identifier: MIT */
/*
 * The time limits of all test programs. No result may depend on how fast or how
 * busy the machine is, so only a hang reaches these limits.
 */
#ifndef TLSSF_TEST_TIME_LIMITS_H
#define TLSSF_TEST_TIME_LIMITS_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

/* One wait for an event that must come: 5 minutes. */
#define HANG_MS		300000
#define HANG_S		(HANG_MS / 1000)
/* One test: the CPU time if it loops, the real time if it waits. */
#define TEST_CPU_S	600
#define TEST_REAL_S	1200

/* tcase_create() of Check with these limits. Tests call only this one. */
TCase *add_case(Suite *suite, const char *name);

/* CLOCK_MONOTONIC, also where the library's clock is scripted. */
uint64_t real_ms(void);
/*
 * Sleep a millisecond, or ten after some turns. Returns false if all turns have
 * taken HANG_MS. Used to wait for something without an event:
 * unsigned int turns = 0; while (!done() && pause_turn(&turns)) ;
 */
bool pause_turn(unsigned int *turns);

#endif
