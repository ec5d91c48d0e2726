/* SPDX-License-Identifier: MIT */
/*
 * CPU per byte of tlssf_send() by method userspace, against the loop that
 * every server has: pread() of 16 KiB, then SSL_write().
 *
 * The server is this thread on one CPU, the client a child on another. A
 * sample is a new connection with a real handshake, then the timed phase: send
 * the file, shutdown(SHUT_WR), wait for the client's end of stream. The client
 * throws ciphertext away (MSG_TRUNC), so that it is never the bottleneck.
 * Variants are shuffled in every round and compared only within their round:
 * the machine may change its mood between rounds. Before anything is timed,
 * a client that decrypts checks the SHA-256 of what each variant sends.
 */
#include "userspace.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

#define MIB		(1024.0 * 1024.0)
#define GIB		(1024.0 * MIB)
#define MAX_ROUNDS	999
#define SAMPLE_LIMIT	300	/* seconds until SIGALRM ends a stuck run */
#define POLL_LIMIT	30000	/* milliseconds */

static const struct suite suites[] = {
	{ "aes128gcm", "ECDHE-ECDSA-AES128-GCM-SHA256",
	  "TLS_AES_128_GCM_SHA256" },
	{ "aes256gcm", "ECDHE-ECDSA-AES256-GCM-SHA384",
	  "TLS_AES_256_GCM_SHA384" },
	{ "chacha20", "ECDHE-ECDSA-CHACHA20-POLY1305",
	  "TLS_CHACHA20_POLY1305_SHA256" },
};

struct conf conf = { 128 << 20, 21, TLS1_3_VERSION, &suites[0], 0, 0, NULL };

static struct server server;

struct variant {
	const char *name;
	void (*send)(SSL *ssl, int sock, int file);
	enum who who;
	bool nonblocking;
};

struct sample {
	double cpu, wall;	/* seconds */
	double calls;		/* sends that tlssf made */
};

/* ---- the variants ---- */

static void send_pread_write(SSL *ssl, int sock, int file)
{
	static unsigned char buf[16384];
	uint64_t off = 0;

	(void)sock;
	while (off < conf.size) {
		ssize_t n = pread(file, buf, sizeof(buf), (off_t)off);

		must(n > 0, "pread");
		must(SSL_write(ssl, buf, (int)n) == n, "SSL_write");
		off += (uint64_t)n;
	}
}

static void send_blocking(SSL *ssl, int sock, int file)
{
	uint64_t off = 0;

	(void)sock;
	while (off < conf.size) {
		ssize_t n = tlssf_send(ssl, file, (off_t)off,
				       conf.size - off);

		if (n <= 0)
			die("tlssf_send: %zd, %s", n, tlssf_strerror(ssl));
		off += (uint64_t)n;
	}
}

static void wait_writable(SSL *ssl, int sock)
{
	struct tlssf_status st = { .size = sizeof(st) };
	struct pollfd p = { .fd = sock, .events = POLLOUT };

	must(tlssf_status(ssl, &st) == 0, "tlssf_status");
	if (st.retry_ms)
		must(poll(NULL, 0, (int)st.retry_ms) == 0, "poll");
	else
		must(poll(&p, 1, POLL_LIMIT) == 1, "waiting for POLLOUT");
}

static void send_nonblocking(SSL *ssl, int sock, int file)
{
	uint64_t off = 0;

	while (off < conf.size) {
		ssize_t n = tlssf_send(ssl, file, (off_t)off,
				       conf.size - off);

		if (n > 0)
			off += (uint64_t)n;
		else if (n == TLSSF_WANT_WRITE)
			wait_writable(ssl, sock);
		else
			die("tlssf_send: %zd, %s", n, tlssf_strerror(ssl));
	}
}

static const struct variant variants[] = {
	{ "pread16k+SSL_write", send_pread_write, BASELINE, false },
	/* the same once more: what the noise alone makes of a ratio */
	{ "the-same-again", send_pread_write, BASELINE, false },
	{ "tlssf-blocking", send_blocking, TLSSF_AUTO, false },
	{ "tlssf-nonblocking", send_nonblocking, TLSSF_AUTO, true },
	/* the keys stay with OpenSSL: nothing but the batching */
	{ "tlssf-named", send_blocking, TLSSF_NAMED, false },
};
#define N_VARIANTS (sizeof(variants) / sizeof(variants[0]))

static struct sample samples[N_VARIANTS][MAX_ROUNDS];

/* ---- a sample ---- */

/* Until the client has everything and closes. */
static void wait_end(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char c;

	must(shutdown(sock, SHUT_WR) == 0, "shutdown");
	must(poll(&p, 1, POLL_LIMIT) == 1, "waiting for the client");
	must(recv(sock, &c, 1, 0) == 0, "end of stream");
}

