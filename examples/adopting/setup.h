/* SPDX-License-Identifier: MIT */
/* What all example servers share: set-up, response header, log. */
#ifndef SETUP_H
#define SETUP_H

#include <openssl/ssl.h>
#include <stdint.h>

/* From the command line: CERT KEY PORT FILE [SECONDS] */
struct setup {
	SSL_CTX *ctx;		/* prepared by tlssf_ctx_init() */
	int listener;		/* on 127.0.0.1 */
	int file;
	uint64_t size;		/* of the file */
	int patience;		/* seconds without progress, then disconnect */
};

/* Prints the port. Exits with a message on failure. */
void setup(struct setup *s, int argc, char **argv);

/* Write the response header to `to`; returns its length. */
int make_header(char *to, size_t len, uint64_t size);

/* Print one line: `how` it ended, the method, and why none was faster. */
void log_end(SSL *ssl, uint64_t sent, const char *how);

#endif
