# SPDX-License-Identifier: MIT
# Finds BoringSSL and defines BoringSSL::SSL and BoringSSL::Crypto. Searches the
# folders of Debian's package android-libboringssl-dev, which are not among the
# default ones, and the folder BoringSSL_ROOT, if set.
find_path(BoringSSL_INCLUDE openssl/is_boringssl.h PATH_SUFFIXES android)
foreach(part ssl crypto)
	find_library(BoringSSL_${part} ${part} NO_CMAKE_SYSTEM_PATH
		PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android
		${BoringSSL_INCLUDE}/../../lib/${CMAKE_LIBRARY_ARCHITECTURE}/android)
endforeach()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(BoringSSL
	REQUIRED_VARS BoringSSL_ssl BoringSSL_crypto BoringSSL_INCLUDE
	FAIL_MESSAGE "BoringSSL not found (Debian: android-libboringssl-dev)")
if(BoringSSL_FOUND AND NOT TARGET BoringSSL::SSL)
	foreach(part Crypto SSL)
		string(TOLOWER ${part} file)
		add_library(BoringSSL::${part} UNKNOWN IMPORTED)
		set_target_properties(BoringSSL::${part} PROPERTIES
			IMPORTED_LOCATION ${BoringSSL_${file}}
			INTERFACE_INCLUDE_DIRECTORIES ${BoringSSL_INCLUDE})
	endforeach()
	set_target_properties(BoringSSL::SSL PROPERTIES
		INTERFACE_LINK_LIBRARIES BoringSSL::Crypto)
endif()
mark_as_advanced(BoringSSL_INCLUDE BoringSSL_ssl BoringSSL_crypto)
