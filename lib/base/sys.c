/* SPDX-License-Identifier: MIT */
/*
 * Every system call of the library, as one table. The probe's socket pair
 * (sys_pair.c) is one member of the table.
 */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* Convert a result of libc, where -1 means errno, to 0 or more, or -errno. */
static int int_or_errno(long r)
{
	return r < 0 ? -errno : (int)r;
}

static ssize_t size_or_errno(ssize_t r)
{
	return r < 0 ? -errno : r;
}

/*
 * Does errno show that a seccomp filter refused the call? The filter may allow
 * a plainer call. For another cause of EPERM (a firewall), both calls fail.
 */
static bool refused(ssize_t r)
{
	return r < 0 && (errno == EPERM || errno == ENOSYS);
}

static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t *process_page;	/* NULL: MADV_WIPEONFORK fails */
static _Atomic uint32_t last_process;

/*
 * An advice that Linux does not know and refuses. Some emulators and sandboxes
 * accept this number, since they return 0 for every advice and ignore it.
 */
#define NO_ADVICE	(-1)

static void map_process_page(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	if (madvise(p, size, NO_ADVICE) < 0 &&
	    madvise(p, size, MADV_WIPEONFORK) == 0)
		process_page = p;
	else
		munmap(p, size);
}

/*
 * The kernel clears the page in every child, also in one that clone(2) created
 * (madvise(2), MADV_WIPEONFORK); the child then takes the next number. Reading
 * the page needs no system call. getpid() is the fallback only, because a child
 * in another PID namespace may have the pid of its parent.
 */
static uint32_t sys_process(void)
{
	uint32_t id, none = 0;

	pthread_once(&process_once, map_process_page);
	if (!process_page)
		return (uint32_t)getpid();
	id = *process_page;
	if (id)
		return id;
	id = ++last_process;
	return atomic_compare_exchange_strong(process_page, &none, id) ? id
								       : none;
}

static uint64_t sys_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * Many libcs implement fstat() as fstatat() with an empty path. Older kernels
 * look that path up: on Linux 6.1 the call takes four times the instructions.
 * Where struct stat is the same in libc and the kernel, this function uses the
 * system call fstat instead.
 */
static int cheap_fstat(int fd, struct stat *st)
{
#if (defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__)
	int r = (int)syscall(SYS_fstat, fd, st);

	return refused(r) ? fstatat(fd, "", st, AT_EMPTY_PATH) : r;
#else
	return fstat(fd, st);
#endif
}

static int sys_file_size(int fd, uint64_t *size)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (refused(flags))
		flags = O_RDONLY;	/* a read will fail if it is not */
	if (flags < 0)
		return -errno;
	if (flags & O_PATH || ((flags & O_ACCMODE) != O_RDONLY &&
			       (flags & O_ACCMODE) != O_RDWR))
		return -EBADF;
	if (cheap_fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*size = (uint64_t)st.st_size;
	return 0;
}

static ssize_t sys_pread(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return size_or_errno(n);
}

static ssize_t sys_preadv(int fd, const struct iovec *iov, int n, uint64_t off)
{
	ssize_t r;

	do
		r = preadv(fd, iov, n, (off_t)off);
	while (r < 0 && errno == EINTR);
	if (refused(r))	/* the caller repeats a call that reads too little */
		return sys_pread(fd, iov->iov_base, iov->iov_len, off);
	return size_or_errno(r);
}

static int sys_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -errno : (flags & O_NONBLOCK) != 0;
}

/*
 * write() has no MSG_NOSIGNAL, so block SIGPIPE, and remove the SIGPIPE that
 * write() raised. If a sandbox refuses that as well, write nothing.
 */
