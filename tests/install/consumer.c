/* SPDX-License-Identifier: MIT */
/*
 * A minimal program that uses the library, to test that it can be linked. It is
 * also compiled as C++.
 */
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <tlssf/tlssf.h>

int main(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct tlssf_caps caps;
	char version[32];

	snprintf(version, sizeof(version), "%d.%d.%d", TLSSF_VERSION_MAJOR,
		 TLSSF_VERSION_MINOR, TLSSF_VERSION_PATCH);
	memset(&caps, 0, sizeof(caps));
	caps.size = sizeof(caps);
	if (!ctx || tlssf_ctx_init(ctx, NULL) || tlssf_probe(&caps) ||
	    strcmp(version, tlssf_version()) != 0)
		return 1;
	printf("%s with %s\n", tlssf_version(), caps.library);
	SSL_CTX_free(ctx);
	return 0;
}
