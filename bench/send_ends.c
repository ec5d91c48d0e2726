/* SPDX-License-Identifier: MIT */
/* Both ends of the benchmark: what exists before anything is timed. */
#include "send.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

#define SLOW_BUF	32768	/* SO_RCVBUF of a slow client */
#define SLOW_BYTES	16384	/* that one of them takes ... */
#define SLOW_PAUSE	0.001	/* seconds after the one before */

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bench_send: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

void must(bool ok, const char *what)
{
	if (!ok)
		die("%s failed: %s", what, strerror(errno));
}

static void set_int(int fd, int level, int option, int value)
{
	must(setsockopt(fd, level, option, &value, sizeof(value)) == 0,
	     "setsockopt");
}

/* Where there is but one CPU, there is nothing to choose. */
static void pin(unsigned int nth)
{
	cpu_set_t all, one;
	int cpu = 0;

	must(sched_getaffinity(0, sizeof(all), &all) == 0,
	     "sched_getaffinity");
	if (CPU_COUNT(&all) < 2)
		return;
	CPU_ZERO(&one);
	for (;; cpu++)
		if (CPU_ISSET(cpu, &all) && nth-- == 0)
			break;
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0,
	     "sched_setaffinity");
}

#ifdef OPENSSL_IS_BORINGSSL
#define SSL_OP_ENABLE_KTLS 0

/* It chooses for itself in TLS 1.3; handshake() in send.c sees what. */
static int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *names)
{
	(void)ctx;
	return names != NULL;
}
#endif

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	int ok;

	must(ctx != NULL, "SSL_CTX_new");
	SSL_CTX_set_min_proto_version(ctx, (uint16_t)conf.version);
	SSL_CTX_set_max_proto_version(ctx, (uint16_t)conf.version);
	if (conf.version == TLS1_3_VERSION)
		ok = SSL_CTX_set_ciphersuites(ctx, conf.suite->tls13);
	else
		ok = SSL_CTX_set_cipher_list(ctx, conf.suite->tls12);
	must(ok == 1, "setting the cipher");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	return ctx;
}

/* ---- the client ---- */

static const unsigned char *content;	/* of the file */

/* Is it what comes at byte `at` of the stream? */
static bool expected(uint64_t at, const unsigned char *data, size_t len)
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

/* Bytes of a record that are not content, after the header of 5. */
static size_t overhead(void)
{
	if (conf.version == TLS1_3_VERSION)
		return 1 + 16;
	return strcmp(conf.suite->name, "chacha20") == 0 ? 16 : 8 + 16;
}

/* The records of one response, by what their headers say. */
static void count(SSL *ssl, int sock, struct report *r)
{
	static unsigned char buf[1 << 16];
	uint64_t end = r->bytes + (uint64_t)conf.header + conf.size;

	(void)ssl;
	while (r->bytes < end) {
		size_t len;

		receive_all(sock, buf, 5);
		len = (size_t)buf[3] << 8 | buf[4];
		if (buf[0] != 23 || len < overhead())
			die("client: not a record of data");
		receive_all(sock, buf, len);
		r->bytes += len - overhead();
		r->records++;
	}
}

static void compare(SSL *ssl, int sock, struct report *r)
{
	static unsigned char buf[16384];
	uint64_t end = r->bytes + (uint64_t)conf.header + conf.size;

	(void)sock;
	while (r->bytes < end) {
		int n = SSL_read(ssl, buf, sizeof(buf));

		/* a record that does not open ends here */
		must(n > 0, "SSL_read");
		r->equal = r->equal && expected(r->bytes, buf, (size_t)n);
		r->bytes += (uint64_t)n;
	}
}

static void ask(SSL *ssl, int sock, const struct order *o, struct report *r)
{
	for (int i = 0; i < o->responses; i++) {
		must(SSL_write(ssl, "?", 1) == 1, "request");
		if (o->mode == COMPARE)
			compare(ssl, sock, r);
		else
			count(ssl, sock, r);
	}
}

static void drain(int sock, struct report *r)
{
	static unsigned char buf[1 << 20];
	ssize_t n;

	while ((n = recv(sock, buf, sizeof(buf), MSG_TRUNC)) > 0)
		r->bytes += (uint64_t)n;
	must(n == 0, "recv");
}