static struct sample timed(const struct variant *v, SSL *ssl, int sock)
{
	struct sample s = { 0 };
	double wall = now(CLOCK_MONOTONIC);
	double cpu = now(CLOCK_THREAD_CPUTIME_ID);

	v->send(ssl, sock, server.file);
	wait_end(sock);
	s.cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
	s.wall = now(CLOCK_MONOTONIC) - wall;
	return s;
}

/* The sample is worth something only if the method was the one named. */
static void check_method(const struct variant *v, SSL *ssl, struct sample *s)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (BIO_get_ktls_send(SSL_get_wbio(ssl)))
		die("%s: the kernel does TLS here", v->name);
	if (v->who == BASELINE)
		return;
	must(tlssf_status(ssl, &st) == 0, "tlssf_status");
	if (st.method != TLSSF_METHOD_USERSPACE ||
	    st.takeover != (v->who == TLSSF_AUTO) ||
	    st.bytes[TLSSF_METHOD_USERSPACE] != conf.size)
		die("%s: method %s, %llu bytes", v->name,
		    tlssf_method_name(st.method), (unsigned long long)
		    st.bytes[TLSSF_METHOD_USERSPACE]);
	s->calls = (double)st.calls;
}

static struct sample serve(const struct variant *v, enum mode mode,
			   struct report *report)
{
	SSL *ssl = SSL_new(server.ctx[v->who]);
	struct sample s;
	int sock;

	alarm(SAMPLE_LIMIT);
	must(send(server.ctl, &mode, sizeof(mode), MSG_NOSIGNAL) ==
	     sizeof(mode), "order");
	sock = accept(server.listener, NULL, NULL);
	must(sock >= 0 && ssl && SSL_set_fd(ssl, sock), "accept");
	must(SSL_accept(ssl) == 1, "SSL_accept");
	if (v->nonblocking)
		must(fcntl(sock, F_SETFL, O_NONBLOCK) == 0, "fcntl");
	s = timed(v, ssl, sock);
	check_method(v, ssl, &s);
	SSL_free(ssl);
	close(sock);
	must(recv(server.ctl, report, sizeof(*report), 0) ==
	     sizeof(*report), "client");
	return s;
}

static bool wanted(const struct variant *v)
{
	return !conf.only || strcmp(conf.only, v->name) == 0;
}

static void verify(const struct variant *v)
{
	struct report r;

	serve(v, DECRYPT, &r);
	if (r.bytes != conf.size ||
	    memcmp(r.sha256, server.sha256, sizeof(r.sha256)) != 0)
		die("%s: the client decrypted other bytes", v->name);
	printf("verified: %s: SHA-256 of %llu bytes equal\n", v->name,
	       (unsigned long long)r.bytes);
}

