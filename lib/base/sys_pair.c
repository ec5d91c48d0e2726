/* SPDX-License-Identifier: MIT */
/* The loopback connection on which the probe tries things out. */
#include "base.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIR_SECONDS 2	/* limit of every blocking step on a probe pair */
#define PAIR_STRANGERS 8 /* foreign connections that we turn away */

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static void close_quietly(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

static int limited_socket(int family)
{
	struct timeval tv = { .tv_sec = PAIR_SECONDS };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0)
		return fd;
	close_quietly(fd);
	return -errno;
}

/* Listen on a free loopback port; `at` becomes the address. */
static int listen_loopback(int family, union address *at, socklen_t *len)
{
	int fd = limited_socket(family);

	memset(at, 0, sizeof(*at));
	at->any.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		at->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		at->in6.sin6_addr = in6addr_loopback;
	*len = family == AF_INET ? sizeof(at->in) : sizeof(at->in6);
	if (fd < 0)
		return fd;
	if (bind(fd, &at->any, *len) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, &at->any, len) == 0)
		return fd;
	close_quietly(fd);
	return -errno;
}

static int connect_to(const union address *at, socklen_t len)
{
	int fd = limited_socket(at->any.sa_family);
	int r;

	if (fd < 0)
		return fd;
	do	/* on Linux a repeated blocking connect goes on waiting */
		r = connect(fd, &at->any, len);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fd;
	close_quietly(fd);
	return -errno;
}

static bool same_port(int ours, int accepted)
{
	union address a = { 0 }, b = { 0 };
	socklen_t a_len = sizeof(a), b_len = sizeof(b);

	if (getsockname(ours, &a.any, &a_len) ||
	    getpeername(accepted, &b.any, &b_len))
		return false;
	/* the port is at the same place in both families */
	return a.any.sa_family == b.any.sa_family &&
	       a.in.sin_port == b.in.sin_port;
}

/* Anyone on this machine may connect to the listener: take only ourselves. */
static int accept_ours(int listener, int ours)
{
	struct timeval tv = { .tv_sec = PAIR_SECONDS };

	for (int i = 0; i < PAIR_STRANGERS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -errno;
		if (same_port(ours, fd) &&
		    !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) &&
		    !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)))
			return fd;
		close(fd);
	}
	return -ECONNABORTED;
}

static int pair_of(int family, int fds[2])
{
	union address at;
	socklen_t len;
	int listener = listen_loopback(family, &at, &len);

	if (listener < 0)
		return listener;
	fds[0] = connect_to(&at, len);
	fds[1] = fds[0] < 0 ? fds[0] : accept_ours(listener, fds[0]);
	close(listener);
	if (fds[1] >= 0)
		return 0;
	if (fds[0] >= 0)
		close(fds[0]);
	return fds[1];
}

int tlssf_sys_tcp_pair(int fds[2])
{
	int err = pair_of(AF_INET, fds);

	/* the first error says more: often there is no IPv6 at all */
	if (err && pair_of(AF_INET6, fds) == 0)
		err = 0;
	return err;
}
