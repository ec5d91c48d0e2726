/* SPDX-License-Identifier: MIT */
/* The version; scripts/arrows compares the two changelogs with it. */
#ifndef TLSSF_VERSION_H
#define TLSSF_VERSION_H

#define TLSSF_VERSION_MAJOR 0
#define TLSSF_VERSION_MINOR 1
#define TLSSF_VERSION_PATCH 0

#endif
