/* SPDX-License-Identifier: MIT */
/*
 * Many connections at once: each gets the file, one thread serves them all from
 * an event loop. What a byte costs should not depend on how many there are, nor
 * on others whose clients hardly read: these get the file without end, and are
 * not counted.
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
	struct link link;
	uint64_t off;
	bool again;		/* no event may come: ask again */
	bool waits_in_queue;
	bool slow;
};

/* ---- one step of a transfer: false when the socket is full ---- */

static bool step_tlssf(struct transfer *t)
{
	struct tlssf_status st = { .size = sizeof(st) };
	ssize_t n = tlssf_send(t->link.ssl, server.file, (off_t)t->off,
			       (size_t)(conf.size - t->off));

	if (n > 0) {
		t->off += (uint64_t)n;
		return true;
	}
	if (n != TLSSF_WANT_WRITE)
		die("tlssf_send: %zd, %s", n, tlssf_strerror(t->link.ssl));
	must(tlssf_status(t->link.ssl, &st) == 0, "tlssf_status");
	t->again = st.retry_ms > 0;
	return false;
}

/* After "try again" the same bytes are read again: the library insists. */
static bool step_write(struct transfer *t)
{
	static unsigned char buf[READ_SIZE];
	uint64_t left = conf.size - t->off;
	size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);
	int n;

	must(pread(server.file, buf, len, (off_t)t->off) == (ssize_t)len,
	     "pread");
	n = SSL_write(t->link.ssl, buf, (int)len);
	if (n > 0) {
		t->off += (uint64_t)n;
		return true;
	}
	must(SSL_get_error(t->link.ssl, n) == SSL_ERROR_WANT_WRITE,
	     "SSL_write");
	return false;
}

/* ---- the loop ---- */

/* Those whose turn it is; each at most once. */
static struct transfer **queue;
static int first, queued, room;

static void enqueue(struct transfer *t)
{
	if (t->waits_in_queue)
		return;
	t->waits_in_queue = true;
	queue[(first + queued++) % room] = t;
}

static struct transfer *dequeue(void)
{
	struct transfer *t = queue[first];

	first = (first + 1) % room;
	queued--;
	t->waits_in_queue = false;
	return t;
}

/* As much as a fair server gives to one before the others; true: all of it. */
static bool turn(const struct variant *v, struct transfer *t)
{
	uint64_t end = t->off + (1u << 20);
	bool more = true;

	if (end > conf.size)
		end = conf.size;
	t->again = false;
	while (more && t->off < end)
		more = v->who < AUTO ? step_write(t) : step_tlssf(t);
	if (t->slow && t->off == conf.size)
		t->off = 0;
	if (t->off == conf.size) {
		must(shutdown(t->link.sock, SHUT_WR) == 0, "shutdown");
		return true;
	}
	if (more || t->again)
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

		must(epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].link.sock, &e) ==
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
		/* with the last one done, the slow ones' client goes, too */
		for (int i = queued; i > 0 && left > 0; i--)
			left -= turn(v, dequeue());
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

/* Its buffers are full before anything is timed. */
static void fill(const struct variant *v, struct transfer *t)
{
	int size = SLOW_SNDBUF;

	t->slow = true;
	must(setsockopt(t->link.sock, SOL_SOCKET, SO_SNDBUF, &size,
			sizeof(size)) == 0, "SO_SNDBUF");
	turn(v, t);
	while (queued > 0)
		turn(v, dequeue());
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
		all[i].link = accept_link(v);
		must(fcntl(all[i].link.sock, F_SETFL, O_NONBLOCK) == 0,
		     "fcntl");
		if (i < conf.slow)
			fill(v, &all[i]);
	}
	wall = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_THREAD_CPUTIME_ID);
	send_to_all(v, all, n);
	for (int i = conf.slow; i < n; i++)
		wait_closed(all[i].link.sock);
	s.cpu = (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / conf.connections;
	s.wall = (now(CLOCK_MONOTONIC) - wall) / conf.connections;
	for (int i = 0; i < n; i++) {
		SSL_free(all[i].link.ssl);
		close(all[i].link.sock);
	}
	free(all);
	free(queue);
	return s;
}