static ssize_t write_without_sigpipe(int fd, const void *buf, size_t len)
{
	static const struct timespec no_wait;
	sigset_t none, sigpipe, old, before;
	ssize_t n;

	sigemptyset(&none);
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	n = -pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
	if (n)
		return n;
	if (sigpending(&old) || refused(sigtimedwait(&none, NULL, &no_wait)))
		n = -errno;
	else
		n = size_or_errno(write(fd, buf, len));
	if (n == -EPIPE && !sigismember(&old, SIGPIPE))
		sigtimedwait(&sigpipe, NULL, &no_wait);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

/* EINTR is not retried here: after a signal the public call has to return. */
static ssize_t sys_send(int fd, const void *buf, size_t len, bool more)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
	ssize_t n = send(fd, buf, len, flags);

	if (refused(n))
		n = sendmsg(fd, &msg, flags);
	if (refused(n) && !more)	/* write() has no MSG_MORE */
		return write_without_sigpipe(fd, buf, len);
	return size_or_errno(n);
}

static ssize_t sys_recv(int fd, void *buf, size_t len)
{
	ssize_t n = recv(fd, buf, len, 0);

	return size_or_errno(refused(n) ? read(fd, buf, len) : n);
}

static ssize_t sys_send_record(int fd, int type, const void *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(1)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;

	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_TLS;
	cmsg->cmsg_type = TLS_SET_RECORD_TYPE;
	cmsg->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(cmsg) = (unsigned char)type;
	return size_or_errno(sendmsg(fd, &msg, MSG_NOSIGNAL));
}

static int sys_poll(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	struct timespec t = { .tv_sec = timeout_ms / 1000,
			      .tv_nsec = timeout_ms % 1000 * 1000000L };
	int n = poll(&p, 1, timeout_ms);

	if (refused(n))
		n = ppoll(&p, 1, timeout_ms < 0 ? NULL : &t, NULL);
	return n < 0 ? -errno : p.revents;
}

/* A signal ends the sleep early; the caller repeats its attempt anyway. */
static void sys_sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (refused(nanosleep(&t, NULL)))
		sys_poll(-1, 0, (int)ms);
}

static int sys_send_timeout_ms(int fd, int *ms)
{
	struct timeval tv;
	socklen_t len = sizeof(tv);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len))
		return -errno;
	if (tv.tv_sec == 0 && tv.tv_usec == 0)
		*ms = -1;
	else if (tv.tv_sec >= INT_MAX / 1000)
		*ms = INT_MAX;
	else	/* round up: a timeout of 0 ms would mean "do not wait" */
		*ms = (int)(tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000);
	return 0;
}

static int sys_send_room(int fd, size_t *room)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem);
	uint32_t size, used;

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len))
		return -errno;
	size = mem[SK_MEMINFO_SNDBUF];
	used = mem[SK_MEMINFO_WMEM_QUEUED];
	*room = size > used ? size - used : 0;
	return 0;
}

/*
 * Read the acknowledged bytes before the queue length. An ACK between the two
 * system calls makes in_tcp too small, never too large. So a flush may wait
 * longer than necessary, but never ends too early.
 */
static int sys_tcp(int fd, struct sys_tcp *tcp)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int queued;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -errno;
	if (len < offsetof(struct tcp_info, tcpi_bytes_acked) +
		  sizeof(info.tcpi_bytes_acked))
		return -EOPNOTSUPP;
	if (ioctl(fd, SIOCOUTQ, &queued))
		return -errno;
	tcp->state = info.tcpi_state;
	tcp->queued = (uint64_t)queued;
	tcp->in_tcp = tcp->queued + info.tcpi_bytes_acked;
	return 0;
}

static int sys_tcp_cork(int fd, bool on)
{
	int cork = on;

	return int_or_errno(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork,
				       sizeof(cork)));
}

static int sys_tcp_corked(int fd)
{
	int cork;
	socklen_t len = sizeof(cork);

	return getsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, &len) ? -errno
								  : cork;
}

static int sys_tcp_state(int fd)
{
	uint8_t state;	/* the first member of struct tcp_info */
	socklen_t len = sizeof(state);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &len))
		return -errno;
	return len == sizeof(state) ? state : -EOPNOTSUPP;
}

/* Returns -errno if a sandbox refuses what a socket with kernel TLS needs. */
static int sandbox_error(int fd)
{
	struct msghdr msg = { 0 };
	struct sys_tcp tcp;
	int r = sys_tcp(fd, &tcp);

	if (!r && (refused(sendmsg(-1, &msg, 0)) ||
		   refused(sendfile(-1, -1, NULL, 0))))
		r = -errno;
	return r;
}

