/* SPDX-License-Identifier: MIT */
/* Both ends of the benchmark: what exists before anything is timed. */
#include "userspace.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bench_userspace: ", stderr);
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

static void pin(unsigned int nth)
{
	cpu_set_t all, one;
	int cpu = 0;

	must(sched_getaffinity(0, sizeof(all), &all) == 0,
	     "sched_getaffinity");
	if (CPU_COUNT(&all) < 2)
		die("needs two CPUs");
	CPU_ZERO(&one);
	for (;; cpu++)
		if (CPU_ISSET(cpu, &all) && nth-- == 0)
			break;
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0,
	     "sched_setaffinity");
}

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	int ok;

	must(ctx != NULL, "SSL_CTX_new");
	SSL_CTX_set_min_proto_version(ctx, conf.version);
	SSL_CTX_set_max_proto_version(ctx, conf.version);
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

static uint64_t drain(int sock)
{
	static unsigned char buf[1 << 20];
	uint64_t total = 0;
	ssize_t n;

	if (conf.wake)
		set_int(sock, SOL_SOCKET, SO_RCVLOWAT, conf.wake);
	while ((n = recv(sock, buf, sizeof(buf), MSG_TRUNC)) > 0)
		total += (uint64_t)n;
	must(n == 0, "recv");
	return total;
}

static void decrypt(SSL *ssl, struct report *r)
{
	static unsigned char buf[16384];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int n;

	must(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL), "SHA-256");
	while ((n = SSL_read(ssl, buf, sizeof(buf))) > 0) {
		EVP_DigestUpdate(md, buf, (size_t)n);
		r->bytes += (uint64_t)n;
	}
	/* a record that does not open ends here, not as an end of stream */
	must(SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN, "SSL_read");
	EVP_DigestFinal_ex(md, r->sha256, NULL);
	EVP_MD_CTX_free(md);
}

static struct report receive(SSL_CTX *ctx, const struct sockaddr_in *to,
			     enum mode mode)
{
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	struct report r = { 0 };
	SSL *ssl = SSL_new(ctx);

	must(sock >= 0 && ssl && SSL_set_fd(ssl, sock), "socket");
	must(connect(sock, (const void *)to, sizeof(*to)) == 0, "connect");
	must(SSL_connect(ssl) == 1, "SSL_connect");
	if (mode == DRAIN)
		r.bytes = drain(sock);
	else
		decrypt(ssl, &r);
	SSL_free(ssl);
	close(sock);
	return r;
}

/* Obeys orders until the other end of `ctl` is closed. */
__attribute__((noreturn))
static void client(int ctl, const struct sockaddr_in *to)
{
	SSL_CTX *ctx = new_ctx(TLS_client_method());
	enum mode mode;

	pin(1);
	/* the server ends the TCP stream without close_notify */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	while (recv(ctl, &mode, sizeof(mode), 0) == sizeof(mode)) {
		struct report r = receive(ctx, to, mode);

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

static void self_sign(SSL_CTX *ctx)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	must(key && x, "key");
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

static void make_contexts(struct server *s)
{
	const struct tlssf_options named = {
		.size = sizeof(named),
		.method = TLSSF_METHOD_USERSPACE,
	};

	for (int i = 0; i < N_CTX; i++) {
		s->ctx[i] = new_ctx(TLS_server_method());
		self_sign(s->ctx[i]);
	}
	must(tlssf_ctx_init(s->ctx[TLSSF_AUTO], NULL) == 0 &&
	     tlssf_ctx_init(s->ctx[TLSSF_NAMED], &named) == 0,
	     "tlssf_ctx_init");
}

/* A file of random bytes, in the page cache and written back. */
static void make_file(struct server *s)
{
	static unsigned char buf[1 << 20];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const char *dir = getenv("TMPDIR");
	char path[4096];
	uint64_t left;

	snprintf(path, sizeof(path), "%s/bench_userspace.XXXXXX",
		 dir ? dir : "/tmp");
	s->file = mkstemp(path);
	must(s->file >= 0 && unlink(path) == 0, "mkstemp");
	must(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL), "SHA-256");
	for (left = conf.size; left > 0;) {
		size_t n = left < sizeof(buf) ? left : sizeof(buf);

		must(RAND_bytes(buf, (int)n) == 1, "RAND_bytes");
		must(write(s->file, buf, n) == (ssize_t)n, "write");
		EVP_DigestUpdate(md, buf, n);
		left -= n;
	}
	must(fsync(s->file) == 0, "fsync");
	EVP_DigestFinal_ex(md, s->sha256, NULL);
	EVP_MD_CTX_free(md);
}

/* reno: the pacing of BBR, a common default, distorts loopback. */
static struct sockaddr_in listen_on_loopback(struct server *s)
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
	s->listener = fd;
	return a;
}

static void start_client(struct server *s)
{
	struct sockaddr_in to = listen_on_loopback(s);
	int ctl[2];
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ctl) == 0, "socketpair");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		close(ctl[0]);
		close(s->listener);
		client(ctl[1], &to);
	}
	close(ctl[1]);
	s->ctl = ctl[0];
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

void start_ends(struct server *s)
{
	make_file(s);
	start_client(s);
	pin(0);
	make_contexts(s);
}

void stop_ends(struct server *s)
{
	int status;

	close(s->ctl);		/* ends the client */
	must(wait(&status) > 0 && status == 0, "client");
	close(s->file);
	close(s->listener);
	for (int i = 0; i < N_CTX; i++)
		SSL_CTX_free(s->ctx[i]);
}
