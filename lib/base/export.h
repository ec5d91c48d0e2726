/* SPDX-License-Identifier: MIT */
/* Included first into every object: all is hidden but the public header. */
#pragma GCC visibility push(default)
#include <tlssf/tlssf.h>
#pragma GCC visibility pop
