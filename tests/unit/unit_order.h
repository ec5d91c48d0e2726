/* SPDX-License-Identifier: MIT */
#ifndef TLSSF_UNIT_ORDER_H
#define TLSSF_UNIT_ORDER_H

#include "scripted_sys.h"
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <string.h>

#define SOCK		1000	/* no real descriptors */
#define FILE_FD		1010
#define FILE_SIZE	(4 * MIB)
#define MAX_STREAM	(8 * MIB)
#define BIG		(128 * KIB)	/* from here on it pays */

struct order {
	struct pair p;
	uint32_t dice;
	bool kernel;		/* there is one, and it knows TLS */
	bool slow;		/* the wire takes little */
	bool short_reads;
	uint64_t reads_left;	/* then the disk fails */
	unsigned char want[MAX_STREAM];
	size_t wanted, received;
	unsigned int severed;	/* shutdown_write() calls */
};
extern struct order w;

#define ROWS		3	/* of tls_pair.h, the AEAD ones */

/* Rows from ROWS on: with a kernel. The context is freed. */
void world_open(int row, const struct tlssf_options *options);
void world_open_with(SSL_CTX *ctx, int row,
		     const struct tlssf_options *options);
struct tlssf_status status(void);
/* Each to its end, the peer reading meanwhile. */
void do_write(const unsigned char *buf, size_t len);
void do_send(uint64_t off, size_t len);
/* Only account for what the peer is to receive. */
void want(const void *buf, size_t len);
void want_file_part(uint64_t off, size_t len);
void good_bye(void);
void receive(void);

void add_failure_tests(Suite *suite);	/* unit_order_failures.c */
void add_search_tests(Suite *suite);	/* unit_order_search.c */
void add_stale_tests(Suite *suite);	/* unit_order_stale.c */
void add_fault_tests(Suite *suite);	/* unit_order_faults.c */
void add_library_tests(Suite *suite);	/* unit_order_library.c */
void add_mixed_tests(Suite *suite);	/* unit_order_mixed.c */
void add_padding_tests(Suite *suite);	/* unit_order_padding.c */

uint32_t dice(uint32_t n);	/* 0 to n - 1 */
int64_t play_preadv(const struct sys_args *a);

/*
 * A kernel that does TLS on SOCK from TLS_TX on, as Linux does: records of at
 * most 16 KiB, sealed when they are taken, kept above TCP while the wire is
 * full. It can rekey.
 */
void kernel_reset(void);
void kernel_set_probed(SSL_CTX *ctx);	/* the probe says that it can rekey */
void kernel_defaults(void);	/* its answers to system calls */
int64_t kernel_send(const struct sys_args *a);
void kernel_push(void);		/* its worker: what the wire takes */
void kernel_is_empty(void);	/* or the test fails */

#endif
