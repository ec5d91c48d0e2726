/* SPDX-License-Identifier: MIT */
/* The public header alone: compiled as C11 and as C++11 by scripts/header. */
#include <tlssf/tlssf.h>

/* Called by nobody; takes each declaration at its word. */
int header_test(struct ssl_st *ssl, struct ssl_ctx_st *ctx, int fd);

int header_test(struct ssl_st *ssl, struct ssl_ctx_st *ctx, int fd)
{
	struct tlssf_options options;
	struct tlssf_status status;
	struct tlssf_caps caps;
	struct tlssf_job job;

	options.size = sizeof(options);
	options.key_update = TLSSF_KEY_UPDATE_END;
	status.size = sizeof(status);
	caps.size = sizeof(caps);
	job.size = sizeof(job);
	job.fd = fd;
	return tlssf_ctx_init(ctx, &options) == 0 &&
	       tlssf_probe(&caps) == 0 &&
	       caps.tls13[TLSSF_AES_128_GCM].tx == TLSSF_YES &&
	       tlssf_send(ssl, fd, 0, SIZE_MAX) != TLSSF_ERROR &&
	       tlssf_send_job(ssl, &job) != TLSSF_WANT_WRITE &&
	       tlssf_flush(ssl) == 0 && tlssf_shutdown(ssl) == 0 &&
	       tlssf_status(ssl, &status) == 0 &&
	       status.why_not[TLSSF_METHOD_KTLS] == TLSSF_REASON_NONE;
}
