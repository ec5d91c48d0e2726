/* SPDX-License-Identifier: MIT */
#include "kernel_facts_util.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static uint64_t in_tcp(int fd);

/* The numbers are the kernel's ABI; old headers may lack the newer ciphers. */
const struct aead aeads[N_AEAD] = {
	{ "aes128gcm", "AES-128-GCM", 51, 8, 16, 4 },
	{ "aes256gcm", "AES-256-GCM", 52, 8, 32, 4 },
	{ "aes128ccm", "AES-128-CCM", 53, 8, 16, 4 },
	{ "chacha20", "ChaCha20-Poly1305", 54, 12, 32, 0 },
	{ "sm4gcm", "SM4-GCM", 55, 8, 16, 4 },
	{ "sm4ccm", "SM4-CCM", 56, 8, 16, 4 },
	{ "aria128gcm", "ARIA-128-GCM", 57, 8, 16, 4 },
	{ "aria256gcm", "ARIA-256-GCM", 58, 8, 32, 4 },
};

/* The layout that this program uses must be that of linux/tls.h. */
#define SAME(f, name) \
	_Static_assert(offsetof(struct tls12_crypto_info_##name, f) == \
		       OFF_##f(name), #name "." #f)
#define SZ(f, name) sizeof(((struct tls12_crypto_info_##name *)0)->f)
#define OFF_key(name) (4 + SZ(iv, name))
#define OFF_salt(name) (OFF_key(name) + SZ(key, name))
#define OFF_rec_seq(name) (OFF_salt(name) + SZ(salt, name))
#define LAYOUT(name, total) \
	SAME(key, name); SAME(salt, name); SAME(rec_seq, name); \
	_Static_assert(sizeof(struct tls12_crypto_info_##name) == (total), \
		       #name)
LAYOUT(aes_gcm_128, 40);
LAYOUT(aes_gcm_256, 56);
LAYOUT(aes_ccm_128, 40);
LAYOUT(chacha20_poly1305, 56);

struct conn c;
int spare[2];
unsigned char buf[4 * RECORD_MAX];
volatile sig_atomic_t pipes;

unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 7 + (i >> 8) * 13 + (i >> 16) * 31);
}

static void fill(unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i);
}

static void on_signal(int sig)
{
	if (sig == SIGPIPE)
		pipes++;
}

static void catch(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	ck_assert_int_eq(sigaction(sig, &sa, NULL), 0);
}

void setup(void)
{
	memset(&c, 0, sizeof(c));
	c.tx = c.file = c.peer.fd = spare[0] = spare[1] = -1;
	fill(buf, sizeof(buf));
	pipes = 0;
	catch(SIGPIPE);
	catch(SIGALRM);
}

void teardown(void)
{
	struct itimerval off = { 0 };

	setitimer(ITIMER_REAL, &off, NULL);
	conn_close();
	close_fd(&spare[0]);
	close_fd(&spare[1]);
}

void assert_errno(ssize_t r, int want)
{
	int e = errno;

	ck_assert_int_eq(r, -1);
	ck_assert_msg(e == want, "errno %d (%s), not %d", e, strerror(e), want);
}

void put_be64(unsigned char *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

uint64_t get_be64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

void keys_make(struct keys *k, uint16_t version, const struct aead *a,
	       uint64_t seq)
{
	memset(k, 0, sizeof(*k));
	k->aead = a;
	k->version = version;
	k->len = 4 + a->iv + a->key + a->salt + 8;
	memcpy(k->info, &version, 2);
	memcpy(k->info + 2, &a->id, 2);
	ck_assert_int_eq(RAND_bytes(k->info + 4, (int)k->len - 12), 1);
	put_be64(k->info + k->len - 8, seq);
}

bool explicit_nonce(const struct keys *k)
{
	return k->version == V12 && k->aead->id != ID_CHACHA;
}

unsigned int overhead(const struct keys *k)
{
	if (k->version == V13)
		return 5 + 1 + 16;	/* header, inner type, tag */
	return explicit_nonce(k) ? 5 + 8 + 16 : 5 + 16;
}

int set_ulp(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4) ? errno : 0;
}

int set_tx(int fd, const struct keys *k)
{
	return setsockopt(fd, SOL_TLS, TLS_TX, k->info, k->len) ? errno : 0;
}

static void buffer(int fd, int opt, int size)
{
	if (size)
		ck_assert_int_eq(opt_int(fd, SOL_SOCKET, opt, size), 0);
}

/*
 * Segments of real networks: with loopback's 64 KiB segments a small buffer
 * behaves unlike any real one. The time-out ends a test that should not block.
 */
static int tcp_socket(void)
{
	struct timeval tv = { .tv_sec = 2 * HANG_S };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(opt_int(fd, IPPROTO_TCP, TCP_MAXSEG, 1460), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv,
				    sizeof(tv)), 0);
	return fd;
}

