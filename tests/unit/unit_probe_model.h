/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_probe share: a kernel that libcrypto plays from the
 * bytes that TLS_TX took, and pieces of scripts.
 */
#ifndef TLSSF_UNIT_PROBE_MODEL_H
#define TLSSF_UNIT_PROBE_MODEL_H

#include "scripted_sys.h"

#include <check.h>

#define TLS12 0x0303
#define TLS13 0x0304
#define TX 10		/* the fds of the scripted pair */
#define RX 11
#define MINUTE 60000

enum { OPT_ZEROCOPY = 3, OPT_PAYLOAD = 5 };	/* of SOL_TLS */

/* What is wrong with the records of the kernel. */
enum damage { NONE, PLAINTEXT, INNER_TYPE, OUTER_TYPE, LENGTH, NONCE,
	      NUMBER,		/* counts from 0, not as told */
	      TAG_BIT, DAMAGES };

struct model {
	unsigned char info[2][SYS_CRYPTO_MAX];	/* newest first */
	unsigned int keys;	/* installed so far */
	bool stale;		/* goes on with the key before */
	enum damage damage;
	unsigned char plain[256];
	size_t plain_len;
	unsigned char record[320];
	size_t len, given;
};
extern struct model model;

bool library_has(int cipher);	/* libcrypto can seal with it */
int cipher_of(const unsigned char *info);
int version_of(const unsigned char *info);

/* For SCRIPT(.play): the kernel's part. */
int64_t take_key(const struct sys_args *a);
int64_t take_plain(const struct sys_args *a);
int64_t give(const struct sys_args *a);
int64_t give_seven(const struct sys_args *a);
int64_t zerocopy_option(const struct sys_args *a);
int64_t payload_option(const struct sys_args *a);

/* Pieces of scripts. */
void expect_pair(void);
void expect_ulp(void);		/* a pair, and the module attached */
void expect_key(void);
void expect_record(void);
void expect_close(void);
void expect_success(void);	/* all of a good trial */
void expect_old_options(void);	/* a trial up to the options of 5.19 */
void expect_rekey(void);	/* ... and a rekey that works */

/* Ask, and check that the script was played to its end. */
struct tlssf_cap ask(int version, int cipher);
struct tlssf_cap ask_gcm(void);	/* a minute later */
bool ask_rekey(void);		/* a minute later */
void assert_cap(struct tlssf_cap cap, int tx, int error, int verified);
/* After any failure the next trial may succeed. */
void assert_recovers(void);

/* Every errno, from 1; 0 after the last. */
int next_errno(int err);
/* It tells nothing of what the kernel can do. */
bool passing(int err);

void add_tests(Suite *suite, const char *name, const TTest *const *tests);
#define ADD(suite, name, ...) \
	add_tests(suite, name, (const TTest *const[]){ __VA_ARGS__, NULL })

void add_errno_tests(Suite *suite);	/* unit_probe_errno.c */
void add_memory_tests(Suite *suite);	/* unit_probe_memory.c */
void add_thread_tests(Suite *suite);	/* unit_probe_threads.c */

#endif
