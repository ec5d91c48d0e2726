/* SPDX-License-Identifier: MIT */
/*
 * Moving from pread() and SSL_write() to libtlssf, on a blocking socket. Both
 * functions send a file and end the stream; they return 0 or -1.
 */
#include "migrate.h"

#include <stdint.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

int pread_before(SSL *ssl, int fd, off_t size)
{
	char buf[16384];
	off_t off = 0;

	while (off < size) {
		ssize_t n = pread(fd, buf, sizeof(buf), off);
		if (n <= 0 || SSL_write(ssl, buf, (int)n) <= 0)
			return -1;
		off += n;
	}
	return SSL_shutdown(ssl) < 0 ? -1 : 0;
}

int pread_after(SSL *ssl, int fd, off_t size)
{
	struct tlssf_job job = { .size = sizeof(job), .fd = fd,
				 .file_len = (uint64_t)size };

	if (tlssf_send_job(ssl, &job) != 0)
		return -1;
	return tlssf_shutdown(ssl) == 0 ? 0 : -1;
}
