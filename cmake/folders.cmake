# SPDX-License-Identifier: MIT
# Runs at the beginning of an install. Adds those of `folders` (absolute, or
# relative to the prefix) that do not exist yet to install_folders.txt, for
# uninstall.cmake.
set(record ${build}/install_folders.txt)
set(made)
if(EXISTS ${record})
	file(STRINGS ${record} made)
endif()
foreach(folder IN LISTS folders)
	if(NOT IS_ABSOLUTE ${folder})
		set(folder ${CMAKE_INSTALL_PREFIX}/${folder})
	endif()
	set(folder "$ENV{DESTDIR}${folder}")
	while(NOT EXISTS "${folder}")
		list(APPEND made "${folder}")
		get_filename_component(folder "${folder}" DIRECTORY)
	endwhile()
endforeach()
list(REMOVE_DUPLICATES made)
string(REPLACE ";" "\n" made "${made}")
file(WRITE ${record} "${made}\n")