void conn_open(int sndbuf, int rcvbuf)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int l = tcp_socket();

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	buffer(l, SO_SNDBUF, sndbuf);
	ck_assert_int_eq(bind(l, (void *)&sin, len), 0);
	ck_assert_int_eq(listen(l, 1), 0);
	ck_assert_int_eq(getsockname(l, (void *)&sin, &len), 0);
	c.peer.fd = tcp_socket();
	buffer(c.peer.fd, SO_RCVBUF, rcvbuf);
	ck_assert_int_eq(connect(c.peer.fd, (void *)&sin, len), 0);
	c.tx = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	close(l);
	ck_assert_int_ge(c.tx, 0);
	nonblocking(c.peer.fd, true);
}

void conn_open_tls(uint16_t version, const struct aead *a, int sndbuf,
		   int rcvbuf)
{
	conn_open(sndbuf, rcvbuf);
	ck_assert_int_eq(set_ulp(c.tx), 0);
	c.seq0 = 7;	/* not 0, to detect a kernel that ignores it */
	keys_make(&c.keys, version, a, c.seq0);
	c.peer.keys = c.keys;
	c.peer.seq = c.seq0;
	c.base = in_tcp(c.tx);
	ck_assert_int_eq(set_tx(c.tx, &c.keys), 0);
}

void open_default(void)
{
	conn_open_tls(V13, &aeads[AES128GCM], 0, 0);
}

int opt_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? errno : 0;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void conn_close(void)
{
	close_fd(&c.tx);
	close_fd(&c.file);
	close_fd(&c.peer.fd);
}

int memory_file(size_t size)
{
	int fd = memfd_create("kernel_facts", MFD_CLOEXEC);
	void *p;

	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	p = mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(p != MAP_FAILED);
	fill(p, size);
	munmap(p, size);
	return fd;
}

void nonblocking(int fd, bool on)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0), 0);
}

void set_linger(int fd, int seconds)
{
	struct linger l = { 1, seconds };

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)),
			 0);
}

ssize_t send_cmsg(int fd, uint8_t type, const void *data, size_t len,
		  int flags)
{
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(1)] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data,
			     .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = ctl,
			      .msg_controllen = sizeof(ctl) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_TLS;
	cm->cmsg_type = TLS_SET_RECORD_TYPE;
	cm->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(cm) = type;
	return sendmsg(fd, &msg, flags);
}

ssize_t push_open(int fd)
{
	return send_cmsg(fd, TYPE_DATA, NULL, 0, 0);
}

uint64_t rec_seq(void)
{
	unsigned char info[INFO_MAX];
	socklen_t len = c.keys.len;

	ck_assert_int_eq(getsockopt(c.tx, SOL_TLS, TLS_TX, info, &len), 0);
	ck_assert_uint_eq(len, c.keys.len);
	return get_be64(info + len - 8);
}

static struct tcp_info tcp_info(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	memset(&ti, 0, sizeof(ti));
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len), 0);
	return ti;
}

int tcp_state(int fd)
{
	return tcp_info(fd).tcpi_state;
}

int out_queue(int fd)
{
	int n = -1;

	ck_assert_int_eq(ioctl(fd, SIOCOUTQ, &n), 0);
	return n;
}

short poll_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT |
						  POLLRDHUP };

	ck_assert_int_ge(poll(&pfd, 1, 0), 0);
	return pfd.revents;
}

/*
 * bytes_acked is read before the queue. An ACK between the two reads makes the
 * sum too small, so pending() may return too much and never too little.
 */
static uint64_t in_tcp(int fd)
{
	uint64_t acked = tcp_info(fd).tcpi_bytes_acked;

	return acked + (uint64_t)out_queue(fd);
}

int64_t pending(uint64_t accepted)
{
	uint64_t records = rec_seq() - c.seq0;

	return (int64_t)(c.base + accepted + records * overhead(&c.keys) -
			 in_tcp(c.tx));
}
