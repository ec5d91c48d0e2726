# SPDX-License-Identifier: MIT
# find_package(tlssf): tlssf::tlssf and tlssf::tlssf_static, with OpenSSL.
# find_package(tlssf COMPONENTS boringssl): tlssf::tlssf-boringssl and
# tlssf::tlssf-boringssl_static, with BoringSSL. Link a program with only one of
# the two libraries: OpenSSL and BoringSSL define the same symbols.
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
set(_tlssf_components ${tlssf_FIND_COMPONENTS})
if(NOT _tlssf_components)
	set(_tlssf_components openssl)
endif()
foreach(_tlssf_component IN LISTS _tlssf_components)
	set(_tlssf_targets
		${CMAKE_CURRENT_LIST_DIR}/tlssf-${_tlssf_component}-targets.cmake)
	if(NOT EXISTS ${_tlssf_targets})
		set(tlssf_FOUND FALSE)
		set(tlssf_NOT_FOUND_MESSAGE
			"tlssf: component ${_tlssf_component} is not installed")
		return()
	endif()
	if(_tlssf_component STREQUAL boringssl)
		list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
		find_dependency(BoringSSL)
	else()
		find_dependency(OpenSSL 3.0 COMPONENTS SSL Crypto)
	endif()
	include(${_tlssf_targets})
	set(tlssf_${_tlssf_component}_FOUND TRUE)
endforeach()
