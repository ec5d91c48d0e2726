/* SPDX-License-Identifier: MIT */
#ifndef TLSSF_UNIT_ORDER_H
#define TLSSF_UNIT_ORDER_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <string.h>

/* numbers that no real descriptor has */
#define SOCK		1000
#define FILE_FD		1010
#define FILE_SIZE	(4 * MIB)
#define MAX_STREAM	(8 * MIB)
#define BIG		(128 * KIB) /* enough for a takeover to be worth it */

struct order {
	struct pair p;
	uint32_t seed;
	bool kernel;		/* the modelled kernel has TLS */
	bool slow;		/* the wire has little room each time */
	bool short_reads;
	uint64_t reads_left;	/* preadv()s until one fails */
	unsigned char expected[MAX_STREAM];
	size_t expected_len, received;
	unsigned int shutdowns;	/* shutdown_write() calls */
};
extern struct order w;

#define ROWS		3	/* rows of tls_pair.h that can be taken over */

/*
 * Open a connection. Rows from ROWS on are those below ROWS, with the modelled
 * kernel. Only the SSL keeps a reference to the SSL_CTX.
 */
void world_open(int row, const struct tlssf_options *options);
void world_open_with(SSL_CTX *ctx, int row,
		     const struct tlssf_options *options);
struct tlssf_status status(void);
/* Repeat the call until all bytes are sent; the peer reads meanwhile. */
void do_write(const unsigned char *buf, size_t len);
void do_send(uint64_t off, size_t len);
/* Note what the peer must receive, without sending it. */
void expect_data(const void *buf, size_t len);
void expect_file_part(uint64_t off, size_t len);
void shut_down_and_check(void);
void receive(void);
void send_junk_from_peer(void);	/* a record that we cannot decrypt */

void add_failure_tests(Suite *suite);	/* unit_order_failures.c */
void add_search_tests(Suite *suite);	/* unit_order_search.c */
void add_stale_tests(Suite *suite);	/* unit_order_stale.c */
void add_fault_tests(Suite *suite);	/* unit_order_faults.c */
void add_library_tests(Suite *suite);	/* unit_order_library.c */
void add_mixed_tests(Suite *suite);	/* unit_order_mixed.c */
void add_padding_tests(Suite *suite);	/* unit_order_padding.c */
void add_limit_tests(Suite *suite);	/* unit_order_limit.c */
void add_fragment_tests(Suite *suite);	/* unit_order_fragments.c */
void add_secret_tests(Suite *suite);	/* unit_order_secret.c */

uint32_t draw(uint32_t n); /* a number from 0 to n - 1, drawn from the seed */
int64_t play_preadv(const struct sys_args *a);

/*
 * A model of Linux's TLS on SOCK, from TLS_TX on. It sends records of at most
 * 16 KiB, encrypts them when it accepts the data, and holds them above TCP as
 * long as the wire is full. It can rekey.
 */
void kernel_reset(void);
void kernel_set_probed(SSL_CTX *ctx);	/* the probe says that it can rekey */
void kernel_defaults(void);	/* script its system calls as defaults */
int64_t kernel_send(const struct sys_args *a);
void kernel_push(void);	/* send held records, as far as the wire has room */
void kernel_is_empty(void);	/* fails the test if a record is held */

#endif
