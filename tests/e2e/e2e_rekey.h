/* SPDX-License-Identifier: MIT */
/* What the files of e2e_rekey share. */
#ifndef TLSSF_TEST_E2E_REKEY_H
#define TLSSF_TEST_E2E_REKEY_H

#include "util.h"

/* KeyUpdates that the peer requests in one download */
#define REQUESTS	16

extern struct link rekey;	/* zeroed before and closed after each test */
extern struct file rekey_file;
extern uint64_t rekey_size; /* bytes of a download: the file from byte 1 on */

/* Small buffers: we cannot send much more than the peer has read. */
struct link_conf rekey_conf(void);
/* Returns whether a KeyUpdate would end a connection that uses this method. */
bool rekey_breaks(int method);
/* Process what the peer has sent: KeyUpdates, but no data. */
void rekey_read(void);
/*
 * Send the file from byte `done` on with tlssf_send(); returns its last result.
 */
ssize_t rekey_download(uint64_t done);
/* Check that all bytes have arrived; or only a prefix, and a fatal alert. */
void rekey_expect_all(ssize_t n);
void rekey_expect_alert(ssize_t n, int reason);
/* The peer sends a KeyUpdate of this type; returns once it has arrived. */
void rekey_peer_update(int type);
void add_own_tests(TCase *tc);

#endif
