/* SPDX-License-Identifier: MIT */
/* What the files of e2e_takeover share. */
#ifndef TLSSF_TEST_E2E_TAKEOVER_H
#define TLSSF_TEST_E2E_TAKEOVER_H

#include "util.h"

#define N_VERSIONS 2
extern const int versions[N_VERSIONS];
extern struct link tk;		/* zeroed before, closed after each test */
extern struct file tk_file;	/* 1 MiB, shared by all tests */

/*
 * A connection whose keys will be taken over: by the method of that name where
 * the kernel takes them, elsewhere by AUTO, which then seals with them itself.
 */
struct link_conf tk_conf(int version);
bool tk_kernel(int version);	/* the former */
/* Send enough; then they are, and the peer has read all that was sent. */
void tk_take(struct link *l);
/* Or cannot be: AUTO delivers all the same, by name it fails: why. */
void tk_refused(struct link *l, int reason);
/* SSL_write, a file, a job, close_notify: all arrives. */
void tk_ends_well(struct link *l);
/* No more can be sent: the peer sees a cut, no good-bye and no rubbish. */
void tk_is_cut(struct link *l);

void add_bio_tests(TCase *tc);
void add_client_tests(TCase *tc);
void add_life_tests(TCase *tc);
void add_option_tests(TCase *tc);
void add_peer_tests(TCase *tc);
void add_why_tests(TCase *tc);

#endif
