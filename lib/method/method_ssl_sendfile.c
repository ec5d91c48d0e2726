/* SPDX-License-Identifier: MIT */
/*
 * Method `ssl_sendfile`: the TLS library has given its keys to the kernel, so
 * SSL_sendfile() sends the file.
 */
#include "method.h"

static int unavailable_reason(const struct conn *c)
{
	bool on = tl_option_ktls(c->ssl);
	int why;

	if (c->sealer == SEALER_LIBRARY_IN_KERNEL)
		return TLSSF_REASON_NONE;
	if (c->fd < 0)
		return TLSSF_REASON_NOT_SOCKET;
	if (c->info.version < TLS12)
		return TLSSF_REASON_VERSION;
	if (c->info.kernel_cipher < 0)
		return TLSSF_REASON_CIPHER;
	if (!tl_library_ktls())
		return TLSSF_REASON_LIBRARY_NO_KTLS;
	if (!on && !c->conf)
		return TLSSF_REASON_OPTION_OFF;
	why = tlssf_kernel_unavailable_reason(c);
	if (why)
		return why;
	if (!on && c->conf->drop_ktls13 && c->info.version == TLS13)
		return TLSSF_REASON_REKEY;
	if (!on)
		return TLSSF_REASON_OPTION_OFF;
	if (c->info.compression)
		return TLSSF_REASON_COMPRESSION;
	if (c->info.max_fragment)
		return TLSSF_REASON_MAX_FRAGMENT;
	return TLSSF_REASON_REFUSED;
}

static ssize_t send_file(struct conn *c, int fd, uint64_t off, size_t len)
{
	return tl_sendfile(c->ssl, fd, off, len);
}

static int ssl_sendfile_send(struct conn *c, struct stream *s, uint64_t limit)
{
	return tlssf_kernel_send(c, s, limit, send_file);
}

const struct method tlssf_method_ssl_sendfile = {
	.unavailable_reason = unavailable_reason,
	.send = ssl_sendfile_send,
};
