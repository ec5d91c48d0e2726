/* SPDX-License-Identifier: MIT */
#include "seccomp.h"

#include <check.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>

#define MAX_CALLS	32

static struct sock_filter statement(unsigned int code, size_t k)
{
	return (struct sock_filter)BPF_STMT((uint16_t)code, (uint32_t)k);
}

/* Skip the next statement if the loaded number is another one. */
static struct sock_filter unless(int number)
{
	return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
					    (uint32_t)number, 0, 1);
}

static bool install(uint32_t listed, uint32_t others, const int *calls,
		    size_t n)
{
	struct sock_filter code[2 * MAX_CALLS + 4], *next = code;
	struct sock_fprog filter = { .filter = code };

	ck_assert_uint_le(n, MAX_CALLS);
	*next++ = statement(BPF_LD | BPF_W | BPF_ABS,
			    offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++) {
		*next++ = unless(calls[i]);
		*next++ = statement(BPF_RET | BPF_K, listed);
	}
	*next++ = unless(SYS_exit_group);
	*next++ = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	*next++ = statement(BPF_RET | BPF_K, others);
	filter.len = (unsigned short)(next - code);
#ifdef SYS_socketcall
	return false;
#endif
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool refuse_calls(int err, const int *calls, size_t n)
{
	return install(SECCOMP_RET_ERRNO | (uint32_t)err, SECCOMP_RET_ALLOW,
		       calls, n);
}

bool refuse_all_calls_but(int err, const int *calls, size_t n)
{
	return install(SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | (uint32_t)err,
		       calls, n);
}
