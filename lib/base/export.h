/* SPDX-License-Identifier: MIT */
/*
 * CMakeLists.txt includes this file into every source file of the library. The
 * library is compiled with hidden symbols; only those of the public header are
 * visible.
 */
#pragma GCC visibility push(default)
#include <tlssf/tlssf.h>
#pragma GCC visibility pop
