# SPDX-License-Identifier: MIT
# cmake -DBUILD=DIR -P uninstall.cmake: remove the files that the last install
# from the build tree DIR has installed, and the folders that it has created.
set(manifest ${BUILD}/install_manifest.txt)
set(record ${BUILD}/install_folders.txt)
if(NOT EXISTS ${manifest})
	message(FATAL_ERROR "nothing was installed from ${BUILD}")
endif()
file(STRINGS ${manifest} files)
foreach(file IN LISTS files)
	set(file "$ENV{DESTDIR}${file}")
	file(REMOVE "${file}")
	if(EXISTS "${file}" OR IS_SYMLINK "${file}")
		message(FATAL_ERROR "cannot remove ${file}")
	endif()
	message(STATUS "Removed ${file}")
endforeach()

# Remove the deepest folders first. rmdir fails for a folder that is not empty.
if(EXISTS ${record})
	file(STRINGS ${record} folders)
	list(SORT folders ORDER DESCENDING)
	foreach(folder IN LISTS folders)
		execute_process(COMMAND rmdir "${folder}" ERROR_QUIET)
	endforeach()
endif()
file(REMOVE ${manifest} ${record})
