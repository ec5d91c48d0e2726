/* SPDX-License-Identifier: MIT */
/* What the files of e2e_rekey share. */
#ifndef TLSSF_TEST_E2E_REKEY_H
#define TLSSF_TEST_E2E_REKEY_H

#include "util.h"

#define REQUESTS	16	/* of the peer in one download */

extern struct link rekey;	/* zeroed before, closed after each test */
extern struct file rekey_file;
extern uint64_t rekey_size;	/* of a download: the file from byte 1 on */

/* A stream that does not run far ahead of its reader. */
struct link_conf rekey_conf(void);
/* Would a KeyUpdate end a connection that uses this method? */
bool rekey_breaks(int method);
/* Handle what the peer has sent: KeyUpdates, there is no data. */
void rekey_read(void);
/* The file from byte `done` on, by tlssf_send; the last result. */
ssize_t rekey_download(uint64_t done);
/* All came, or what came is a prefix and then a fatal alert. */
void rekey_expect_all(ssize_t n);
void rekey_expect_alert(ssize_t n, int reason);
/* After PEER_KEY_UPDATE of this type has reached us. */
void rekey_peer_update(int type);
void add_own_tests(TCase *tc);

#endif
