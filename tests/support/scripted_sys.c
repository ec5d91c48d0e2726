/* SPDX-License-Identifier: MIT */
#include "scripted_sys.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define MAX_STEPS 256	/* steps that are still to come */

#define SYS_CALL_NAME(name) #name,
static const char *const names[] = { SYS_CALLS(SYS_CALL_NAME) };

_Static_assert(sizeof(struct sys) == CALL_COUNT * sizeof(void (*)(void)),
	       "SYS_CALLS names each member of struct sys");

static struct {
	struct step steps[MAX_STEPS];
	unsigned int next, count;
	struct step defaults[CALL_COUNT];
	bool has_default[CALL_COUNT];
	unsigned int made[CALL_COUNT];
	enum sys_call failing;
	unsigned int fails_in;	/* 1: the next call fails ...; 0: none */
	int err;
} script;

static uint64_t clock_ms = 1000000;

void script_add(struct step step)
{
	if (script.next == script.count)
		script.next = script.count = 0;
	ck_assert_uint_lt(script.count, MAX_STEPS);
	script.steps[script.count++] = step;
}

void script_default(struct step step)
{
	script.defaults[step.call] = step;
	script.has_default[step.call] = true;
}

void script_fail(enum sys_call call, unsigned int time, int err)
{
	script.failing = call;
	script.fails_in = time;
	script.err = err;
}

void script_reset(void)
{
	memset(&script, 0, sizeof(script));
}

void script_done(void)
{
	ck_assert_msg(script.next == script.count,
		      "%u calls of the script were not made, first: %s",
		      script.count - script.next,
		      names[script.steps[script.next % MAX_STEPS].call]);
}

unsigned int script_count(enum sys_call call)
{
	return script.made[call];
}

void script_advance(uint64_t ms)
{
	clock_ms += ms;
}

static int64_t true_process(const struct sys_args *args)
{
	(void)args;
	return getpid();
}

static int64_t own_clock(const struct sys_args *args)
{
	(void)args;
	return (int64_t)clock_ms;
}

/*
 * Returns the step that must answer the call, or NULL if the script does not
 * expect the call and there is no default.
 */
static const struct step *find(enum sys_call call)
{
	static const struct step process = { .play = true_process };
	static const struct step now = { .play = own_clock };

	if (script.next < script.count &&
	    script.steps[script.next].call == call)
		return &script.steps[script.next++];
	if (script.has_default[call])
		return &script.defaults[call];
	return call == CALL_process ? &process : call == CALL_now_ms ? &now : NULL;
}

static void check(const struct step *s, const struct sys_args *a)
{
	if (s->fd != 0)
		ck_assert_msg(a->fd == s->fd, "%s: fd %d, expected %d",
			      names[s->call], a->fd, s->fd);
	if (s->value != 0)
		ck_assert_msg(a->value == s->value,
			      "%s: value %lld, expected %lld", names[s->call],
			      (long long)a->value, (long long)s->value);
}

static int64_t run(const struct step *s, const struct sys_args *a)
{
	check(s, a);
	if (s->data != NULL) {
		ck_assert_msg(a->out != NULL && s->len <= a->out_len,
			      "%s: no room for the data", names[s->call]);
		memcpy(a->out, s->data, s->len);
	}
	return s->play != NULL ? s->play(a) : s->result;
}

static int64_t play(enum sys_call call, struct sys_args args)
{
	const struct step *s = find(call);

	script.made[call]++;
	if (script.fails_in && script.failing == call && !--script.fails_in)
		return -script.err;
	if (s == NULL)
		ck_abort_msg("call %s, but the script expects %s", names[call],
			     script.next < script.count ?
			     names[script.steps[script.next].call] :
			     "no more");
	return run(s, &args);
}

#define FILLS(p)	.out = (p), .out_len = sizeof(*(p))
#define ARGS(...)	(struct sys_args){ __VA_ARGS__ }
#define NO_FD		.fd = -1

static uint32_t s_process(void)
{
	return (uint32_t)play(CALL_process, ARGS(NO_FD));
}

static uint64_t s_now_ms(void)
{
	return (uint64_t)play(CALL_now_ms, ARGS(NO_FD));
}

static void s_sleep_ms(unsigned int ms)
{
	play(CALL_sleep_ms, ARGS(NO_FD, .value = ms));
}

static int s_file_size(int fd, uint64_t *size)
{
	return (int)play(CALL_file_size, ARGS(.fd = fd, FILLS(size)));
}

