/* SPDX-License-Identifier: MIT */
/* What every server does before its loop, and says at the end. */
#ifndef SETUP_H
#define SETUP_H

#include <openssl/ssl.h>
#include <stdint.h>

/* The command line: CERT KEY PORT FILE [PATIENCE] */
struct setup {
	SSL_CTX *ctx;		/* prepared by tlssf_ctx_init() */
	int listener;		/* on 127.0.0.1 */
	int file;
	uint64_t size;		/* of the file */
	int patience;		/* seconds that a peer may make no progress */
};

/* Ends the program when something is wrong; prints the port. */
void setup(struct setup *s, int argc, char **argv);

/* The header of the answer. */
int make_header(char *to, size_t len, uint64_t size);

/* One line: how it went, by which method and why not by a faster one. */
void log_end(SSL *ssl, uint64_t sent, const char *how);

#endif
