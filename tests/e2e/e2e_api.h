/* SPDX-License-Identifier: MIT */
/* What the files of e2e_api share. */
#ifndef TLSSF_TEST_E2E_API_H
#define TLSSF_TEST_E2E_API_H

#include "util.h"

extern struct link api;		/* zeroed before and closed after each test */
extern struct file api_file;	/* 4 MiB, shared by all tests */

/* Enough to fill every buffer many times over, yet less in the slow guests. */
#define MUCH	(in_guest() ? 256 * KIB : MIB)

void api_own_file(void); /* a copy of the file that this test may change */
void api_still_works(void);
void add_input_tests(TCase *tc);
void add_order_tests(TCase *tc);
void add_bio_tests(TCase *tc);
void add_size_tests(TCase *tc);

#endif
