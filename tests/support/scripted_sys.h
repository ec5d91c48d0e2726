/* SPDX-License-Identifier: MIT */
/*
 * A tlssf_sys that plays a script. A test writes down which calls must come,
 * in order, and what each answers:
 *
 *	SCRIPT(tcp_pair, .data = fds, .len = sizeof(fds));
 *	SCRIPT(send, .fd = 5, .result = 64);
 *	SCRIPT(recv, .fd = 6, .result = -ECONNRESET);
 *
 * A call that is not next in the script fails the test, unless it has a
 * default. script_done() fails it when some were not made.
 */
#ifndef TLSSF_SCRIPTED_SYS_H
#define TLSSF_SCRIPTED_SYS_H

#include "connection.h"

/* The members of struct sys; a missing one does not compile. */
#define SYS_CALLS(X) \
	X(process) X(now_ms) X(sleep_ms) X(file_size) X(pread) X(nonblocking) \
	X(send) X(recv) X(send_record) X(poll) X(send_timeout_ms) \
	X(send_room) X(tcp) X(tcp_state) X(tcp_corked) X(tcp_cork) X(ulp_attach) \
	X(tls_tx_set) X(tls_tx_get) X(tls_option) X(sendfile) X(shutdown_write) \
	X(socket_id) X(tcp_pair) X(close) X(read_text) X(kernel_release) \
	X(preadv)

#define SYS_CALL_ENUM(name) CALL_##name,
enum sys_call { SYS_CALLS(SYS_CALL_ENUM) CALL_COUNT };

/* A call as it was made; members that it has not are 0, fd is -1. */
struct sys_args {
	int fd;
	const void *in;		/* send, tls_tx_set; read_text: the path */
	size_t in_len;
	void *out;		/* what the call fills */
	size_t out_len;		/* room there */
	uint64_t off;		/* pread, preadv, sendfile */
	/* send: more; send_record: type; poll: events; tls_option: option;
	 * sleep_ms: ms; sendfile: the file, with in_len its length;
	 * preadv: the number of pieces, with in the pieces */
	int64_t value;
	int64_t value2;		/* poll: timeout_ms; tls_option: value */
};

struct step {
	enum sys_call call;
	int64_t result;		/* 0 or more, -errno; bool, pid, ms alike */
	const void *data;	/* copied to what the call fills */
	size_t len;
	int fd;			/* must be this one; 0: any */
	int64_t value;		/* likewise */
	/* Computes the result instead, and may look at all arguments. */
	int64_t (*play)(const struct sys_args *args);
};

/* Append a call that must come. */
#define SCRIPT(name, ...) \
	script_add((struct step){ .call = CALL_##name, __VA_ARGS__ })
/* Answer a call this way whenever it is not the next of the script. */
#define SCRIPT_DEFAULT(name, ...) \
	script_default((struct step){ .call = CALL_##name, __VA_ARGS__ })

void script_add(struct step step);
void script_default(struct step step);
/* From now on its `time`-th call (1: the next) fails once; 0: none does. */
void script_fail(enum sys_call call, unsigned int time, int err);
/* Forget the script, the defaults, the counts; the clock goes on. */
void script_reset(void);
/* Fail the test when a call of the script was not made. */
void script_done(void);
/* How often a call was made since script_reset(). */
unsigned int script_count(enum sys_call call);
/* now_ms() tells this clock unless scripted; process() the truth. */
void script_advance(uint64_t ms);

#endif
