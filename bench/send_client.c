/* SPDX-License-Identifier: MIT */
/*
 * The client: a process that requests responses from the server and counts,
 * compares or discards them.
 */
#include "send.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOW_BUF	32768	/* SO_RCVBUF of a slow client */
#define SLOW_BYTES	16384	/* one slow client reads these ... */
#define SLOW_PAUSE	0.001	/* ... every SLOW_PAUSE seconds */

static const unsigned char *content;	/* the file, mapped */

/* Returns whether the server must send `data` at byte `at` of the stream. */
static bool matches(uint64_t at, const unsigned char *data, size_t len)
{
	uint64_t header = (uint64_t)conf.header, size = header + conf.size;

	while (len > 0) {
		uint64_t in = at % size, left;
		const unsigned char *from = in < header ?
			server.header + in : content + (in - header);

		left = in < header ? header - in : size - in;
		if (left > len)
			left = len;
		if (memcmp(data, from, (size_t)left) != 0)
			return false;
		data += left;
		at += left;
		len -= (size_t)left;
	}
	return true;
}

static void receive_all(int sock, unsigned char *to, size_t len)
{
	must(recv(sock, to, len, MSG_WAITALL) == (ssize_t)len, "recv");
}

/*
 * Returns how many bytes of a record, after its header of 5 bytes, are not
 * plaintext.
 */
static size_t overhead(void)
{
	if (conf.version == TLS1_3_VERSION)
		return 1 + 16;
	return strcmp(conf.suite->name, "chacha20") == 0 ? 16 : 8 + 16;
}

/* Count the records of one response by their headers, without decryption. */
static void count_records(SSL *ssl, int sock, struct report *r)
{
	static unsigned char buf[1 << 16];
	uint64_t end = r->bytes + (uint64_t)conf.header + conf.size;

	(void)ssl;
	while (r->bytes < end) {
		size_t len;

		receive_all(sock, buf, 5);
		len = (size_t)buf[3] << 8 | buf[4];
		if (buf[0] != 23 || len < overhead())
			die("client: not an application data record");
		receive_all(sock, buf, len);
		r->bytes += len - overhead();
		r->records++;
	}
}

static void compare_response(SSL *ssl, int sock, struct report *r)
{
	static unsigned char buf[16384];
	uint64_t end = r->bytes + (uint64_t)conf.header + conf.size;

	(void)sock;
	while (r->bytes < end) {
		int n = SSL_read(ssl, buf, sizeof(buf));

		/* SSL_read() fails if a record cannot be decrypted */
		must(n > 0, "SSL_read");
		r->equal = r->equal && matches(r->bytes, buf, (size_t)n);
		r->bytes += (uint64_t)n;
	}
}

static void request_responses(SSL *ssl, int sock, const struct task *task,
			      struct report *r)
{
	for (int i = 0; i < task->responses; i++) {
		must(SSL_write(ssl, "?", 1) == 1, "request");
		if (task->mode == COMPARE)
			compare_response(ssl, sock, r);
		else
			count_records(ssl, sock, r);
	}
}

static void drain_stream(int sock, struct report *r)
{
	static unsigned char buf[1 << 20];
	ssize_t n;

	while ((n = recv(sock, buf, sizeof(buf), MSG_TRUNC)) > 0)
		r->bytes += (uint64_t)n;
	must(n == 0, "recv");
}

static SSL *connect_to(SSL_CTX *ctx, const struct sockaddr_in *to,
		       const struct task *task)
{
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(ctx);

	must(sock >= 0 && ssl && SSL_set_fd(ssl, sock), "socket");
	set_int(sock, IPPROTO_TCP, TCP_NODELAY, 1);
	must(connect(sock, (const void *)to, sizeof(*to)) == 0, "connect");
	must(SSL_connect(ssl) == 1, "SSL_connect");
	if (conf.wake && task->mode != COMPARE)
		set_int(sock, SOL_SOCKET, SO_RCVLOWAT, conf.wake);
	return ssl;
}

