/* SPDX-License-Identifier: MIT */
/* Sets up the file, the server's contexts, sockets and the client process. */
#include "send.h"

#include <errno.h>
#include <net/if.h>
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

void set_int(int fd, int level, int option, int value)
{
	must(setsockopt(fd, level, option, &value, sizeof(value)) == 0,
	     "setsockopt");
}

void pin_to_cpu(unsigned int n)
{
	cpu_set_t all, one;
	int cpu = 0;

	must(sched_getaffinity(0, sizeof(all), &all) == 0,
	     "sched_getaffinity");
	if (CPU_COUNT(&all) < 2)
		return;
	CPU_ZERO(&one);
	for (;; cpu++)
		if (CPU_ISSET(cpu, &all) && n-- == 0)
			break;
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0,
	     "sched_setaffinity");
}

#ifdef OPENSSL_IS_BORINGSSL
#define SSL_OP_ENABLE_KTLS 0

/* BoringSSL chooses its TLS 1.3 cipher itself; handshake() checks which. */
static int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *names)
{
	(void)ctx;
	return names != NULL;
}
#endif

SSL_CTX *new_ctx(const SSL_METHOD *method)
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

/* ---- clocks ---- */

static clockid_t client_clock;

double now(clockid_t clock)
{
	struct timespec t;

	must(clock_gettime(clock, &t) == 0, "clock_gettime");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Reads /proc/stat: user nice system idle iowait irq softirq steal. */
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

static void use_self_signed(SSL_CTX *ctx)
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

static void configure_ctx(SSL_CTX *ctx, enum ctx_id id)
{
	static const int named[N_CTX] = {
		[AUTO] = TLSSF_METHOD_AUTO,
		[NAMED_SSL_SENDFILE] = TLSSF_METHOD_SSL_SENDFILE,
		[NAMED_KTLS] = TLSSF_METHOD_KTLS,
		[NAMED_USERSPACE] = TLSSF_METHOD_USERSPACE,
	};
	struct tlssf_options options = {
		.size = sizeof(options),
		.method = named[id],
	};

	if (id == OPENSSL_KTLS)
		SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
	else if (id >= AUTO)
		must(tlssf_ctx_init(ctx, &options) == 0, "tlssf_ctx_init");
}

static void make_contexts(void)
{
	for (enum ctx_id id = OPENSSL; id < N_CTX; id++) {
		server.ctx[id] = new_ctx(TLS_server_method());
		use_self_signed(server.ctx[id]);
		configure_ctx(server.ctx[id], id);
	}
}

static void random_bytes(unsigned char *to, size_t len)
{
	must(RAND_bytes(to, (int)len) == 1, "RAND_bytes");
}

/* Make a file of random bytes that is in the page cache and on the disk. */
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

/* Use reno: BBR, a common default, paces packets and distorts the results. */
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
		run_client(ctl[1], &to);
	}
	close(ctl[1]);
	server.ctl = ctl[0];
	must(clock_getcpuclockid(pid, &client_clock) == 0, "client's clock");
}

bool unshare_network(void)
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

void start_server_and_client(void)
{
	make_file();
	start_client();
	pin_to_cpu(0);
	make_contexts();
}

void stop_server_and_client(void)
{
	int status;

	close(server.ctl);	/* makes the client exit */
	must(wait(&status) > 0 && status == 0, "client");
	close(server.file);
	close(server.listener);
	free(server.header);
	for (enum ctx_id id = 0; id < N_CTX; id++)
		SSL_CTX_free(server.ctx[id]);
}
