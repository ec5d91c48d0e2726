/* SPDX-License-Identifier: MIT */
/* What the files of e2e_life share. */
#ifndef TLSSF_TEST_E2E_LIFE_H
#define TLSSF_TEST_E2E_LIFE_H

#include "util.h"

extern struct link life;	/* zeroed before and closed after each test */
extern struct file life_file;	/* 4 MiB, shared by all tests */

/* Check that some more bytes arrive, and then close_notify. */
void life_ends_well(struct link *l);
/* Send until the socket is full. */
void life_fill(struct link *l);
/* Open a link with small buffers and a peer that does not read, and fill it. */
bool life_open_full(struct link *l, int way, const char *test);
/* The peer reads; send the rest of 2 MiB. */
void life_send_rest(struct link *l);
void add_process_tests(TCase *tc);

#endif
