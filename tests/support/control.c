/* SPDX-License-Identifier: MIT */
/* Our end of the peers: starts the program `peer`, and sends it commands. */
#include "time_limits.h"
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH		4096

static int program = -1;	/* the socket to the program `peer` */

/* Room for one descriptor that goes along with a message. */
union ancillary {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

static int send_with(int sock, void *data, size_t len, int fd)
{
	union ancillary a = { .head = { .cmsg_len = CMSG_LEN(sizeof(fd)),
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &a, .msg_controllen = sizeof(a.room) };

	memcpy(CMSG_DATA(&a.head), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int wait_for(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&pfd, 1, HANG_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : n ? -errno : -ETIMEDOUT;
}

static int receive_with(int sock, void *data, size_t len, int *fd)
{
	union ancillary a;
	struct iovec iov = { data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &a, .msg_controllen = sizeof(a.room) };
	struct cmsghdr *c;
	int r = wait_for(sock);

	if (r)
		return r;
	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)len)
		return -EPIPE;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return 0;
}

/* ---- the program ---- */

static void path_of_program(char *path, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", path, cap);

	while (n > 0 && path[n - 1] != '/')
		n--;
	snprintf(path + (n > 0 ? n : 0), cap - (size_t)(n > 0 ? n : 0), "%s",
		 PEER_PROGRAM);
}

static _Noreturn void become_program(const char *path, int sock, pid_t parent)
{
	char number[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sock = dup(sock);	/* without CLOEXEC */
	if (getppid() != parent || sock < 0)
		_exit(1);
	snprintf(number, sizeof(number), "%d", sock);
	execl(path, path, number, (char *)NULL);
	perror(path);
	_exit(1);
}

int peer_prepare(void)
{
	pid_t parent = getpid(), pid;
	char path[PATH];
	int pair[2];

	if (program >= 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	path_of_program(path, sizeof(path));
	pid = fork();
	if (pid == 0)
		become_program(path, pair[1], parent);
	close(pair[1]);
	program = pair[0];
	return pid < 0 ? -errno : 0;
}

/* ---- one connection ---- */

static void copy_text(char *to, const char *from)
{
	if (from)
		snprintf(to, PEER_TEXT, "%s", from);
}

static int send_request(const struct peer_conf *conf, int control)
{
	struct peer_request request;

	memset(&request, 0, sizeof(request));
	request.conf = *conf;
	copy_text(request.cipher, conf->cipher);
	copy_text(request.name, conf->name);
	return send_with(program, &request, sizeof(request), control);
}

int peer_start(struct peer *p, const struct peer_conf *conf)
{
	struct peer_hello hello;
	int pair[2], r = peer_prepare();

	memset(p, 0, sizeof(*p));
	if (r)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	r = send_request(conf, pair[1]);
	close(pair[1]);
	if (!r)
		r = receive_with(pair[0], &hello, sizeof(hello), &p->handle);
	if (r) {
		close(pair[0]);
		return r;
	}
	p->pid = hello.pid;
	p->control = pair[0];
	return 0;
}

int peer_send(struct peer *p, const struct peer_command *command)
{
	return send(p->control, command, sizeof(*command), MSG_NOSIGNAL) < 0
		? -errno : 0;
}

int peer_receive(struct peer *p, struct peer_report *report)
{
	int r = wait_for(p->control);

	if (r)
		return r;
	return recv(p->control, report, sizeof(*report), 0) == sizeof(*report)
		? 0 : -EPIPE;
}

void peer_stop(struct peer *p)
{
	if (!p->pid)
		return;
	close(p->control);
	syscall(SYS_pidfd_send_signal, p->handle, SIGKILL, NULL, 0);
	/* a pidfd is readable once its process has ended */
	wait_for(p->handle);
	close(p->handle);
	memset(p, 0, sizeof(*p));
}
