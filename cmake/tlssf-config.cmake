# SPDX-License-Identifier: MIT
include(CMakeFindDependencyMacro)
find_dependency(OpenSSL 3.0 COMPONENTS SSL Crypto)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/tlssf-targets.cmake)
