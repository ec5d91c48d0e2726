/* SPDX-License-Identifier: MIT */
#include "seccomp.h"

#include <check.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>

#define MAX_CALLS 32

/*
 * The filter has two instructions for each system call: skip the second one if
 * the number is another one.
 */
bool refuse_calls(int err, const int *calls, size_t n)
{
	struct sock_filter code[2 * MAX_CALLS + 2], *next = code;
	struct sock_fprog filter = { .filter = code };

	ck_assert_uint_le(n, MAX_CALLS);
	*next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++) {
		*next++ = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], 0, 1);
		*next++ = (struct sock_filter)BPF_STMT(
			BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err);
	}
	*next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					       SECCOMP_RET_ALLOW);
	filter.len = (unsigned short)(next - code);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
