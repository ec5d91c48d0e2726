/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one worker: listening socket, epoll (level-triggered),
 * timers. The loop contains no TLS and no HTTP: conn_step() does the work of a
 * connection and sets what to wait for.
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
#define DEADLINE_CHECK_MS 500	/* interval between checks of all deadlines */
#define ACCEPT_PAUSE_MS	500	/* when no connection can be accepted */
#define PATIENCE_MS	150	/* see patience() */

TAILQ_HEAD(conn_list, conn);

struct loop {
	const struct loop_args *args;
	int epoll;
	uint64_t now;
	uint64_t next_deadline_check;
	struct conn_list conns;
	struct conn_list retries;	/* wait for their retry_at */
	struct conn_list waiting;	/* by listed_since, see list_waiting() */
	unsigned int count;
	bool accepting;
	bool listener_ready;
	uint64_t resume_at;		/* if not accepting: when to accept */
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

/*
 * `ptr` identifies the descriptor in dispatch(): a connection, or the address
 * of the member of loop_args that holds the descriptor.
 */
static int epoll_update(struct loop *l, int op, int fd, uint32_t events,
			void *ptr)
{
	struct epoll_event ev = { .events = events, .data.ptr = ptr };

	return epoll_ctl(l->epoll, op, fd, &ev);
}

static bool has_room(const struct loop *l)
{
	return l->count < l->args->config->conns_max;
}

static void set_accepting(struct loop *l, bool on)
{
	if (on != l->accepting &&
	    epoll_update(l, EPOLL_CTL_MOD, l->args->listener, on ? EPOLLIN : 0,
			 (void *)&l->args->listener) == 0)
		l->accepting = on;
}

static void cancel_retry(struct loop *l, struct conn *c)
{
	if (c->has_retry)
		TAILQ_REMOVE(&l->retries, c, retry_entry);
	c->has_retry = false;
}

/* When nobody can be accepted. A connection that ends is a reason to retry. */
static void pause_accepting(struct loop *l, uint64_t until)
{
	set_accepting(l, false);
	l->resume_at = until;
}

/*
 * Keep the list of the connections that wait for their peers up to date: the
 * one that waits longest is first.
 */
static void list_waiting(struct loop *l, struct conn *c, uint64_t since)
{
	if (c->listed_since == since)
		return;
	if (c->listed_since)
		TAILQ_REMOVE(&l->waiting, c, waiting_entry);
	if (since)
		TAILQ_INSERT_TAIL(&l->waiting, c, waiting_entry);
	c->listed_since = since;
}

static void close_conn(struct loop *l, struct conn *c)
{
	cancel_retry(l, c);
	list_waiting(l, c, 0);
	l->resume_at = 0;
	TAILQ_REMOVE(&l->conns, c, all_entry);
	l->count--;
	conn_free(c);		/* close() removes it from the epoll set */
}

/*
 * After a call of conn_step(), conn_timeout() or conn_stop() that returned
 * `alive`: wait for what the connection has set, or close it.
 */
static void apply_step_result(struct loop *l, struct conn *c, bool alive)
{
	if (alive && c->events != c->watched_events &&
	    epoll_update(l, EPOLL_CTL_MOD, c->fd, c->events, c) < 0)
		alive = false;
	if (!alive) {
		close_conn(l, c);
		return;
	}
	c->watched_events = c->events;
	list_waiting(l, c, c->waiting_since);
	cancel_retry(l, c);
	if (c->delay_ms >= 0) {
		c->retry_at = now_ms() + (uint64_t)c->delay_ms;
		TAILQ_INSERT_TAIL(&l->retries, c, retry_entry);
		c->has_retry = true;
	}
}

/*
 * epoll reports EPOLLERR and EPOLLHUP even for an empty set of events. If
 * conn_step() neither failed nor asked for another round, close the connection:
 * epoll would report the same event for ever.
 */
static void handle_conn_event(struct loop *l, struct conn *c, uint32_t events)
{
	bool alive = conn_step(c);

	if (alive && c->delay_ms != 0 && (events & (EPOLLERR | EPOLLHUP))) {
		conn_fail(c, "peer_gone");
		alive = false;
	}
	apply_step_result(l, c, alive);
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

static void add_conn(struct loop *l, int fd, const char *peer)
{
	const int on = 1;
	struct conn *c;

	/* Nagle's algorithm would only delay the end of a response */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c = conn_new(l->args->ctx, l->args->config, fd, peer);
	if (!c)
		return;
	if (epoll_update(l, EPOLL_CTL_ADD, fd, c->events, c) < 0) {
		conn_free(c);
		return;
	}
	c->watched_events = c->events;
	list_waiting(l, c, c->waiting_since);
	TAILQ_INSERT_TAIL(&l->conns, c, all_entry);
	l->count++;
}

/* Connections that the kernel has accepted and we have not. */
static unsigned int clients_queued(const struct loop *l)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	/* of a listening socket, this is the length of its queue */
	getsockopt(l->args->listener, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_unacked;
}

/*
 * For how many milliseconds the server waits for a peer before the connection
 * may give way to a new one. The more clients are queued, the less, so that
 * the last of them waits for less than a second, and so that the clients of a
 * short queue have time for their handshakes and requests.
 */
static uint64_t patience(const struct loop *l)
{
	uint64_t max = l->args->config->conns_max;

	return PATIENCE_MS * max / (max + clients_queued(l)) + 1;
}

/*
 * There is no room for a new connection. Returns the one that has waited for
 * its peer longest, or NULL if none has waited long enough.
 */
static struct conn *conn_to_replace(struct loop *l)
{
	const uint64_t ms = patience(l);
	struct conn *c;

	while ((c = TAILQ_FIRST(&l->waiting))) {
		if (c->listed_since + ms > l->now) {
			pause_accepting(l, c->listed_since + ms);
			return NULL;
		}
		if (conn_may_give_way(c))
			return c;
		/* not idle yet: its time begins now */
		c->waiting_since = l->now;
		list_waiting(l, c, c->waiting_since);
	}
	pause_accepting(l, l->now + ACCEPT_PAUSE_MS);
	return NULL;
}

static void accept_conns(struct loop *l)
{
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		struct conn *old = has_room(l) ? NULL : conn_to_replace(l);
		struct sockaddr_storage sa = { 0 };
		socklen_t len = sizeof(sa);
		char peer[80];
		int fd;

		if (!old && !has_room(l))
			return;
		fd = accept4(l->args->listener, (struct sockaddr *)&sa, &len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd < 0 && (errno == EMFILE || errno == ENFILE ||
			       errno == ENOBUFS || errno == ENOMEM)) {
			pause_accepting(l, l->now + ACCEPT_PAUSE_MS);
			return;
		}
		if (fd < 0)
			continue;	/* only this connection failed */
		if (old) {
			conn_give_way(old);
			close_conn(l, old);
		}
		peer_name(&sa, len, peer, sizeof(peer));
		add_conn(l, fd, peer);
	}
}

/* ---- time ---- */

static void run_due_retries(struct loop *l)
{
	struct conn *c, *next;
	struct conn *last = TAILQ_LAST(&l->retries, conn_list);

	/* entries that are added during this walk come after `last` */
	for (c = TAILQ_FIRST(&l->retries); c; c = next) {
		next = c == last ? NULL : TAILQ_NEXT(c, retry_entry);
		if (c->retry_at > l->now)
			continue;
		cancel_retry(l, c);
		apply_step_result(l, c, conn_step(c));
	}
}

static void check_deadlines(struct loop *l)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&l->conns); c; c = next) {
		next = TAILQ_NEXT(c, all_entry);
		if (c->deadline <= l->now)
			apply_step_result(l, c, conn_timeout(c));
	}
	l->next_deadline_check = l->now + DEADLINE_CHECK_MS;
}

