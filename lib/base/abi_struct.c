/* SPDX-License-Identifier: MIT */
/*
 * Structs of the public API that carry their size, so that a program and the
 * library may be built with different versions of the header. A new version
 * adds members at the end only.
 */
#include <errno.h>
#include <string.h>

#include "base.h"

#define SIZE_LIMIT	4096u	/* a larger size: an uninitialised struct */

static size_t size_of(const void *s)
{
	size_t size;	/* the first member of each of these structs */

	memcpy(&size, s, sizeof(size));
	return size;
}

int tlssf_abi_check(const void *s, size_t least, size_t known)
{
	const unsigned char *p = s;
	size_t size = size_of(s), i;

	if (size < least || size > SIZE_LIMIT)
		return -EINVAL;
	for (i = known; i < size; i++)
		if (p[i])	/* a member that this library does not know */
			return -EINVAL;
	return 0;
}

void tlssf_abi_import(void *to, const void *from, size_t known)
{
	size_t size = size_of(from);

	memset(to, 0, known);
	memcpy(to, from, size < known ? size : known);
}

void tlssf_abi_export(void *to, void *from, size_t known)
{
	size_t size = size_of(to);

	if (size > known)
		size = known;
	memcpy(from, &size, sizeof(size));
	memcpy(to, from, size);
}
