# SPDX-License-Identifier: MIT
# unit_*.c see the inside of the library; all others see only the shared
# library. A unit test that includes scripted_sys.h brings its own tlssf_sys:
# the archive's sys.o then stays out of the link.
find_package(PkgConfig)
if(PKG_CONFIG_FOUND)
	pkg_check_modules(CHECK IMPORTED_TARGET check)
endif()
if(NOT CHECK_FOUND)
	message(FATAL_ERROR "the tests need pkg-config and Check (Debian: "
		"pkg-config check); or use -DTLSSF_TESTS=OFF")
endif()

sort_sources(tests)
foreach(part IN LISTS parts)
	if(part MATCHES "^(header$|scripted_)")
		continue()
	endif()
	set(own FALSE)
	foreach(name IN LISTS programs)
		if(part MATCHES "^${name}_")
			set(own TRUE)
		endif()
	endforeach()
	if(NOT own)
		list(APPEND shared tests/${part}.c)
	endif()
endforeach()
if(shared)
	add_library(testlib STATIC ${shared})
	target_include_directories(testlib PUBLIC include)
	target_link_libraries(testlib PRIVATE flags
		PUBLIC PkgConfig::CHECK ${tls} Threads::Threads)
endif()

if(TLSSF_TLS STREQUAL boringssl)
	# these speak of SSL_sendfile(), or seal with OpenSSL's EVP, or of
	# neither library
	list(REMOVE_ITEM programs unit_conn unit_kernel_send unit_probe
		kernel_facts)
endif()

# The other end of the e2e tests: plain OpenSSL, whatever they are linked with.
find_package(OpenSSL 3.0 REQUIRED COMPONENTS SSL Crypto)
list(REMOVE_ITEM programs peer)
function(add_peer)
	set(tls OpenSSL::SSL)
	add_program(tests peer peer)
endfunction()
add_peer()

# Seconds that only a hang takes: no verdict depends on the speed of a machine.
set(hang 3600)
# A test that cannot run at all exits with 77.
function(register name label)
	add_test(NAME ${name} COMMAND ${ARGN})
	set_tests_properties(${name} PROPERTIES TIMEOUT ${hang}
		LABELS ${label} SKIP_RETURN_CODE 77)
endfunction()

foreach(name IN LISTS programs)
	if(name MATCHES "^unit_")
		add_program(tests ${name} ${name} $<TARGET_NAME_IF_EXISTS:testlib>
			PkgConfig::CHECK tlssf_static)
		target_include_directories(${name} PRIVATE ${layer_folders})
		file(STRINGS tests/${name}.c scripted
			REGEX "include \"scripted_sys.h\"")
		if(scripted)
			target_sources(${name} PRIVATE tests/scripted_sys.c)
		endif()
		register(${name} unit ${name})
	else()
		add_program(tests ${name} ${name} $<TARGET_NAME_IF_EXISTS:testlib>
			PkgConfig::CHECK tlssf ${CMAKE_DL_LIBS})
		add_dependencies(${name} peer)
		register(${name} e2e ${name})
	endif()
endforeach()

if(TARGET tlssf-probe)
	register(probe e2e ${PROJECT_SOURCE_DIR}/tests/probe/run
		$<TARGET_FILE:tlssf-probe>)
endif()

if(TARGET adopting_epoll)
	register(adopting e2e ${PROJECT_SOURCE_DIR}/tests/adopting/run
		${PROJECT_BINARY_DIR})
endif()

if(NOT TLSSF_SANITIZE)	# these look at files, not at behaviour
	set(scripts ${PROJECT_SOURCE_DIR}/scripts)
	register(symbols static ${scripts}/symbols $<TARGET_FILE:tlssf>)
	register(arrows static ${scripts}/arrows
		$<TARGET_FILE:tlssf_static>)
	register(arrows_self_test static ${scripts}/arrows --self-test
		$<TARGET_FILE:tlssf_static>)
	register(version static ${scripts}/version)
	register(header static ${scripts}/header)
	if(TARGET tlssf-probe AND TLSSF_TLS STREQUAL openssl)
		register(man static ${PROJECT_SOURCE_DIR}/tests/man/run
			${PROJECT_BINARY_DIR})
	endif()
	if(TARGET adopting_epoll)
		register(uwsgi e2e
			${PROJECT_SOURCE_DIR}/tests/adopting/uwsgi
			${PROJECT_BINARY_DIR})
	endif()
	register(install static ${PROJECT_SOURCE_DIR}/tests/install/run
		${PROJECT_BINARY_DIR})
endif()
