/* SPDX-License-Identifier: MIT */
/* A connected TCP pair over loopback, on which the probe tries kernel TLS. */
#include "base.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIR_SECONDS 2	/* timeout of every blocking call on a probe pair */
#define PAIR_STRANGERS 8 /* foreign connections that accept_client() closes */

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static void close_keeping_errno(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

static int socket_with_timeouts(int family)
{
	struct timeval tv = { .tv_sec = PAIR_SECONDS };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0)
		return fd;
	close_keeping_errno(fd);
	return -errno;
}

/* Listen on a free loopback port, and store its address in `addr`. */
static int listen_loopback(int family, union address *addr, socklen_t *len)
{
	int fd = socket_with_timeouts(family);

	memset(addr, 0, sizeof(*addr));
	addr->any.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		addr->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		addr->in6.sin6_addr = in6addr_loopback;
	*len = family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
	if (fd < 0)
		return fd;
	if (bind(fd, &addr->any, *len) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, &addr->any, len) == 0)
		return fd;
	close_keeping_errno(fd);
	return -errno;
}

static int connect_to(const union address *addr, socklen_t len)
{
	int fd = socket_with_timeouts(addr->any.sa_family);
	int r;

	if (fd < 0)
		return fd;
	do	/* on Linux a second connect() waits for the same handshake */
		r = connect(fd, &addr->any, len);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fd;
	close_keeping_errno(fd);
	return -errno;
}

/* Is the peer of `accepted` our socket `client`? */
static bool same_port(int client, int accepted)
{
	union address a = { 0 }, b = { 0 };
	socklen_t a_len = sizeof(a), b_len = sizeof(b);

	if (getsockname(client, &a.any, &a_len) ||
	    getpeername(accepted, &b.any, &b_len))
		return false;
	/* sin_port and sin6_port have the same offset */
	return a.any.sa_family == b.any.sa_family &&
	       a.in.sin_port == b.in.sin_port;
}

/*
 * Accept the connection from `client`. Any process on this machine may connect
 * to the listener, so other connections are closed.
 */
static int accept_client(int listener, int client)
{
	struct timeval tv = { .tv_sec = PAIR_SECONDS };

	for (int i = 0; i < PAIR_STRANGERS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -errno;
		if (same_port(client, fd) &&
		    !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) &&
		    !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)))
			return fd;
		close(fd);
	}
	return -ECONNABORTED;
}

static int connect_pair(int family, int fds[2])
{
	union address addr;
	socklen_t len;
	int listener = listen_loopback(family, &addr, &len);

	if (listener < 0)
		return listener;
	fds[0] = connect_to(&addr, len);
	fds[1] = fds[0] < 0 ? fds[0] : accept_client(listener, fds[0]);
	close(listener);
	if (fds[1] >= 0)
		return 0;
	if (fds[0] >= 0)
		close(fds[0]);
	return fds[1];
}

int tlssf_sys_tcp_pair(int fds[2])
{
	int err = connect_pair(AF_INET, fds);

	/* return the error of IPv4, since many systems have no IPv6 */
	if (err && connect_pair(AF_INET6, fds) == 0)
		err = 0;
	return err;
}
