/* SPDX-License-Identifier: MIT */
/* What the files of unit_sys share. */
#ifndef TLSSF_UNIT_SYS_H
#define TLSSF_UNIT_SYS_H

#include <check.h>

void add_refused_tests(Suite *suite);	/* unit_sys_refused.c */

#endif
