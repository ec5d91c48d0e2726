/* SPDX-License-Identifier: MIT */
/*
 * Moving from SSL_sendfile() to libtlssf, on a blocking socket. Both functions
 * send a file and end the stream; they return 0 or -1.
 */
#include "migrate.h"

#include <openssl/bio.h>
#include <stdint.h>
#include <tlssf/tlssf.h>

int sendfile_before(SSL *ssl, int fd, off_t size)
{
	off_t off = 0;

	if (!BIO_get_ktls_send(SSL_get_wbio(ssl)))
		return -1;	/* and now? */
	while (off < size) {
		ossl_ssize_t n = SSL_sendfile(ssl, fd, off,
					      (size_t)(size - off), 0);
		if (n <= 0)
			return -1;
		off += n;
	}
	return SSL_shutdown(ssl) < 0 ? -1 : 0;	/* close() may lose the end */
}

int sendfile_after(SSL *ssl, int fd, off_t size)
{
	off_t off = 0;

	while (off < size) {
		ssize_t n = tlssf_send(ssl, fd, off, (size_t)(size - off));
		if (n <= 0)
			return -1;
		off += n;
	}
	return tlssf_shutdown(ssl) == 0 ? 0 : -1;
}
