/* SPDX-License-Identifier: MIT */
/* The only place where the version number is written. */
#ifndef TLSSF_VERSION_H
#define TLSSF_VERSION_H

#define TLSSF_VERSION_MAJOR 0
#define TLSSF_VERSION_MINOR 1
#define TLSSF_VERSION_PATCH 0

#endif
