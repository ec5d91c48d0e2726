/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one worker: listening socket, epoll (level-triggered),
 * timers. It knows neither TLS nor HTTP: conn_step() says what to wait for.
 */
#include "httpd.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX	64
#define ACCEPTS_MAX	64	/* in one round */
#define SWEEP_MS	500	/* how exact deadlines are */

TAILQ_HEAD(conn_list, conn);

struct loop {
	const struct loop_args *args;
	int epoll;
	uint64_t now;
	uint64_t next_sweep;
	struct conn_list conns;
	struct conn_list waiting;	/* called again by time, not event */
	unsigned int count;
	bool accepting;
	bool stopping;
	uint64_t grace_end;
};

/* ---- listening ---- */

static int try_listen(const struct addrinfo *ai, bool shared)
{
	const int on = 1;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK |
			SOCK_CLOEXEC, ai->ai_protocol);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on,
				  sizeof(on)) < 0) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
	    listen(fd, SOMAXCONN) < 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

int listener_open(const char *addr, const char *port, bool shared)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
	};
	struct addrinfo *ai;
	int r = getaddrinfo(addr, port, &hints, &ai);
	int fd;

	if (r != 0) {
		fprintf(stderr, "%s: %s\n", addr, gai_strerror(r));
		return -1;
	}
	fd = try_listen(ai, shared);
	if (fd < 0)
		fprintf(stderr, "%s port %s: %s\n", addr, port,
			strerror(errno));
	freeaddrinfo(ai);
	return fd;
}

/* ---- epoll ---- */

/* The loop's own descriptors carry their number, connections a pointer. */
static int watch(struct loop *l, int op, int fd, uint32_t events, void *ptr)
{
	struct epoll_event ev = { .events = events, .data.ptr = ptr };

	return epoll_ctl(l->epoll, op, fd, &ev);
}

static bool has_room(const struct loop *l)
{
	return l->count < l->args->config->conns_max;
}

static void listen_switch(struct loop *l, bool on)
{
	if (on != l->accepting &&
	    watch(l, EPOLL_CTL_MOD, l->args->listener, on ? EPOLLIN : 0,
		  (void *)&l->args->listener) == 0)
		l->accepting = on;
}

static void unwait(struct loop *l, struct conn *c)
{
	if (c->is_waiting)
		TAILQ_REMOVE(&l->waiting, c, waiting);
	c->is_waiting = false;
}

static void drop(struct loop *l, struct conn *c)
{
	unwait(l, c);
	TAILQ_REMOVE(&l->conns, c, all);
	l->count--;
	conn_free(c);		/* closing takes it out of epoll */
}

/* Do what the connection asked for. */
static void settle(struct loop *l, struct conn *c, bool alive)
{
	if (alive && c->events != c->armed &&
	    watch(l, EPOLL_CTL_MOD, c->fd, c->events, c) < 0)
		alive = false;
	if (!alive) {
		drop(l, c);
		return;
	}
	c->armed = c->events;
	unwait(l, c);
	if (c->delay_ms >= 0) {
		c->due = now_ms() + (uint64_t)c->delay_ms;
		TAILQ_INSERT_TAIL(&l->waiting, c, waiting);
		c->is_waiting = true;
	}
}

/*
 * EPOLLERR and EPOLLHUP are reported whether asked for or not. If the step
 * neither noticed nor wants to go on at once, end it: the loop would spin.
 */
static void on_conn(struct loop *l, struct conn *c, uint32_t events)
{
	bool alive = conn_step(c);

	if (alive && c->delay_ms != 0 && (events & (EPOLLERR | EPOLLHUP))) {
		conn_fail(c, "peer_gone");
		alive = false;
	}
	settle(l, c, alive);
}

/* ---- accepting ---- */

