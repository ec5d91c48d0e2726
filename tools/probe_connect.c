/* SPDX-License-Identifier: MIT */
/* Connects to a server and asks libtlssf how it could send to that server. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#define CONNECT_LIMIT_MS	10000	/* after the name was resolved */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Split HOST:PORT or [HOST]:PORT in place. Returns the port, or NULL if the
 * text has neither form.
 */
static char *split_host_port(char *text, char **host)
{
	char *port = strrchr(text, ':');

	if (!port || port == text || port[1] == '\0')
		return NULL;
	*port = '\0';
	*host = text;
	if (*text != '[')	/* an IPv6 address needs brackets */
		return strchr(text, ':') ? NULL : port + 1;
	if (port[-1] != ']' || port == text + 2)
		return NULL;
	port[-1] = '\0';
	*host = text + 1;
	return port + 1;
}

/* Returns 0, or -1 with errno; ETIMEDOUT when the deadline has passed. */
static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left;
	int n;

	do {
		left = deadline - now_ms();
		n = left > 0 ? poll(&p, 1, (int)left) : 0;
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		errno = ETIMEDOUT;
	return n > 0 ? 0 : -1;
}

static int finish_connect(int fd, int64_t deadline)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (wait_for(fd, POLLOUT, deadline) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -1;
	errno = error;
	return error ? -1 : 0;
}

/* Returns a connected, non-blocking socket, or -1 with errno. */
static int connect_to(const struct addrinfo *a, int64_t deadline)
{
	int err;
	int fd = socket(a->ai_family,
			a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
			a->ai_protocol);

	if (fd < 0)
		return -1;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 ||
	    (errno == EINPROGRESS && finish_connect(fd, deadline) == 0))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/*
 * The deadline of a connection attempt to address `a`: the time that is left,
 * divided by the number of addresses from `a` on. An address that does not
 * respond thus leaves time for the next ones.
 */
static int64_t address_deadline(const struct addrinfo *a, int64_t deadline)
{
	int64_t now = now_ms();
	int n = 0;

	for (; a; a = a->ai_next)
		n++;
	return now + (deadline - now) / n;
}

static int open_socket(struct connection *conn, const char *host,
		       const char *port, int64_t *deadline)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *a;
	int fd = -1, e = getaddrinfo(host, port, &hints, &list);

	*deadline = now_ms() + CONNECT_LIMIT_MS;
	if (e) {
		snprintf(conn->error, sizeof(conn->error),
			 "no address: %s", gai_strerror(e));
		return -1;
	}
	for (a = list; a && fd < 0; a = a->ai_next) {
		getnameinfo(a->ai_addr, a->ai_addrlen, conn->address,
			    sizeof(conn->address), NULL, 0, NI_NUMERICHOST);
		fd = connect_to(a, address_deadline(a, *deadline));
	}
	if (fd < 0)
		snprintf(conn->error, sizeof(conn->error),
			 "cannot connect: %s", strerror(errno));
	freeaddrinfo(list);
	return fd;
}

/* ---- TLS ---- */

static const char *tls_error(int ssl_error)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	if (reason)
		return reason;
	return ssl_error == SSL_ERROR_SYSCALL && errno
		? strerror(errno) : "the server has closed the connection";
}

static bool handshake(SSL *ssl, int fd, int64_t deadline,
		      struct connection *conn)
{
	const char *why;
	int r, e;

	for (;;) {
		ERR_clear_error();
		errno = 0;
		r = SSL_connect(ssl);
		if (r == 1)
			return true;
		e = SSL_get_error(ssl, r);
		why = now_ms() < deadline ? tls_error(e) : strerror(ETIMEDOUT);
		if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
			break;
		if (wait_for(fd, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
			     deadline) < 0) {
			why = strerror(errno);
			break;
		}
	}
	snprintf(conn->error, sizeof(conn->error), "TLS handshake: %s", why);
	return false;
}

/*
 * A message callback. If the peer sends handshake messages without end,
 * SSL_connect() always has input and never returns, so the deadline has to be
 * checked here; shutdown() makes SSL_connect() fail.
 */
static void check_deadline_on_message(int sent, int version, int type,
				      const void *data, size_t len, SSL *ssl,
				      void *deadline)
{
	(void)sent, (void)version, (void)type, (void)data, (void)len;
	if (now_ms() >= *(const int64_t *)deadline)
		shutdown(SSL_get_fd(ssl), SHUT_RDWR);
}

/* Send the host name for SNI, unless it is a numeric address. */
static void set_server_name(SSL *ssl, const char *host)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
	struct addrinfo *list;

	if (getaddrinfo(host, NULL, &hints, &list) == 0)
		freeaddrinfo(list);
	else
		SSL_set_tlsext_host_name(ssl, host);
}

/*
 * Find the method that libtlssf would use. KTLS with the reason NOT_YET counts:
 * libtlssf will use it as soon as enough data is sent.
 */
static void predict_method(SSL *ssl, struct connection *conn)
{
	struct tlssf_status *st = &conn->status;
	int ktls;

	st->size = sizeof(*st);
	if (tlssf_status(ssl, st) < 0) {
		snprintf(conn->error, sizeof(conn->error), "%s",
			 strerror(errno));
		return;
	}
	ktls = st->why_not[TLSSF_METHOD_KTLS];
	if (st->why_not[TLSSF_METHOD_SSL_SENDFILE] == TLSSF_REASON_NONE)
		conn->method = TLSSF_METHOD_SSL_SENDFILE;
	else if (ktls == TLSSF_REASON_NONE || ktls == TLSSF_REASON_NOT_YET)
		conn->method = TLSSF_METHOD_KTLS;
	else
		conn->method = TLSSF_METHOD_USERSPACE;
	conn->offload = conn->method != TLSSF_METHOD_USERSPACE;
}

static void handshake_and_predict(struct connection *conn, int fd,
				  const char *host, int64_t deadline)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;

	if (!ctx || tlssf_ctx_init(ctx, NULL) < 0 || !(ssl = SSL_new(ctx)) ||
	    SSL_set_fd(ssl, fd) != 1) {
		snprintf(conn->error, sizeof(conn->error),
			 "the TLS library cannot be set up");
	} else {
		set_server_name(ssl, host);
		SSL_set_msg_callback(ssl, check_deadline_on_message);
		SSL_set_msg_callback_arg(ssl, &deadline);
		if (handshake(ssl, fd, deadline, conn)) {
			predict_method(ssl, conn);
			tlssf_shutdown(ssl);	/* a clean end for the server */
		}
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

bool probe_connect(struct connection *conn, const char *target)
{
	char text[512], *host, *port;
	int64_t deadline;
	int fd;

	if ((size_t)snprintf(text, sizeof(text), "%s", target) >= sizeof(text))
		return false;
	port = split_host_port(text, &host);
	if (!port)
		return false;
	conn->target = target;
	fd = open_socket(conn, host, port, &deadline);
	if (fd >= 0) {
		handshake_and_predict(conn, fd, host, deadline);
		close(fd);
	}
	return true;
}
