/* SPDX-License-Identifier: MIT */
#include "setup.h"

#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <tlssf/tlssf.h>

static SSL_CTX *make_ctx(const char *cert, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		errx(1, "cannot use %s and %s", cert, key);
	if (tlssf_ctx_init(ctx, NULL) < 0)	/* before the first SSL_new() */
		err(1, "tlssf_ctx_init");
	return ctx;
}

static int make_listener(const char *port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
	};
	struct sockaddr *sa = (struct sockaddr *)&a;
	socklen_t len = sizeof(a);
	int on = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(s, sa, len) < 0 || listen(s, SOMAXCONN) < 0 ||
	    getsockname(s, sa, &len) < 0)
		err(1, "port %s", port);
	printf("port %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return s;
}

void setup(struct setup *s, int argc, char **argv)
{
	struct stat st;

	if (argc != 5 && argc != 6)
		errx(2, "usage: %s CERT KEY PORT FILE [SECONDS]", argv[0]);
	signal(SIGPIPE, SIG_IGN);	/* raised by sendfile(), too */
	s->patience = argc == 6 ? atoi(argv[5]) : 30;
	s->file = open(argv[4], O_RDONLY | O_CLOEXEC);
	if (s->file < 0 || fstat(s->file, &st) < 0)
		err(1, "%s", argv[4]);
	s->size = (uint64_t)st.st_size;
	s->ctx = make_ctx(argv[1], argv[2]);
	s->listener = make_listener(argv[3]);
}

int make_header(char *to, size_t len, uint64_t size)
{
	return snprintf(to, len, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n"
			"Connection: close\r\n\r\n", (unsigned long long)size);
}

void log_end(SSL *ssl, uint64_t sent, const char *how)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (tlssf_status(ssl, &st) == 0)
		printf("%s: %llu bytes, method=%s reason=%s error=%s\n", how,
		       (unsigned long long)sent, tlssf_method_name(st.method),
		       tlssf_reason_name(st.reason),
		       tlssf_reason_name(st.error));
	fflush(stdout);
}
