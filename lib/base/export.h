/* SPDX-License-Identifier: MIT */
/*
 * CMakeLists.txt includes this file into every source file of the library. The
 * compiler hides all symbols except those of the public header.
 */
#pragma GCC visibility push(default)
#include <tlssf/tlssf.h>
#pragma GCC visibility pop
