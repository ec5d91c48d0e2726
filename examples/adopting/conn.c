/* SPDX-License-Identifier: MIT */
/* A connection as a state machine, with a function for each state. */
#include "conn.h"

#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

#define LINGER_BYTES	65536

struct conn {
	const struct setup *conf;
	SSL *ssl;
	int s;
	/* returns 0: call the new state; else TLSSF_WANT_... or TLSSF_ERROR */
	int (*state)(struct conn *c);
	char request[4096];
	size_t got;
	char header[128];
	struct tlssf_job job;
	size_t lingered;
	const char *end;	/* how it ended, for the log */
	int64_t deadline;	/* in ms; moved by progress() */
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Restart the time-out after progress. */
static void progress(struct conn *c)
{
	c->deadline = now_ms() + (int64_t)c->conf->patience * 1000;
}

/* Convert the result of an OpenSSL call to a return value of libtlssf. */
static int want(struct conn *c, int r)
{
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return TLSSF_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLSSF_WANT_WRITE;
	}
	return TLSSF_ERROR;
}

static int read_some(struct conn *c, char *to, size_t len)
{
	int n;

	ERR_clear_error();
	n = SSL_read(c->ssl, to, (int)len);
	return n > 0 ? n : want(c, n);
}

/* ---- the states, last to first ---- */

/* Unread input would turn close() into a reset. The deadline stays. */
static int linger(struct conn *c)
{
	char rest[4096];
	int n = read_some(c, rest, sizeof(rest));

	if (n < 0)
		return n;
	c->lingered += (size_t)n;
	return c->lingered < LINGER_BYTES ? 0 : TLSSF_ERROR;
}

static int finish(struct conn *c)
{
	int r = tlssf_shutdown(c->ssl);

	if (r == 0) {
		c->end = "done";
		c->state = linger;
	}
	return r;
}

static int respond(struct conn *c)
{
	uint64_t before = c->job.done;
	int r = tlssf_send_job(c->ssl, &c->job);

	if (c->job.done > before)
		progress(c);
	if (r == 0)
		c->state = finish;
	return r;
}

static int read_request(struct conn *c)
{
	size_t room = sizeof(c->request) - 1 - c->got;
	int n = room ? read_some(c, c->request + c->got, room) : TLSSF_ERROR;

	if (n < 0)
		return n;
	c->got += (size_t)n;
	c->request[c->got] = '\0';
	if (strstr(c->request, "\r\n\r\n")) {
		progress(c);
		c->state = respond;
	}
	return 0;
}

static int handshake(struct conn *c)
{
	int r;

	ERR_clear_error();
	r = SSL_accept(c->ssl);
	if (r != 1)
		return want(c, r);
	c->state = read_request;
	return 0;
}

/* ---- called by the event loop ---- */

/*
 * After WANT_WRITE the socket may be writable already, and no event will come:
 * then status.retry_ms says when to call again.
 */
static unsigned int retry_ms(struct conn *c, int r)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (r != TLSSF_WANT_WRITE || tlssf_status(c->ssl, &st) < 0)
		return 0;
	return st.retry_ms;
}

bool conn_run(struct conn *c, struct wait *wait)
{
	int64_t left;
	int r;

	do
		r = c->state(c);
	while (r == 0);
	left = c->deadline - now_ms();
	if (r == TLSSF_ERROR || left <= 0) {
		if (r != TLSSF_ERROR && strcmp(c->end, "done") != 0)
			c->end = "too slow";
		return false;
	}
	wait->events = r == TLSSF_WANT_READ ? POLLIN : POLLOUT;
	wait->ms = (int)left;
	r = (int)retry_ms(c, r);
	if (r > 0) {
		wait->events = 0;
		if (r < left)
			wait->ms = r;
	}
	return true;
}

struct conn *conn_new(const struct setup *conf, int s)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || !(c->ssl = SSL_new(conf->ctx)) ||
	    SSL_set_fd(c->ssl, s) != 1) {
		if (c)
			SSL_free(c->ssl);
		free(c);
		close(s);
		return NULL;
	}
	c->conf = conf;
	c->s = s;
	c->state = handshake;
	c->end = "failed";
	c->job.size = sizeof(c->job);
	c->job.header = c->header;
	c->job.header_len = (size_t)make_header(c->header, sizeof(c->header),
						conf->size);
	c->job.fd = conf->file;
	c->job.file_len = conf->size;
	progress(c);
	return c;
}

void conn_free(struct conn *c)
{
	log_end(c->ssl, c->job.done, c->end);
	SSL_free(c->ssl);
	close(c->s);
	free(c);
}
