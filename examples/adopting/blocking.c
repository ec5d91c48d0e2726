/* SPDX-License-Identifier: MIT */
/* A server with blocking sockets and a thread for each connection. */
#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

#include "setup.h"

#define LINGER_BYTES	65536

static struct setup conf;

static int read_request(SSL *ssl)
{
	char request[4096];
	size_t got = 0;
	int n;

	while (got < sizeof(request) - 1) {
		n = SSL_read(ssl, request + got,
			     (int)(sizeof(request) - 1 - got));
		if (n <= 0)
			return -1;
		got += (size_t)n;
		request[got] = '\0';
		if (strstr(request, "\r\n\r\n"))
			return 0;
	}
	return -1;
}

static int respond(SSL *ssl, struct tlssf_job *job)
{
	uint64_t before;
	int r;

	/*
	 * WANT_WRITE: a signal arrived, or the socket took no data until
	 * SO_SNDTIMEO expired.
	 */
	do {
		before = job->done;
		r = tlssf_send_job(ssl, job);
	} while (r == TLSSF_WANT_WRITE && job->done > before);
	return r ? r : tlssf_shutdown(ssl);
}

/* Unread input would turn close() into a reset. */
static void linger(SSL *ssl)
{
	char rest[4096];
	int n, left = LINGER_BYTES;

	while (left > 0 && (n = SSL_read(ssl, rest, sizeof(rest))) > 0)
		left -= n;
}

static void serve_connection(SSL *ssl)
{
	char header[128];
	struct tlssf_job job = {
		.size = sizeof(job),
		.header = header,
		.header_len = (size_t)make_header(header, sizeof(header),
						  conf.size),
		.fd = conf.file,
		.file_len = conf.size,
	};
	int r = -1;

	if (SSL_accept(ssl) == 1 && read_request(ssl) == 0)
		r = respond(ssl, &job);
	log_end(ssl, job.done, r == 0 ? "done" :
		r == TLSSF_WANT_WRITE ? "too slow" : "failed");
	if (r == 0)
		linger(ssl);
}

static void *connection_thread(void *arg)
{
	const struct timeval limit = { .tv_sec = conf.patience };
	int s = (int)(intptr_t)arg;
	SSL *ssl = SSL_new(conf.ctx);

	if (ssl && SSL_set_fd(ssl, s) == 1 &&
	    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0)
		serve_connection(ssl);
	SSL_free(ssl);
	close(s);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int s;

	setup(&conf, argc, argv);
	for (;;) {
		s = accept(conf.listener, NULL, NULL);
		if (s < 0) {
			warn("accept");
			sleep(1);	/* out of descriptors: do not spin */
		} else if (pthread_create(&thread, NULL, connection_thread,
					  (void *)(intptr_t)s) == 0) {
			pthread_detach(thread);
		} else {
			close(s);
		}
	}
}