static void disconnect(SSL *ssl)
{
	int sock = SSL_get_fd(ssl);

	SSL_free(ssl);
	close(sock);
}

static struct report run_task(SSL_CTX *ctx, const struct sockaddr_in *to,
			      const struct task *task)
{
	SSL *ssl = connect_to(ctx, to, task);
	struct report r = { .equal = true };

	if (task->responses)
		request_responses(ssl, SSL_get_fd(ssl), task, &r);
	else if (task->mode == COMPARE)
		compare_response(ssl, SSL_get_fd(ssl), &r);
	else
		drain_stream(SSL_get_fd(ssl), &r);
	disconnect(ssl);
	return r;
}

/* Discard the available bytes. Returns true, and closes, at the end. */
static bool drain_available(SSL *ssl, struct report *r)
{
	static unsigned char buf[1 << 20];
	ssize_t n = recv(SSL_get_fd(ssl), buf, sizeof(buf),
			 MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	must(n >= 0, "recv");
	r->bytes += (uint64_t)n;
	if (n == 0)
		disconnect(ssl);
	return n == 0;
}

/* At most every SLOW_PAUSE, read SLOW_BYTES on the next slow connection. */
static void drain_slowly(SSL **slow, int n)
{
	static char buf[SLOW_BYTES];
	static double last;
	static int next;

	if (!n || now(CLOCK_MONOTONIC) - last < SLOW_PAUSE)
		return;
	must(recv(SSL_get_fd(slow[next++ % n]), buf, sizeof(buf),
		  MSG_TRUNC | MSG_DONTWAIT) != 0, "recv");
	last = now(CLOCK_MONOTONIC);
}

static SSL **connect_slow(SSL_CTX *ctx, const struct sockaddr_in *to,
			  const struct task *task)
{
	SSL **slow = calloc((size_t)task->slow + 1, sizeof(SSL *));

	must(slow != NULL, "calloc");
	for (int i = 0; i < task->slow; i++) {
		slow[i] = connect_to(ctx, to, task);
		set_int(SSL_get_fd(slow[i]), SOL_SOCKET, SO_RCVBUF, SLOW_BUF);
	}
	return slow;
}

static struct report run_many(SSL_CTX *ctx, const struct sockaddr_in *to,
			      const struct task *task)
{
	int epoll = epoll_create1(0), left = task->connections, got;
	SSL **slow = connect_slow(ctx, to, task);
	struct report r = { .equal = true };
	struct epoll_event e[64];

	must(epoll >= 0, "epoll_create1");
	for (int i = 0; i < task->connections; i++) {
		SSL *ssl = connect_to(ctx, to, task);

		e[0] = (struct epoll_event){ .events = EPOLLIN,
					     .data.ptr = ssl };
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, SSL_get_fd(ssl), e) == 0,
		     "epoll_ctl");
	}
	while (left > 0) {
		got = epoll_wait(epoll, e, 64, task->slow ? 1 : -1);
		must(got >= 0, "epoll_wait");
		for (int i = 0; i < got; i++)
			left -= drain_available(e[i].data.ptr, &r);
		drain_slowly(slow, task->slow);
	}
	for (int i = 0; i < task->slow; i++)
		disconnect(slow[i]);
	free(slow);
	close(epoll);
	return r;
}

void run_client(int ctl, const struct sockaddr_in *to)
{
	SSL_CTX *ctx = new_ctx(TLS_client_method());
	struct task task;

	pin_to_cpu(1);
	content = mmap(NULL, conf.size, PROT_READ, MAP_SHARED, server.file, 0);
	must(content != MAP_FAILED, "mmap");
	while (recv(ctl, &task, sizeof(task), 0) == sizeof(task)) {
		struct report r = task.connections + task.slow > 1 ?
			run_many(ctx, to, &task) :
			run_task(ctx, to, &task);

		must(send(ctl, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r),
		     "report");
	}
	SSL_CTX_free(ctx);
	_exit(0);
}
