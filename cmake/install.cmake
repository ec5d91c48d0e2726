# SPDX-License-Identifier: MIT
include(CMakePackageConfigHelpers)

# The .pc file derives its prefix from its own location, so that the installed
# tree can be moved. That is not possible if libdir is an absolute path.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
	set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
	set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
else()
	file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
	string(REGEX REPLACE "/$" "" up "${up}")
	set(pc_prefix "\${pcfiledir}/${up}")
	set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
	set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
else()
	set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
if(off_t_definition)
	set(pc_definitions " -D${off_t_definition}")
endif()
if(BoringSSL_ssl)
	get_filename_component(boringssl_dir ${BoringSSL_ssl} DIRECTORY)
endif()
configure_file(${libname}.pc.in ${libname}.pc @ONLY)

# The target `uninstall`. A subproject has none, because the parent project may
# have a target of that name.
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/tlssf)
set(folders ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_LIBDIR} ${package}
	${CMAKE_INSTALL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_INCLUDEDIR}/tlssf
	${CMAKE_INSTALL_MANDIR}/man1 ${CMAKE_INSTALL_MANDIR}/man3
	${CMAKE_INSTALL_MANDIR}/man7 ${CMAKE_INSTALL_DATADIR}/tlssf)
if(PROJECT_SOURCE_DIR STREQUAL CMAKE_SOURCE_DIR)
	install(CODE "set(build \"${PROJECT_BINARY_DIR}\")
		set(folders \"${folders}\")
		include(\"${PROJECT_SOURCE_DIR}/cmake/folders.cmake\")")
	add_custom_target(uninstall COMMAND ${CMAKE_COMMAND}
		-DBUILD=${PROJECT_BINARY_DIR}
		-P ${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake VERBATIM)
endif()

# The builds for OpenSSL and BoringSSL can share a prefix: files of the same
# name have the same content in both.
install(TARGETS tlssf tlssf_static EXPORT tlssf-${TLSSF_TLS}-targets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT tlssf-${TLSSF_TLS}-targets NAMESPACE tlssf::
	DESTINATION ${package})
write_basic_package_version_file(tlssf-config-version.cmake
	COMPATIBILITY SameMajorVersion)	# as the soname
install(FILES cmake/tlssf-config.cmake cmake/FindBoringSSL.cmake
	${PROJECT_BINARY_DIR}/tlssf-config-version.cmake
	DESTINATION ${package})
install(DIRECTORY include/tlssf DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
	FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/${libname}.pc
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES docs/man/tlssf.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
file(GLOB pages CONFIGURE_DEPENDS docs/man/*.3)
# For each further name of a man page, install a page that includes it.
foreach(page IN LISTS pages)
	get_filename_component(main ${page} NAME)
	file(STRINGS ${page} names REGEX "^\\.Nm tlssf_[a-z_]+ ?,?$")
	foreach(name IN LISTS names)
		string(REGEX MATCH "tlssf_[a-z_]+" name ${name})
		if(NOT main STREQUAL "${name}.3")
			file(WRITE ${PROJECT_BINARY_DIR}/man/${name}.3
				".so man3/${main}\n")
		endif()
	endforeach()
endforeach()
install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(DIRECTORY ${PROJECT_BINARY_DIR}/man/
	DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
if(TARGET tlssf-probe AND TLSSF_TLS STREQUAL openssl)
	install(TARGETS tlssf-probe
		RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
	install(FILES docs/man/tlssf-probe.1
		DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
	install(FILES docs/tlssf-probe.schema.json
		DESTINATION ${CMAKE_INSTALL_DATADIR}/tlssf)
endif()
