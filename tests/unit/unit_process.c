/* SPDX-License-Identifier: MIT */
/* Each process has a number that none of its children has. */
#include "base.h"
#include "seccomp.h"
#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool no_wiped_pages;

/* Replaces the C library's madvise() in this program and in libtlssf. */
int madvise(void *at, size_t len, int advice)
{
	if (no_wiped_pages && advice == MADV_WIPEONFORK) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, at, len, advice);
}

/* In a child: returns whether its number differs from all known ones. */
static bool is_new(const uint32_t *known, int n)
{
	uint32_t id = tlssf_sys.process();

	for (int i = 0; i < n; i++)
		if (id == known[i])
			return false;
	return id && tlssf_sys.process() == id;
}

static void expect_success(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* In a child: fork, and check that the new child has yet another number. */
static int has_new_child(uint32_t *known)
{
	int status = 1;
	pid_t child;

	known[1] = tlssf_sys.process();
	child = fork();
	if (child == 0)
		_exit(!is_new(known, 2));
	return waitpid(child, &status, 0) == child ? status : 1;
}

START_TEST(children_are_others)
{
	uint32_t known[2] = { tlssf_sys.process() };
	pid_t child;

	ck_assert_uint_ne(known[0], 0);
	for (int i = 0; i < 2; i++) {
		child = fork();
		if (child == 0)
			_exit(!is_new(known, 1) || has_new_child(known));
		expect_success(child);
		ck_assert_uint_eq(tlssf_sys.process(), known[0]);
	}
}
END_TEST

/* A child made by the system call alone: no pthread_atfork() handler runs. */
START_TEST(children_made_by_hand)
{
	uint32_t known = tlssf_sys.process();
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(!is_new(&known, 1));
	expect_success(child);
	ck_assert_uint_eq(tlssf_sys.process(), known);
}
END_TEST

START_TEST(without_wiped_pages)
{
	uint32_t known;
	pid_t child;

	no_wiped_pages = true;
	known = tlssf_sys.process();
	ck_assert_uint_eq(known, (uint64_t)getpid());
	child = fork();
	if (child == 0)
		_exit(!is_new(&known, 1));
	expect_success(child);
}
END_TEST

/*
 * qemu-user and some sandboxes accept every advice and do nothing. The page
 * is then not wiped, so it must not be used.
 */
START_TEST(where_advice_is_ignored)
{
	uint32_t known;
	pid_t child;

	if (!REFUSE(0, SYS_madvise)) {
		skip_test("where_advice_is_ignored: no seccomp filters here");
		return;
	}
	known = tlssf_sys.process();
	child = fork();
	if (child == 0)
		_exit(!is_new(&known, 1));
	expect_success(child);
	ck_assert_uint_eq(tlssf_sys.process(), known);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_process");
	TCase *processes = add_case(suite, "processes");

	/* each test needs its own process: the page is allocated only once */
	setenv("CK_FORK", "yes", 1);
	tcase_add_test(processes, children_are_others);
	tcase_add_test(processes, children_made_by_hand);
	tcase_add_test(processes, without_wiped_pages);
	tcase_add_test(processes, where_advice_is_ignored);
	return run_suite("unit_process", suite);
}
