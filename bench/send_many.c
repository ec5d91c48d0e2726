/* SPDX-License-Identifier: MIT */
/*
 * Many concurrent connections, which one thread serves from an event loop. Each
 * connection gets the file once. The CPU time per byte should not depend on the
 * number of connections, nor on further connections with slow clients. The slow
 * ones get the file again and again, and are not part of the result.
 */
#include "send.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

#define EVENTS		64
#define WAIT_LIMIT	30000	/* milliseconds */
#define READ_SIZE	16384
#define SLOW_SNDBUF	65536

struct transfer {
	struct connection conn;
	uint64_t off;
	bool retry;		/* call libtlssf again without an event */
	bool in_queue;
	bool slow;
};

/* ---- one step of a transfer; returns false when the socket is full ---- */

static bool step_tlssf(struct transfer *t)
{
	struct tlssf_status st = { .size = sizeof(st) };
	ssize_t n = tlssf_send(t->conn.ssl, server.file, (off_t)t->off,
			       (size_t)(conf.size - t->off));

	if (n > 0) {
		t->off += (uint64_t)n;
		return true;
	}
	if (n != TLSSF_WANT_WRITE)
		die("tlssf_send: %zd, %s", n, tlssf_strerror(t->conn.ssl));
	must(tlssf_status(t->conn.ssl, &st) == 0, "tlssf_status");
	t->retry = st.retry_ms > 0;
	return false;
}

/* After WANT_WRITE, OpenSSL requires a call with the same bytes. */
static bool step_write(struct transfer *t)
{
	static unsigned char buf[READ_SIZE];
	uint64_t left = conf.size - t->off;
	size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);
	int n;

	must(pread(server.file, buf, len, (off_t)t->off) == (ssize_t)len,
	     "pread");
	n = SSL_write(t->conn.ssl, buf, (int)len);
	if (n > 0) {
		t->off += (uint64_t)n;
		return true;
	}
	must(SSL_get_error(t->conn.ssl, n) == SSL_ERROR_WANT_WRITE,
	     "SSL_write");
	return false;
}

/* ---- the loop ---- */

/* Transfers that can make progress; each is in the queue at most once. */
static struct transfer **queue;
static int first, queued, room;

static void enqueue(struct transfer *t)
{
	if (t->in_queue)
		return;
	t->in_queue = true;
	queue[(first + queued++) % room] = t;
}

static struct transfer *dequeue(void)
{
	struct transfer *t = queue[first];

	first = (first + 1) % room;
	queued--;
	t->in_queue = false;
	return t;
}

/*
 * Send up to 1 MiB, then let the other transfers run. Returns true if the file
 * is sent completely.
 */
static bool send_share(const struct variant *v, struct transfer *t)
{
	uint64_t end = t->off + (1u << 20);
	bool more = true;

	if (end > conf.size)
		end = conf.size;
	t->retry = false;
	while (more && t->off < end)
		more = v->ctx_id < AUTO ? step_write(t) : step_tlssf(t);
	if (t->slow && t->off == conf.size)
		t->off = 0;
	if (t->off == conf.size) {
		must(shutdown(t->conn.sock, SHUT_WR) == 0, "shutdown");
		return true;
	}
	if (more || t->retry)
		enqueue(t);
	return false;
}

static void send_to_all(const struct variant *v, struct transfer *all, int n)
{
	int epoll = epoll_create1(0), left = n - conf.slow;

	must(epoll >= 0, "epoll_create1");
	for (int i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLOUT | EPOLLET,
					 .data.ptr = &all[i] };

		must(epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].conn.sock, &e) ==
		     0, "epoll_ctl");
	}
	while (left > 0) {
		struct epoll_event e[EVENTS];
		int got = epoll_wait(epoll, e, EVENTS,
				     queued ? 0 : WAIT_LIMIT);

		must(got > 0 || (got == 0 && queued), "epoll_wait");
		for (int i = 0; i < got; i++)
			if (((struct transfer *)e[i].data.ptr)->off < conf.size)
				enqueue(e[i].data.ptr);
		/* left is 0: the client closes the slow connections, too */
		for (int i = queued; i > 0 && left > 0; i--)
			left -= send_share(v, dequeue());
	}
	close(epoll);
}

/* ---- a sample ---- */

static void wait_closed(int sock)
{
	char c;

	must(fcntl(sock, F_SETFL, 0) == 0, "fcntl");
	must(recv(sock, &c, 1, 0) == 0, "end of stream");
}

/* Fill the socket buffers of a slow connection, before the timed phase. */
static void fill_buffers(const struct variant *v, struct transfer *t)
{
	int size = SLOW_SNDBUF;

	t->slow = true;
	must(setsockopt(t->conn.sock, SOL_SOCKET, SO_SNDBUF, &size,
			sizeof(size)) == 0, "SO_SNDBUF");
	send_share(v, t);
	while (queued > 0)
		send_share(v, dequeue());
}

struct sample measure_many(const struct variant *v)
{
	int n = conf.connections + conf.slow;
	struct transfer *all = calloc((size_t)n, sizeof(*all));
	struct sample s = { .method = -1 };
	double wall, cpu;

	room = n;
	first = queued = 0;
	queue = calloc((size_t)n, sizeof(*queue));
	must(all && queue, "calloc");
	for (int i = 0; i < n; i++) {
		all[i].conn = accept_connection(v);
		must(fcntl(all[i].conn.sock, F_SETFL, O_NONBLOCK) == 0,
		     "fcntl");
		if (i < conf.slow)
			fill_buffers(v, &all[i]);
	}
	wall = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_THREAD_CPUTIME_ID);
	send_to_all(v, all, n);
	for (int i = conf.slow; i < n; i++)
		wait_closed(all[i].conn.sock);
	s.cpu = (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / conf.connections;
	s.wall = (now(CLOCK_MONOTONIC) - wall) / conf.connections;
	for (int i = 0; i < n; i++) {
		SSL_free(all[i].conn.ssl);
		close(all[i].conn.sock);
	}
	free(all);
	free(queue);
	return s;
}
