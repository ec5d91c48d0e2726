/* SPDX-License-Identifier: MIT */
/* Is the tls module on the disk? The lists of depmod(8) name all modules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

#define TEXT_MAX	(8u << 20)	/* modules.dep is below 1 MiB today */

static bool file_lists_module(const char *path)
{
	char *text = malloc(TEXT_MAX);	/* Linux maps only the pages in use */
	bool found;

	if (text == NULL)
		return false;
	found = tlssf_sys.read_text(path, text, TEXT_MAX) > 0 &&
		strstr(text, "/tls.ko") != NULL;
	free(text);
	return found;
}

bool tlssf_tls_module_installed(void)
{
	static const char *const files[] = { "dep", "builtin" };
	char release[128], path[sizeof(release) + 32];

	if (tlssf_sys.kernel_release(release, sizeof(release)) < 0)
		return false;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/modules.%s",
			 release, files[i]);
		if (file_lists_module(path))
			return true;
	}
	return false;
}