static SSL *connect_to(SSL_CTX *ctx, const struct sockaddr_in *to,
		       const struct order *o)
{
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(ctx);

	must(sock >= 0 && ssl && SSL_set_fd(ssl, sock), "socket");
	set_int(sock, IPPROTO_TCP, TCP_NODELAY, 1);
	must(connect(sock, (const void *)to, sizeof(*to)) == 0, "connect");
	must(SSL_connect(ssl) == 1, "SSL_connect");
	if (conf.wake && o->mode != COMPARE)
		set_int(sock, SOL_SOCKET, SO_RCVLOWAT, conf.wake);
	return ssl;
}

static void disconnect(SSL *ssl)
{
	int sock = SSL_get_fd(ssl);

	SSL_free(ssl);
	close(sock);
}

static struct report receive(SSL_CTX *ctx, const struct sockaddr_in *to,
			     const struct order *o)
{
	SSL *ssl = connect_to(ctx, to, o);
	struct report r = { .equal = true };

	if (o->responses)
		ask(ssl, SSL_get_fd(ssl), o, &r);
	else if (o->mode == COMPARE)
		compare(ssl, SSL_get_fd(ssl), &r);
	else
		drain(SSL_get_fd(ssl), &r);
	disconnect(ssl);
	return r;
}

/* What has come on one of many connections; at the end it is closed. */
static bool drain_some(SSL *ssl, struct report *r)
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

/* Clients that hardly read: a little of one of them, now and then. */
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
			  const struct order *o)
{
	SSL **slow = calloc((size_t)o->slow + 1, sizeof(SSL *));

	must(slow != NULL, "calloc");
	for (int i = 0; i < o->slow; i++) {
		slow[i] = connect_to(ctx, to, o);
		set_int(SSL_get_fd(slow[i]), SOL_SOCKET, SO_RCVBUF, SLOW_BUF);
	}
	return slow;
}

static struct report receive_many(SSL_CTX *ctx, const struct sockaddr_in *to,
				  const struct order *o)
{
	int epoll = epoll_create1(0), left = o->connections, got;
	SSL **slow = connect_slow(ctx, to, o);
	struct report r = { .equal = true };
	struct epoll_event e[64];

	must(epoll >= 0, "epoll_create1");
	for (int i = 0; i < o->connections; i++) {
		SSL *ssl = connect_to(ctx, to, o);

		e[0] = (struct epoll_event){ .events = EPOLLIN,
					     .data.ptr = ssl };
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, SSL_get_fd(ssl), e) == 0,
		     "epoll_ctl");
	}
	while (left > 0) {
		got = epoll_wait(epoll, e, 64, o->slow ? 1 : -1);
		must(got >= 0, "epoll_wait");
		for (int i = 0; i < got; i++)
			left -= drain_some(e[i].data.ptr, &r);
		drain_slowly(slow, o->slow);
	}
	for (int i = 0; i < o->slow; i++)
		disconnect(slow[i]);
	free(slow);
	close(epoll);
	return r;
}

/* Obeys orders until the other end of `ctl` is closed. */
__attribute__((noreturn))
static void client(int ctl, const struct sockaddr_in *to)
{
	SSL_CTX *ctx = new_ctx(TLS_client_method());
	struct order order;

	pin(1);
	content = mmap(NULL, conf.size, PROT_READ, MAP_SHARED, server.file, 0);
	must(content != MAP_FAILED, "mmap");
	while (recv(ctl, &order, sizeof(order), 0) == sizeof(order)) {
		struct report r = order.connections + order.slow > 1 ?
			receive_many(ctx, to, &order) :
			receive(ctx, to, &order);

		must(send(ctl, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r),
		     "report");
	}
	SSL_CTX_free(ctx);
	_exit(0);
}

/* ---- the rest of the machine ---- */

static clockid_t client_clock;

double now(clockid_t clock)
{
	struct timespec t;

	must(clock_gettime(clock, &t) == 0, "clock_gettime");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* First line of /proc/stat: user nice system idle iowait irq softirq steal. */
struct load load_now(void)
{
	double t[8], tick = (double)sysconf(_SC_CLK_TCK);
	FILE *f = fopen("/proc/stat", "r");
	struct load l = { 0 };

	must(f && fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &t[0],
			 &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
			 &t[7]) == 8, "/proc/stat");
	fclose(f);
	for (int i = 0; i < 8; i++)
		l.all += t[i] / tick;
	l.others = l.all - (t[3] + t[4]) / tick -
		   now(CLOCK_PROCESS_CPUTIME_ID) - now(client_clock);
	return l;
}

