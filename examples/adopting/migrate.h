/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_H
#define MIGRATE_H

#include <openssl/ssl.h>
#include <sys/types.h>

int sendfile_before(SSL *ssl, int fd, off_t size);
int sendfile_after(SSL *ssl, int fd, off_t size);
int pread_before(SSL *ssl, int fd, off_t size);
int pread_after(SSL *ssl, int fd, off_t size);

#endif
