/* SPDX-License-Identifier: MIT */
/*
 * What the files of unit_probe share: a model of the kernel, in which libcrypto
 * encrypts with the key that TLS_TX got; and parts of scripts.
 */
#ifndef TLSSF_UNIT_PROBE_MODEL_H
#define TLSSF_UNIT_PROBE_MODEL_H

#include "scripted_sys.h"

#include <check.h>

#define TLS12 0x0303
#define TLS13 0x0304
#define TX 10		/* the descriptors of the scripted socket pair */
#define RX 11
#define MINUTE 60000

enum { OPT_ZEROCOPY = 3, OPT_PAYLOAD = 5 };	/* options of SOL_TLS */

/* What is wrong with the records that the model sends. */
enum damage { NONE, PLAINTEXT, INNER_TYPE, OUTER_TYPE, LENGTH, NONCE,
	      NUMBER,	/* the sequence number starts at 0, not as requested */
	      TAG_BIT, DAMAGES };

struct model {
	unsigned char info[2][SYS_CRYPTO_MAX];	/* keys, the newest first */
	unsigned int keys;	/* how many keys were installed so far */
	bool stale;		/* the model uses the key before the newest */
	enum damage damage;
	unsigned char plain[256];
	size_t plain_len;
	unsigned char record[320];
	size_t len, given;
};
extern struct model model;

bool library_has(int cipher);	/* libcrypto can encrypt with it */
int cipher_of(const unsigned char *info);
int version_of(const unsigned char *info);

/* For SCRIPT(.play): system calls of the model. */
int64_t take_key(const struct sys_args *a);
int64_t take_plain(const struct sys_args *a);
int64_t send_record_bytes(const struct sys_args *a);
int64_t send_seven_bytes(const struct sys_args *a);
int64_t zerocopy_option(const struct sys_args *a);
int64_t payload_option(const struct sys_args *a);

/* Parts of scripts. */
void expect_pair(void);
void expect_ulp(void);		/* a socket pair, and the module attached */
void expect_key(void);
void expect_record(void);
void expect_close(void);
void expect_success(void);	/* a complete trial that succeeds */
/* A trial until the last option that Linux 5.19 has. */
void expect_old_options(void);
/* That trial, followed by a rekey that succeeds. */
void expect_rekey(void);

/* Probe, and check that the whole script was played. */
struct tlssf_cap probe(int version, int cipher);
/* A minute passes first, so failures are not cached any more. */
struct tlssf_cap probe_gcm(void);
bool probe_rekey(void);
void assert_cap(struct tlssf_cap cap, int tx, int error, int verified);
/* Check that after a failure the next trial succeeds. */
void assert_recovers(void);

/* Returns the errno after `err` (after 0, the first), or 0 after the last. */
int next_errno(int err);
/* Returns whether this errno says nothing about the kernel's abilities. */
bool passes(int err);

void add_tests(Suite *suite, const char *name, const TTest *const *tests);
#define ADD(suite, name, ...) \
	add_tests(suite, name, (const TTest *const[]){ __VA_ARGS__, NULL })

void add_errno_tests(Suite *suite);	/* unit_probe_errno.c */
void add_memory_tests(Suite *suite);	/* unit_probe_memory.c */
void add_thread_tests(Suite *suite);	/* unit_probe_threads.c */

#endif