/* ---- the server ---- */

static EVP_PKEY *new_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	must(ctx && EVP_PKEY_keygen_init(ctx) == 1 &&
	     EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx,
						    NID_X9_62_prime256v1) == 1 &&
	     EVP_PKEY_keygen(ctx, &key) == 1, "key");
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void self_sign(SSL_CTX *ctx)
{
	EVP_PKEY *key = new_key();
	X509 *x = X509_new();

	must(x != NULL, "X509_new");
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN",
				   MBSTRING_ASC,
				   (const unsigned char *)"bench", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	must(X509_sign(x, key, EVP_sha256()) > 0, "X509_sign");
	must(SSL_CTX_use_certificate(ctx, x) == 1 &&
	     SSL_CTX_use_PrivateKey(ctx, key) == 1, "certificate");
	X509_free(x);
	EVP_PKEY_free(key);
}

static void prepare(SSL_CTX *ctx, enum who who)
{
	static const int named[N_WHO] = {
		[AUTO] = TLSSF_METHOD_AUTO,
		[NAMED_SSL_SENDFILE] = TLSSF_METHOD_SSL_SENDFILE,
		[NAMED_KTLS] = TLSSF_METHOD_KTLS,
		[NAMED_USERSPACE] = TLSSF_METHOD_USERSPACE,
	};
	struct tlssf_options options = {
		.size = sizeof(options),
		.method = named[who],
	};

	if (who == OPENSSL_KTLS)
		SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
	else if (who >= AUTO)
		must(tlssf_ctx_init(ctx, &options) == 0, "tlssf_ctx_init");
}

static void make_contexts(void)
{
	for (enum who who = OPENSSL; who < N_WHO; who++) {
		server.ctx[who] = new_ctx(TLS_server_method());
		self_sign(server.ctx[who]);
		prepare(server.ctx[who], who);
	}
}

static void random_bytes(unsigned char *to, size_t len)
{
	must(RAND_bytes(to, (int)len) == 1, "RAND_bytes");
}

/* A file of random bytes, in the page cache and written back. */
static void make_file(void)
{
	static unsigned char buf[1 << 20];
	const char *dir = getenv("TMPDIR");
	char path[4096];
	uint64_t left;

	snprintf(path, sizeof(path), "%s/bench_send.XXXXXX",
		 dir ? dir : "/tmp");
	server.file = mkstemp(path);
	must(server.file >= 0 && unlink(path) == 0, "mkstemp");
	for (left = conf.size; left > 0;) {
		size_t n = left < sizeof(buf) ? left : sizeof(buf);

		random_bytes(buf, n);
		must(write(server.file, buf, n) == (ssize_t)n, "write");
		left -= n;
	}
	must(fsync(server.file) == 0, "fsync");
	server.header = malloc((size_t)conf.header + 1);
	must(server.header != NULL, "malloc");
	random_bytes(server.header, (size_t)conf.header);
}

/* reno: the pacing of BBR, a common default, distorts loopback. */
static struct sockaddr_in listen_on_loopback(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && bind(fd, (void *)&a, len) == 0 &&
	     listen(fd, 1) == 0 && getsockname(fd, (void *)&a, &len) == 0,
	     "listening");
	must(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0,
	     "TCP_CONGESTION reno");
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	server.listener = fd;
	return a;
}

static void start_client(void)
{
	struct sockaddr_in to = listen_on_loopback();
	int ctl[2];
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ctl) == 0, "socketpair");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		close(ctl[0]);
		close(server.listener);
		client(ctl[1], &to);
	}
	close(ctl[1]);
	server.ctl = ctl[0];
	must(clock_getcpuclockid(pid, &client_clock) == 0, "client's clock");
}

bool own_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) != 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	must(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0, "lo up");
	close(fd);
	return true;
}

void start_ends(void)
{
	make_file();
	start_client();
	pin(0);
	make_contexts();
}

void stop_ends(void)
{
	int status;

	close(server.ctl);	/* ends the client */
	must(wait(&status) > 0 && status == 0, "client");
	close(server.file);
	close(server.listener);
	free(server.header);
	for (enum who who = 0; who < N_WHO; who++)
		SSL_CTX_free(server.ctx[who]);
}
