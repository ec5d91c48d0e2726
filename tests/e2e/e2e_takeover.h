/* SPDX-License-Identifier: MIT */
/* What the files of e2e_takeover share. */
#ifndef TLSSF_TEST_E2E_TAKEOVER_H
#define TLSSF_TEST_E2E_TAKEOVER_H

#include "util.h"

#define N_VERSIONS 2
extern const int versions[N_VERSIONS];
extern struct link tk;		/* zeroed before and closed after each test */
extern struct file tk_file;	/* 1 MiB, shared by all tests */

/*
 * A connection whose keys will be taken over: by the method `ktls` where the
 * kernel can encrypt; elsewhere by AUTO, in user space.
 */
struct link_conf tk_conf(int version);
bool tk_kernel(int version);	/* the kernel can encrypt */
/* Send enough for a takeover. The peer has read all of it afterwards. */
void tk_take_over(struct link *l);
/*
 * Send as much as tk_take_over() when no takeover is possible. AUTO must
 * deliver everything, and a named method must fail for this reason.
 */
void tk_refused(struct link *l, int reason);
/* Check that an SSL_write(), a file, a job and close_notify arrive. */
void tk_ends_well(struct link *l);
/*
 * Check that nothing more can be sent: the peer sees a truncated stream,
 * without close_notify and without a record that it cannot decrypt.
 */
void tk_ends_truncated(struct link *l);

void add_bio_tests(TCase *tc);
void add_client_tests(TCase *tc);
void add_life_tests(TCase *tc);
void add_option_tests(TCase *tc);
void add_peer_tests(TCase *tc);
void add_why_tests(TCase *tc);

#endif
