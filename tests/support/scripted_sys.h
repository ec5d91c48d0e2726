/* SPDX-License-Identifier: MIT */
/*
 * A table tlssf_sys that plays a script. A test writes which system calls must
 * come, in order, and what each returns:
 *
 *	SCRIPT(tcp_pair, .data = fds, .len = sizeof(fds));
 *	SCRIPT(send, .fd = 5, .result = 64);
 *	SCRIPT(recv, .fd = 6, .result = -ECONNRESET);
 *
 * A call that is not the next one of the script fails the test, unless it has a
 * default. script_done() fails the test if the script has calls left.
 */
#ifndef TLSSF_SCRIPTED_SYS_H
#define TLSSF_SCRIPTED_SYS_H

#include "connection.h"

/* The members of struct sys. If one is missing, this does not compile. */
#define SYS_CALLS(X) \
	X(process) X(now_ms) X(sleep_ms) X(file_size) X(pread) X(nonblocking) \
	X(send) X(recv) X(send_record) X(poll) X(send_timeout_ms) \
	X(send_room) X(tcp) X(tcp_state) X(tcp_corked) X(tcp_cork) X(ulp_attach) \
	X(tls_tx_set) X(tls_tx_get) X(tls_option) X(sendfile) X(shutdown_write) \
	X(socket_id) X(tcp_pair) X(close) X(read_text) X(kernel_release) \
	X(preadv)

#define SYS_CALL_ENUM(name) CALL_##name,
enum sys_call { SYS_CALLS(SYS_CALL_ENUM) CALL_COUNT };

/*
 * The arguments of a call. Those that the call does not have are 0; fd is -1.
 */
struct sys_args {
	int fd;
	const void *in;		/* send, tls_tx_set; read_text: the path */
	size_t in_len;
	void *out;		/* the buffer that the call fills */
	size_t out_len;		/* its size */
	uint64_t off;		/* pread, preadv, sendfile */
	/*
	 * send: more; send_record: type; poll: events; tls_option: option;
	 * sleep_ms: ms; sendfile: the file, with its length in in_len; preadv:
	 * the number of buffers, with the struct iovec in `in`
	 */
	int64_t value;
	int64_t value2;		/* poll: timeout_ms; tls_option: value */
};

struct step {
	enum sys_call call;
	int64_t result;		/* what the call returns */
	const void *data;	/* copied to the buffer that the call fills */
	size_t len;
	int fd;			/* required descriptor; 0: any */
	int64_t value;		/* required value; 0: any */
	/* Computes the result instead, from all arguments. */
	int64_t (*play)(const struct sys_args *args);
};

/* Append a call that must come next. */
#define SCRIPT(name, ...) \
	script_add((struct step){ .call = CALL_##name, __VA_ARGS__ })
/* The answer to this call whenever it is not the next one of the script. */
#define SCRIPT_DEFAULT(name, ...) \
	script_default((struct step){ .call = CALL_##name, __VA_ARGS__ })

void script_add(struct step step);
void script_default(struct step step);
/*
 * Make the call fail once, at its `time`-th use from now on (1: the next use).
 * With 0 it does not fail.
 */
void script_fail(enum sys_call call, unsigned int time, int err);
/* Forget script, defaults and counts. The clock keeps its time. */
void script_reset(void);
/* Fail the test if the script has calls left. */
void script_done(void);
/* Returns how often the call was made since script_reset(). */
unsigned int script_count(enum sys_call call);
/* Advance the clock that now_ms() returns by default. */
void script_advance(uint64_t ms);

#endif