/*
 * Kernel TLS cannot be removed from a socket, so check first that it is usable.
 * EEXIST means success if the ULP of the socket is already "tls".
 */
static int sys_ulp_attach(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name) - 1;
	int err = sandbox_error(fd);

	if (err || !setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")))
		return err;
	if (errno != EEXIST)
		return -errno;
	if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len) == 0 &&
	    strcmp(name, "tls") == 0)
		return 0;
	return -EEXIST;
}

static int sys_tls_tx_set(int fd, const void *info, size_t len)
{
	return int_or_errno(setsockopt(fd, SOL_TLS, TLS_TX, info,
				       (socklen_t)len));
}

static int sys_tls_tx_get(int fd, void *info, size_t *len)
{
	socklen_t n = (socklen_t)*len;

	if (getsockopt(fd, SOL_TLS, TLS_TX, info, &n))
		return -errno;
	*len = n;
	return 0;
}

static ssize_t sys_sendfile(int out, int in, uint64_t off, size_t len)
{
	off_t offset = (off_t)off;

	return size_or_errno(sendfile(out, in, &offset, len));
}

static int sys_shutdown_write(int fd)
{
	return int_or_errno(shutdown(fd, SHUT_WR));
}

static int sys_socket_id(int fd, uint64_t *id)
{
	socklen_t len = sizeof(*id);

	return int_or_errno(getsockopt(fd, SOL_SOCKET, SO_COOKIE, id, &len));
}

static int sys_tls_option(int fd, int option, unsigned int *value, size_t len)
{
	uint16_t value16 = (uint16_t)*value;
	bool is16 = len == sizeof(value16);
	void *optval = is16 ? (void *)&value16 : (void *)value;
	socklen_t size = (socklen_t)len;

	if (!is16 && len != sizeof(*value))
		return -EINVAL;
	if (setsockopt(fd, SOL_TLS, option, optval, size) ||
	    getsockopt(fd, SOL_TLS, option, optval, &size))
		return -errno;
	if (is16)
		*value = value16;
	return 0;
}

static int sys_close(int fd)
{
	/* no retry after EINTR: Linux has released the descriptor */
	return int_or_errno(close(fd));
}

static ssize_t sys_read_text(const char *path, char *buf, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		n = read(fd, buf + len, cap - len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len < cap) || (n < 0 && errno == EINTR));
	n = n < 0 ? -errno : len < cap ? (ssize_t)len : -EFBIG;
	if (n >= 0)
		buf[len] = '\0';
	close(fd);
	return n;
}

static int sys_kernel_release(char *buf, size_t cap)
{
	struct utsname u;

	if (uname(&u))
		return -errno;
	if (strlen(u.release) >= cap)
		return -ENAMETOOLONG;
	memcpy(buf, u.release, strlen(u.release) + 1);
	return 0;
}

const struct sys tlssf_sys = {
	.process = sys_process,
	.now_ms = sys_now_ms,
	.sleep_ms = sys_sleep_ms,
	.file_size = sys_file_size,
	.pread = sys_pread,
	.preadv = sys_preadv,
	.nonblocking = sys_nonblocking,
	.send = sys_send,
	.recv = sys_recv,
	.send_record = sys_send_record,
	.poll = sys_poll,
	.send_timeout_ms = sys_send_timeout_ms,
	.send_room = sys_send_room,
	.tcp = sys_tcp,
	.tcp_state = sys_tcp_state,
	.tcp_cork = sys_tcp_cork,
	.tcp_corked = sys_tcp_corked,
	.ulp_attach = sys_ulp_attach,
	.tls_tx_set = sys_tls_tx_set,
	.tls_tx_get = sys_tls_tx_get,
	.tls_option = sys_tls_option,
	.sendfile = sys_sendfile,
	.shutdown_write = sys_shutdown_write,
	.socket_id = sys_socket_id,
	.tcp_pair = tlssf_sys_tcp_pair,
	.close = sys_close,
	.read_text = sys_read_text,
	.kernel_release = sys_kernel_release,
};
