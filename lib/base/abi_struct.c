/* SPDX-License-Identifier: MIT */
/*
 * Structs that carry their size, between a program and a library that may have
 * been built with different headers. Members are only ever added at the end.
 */
#include <errno.h>
#include <string.h>

#include "base.h"

#define SIZED_MAX	4096u	/* more is no struct, but garbage */

static size_t size_of(const void *s)
{
	size_t size;	/* the first member of each of them */

	memcpy(&size, s, sizeof(size));
	return size;
}

int tlssf_abi_check(const void *s, size_t least, size_t known)
{
	const unsigned char *p = s;
	size_t size = size_of(s), i;

	if (size < least || size > SIZED_MAX)
		return -EINVAL;
	for (i = known; i < size; i++)
		if (p[i])	/* a wish that we do not know */
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