static void peer_name(const struct sockaddr_storage *sa, socklen_t len,
		      char *out, size_t cap)
{
	char host[INET6_ADDRSTRLEN + 16], port[8];

	if (getnameinfo((const struct sockaddr *)sa, len, host, sizeof(host),
			port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, cap, "unknown");
	else
		snprintf(out, cap, sa->ss_family == AF_INET6 ? "[%s]:%s" :
			 "%s:%s", host, port);
}

static void add(struct loop *l, int fd, const char *peer)
{
	const int on = 1;
	struct conn *c;

	/* a response is handed over whole, there is nothing to wait for */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c = conn_new(l->args->ctx, l->args->config, fd, peer);
	if (!c)
		return;
	if (watch(l, EPOLL_CTL_ADD, fd, c->events, c) < 0) {
		conn_free(c);
		return;
	}
	c->armed = c->events;
	TAILQ_INSERT_TAIL(&l->conns, c, all);
	l->count++;
}

static void on_listener(struct loop *l)
{
	for (int i = 0; i < ACCEPTS_MAX && has_room(l); i++) {
		struct sockaddr_storage sa = { 0 };
		socklen_t len = sizeof(sa);
		char peer[80];
		int fd = accept4(l->args->listener, (struct sockaddr *)&sa,
				 &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd < 0 && (errno == EMFILE || errno == ENFILE ||
			       errno == ENOBUFS || errno == ENOMEM)) {
			/* until the next sweep: it would only fail again */
			listen_switch(l, false);
			return;
		}
		if (fd < 0)
			continue;	/* that one connection is gone */
		peer_name(&sa, len, peer, sizeof(peer));
		add(l, fd, peer);
	}
	listen_switch(l, has_room(l));
}

/* ---- time ---- */

static void run_waiting(struct loop *l)
{
	struct conn *c, *next;
	struct conn *last = TAILQ_LAST(&l->waiting, conn_list);

	/* who comes back during this round is behind `last` */
	for (c = TAILQ_FIRST(&l->waiting); c; c = next) {
		next = c == last ? NULL : TAILQ_NEXT(c, waiting);
		if (c->due > l->now)
			continue;
		unwait(l, c);
		settle(l, c, conn_step(c));
	}
}

static void sweep(struct loop *l)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&l->conns); c; c = next) {
		next = TAILQ_NEXT(c, all);
		if (c->deadline <= l->now)
			settle(l, c, conn_timeout(c));
	}
	l->next_sweep = l->now + SWEEP_MS;
	if (!l->stopping)
		listen_switch(l, has_room(l));
}

static int sleep_time(const struct loop *l)
{
	uint64_t until = l->next_sweep;
	uint64_t now = now_ms();
	const struct conn *c;

	TAILQ_FOREACH(c, &l->waiting, waiting)
		if (c->due < until)
			until = c->due;
	return until > now ? (int)(until - now) : 0;
}

/* ---- stopping ---- */

static void start_stopping(struct loop *l)
{
	struct conn *c, *next;

	l->stopping = true;
	l->grace_end = l->now + GRACE_MS;
	watch(l, EPOLL_CTL_DEL, l->args->stop, 0, NULL);
	watch(l, EPOLL_CTL_DEL, l->args->listener, 0, NULL);
	close(l->args->listener);
	for (c = TAILQ_FIRST(&l->conns); c; c = next) {
		next = TAILQ_NEXT(c, all);
		settle(l, c, conn_stop(c));
	}
}

static void drop_all(struct loop *l)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&l->conns))) {
		conn_fail(c, "server_stopped");
		drop(l, c);
	}
}

/* ---- the loop ---- */

static void dispatch(struct loop *l, const struct epoll_event *ev)
{
	if (ev->data.ptr == &l->args->listener)
		on_listener(l);
	else if (ev->data.ptr != &l->args->stop)
		on_conn(l, ev->data.ptr, ev->events);
}

static bool stop_asked(const struct loop *l, const struct epoll_event *evs,
		       int n)
{
	for (int i = 0; i < n; i++)
		if (evs[i].data.ptr == &l->args->stop)
			return true;
	return false;
}

static int run(struct loop *l)
{
	struct epoll_event evs[EVENTS_MAX];

	while (!l->stopping || (l->count > 0 && l->now < l->grace_end)) {
		int n = epoll_wait(l->epoll, evs, EVENTS_MAX, sleep_time(l));

		if (n < 0 && errno != EINTR)
			return -1;
		l->now = now_ms();
		for (int i = 0; i < n; i++)
			dispatch(l, &evs[i]);
		run_waiting(l);
		/* after the events: it may free connections that have some */
		if (stop_asked(l, evs, n))
			start_stopping(l);
		if (l->now >= l->next_sweep)
			sweep(l);
	}
	return 0;
}

int loop_run(const struct loop_args *args)
{
	struct loop l = { .args = args, .now = now_ms() };
	int r = -1;

	TAILQ_INIT(&l.conns);
	TAILQ_INIT(&l.waiting);
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.epoll >= 0 &&
	    watch(&l, EPOLL_CTL_ADD, args->listener, EPOLLIN,
		  (void *)&args->listener) == 0 &&
	    watch(&l, EPOLL_CTL_ADD, args->stop, EPOLLIN,
		  (void *)&args->stop) == 0) {
		l.accepting = true;
		r = run(&l);
	}
	if (r < 0)
		perror("event loop");
	drop_all(&l);
	if (!l.stopping)
		close(args->listener);
	if (l.epoll >= 0)
		close(l.epoll);
	return r;
}
