/* SPDX-License-Identifier: MIT */
/*
 * Serve one connection with the function named in the environment variable
 * TLSSF_MIGRATE: the code before or after the move to libtlssf.
 */
#include "migrate.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "setup.h"

static const struct sender {
	const char *name;
	int (*send)(SSL *ssl, int fd, off_t size);
} senders[] = {
	{ "sendfile_before", sendfile_before },
	{ "sendfile_after", sendfile_after },
	{ "pread_before", pread_before },
	{ "pread_after", pread_after },
};

static const struct sender *find_sender(const char *name)
{
	const size_t n = sizeof(senders) / sizeof(senders[0]);

	for (size_t i = 0; name && i < n; i++)
		if (strcmp(senders[i].name, name) == 0)
			return &senders[i];
	errx(2, "TLSSF_MIGRATE: not the name of a function here");
}

int main(int argc, char **argv)
{
	const struct sender *sender = find_sender(getenv("TLSSF_MIGRATE"));
	struct setup conf;
	char rest[4096];
	SSL *ssl;
	int s, r;

	setup(&conf, argc, argv);
	s = accept(conf.listener, NULL, NULL);
	ssl = SSL_new(conf.ctx);
	if (s < 0 || !ssl || SSL_set_fd(ssl, s) != 1 || SSL_accept(ssl) != 1)
		errx(1, "no connection");
	r = sender->send(ssl, conf.file, (off_t)conf.size);
	log_end(ssl, conf.size, r ? "failed" : "done");
	while (r == 0 && SSL_read(ssl, rest, sizeof(rest)) > 0)
		;
	SSL_free(ssl);
	SSL_CTX_free(conf.ctx);
	close(s);
	return r ? 1 : 0;
}
