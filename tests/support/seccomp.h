/* SPDX-License-Identifier: MIT */
/* Sandboxes: a process that installs a seccomp filter for itself. */
#ifndef TLSSF_TEST_SECCOMP_H
#define TLSSF_TEST_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

/*
 * From now on these system calls fail with `err` in this thread and in the
 * threads and children that it creates; with `err` 0 they return 0 and do
 * nothing. Returns false if this kernel has no seccomp filters, or libc uses
 * other system calls than a test can name (socketcall and fcntl64 of 32-bit
 * systems).
 */
bool refuse_calls(int err, const int *calls, size_t n);
#define REFUSE(err, ...) \
	refuse_calls(err, (const int[]){ __VA_ARGS__ }, \
		     sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))
/*
 * The same, but for all system calls except these and those with which a
 * process ends.
 */
bool refuse_all_calls_but(int err, const int *calls, size_t n);

#endif
