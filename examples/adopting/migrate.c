/* SPDX-License-Identifier: MIT */
/* Serve one connection by the way that TLSSF_MIGRATE names, old or new. */
#include "migrate.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "setup.h"

static const struct way {
	const char *name;
	int (*send)(SSL *ssl, int fd, off_t size);
} ways[] = {
	{ "sendfile_before", sendfile_before },
	{ "sendfile_after", sendfile_after },
	{ "pread_before", pread_before },
	{ "pread_after", pread_after },
};

static const struct way *find(const char *name)
{
	for (size_t i = 0; name && i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	errx(2, "TLSSF_MIGRATE: no such way");
}

int main(int argc, char **argv)
{
	const struct way *way = find(getenv("TLSSF_MIGRATE"));
	struct setup conf;
	char rest[4096];
	SSL *ssl;
	int s, r;

	setup(&conf, argc, argv);
	s = accept(conf.listener, NULL, NULL);
	ssl = SSL_new(conf.ctx);
	if (s < 0 || !ssl || SSL_set_fd(ssl, s) != 1 || SSL_accept(ssl) != 1)
		errx(1, "no connection");
	r = way->send(ssl, conf.file, (off_t)conf.size);
	log_end(ssl, conf.size, r ? "failed" : "done");
	while (r == 0 && SSL_read(ssl, rest, sizeof(rest)) > 0)
		;
	SSL_free(ssl);
	SSL_CTX_free(conf.ctx);
	close(s);
	return r ? 1 : 0;
}