static int sleep_time(const struct loop *l)
{
	uint64_t until = l->next_deadline_check;
	uint64_t now = now_ms();
	const struct conn *c;

	TAILQ_FOREACH(c, &l->retries, retry_entry)
		if (c->retry_at < until)
			until = c->retry_at;
	if (!l->accepting && !l->stopping && l->resume_at < until)
		until = l->resume_at;
	return until > now ? (int)(until - now) : 0;
}

/* ---- stopping ---- */

static void start_stopping(struct loop *l)
{
	struct conn *c, *next;

	l->stopping = true;
	l->grace_end = l->now + GRACE_MS;
	epoll_update(l, EPOLL_CTL_DEL, l->args->stop_fd, 0, NULL);
	epoll_update(l, EPOLL_CTL_DEL, l->args->listener, 0, NULL);
	close(l->args->listener);
	for (c = TAILQ_FIRST(&l->conns); c; c = next) {
		next = TAILQ_NEXT(c, all_entry);
		apply_step_result(l, c, conn_stop(c));
	}
}

static void close_all_conns(struct loop *l)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&l->conns))) {
		conn_fail(c, "server_stopped");
		close_conn(l, c);
	}
}

/* ---- the loop ---- */

static void dispatch(struct loop *l, const struct epoll_event *ev)
{
	if (ev->data.ptr == &l->args->listener)
		l->listener_ready = true;
	else if (ev->data.ptr != &l->args->stop_fd)
		handle_conn_event(l, ev->data.ptr, ev->events);
}

static bool stop_requested(const struct loop *l, const struct epoll_event *evs,
			   int n)
{
	for (int i = 0; i < n; i++)
		if (evs[i].data.ptr == &l->args->stop_fd)
			return true;
	return false;
}

static int run_loop(struct loop *l)
{
	struct epoll_event evs[EVENTS_MAX];

	while (!l->stopping || (l->count > 0 && l->now < l->grace_end)) {
		int n = epoll_wait(l->epoll, evs, EVENTS_MAX, sleep_time(l));

		if (n < 0 && errno != EINTR)
			return -1;
		l->now = now_ms();
		l->listener_ready = false;
		for (int i = 0; i < n; i++)
			dispatch(l, &evs[i]);
		run_due_retries(l);
		/* after dispatch(): these may free connections in evs */
		if (l->listener_ready)
			accept_conns(l);
		if (stop_requested(l, evs, n))
			start_stopping(l);
		if (!l->accepting && !l->stopping && l->now >= l->resume_at)
			set_accepting(l, true);
		if (l->now >= l->next_deadline_check)
			check_deadlines(l);
	}
	return 0;
}

int loop_run(const struct loop_args *args)
{
	struct loop l = { .args = args, .now = now_ms() };
	int r = -1;

	TAILQ_INIT(&l.conns);
	TAILQ_INIT(&l.retries);
	TAILQ_INIT(&l.waiting);
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.epoll >= 0 &&
	    epoll_update(&l, EPOLL_CTL_ADD, args->listener, EPOLLIN,
			 (void *)&args->listener) == 0 &&
	    epoll_update(&l, EPOLL_CTL_ADD, args->stop_fd, EPOLLIN,
			 (void *)&args->stop_fd) == 0) {
		l.accepting = true;
		r = run_loop(&l);
	}
	if (r < 0)
		perror("event loop");
	close_all_conns(&l);
	if (!l.stopping)
		close(args->listener);
	if (l.epoll >= 0)
		close(l.epoll);
	return r;
}
