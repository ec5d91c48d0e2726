/* SPDX-License-Identifier: MIT */
/* A scripted socket whose kernel TLS has the keys. */
#ifndef TLSSF_UNIT_TX_ACCOUNT_H
#define TLSSF_UNIT_TX_ACCOUNT_H

#include "scripted_sys.h"
#include "test_conn.h"
#include "tls_pair.h"
#include "util.h"

#define FD		9

#define N_KINDS		8
extern const struct kind {
	int version, cipher;
	unsigned int overhead;	/* header, nonce, inner type, tag */
} kinds[N_KINDS];

extern struct sock {
	struct sys_tcp tcp;
	uint64_t seq;
	int cipher;
	int tcp_err, head_err, seq_err, push_err;
	unsigned int pushes;
} sock;

extern struct ctx_conf zerocopy_conf; /* requests zerocopy and small records */

/*
 * A connection of this kind whose kernel TLS has sent records before. TCP has
 * `queued` unacknowledged bytes.
 */
struct conn *start(const struct kind *k, uint64_t queued);
/*
 * Make the kernel accept `plain` bytes as so many records, none of which is in
 * TCP yet.
 */
void kernel_sends(struct conn *c, uint64_t plain, unsigned int records);

#define assert_drain(c, want) ck_assert_int_eq(tlssf_tx_drain(c), want)

void add_tx_account_errors(Suite *suite);

#endif