static ssize_t s_pread(int fd, void *buf, size_t len, uint64_t off)
{
	return play(CALL_pread, ARGS(.fd = fd, .out = buf, .out_len = len,
				     .off = off));
}

static ssize_t s_preadv(int fd, const struct iovec *iov, int n, uint64_t off)
{
	return play(CALL_preadv, ARGS(.fd = fd, .in = iov, .value = n,
				      .off = off));
}

static int s_nonblocking(int fd)
{
	return (int)play(CALL_nonblocking, ARGS(.fd = fd));
}

static ssize_t s_send(int fd, const void *buf, size_t len, bool more)
{
	return play(CALL_send, ARGS(.fd = fd, .in = buf, .in_len = len,
				    .value = more));
}

static ssize_t s_recv(int fd, void *buf, size_t len)
{
	return play(CALL_recv, ARGS(.fd = fd, .out = buf, .out_len = len));
}

static ssize_t s_send_record(int fd, int type, const void *buf, size_t len)
{
	return play(CALL_send_record, ARGS(.fd = fd, .in = buf, .in_len = len,
					   .value = type));
}

static int s_poll(int fd, short events, int timeout_ms)
{
	return (int)play(CALL_poll, ARGS(.fd = fd, .value = events,
					 .value2 = timeout_ms));
}

static int s_send_timeout_ms(int fd, int *ms)
{
	return (int)play(CALL_send_timeout_ms, ARGS(.fd = fd, FILLS(ms)));
}

static int s_send_room(int fd, size_t *room)
{
	return (int)play(CALL_send_room, ARGS(.fd = fd, FILLS(room)));
}

static int s_tcp(int fd, struct sys_tcp *tcp)
{
	return (int)play(CALL_tcp, ARGS(.fd = fd, FILLS(tcp)));
}

static int s_tcp_corked(int fd)
{
	return (int)play(CALL_tcp_corked, ARGS(.fd = fd));
}

static int s_tcp_cork(int fd, bool on)
{
	return (int)play(CALL_tcp_cork, ARGS(.fd = fd, .value = on));
}

static int s_tcp_state(int fd)
{
	return (int)play(CALL_tcp_state, ARGS(.fd = fd));
}

static int s_ulp_attach(int fd)
{
	return (int)play(CALL_ulp_attach, ARGS(.fd = fd));
}

static int s_tls_tx_set(int fd, const void *info, size_t len)
{
	return (int)play(CALL_tls_tx_set, ARGS(.fd = fd, .in = info,
					       .in_len = len));
}

static int s_tls_tx_get(int fd, void *info, size_t *len)
{
	return (int)play(CALL_tls_tx_get, ARGS(.fd = fd, .out = info,
					       .out_len = *len));
}

static int s_tls_option(int fd, int option, unsigned int *value, size_t len)
{
	return (int)play(CALL_tls_option, ARGS(.fd = fd, .in_len = len,
					       .out = value,
					       .out_len = sizeof(*value),
					       .value = option,
					       .value2 = *value));
}

static ssize_t s_sendfile(int out, int in, uint64_t off, size_t len)
{
	return play(CALL_sendfile, ARGS(.fd = out, .value = in, .in_len = len,
					.off = off));
}

static int s_shutdown_write(int fd)
{
	return (int)play(CALL_shutdown_write, ARGS(.fd = fd));
}

static int s_socket_id(int fd, uint64_t *id)
{
	return (int)play(CALL_socket_id, ARGS(.fd = fd, FILLS(id)));
}

static int s_tcp_pair(int fds[2])
{
	return (int)play(CALL_tcp_pair, ARGS(NO_FD, .out = fds,
					     .out_len = 2 * sizeof(int)));
}

static int s_close(int fd)
{
	return (int)play(CALL_close, ARGS(.fd = fd));
}

static ssize_t s_read_text(const char *path, char *buf, size_t cap)
{
	return play(CALL_read_text, ARGS(NO_FD, .in = path,
					 .in_len = strlen(path), .out = buf,
					 .out_len = cap));
}

static int s_kernel_release(char *buf, size_t cap)
{
	return (int)play(CALL_kernel_release, ARGS(NO_FD, .out = buf,
						   .out_len = cap));
}

#define SYS_MEMBER(name) .name = s_##name,
const struct sys tlssf_sys = { SYS_CALLS(SYS_MEMBER) };
