/* SPDX-License-Identifier: MIT */
/* A server with an epoll loop: one thread for all connections. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"

struct client {
	struct client *next;
	struct conn *conn;
	int s;
	int64_t due;		/* when to call run() without an event, in ms */
	bool ready;		/* epoll has reported an event */
};

static struct setup conf;
static struct client *clients;
static int ep;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool run(struct client *k)
{
	struct epoll_event e = { .data.ptr = k };
	struct wait wait;

	k->ready = false;
	if (!conn_run(k->conn, &wait))
		return false;
	e.events = (wait.events & POLLIN ? EPOLLIN : 0u) |
		   (wait.events & POLLOUT ? EPOLLOUT : 0u);
	k->due = now_ms() + wait.ms;
	return epoll_ctl(ep, EPOLL_CTL_MOD, k->s, &e) == 0;
}

/* Run those that are ready or due. Returns the time until the next is due. */
static int run_all(void)
{
	int64_t now = now_ms(), left = 60000;
	struct client *k, **at = &clients;

	while ((k = *at) != NULL) {
		if ((k->ready || k->due <= now) && !run(k)) {
			*at = k->next;
			conn_free(k->conn);	/* closes: epoll forgets it */
			free(k);
			continue;
		}
		if (k->due - now < left)
			left = k->due > now ? k->due - now : 0;
		at = &k->next;
	}
	return (int)left;
}

static void add(void)
{
	struct epoll_event e = { 0 };
	struct client *k;
	int s = accept4(conf.listener, NULL, NULL, SOCK_NONBLOCK);

	if (s < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED)
			usleep(10000);	/* out of descriptors: do not spin */
		return;
	}
	k = calloc(1, sizeof(*k));
	e.data.ptr = k;
	if (!k || epoll_ctl(ep, EPOLL_CTL_ADD, s, &e) < 0) {
		close(s);
		free(k);
		return;
	}
	k->s = s;
	k->conn = conn_new(&conf, s);
	if (!k->conn) {
		free(k);
		return;
	}
	k->ready = true;
	k->next = clients;
	clients = k;
}

int main(int argc, char **argv)
{
	struct epoll_event events[64], e = { .events = EPOLLIN };
	int i, n;

	setup(&conf, argc, argv);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0 || fcntl(conf.listener, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, conf.listener, &e) < 0)
		err(1, "epoll");
	for (;;) {
		n = epoll_wait(ep, events, 64, run_all());
		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (i = 0; i < n; i++) {
			struct client *k = events[i].data.ptr;

			if (k)
				k->ready = true;
			else
				add();
		}
	}
}
