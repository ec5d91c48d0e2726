# SPDX-License-Identifier: MIT
# The test programs. tests/README.md describes what each proves. CMake finds
# them by these rules:
#
# - In tests/unit, tests/e2e and tests/kernel each C file with a main() is a
#   program of the same name. A file without main() is a part of the program
#   whose name its own name begins with: unit_order_stale.c is a part of
#   unit_order. To add a program or a part, add the file.
# - The files of tests/support are the library testlib, which all programs are
#   linked with. There are two exceptions: peer.c and peer_*.c are the program
#   "peer", the other end of the e2e tests; scripted_sys.c is compiled into the
#   unit tests that include scripted_sys.h. It defines the functions of
#   lib/base/sys.c, so the linker does not take them from the static library.
# - Unit tests may include headers of lib/ and link with the static library. All
#   other programs use only the public header and link with the shared library.
# - All programs are built in the folder tests of the build tree, because they
#   run "peer" from their own folder.
find_package(PkgConfig)
if(PKG_CONFIG_FOUND)
	pkg_check_modules(CHECK IMPORTED_TARGET check)
endif()
if(NOT CHECK_FOUND)
	message(FATAL_ERROR "the tests need pkg-config and Check (Debian: "
		"pkg-config check); or use -DTLSSF_TESTS=OFF")
endif()

sort_sources(tests/support)
list(FILTER parts EXCLUDE REGEX "^(peer|scripted)_")
list(TRANSFORM parts PREPEND tests/support/)
list(TRANSFORM parts APPEND .c)
add_library(testlib STATIC ${parts})
target_include_directories(testlib PUBLIC include tests/support)
target_link_libraries(testlib PRIVATE flags
	PUBLIC PkgConfig::CHECK ${tls} Threads::Threads)

# add_test_program(FOLDER NAME LIBRARY...)
function(add_test_program folder name)
	add_program(tests/${folder} ${name} ${name} ${ARGN})
	set_target_properties(${name} PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

# The other end of the e2e tests uses OpenSSL without libtlssf, also if the
# tests use BoringSSL.
find_package(OpenSSL 3.0 REQUIRED COMPONENTS SSL Crypto)
function(add_peer)
	set(tls OpenSSL::SSL)
	sort_sources(tests/support)
	add_test_program(support peer)
endfunction()
add_peer()

# sort_test_sources(FOLDER): do what sort_sources() does, and check that each
# part belongs to a program.
macro(sort_test_sources folder)
	sort_sources(tests/${folder})
	foreach(part IN LISTS parts)
		set(owners ${programs})
		list(TRANSFORM owners APPEND _)
		list(TRANSFORM owners PREPEND ^)
		list(JOIN owners "|" owners)
		if(NOT part MATCHES "${owners}")
			message(FATAL_ERROR "tests/${folder}/${part}.c has no "
				"main(), and no program's name is the "
				"beginning of its name")
		endif()
	endforeach()
endmacro()

# Timeout in seconds: a test that needs longer has hung, even on a slow and busy
# machine.
set(hang 3600)
# register(NAME LABEL COMMAND...): add a test. The exit status 77 means skipped.
function(register name label)
	add_test(NAME ${name} COMMAND ${ARGN})
	set_tests_properties(${name} PROPERTIES TIMEOUT ${hang}
		LABELS ${label} SKIP_RETURN_CODE 77)
endfunction()

sort_test_sources(unit)
if(TLSSF_TLS STREQUAL boringssl)	# these need SSL_sendfile()
	list(REMOVE_ITEM programs unit_conn unit_kernel_send unit_probe)
endif()
foreach(name IN LISTS programs)
	add_test_program(unit ${name} testlib tlssf_static)
	target_include_directories(${name} PRIVATE ${layer_folders})
	file(STRINGS tests/unit/${name}.c scripted
		REGEX "include \"scripted_sys.h\"")
	if(scripted)
		target_sources(${name} PRIVATE tests/support/scripted_sys.c)
	endif()
	register(${name} unit ${name})
endforeach()

foreach(folder e2e kernel)
	if(folder STREQUAL kernel AND TLSSF_TLS STREQUAL boringssl)
		continue()	# encrypts with OpenSSL's EVP
	endif()
	sort_test_sources(${folder})
	foreach(name IN LISTS programs)
		add_test_program(${folder} ${name} testlib tlssf
			${CMAKE_DL_LIBS})
		add_dependencies(${name} peer)
		register(${name} e2e ${name})
	endforeach()
endforeach()

if(TARGET tlssf-probe)
	register(probe e2e ${PROJECT_SOURCE_DIR}/tests/probe/run
		$<TARGET_FILE:tlssf-probe>)
endif()

if(TARGET adopting_epoll)
	register(adopting e2e ${PROJECT_SOURCE_DIR}/tests/adopting/run
		${PROJECT_BINARY_DIR})
endif()

if(NOT TLSSF_SANITIZE)	# these check files or scripts
	set(scripts ${PROJECT_SOURCE_DIR}/scripts)
	register(symbols static ${scripts}/symbols $<TARGET_FILE:tlssf>)
	register(arrows static ${scripts}/arrows
		$<TARGET_FILE:tlssf_static>)
	register(arrows_self_test static ${scripts}/arrows --self-test
		$<TARGET_FILE:tlssf_static>)
	register(version static ${scripts}/version)
	register(states static ${scripts}/states $<TARGET_FILE:unit_state>)
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
