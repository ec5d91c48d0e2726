# SPDX-License-Identifier: MIT
# Tools, examples, tests and benchmarks. Each file with a main() is a program. A
# file PROGRAM_*.c without main() is part of the program with the longest such
# name.

# Set `programs` and `parts` to the names, without ".c", of the C files in a
# folder with and without main().
function(sort_sources folder)
	file(GLOB files RELATIVE ${PROJECT_SOURCE_DIR}/${folder}
		CONFIGURE_DEPENDS ${folder}/*.c)
	foreach(file IN LISTS files)
		set(path ${PROJECT_SOURCE_DIR}/${folder}/${file})
		file(STRINGS ${path} main REGEX "^(int )?main\\(" LIMIT_COUNT 1)
		get_filename_component(name ${file} NAME_WE)
		if(main)
			list(APPEND found ${name})
		else()
			list(APPEND rest ${name})
		endif()
	endforeach()
	set(programs ${found} PARENT_SCOPE)
	set(parts ${rest} PARENT_SCOPE)
endfunction()

# add_program(FOLDER NAME TARGET LIBRARY...): add a program with its parts.
# Parts of tlssf-NAME may also begin with NAME_.
function(add_program folder name target)
	set(files ${folder}/${name}.c)
	string(REGEX REPLACE "^tlssf-" "" stem ${name})
	foreach(part IN LISTS parts)
		if(part MATCHES "^(${name}|${stem})_")
			list(APPEND files ${folder}/${part}.c)
		endif()
	endforeach()
	add_executable(${target} ${files})
	set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name}
		RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${folder})
	target_link_libraries(${target} PRIVATE flags ${ARGN}
		${tls} Threads::Threads)
endfunction()

if(TLSSF_TOOLS)
	sort_sources(tools)
	foreach(name IN LISTS programs)
		add_program(tools ${name} ${name} tlssf)
	endforeach()
endif()

if(TLSSF_EXAMPLES)
	find_path(HTTP_PARSER_INCLUDE http_parser.h)
	find_library(HTTP_PARSER_LIBRARY http_parser)
	if(NOT HTTP_PARSER_INCLUDE OR NOT HTTP_PARSER_LIBRARY)
		message(FATAL_ERROR "tlssf-httpd needs http-parser (Debian: "
			"libhttp-parser-dev); or use -DTLSSF_EXAMPLES=OFF")
	endif()
	sort_sources(examples)
	if(TLSSF_TLS STREQUAL boringssl)	# no accept BIO
		list(REMOVE_ITEM programs blocking_send)
	endif()
	foreach(name IN LISTS programs)
		add_program(examples ${name} ${name} tlssf)
	endforeach()
	if(TARGET tlssf-httpd)
		target_include_directories(tlssf-httpd SYSTEM PRIVATE
			${HTTP_PARSER_INCLUDE})
		target_link_libraries(tlssf-httpd PRIVATE
			${HTTP_PARSER_LIBRARY})
	endif()
endif()

# The programs of docs/ADOPTING.md. The one that needs libevent is optional.
function(add_adopting name)
	list(TRANSFORM ARGN PREPEND examples/adopting/)
	add_executable(adopting_${name} examples/adopting/setup.c ${ARGN})
	set_target_properties(adopting_${name} PROPERTIES OUTPUT_NAME ${name}
		RUNTIME_OUTPUT_DIRECTORY
		${PROJECT_BINARY_DIR}/examples/adopting)
	target_link_libraries(adopting_${name} PRIVATE flags tlssf ${tls}
		Threads::Threads)
endfunction()

if(TLSSF_EXAMPLES AND TLSSF_TLS STREQUAL openssl)
	add_adopting(blocking blocking.c)
	add_adopting(epoll epoll.c conn.c)
	add_adopting(upload upload.c)
	add_adopting(migrate migrate.c from_ssl_sendfile.c from_pread.c)
	find_path(LIBEVENT_INCLUDE event2/event.h)
	find_library(LIBEVENT_LIBRARY event_core)
	if(LIBEVENT_INCLUDE AND LIBEVENT_LIBRARY)
		add_adopting(libevent libevent.c conn.c)
		target_include_directories(adopting_libevent SYSTEM PRIVATE
			${LIBEVENT_INCLUDE})
		target_link_libraries(adopting_libevent PRIVATE
			${LIBEVENT_LIBRARY})
	endif()
endif()

if(TLSSF_BENCH)
	sort_sources(bench)
	if(TLSSF_TLS STREQUAL boringssl)	# bench/nginx-count uses that of OpenSSL
		list(REMOVE_ITEM programs get)
	endif()
	foreach(name IN LISTS programs)
		add_program(bench ${name} bench_${name} tlssf)
	endforeach()
	if(TLSSF_BENCH_GNUTLS)
		find_path(GNUTLS_INCLUDE gnutls/gnutls.h)
		find_library(GNUTLS_LIBRARY gnutls)
		target_compile_definitions(bench_send PRIVATE BENCH_GNUTLS)
		target_include_directories(bench_send SYSTEM PRIVATE
			${GNUTLS_INCLUDE})
		target_link_libraries(bench_send PRIVATE ${GNUTLS_LIBRARY})
	endif()
endif()

if(TLSSF_TESTS)
	enable_testing()
	include(cmake/tests.cmake)
endif()
