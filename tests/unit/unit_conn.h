/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_conn share: a connection whose socket is the wire of
 * tls_pair.h, with scripted system calls.
 */
#ifndef TLSSF_UNIT_CONN_H
#define TLSSF_UNIT_CONN_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <string.h>

/* numbers that no real descriptor has */
#define SOCK	1000
#define FILE_FD	1010
#define LEN	40000
#define ALERT	21

struct world {
	struct pair p;
	uint64_t file_size;
	struct sys_tcp tcp;
	int64_t process;
	bool blocking;
	int timeout;		/* SO_SNDTIMEO */
	bool writable;
	uint64_t waited;
	unsigned int turns;
	int alert_err;
	unsigned int alerts;
};
extern struct world w;

/* `kernel`: the write BIO claims that the kernel encrypts. */
void world_open(bool kernel);
/* Call tlssf_send() for the file from offset `off` to LEN. */
ssize_t send_file(uint64_t off);
struct tlssf_status status_now(void);
/* Check that a call that returned `r` has set this errno, reason and state. */
void assert_error(ssize_t r, int err, int reason, bool dead);

void add_rekey_tests(Suite *suite);	/* unit_conn_rekey.c */
void add_clear_tests(Suite *suite);	/* unit_conn_clear.c */

#endif