static void shuffle(unsigned int *order)
{
	for (unsigned int i = N_VARIANTS - 1; i > 0; i--) {
		unsigned int j = (unsigned int)random() % (i + 1);
		unsigned int t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void play_round(int round)
{
	unsigned int order[N_VARIANTS];

	for (unsigned int i = 0; i < N_VARIANTS; i++)
		order[i] = i;
	shuffle(order);
	for (unsigned int i = 0; i < N_VARIANTS; i++) {
		const struct variant *v = &variants[order[i]];
		struct report r;

		if (!wanted(v))
			continue;
		samples[order[i]][round] = serve(v, DRAIN, &r);
		if (r.bytes <= conf.size)
			die("%s: the stream was cut", v->name);
	}
}

/* ---- the table ---- */

struct spread {
	double median, min, max;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread(double *x)
{
	int n = conf.rounds;

	qsort(x, (size_t)n, sizeof(*x), compare);
	return (struct spread) { (x[(n - 1) / 2] + x[n / 2]) / 2, x[0],
				 x[n - 1] };
}

static struct spread cpu_of(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[v][i].cpu * GIB / (double)conf.size;
	return spread(x);
}

static struct spread cpu_ratio(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[0][i].cpu / samples[v][i].cpu;
	return spread(x);
}

static struct spread wall_ratio(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[0][i].wall / samples[v][i].wall;
	return spread(x);
}

static void cell(struct spread s)
{
	printf("  %5.2f [%.2f-%.2f]", s.median, s.min, s.max);
}

static void print_row(unsigned int v)
{
	printf("%-19s", variants[v].name);
	cell(cpu_of(v));
	if (!conf.only) {
		cell(cpu_ratio(v));
		cell(wall_ratio(v));
	}
	if (variants[v].who != BASELINE)
		printf("  %5.1f", samples[v][0].calls * MIB /
		       (double)conf.size);
	putchar('\n');
}

static void print_table(void)
{
	printf("\n%-19s  %-17s", "", "CPU s/GiB");
	if (!conf.only)
		printf("  %-17s  %-17s", "x less CPU", "x less time");
	puts("  sends/MiB");
	for (unsigned int v = 0; v < N_VARIANTS; v++)
		if (wanted(&variants[v]))
			print_row(v);
	printf("median [min-max] of %d rounds", conf.rounds);
	puts(conf.only ? "" : "; x: baseline / variant in the same round");
}

static void print_load(struct load from)
{
	struct load to = load_now();

	printf("other programs used %.0f %% of the CPUs meanwhile\n",
	       100 * (to.others - from.others) / (to.all - from.all));
}

/* Every row without a named method has to reach it. */
static int judge(void)
{
	double worst = 1e9;

	if (conf.goal <= 0)
		return 0;
	for (unsigned int v = 0; v < N_VARIANTS; v++)
		if (variants[v].who == TLSSF_AUTO && cpu_ratio(v).median < worst)
			worst = cpu_ratio(v).median;
	printf("goal: %.2f x less CPU: %s (%.2f)\n", conf.goal,
	       worst >= conf.goal ? "reached" : "MISSED", worst);
	return worst < conf.goal;
}

/* ---- start ---- */

static void print_setting(bool own_net)
{
	struct utsname u;

	must(uname(&u) == 0, "uname");
	printf("%.1f MiB, %s %s, %s, Linux %s, reno, %s\n",
	       (double)conf.size / MIB,
	       conf.version == TLS1_3_VERSION ? "TLS 1.3" : "TLS 1.2",
	       conf.suite->name, OpenSSL_version(OPENSSL_VERSION), u.release,
	       own_net ? "own network namespace" :
	       "the machine's own loopback: no namespace without root");
	if (conf.wake)
		printf("client woken once per %d bytes (SO_RCVLOWAT)\n",
		       conf.wake);
}

static uint64_t bytes_arg(const char *s)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(s, &end, 10);
	if (*end == 'K' || *end == 'M')
		n <<= *end++ == 'K' ? 10 : 20;
	if (errno || end == s || *end || n == 0 || n > INT32_MAX)
		die("not a size between 1 and 2047M: %s", s);
	return n;
}

static int rounds_arg(const char *s)
{
	int n = atoi(s);

	if (n < 1 || n > MAX_ROUNDS)
		die("rounds: 1 to %d", MAX_ROUNDS);
	return n;
}

static double goal_arg(const char *s)
{
	char *end;
	double x = strtod(s, &end);

	if (end == s || *end || !(x >= 0))
		die("not a ratio: %s", s);
	return x;
}

static int version_arg(const char *s)
{
	if (strcmp(s, "1.2") == 0)
		return TLS1_2_VERSION;
	if (strcmp(s, "1.3") != 0)
		die("tls: 1.2 or 1.3");
	return TLS1_3_VERSION;
}

static const struct suite *suite_arg(const char *s)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (strcmp(s, suites[i].name) == 0)
			return &suites[i];
	die("cipher: aes128gcm, aes256gcm or chacha20");
}

static const char *only_arg(const char *s)
{
	for (unsigned int v = 0; v < N_VARIANTS; v++)
		if (strcmp(s, variants[v].name) == 0)
			return s;
	die("no such variant: %s", s);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "cipher", required_argument, NULL, 'c' },
		{ "tls", required_argument, NULL, 't' },
		{ "wake", required_argument, NULL, 'w' },
		{ "goal", required_argument, NULL, 'g' },
		{ "only", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': conf.size = bytes_arg(optarg); break;
		case 'r': conf.rounds = rounds_arg(optarg); break;
		case 'c': conf.suite = suite_arg(optarg); break;
		case 't': conf.version = version_arg(optarg); break;
		case 'w': conf.wake = (int)bytes_arg(optarg); break;
		case 'g': conf.goal = goal_arg(optarg); break;
		case 'o': conf.only = only_arg(optarg); break;
		default: die("see bench/README.md");
		}
	}
	if (optind != argc || (conf.only && conf.goal > 0))
		die("see bench/README.md");
}

int main(int argc, char **argv)
{
	struct load before;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	print_setting(own_network());
	start_ends(&server);
	srandom((unsigned int)time(NULL));
	for (unsigned int v = 0; v < N_VARIANTS; v++)
		if (wanted(&variants[v]))
			verify(&variants[v]);
	before = load_now();
	for (int round = 0; round < conf.rounds; round++)
		play_round(round);
	print_table();
	print_load(before);
	stop_ends(&server);
	return judge();
}
