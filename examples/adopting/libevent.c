/* SPDX-License-Identifier: MIT */
/* A server with a libevent loop. */
#include <err.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "conn.h"

struct client {
	struct conn *conn;
	struct event *event;
};

static struct setup conf;

static void run(evutil_socket_t s, short what, void *arg)
{
	struct client *k = arg;
	struct event_base *base = event_get_base(k->event);
	struct timeval t;
	struct wait wait;

	(void)what;
	if (!conn_run(k->conn, &wait)) {
		event_free(k->event);	/* before its socket is closed */
		conn_free(k->conn);
		free(k);
		return;
	}
	t.tv_sec = wait.ms / 1000;
	t.tv_usec = wait.ms % 1000 * 1000L;
	event_assign(k->event, base, s,
		     (short)((wait.events & POLLIN ? EV_READ : 0) |
			     (wait.events & POLLOUT ? EV_WRITE : 0)), run, k);
	event_add(k->event, &t);
}

static void accepted(struct evconnlistener *l, evutil_socket_t s,
		     struct sockaddr *from, int len, void *base)
{
	struct client *k = calloc(1, sizeof(*k));

	(void)l;
	(void)from;
	(void)len;
	if (!k || !(k->event = event_new(base, s, 0, run, k))) {
		evutil_closesocket(s);
		free(k);
		return;
	}
	k->conn = conn_new(&conf, s);
	if (!k->conn) {
		event_free(k->event);
		free(k);
		return;
	}
	run(s, 0, k);
}

/* Without descriptors, libevent calls this again at once: do not spin. */
static void accept_failed(struct evconnlistener *l, void *base)
{
	(void)l;
	(void)base;
	usleep(10000);
}

int main(int argc, char **argv)
{
	struct evconnlistener *listener;
	struct event_base *base;

	setup(&conf, argc, argv);
	base = event_base_new();
	if (!base || evutil_make_socket_nonblocking(conf.listener) < 0)
		errx(1, "libevent cannot be set up");
	listener = evconnlistener_new(base, accepted, base, 0, 0,
				      conf.listener);
	if (!listener)
		errx(1, "libevent cannot be set up");
	evconnlistener_set_error_cb(listener, accept_failed);
	return event_base_dispatch(base) < 0 ? 1 : 0;
}
