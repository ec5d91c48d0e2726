/* SPDX-License-Identifier: MIT */
/*
 * Measures the CPU time that a server needs to send a header and a file, with
 * libtlssf and with other methods ("variants").
 *
 * The server is this thread on one CPU; the client is a child process on
 * another CPU. A sample is one measurement: a new connection with a real
 * handshake, then the timed phase. That is either several responses, each
 * requested by the client, or one bulk transfer, which ends when the client has
 * received all of it. In timed phases the client does not decrypt, so that the
 * server is the bottleneck: the client counts records or discards them in the
 * kernel (MSG_TRUNC).
 *
 * Each round runs all variants in random order. Variants are compared only
 * within a round, because the speed of the machine may change between rounds.
 * Before anything is timed, the client decrypts the output of each variant by
 * OpenSSL and compares every byte with the file.
 */
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

#define CHECKED		3	/* responses that verify() compares ... */
#define LARGE		(512u << 10)	/* ... of files below this size */

static const struct suite suites[] = {
	{ "aes128gcm", "ECDHE-ECDSA-AES128-GCM-SHA256",
	  "TLS_AES_128_GCM_SHA256" },
	{ "aes256gcm", "ECDHE-ECDSA-AES256-GCM-SHA384",
	  "TLS_AES_256_GCM_SHA384" },
	{ "chacha20", "ECDHE-ECDSA-CHACHA20-POLY1305",
	  "TLS_CHACHA20_POLY1305_SHA256" },
};

struct conf conf = {
	.name = "send",
	.size = 128 << 20,
	.warm_up = 2,
	.connections = 1,
	.rounds = 21,
	.version = TLS1_3_VERSION,
	.suite = &suites[0],
};

struct server server;

static unsigned int chosen[MAX_VARIANTS];	/* the first is the base */
static unsigned int n_chosen;

/* ---- a sample ---- */

/* Wait until the client has received everything and closes. */
static void wait_for_client_end(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char c;

	must(shutdown(sock, SHUT_WR) == 0, "shutdown");
	must(poll(&p, 1, poll_limit_ms()) == 1, "waiting for the client");
	must(recv(sock, &c, 1, 0) == 0, "end of stream");
}

static void serve_requests(const struct variant *v, struct connection *l,
			   int times)
{
	struct pollfd p = { .fd = l->sock, .events = POLLIN };
	char request;

	for (int i = 0; i < times; i++) {
		if (v->nonblocking)
			must(poll(&p, 1, poll_limit_ms()) == 1, "request");
		if (l->gnutls)
			gnutls_request(l);
		else
			must(SSL_read(l->ssl, &request, 1) == 1, "request");
		v->respond(l);
	}
}

static struct tlssf_status status_of(SSL *ssl)
{
	struct tlssf_status st = { .size = sizeof(st) };

	must(tlssf_status(ssl, &st) == 0, "tlssf_status");
	return st;
}

static struct sample run_timed(const struct variant *v, struct connection *l)
{
	struct sample s = { .method = -1 };
	int n = conf.responses ? conf.responses : 1;
	bool ours = v->ctx_id >= AUTO;
	double wall, cpu;

	if (conf.responses)
		serve_requests(v, l, conf.warm_up);
	s.calls = ours ? (double)status_of(l->ssl).calls : 0;
	wall = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_THREAD_CPUTIME_ID);
	if (conf.responses) {
		serve_requests(v, l, n);
	} else {
		v->respond(l);
		wait_for_client_end(l->sock);
	}
	s.cpu = (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / n;
	s.wall = (now(CLOCK_MONOTONIC) - wall) / n;
	if (ours) {
		s.calls = ((double)status_of(l->ssl).calls - s.calls) / n;
		s.method = status_of(l->ssl).method;
	}
	return s;
}

static bool library_ktls(const struct connection *l)
{
#ifdef OPENSSL_IS_BORINGSSL
	(void)l;
	return false;
#else
	return l->ssl && BIO_get_ktls_send(SSL_get_wbio(l->ssl));
#endif
}

/* Exit if the connection did not use the method of the variant. */
static void check_method(const struct variant *v, const struct connection *l,
			 const struct sample *s)
{
	bool ktls = library_ktls(l);

	if (v->ctx_id == OPENSSL_KTLS && !ktls)
		die("%s: OpenSSL's kernel TLS is not in use", v->name);
	if (v->ctx_id == OPENSSL && ktls)
		die("%s: OpenSSL's kernel TLS is in use", v->name);
	if (s->method >= 0 && v->method != TLSSF_METHOD_COUNT &&
	    s->method != v->method)
		die("%s: libtlssf used the method %s", v->name,
		    tlssf_method_name(s->method));
}

static void handshake(const struct variant *v, struct connection *l)
{
	if (v->ctx_id == GNUTLS) {
		gnutls_open(l);
		return;
	}
	l->ssl = SSL_new(server.ctx[v->ctx_id]);
	must(l->ssl && SSL_set_fd(l->ssl, l->sock), "SSL_new");
	must(SSL_accept(l->ssl) == 1, "SSL_accept");
	if (conf.version == TLS1_3_VERSION &&
	    strcmp(SSL_CIPHER_standard_name(SSL_get_current_cipher(l->ssl)),
		   conf.suite->tls13) != 0)
		die("the TLS library did not use %s", conf.suite->tls13);
}

static void start_task(const struct task *task)
{
	alarm(sample_limit_s());
	must(send(server.ctl, task, sizeof(*task), MSG_NOSIGNAL) ==
	     sizeof(*task), "task");
}

static struct report receive_report(void)
{
	struct report r;

	must(recv(server.ctl, &r, sizeof(r), 0) == sizeof(r), "client");
	return r;
}

struct connection accept_connection(const struct variant *v)
{
	struct connection l = { 0 };

	l.sock = accept(server.listener, NULL, NULL);
	must(l.sock >= 0, "accept");
	handshake(v, &l);
	if (v->nonblocking)
		must(fcntl(l.sock, F_SETFL, O_NONBLOCK) == 0, "fcntl");
	return l;
}

static struct report end_connection(struct connection *l)
{
	if (l->gnutls)
		gnutls_close(l);
	SSL_free(l->ssl);
	close(l->sock);
	return receive_report();
}

static uint64_t response_size(void)
{
	return (uint64_t)conf.header + conf.size;
}

static struct sample measure_one(const struct variant *v)
{
	int requests = conf.responses ? conf.warm_up + conf.responses : 0;
	struct task task = { conf.responses ? COUNT : DRAIN, requests, 1, 0 };
	struct sample s;
	struct report r;
	struct connection l;

	start_task(&task);
	l = accept_connection(v);
	s = run_timed(v, &l);
	check_method(v, &l, &s);
	r = end_connection(&l);
	if (r.bytes < response_size() * (uint64_t)(requests ? requests : 1))
		die("%s: the stream was truncated", v->name);
	s.records = requests ? (double)r.records / requests : 0;
	return s;
}

static struct sample measure_connections(const struct variant *v)
{
	struct task task = { DRAIN, 0, conf.connections, conf.slow };
	struct sample s;

	start_task(&task);
	s = measure_many(v);
	if (receive_report().bytes < conf.size * (uint64_t)conf.connections)
		die("%s: a stream was truncated", v->name);
	return s;
}

static void verify(const struct variant *v)
{
	struct task task = { COMPARE, !conf.responses ? 0 :
			       conf.size < LARGE ? CHECKED : 1, 1, 0 };
	uint64_t expected = response_size();
	struct report r;
	struct connection l;

	start_task(&task);
	l = accept_connection(v);
	if (task.responses) {
		serve_requests(v, &l, task.responses);
		expected *= (uint64_t)task.responses;
	} else {
		v->respond(&l);
		wait_for_client_end(l.sock);
	}
	r = end_connection(&l);
	if (r.bytes != expected || !r.equal)
		die("%s: the client received wrong bytes", v->name);
	printf("verified: %s: %llu bytes equal\n", v->name,
	       (unsigned long long)r.bytes);
}

/* ---- rounds ---- */

static void shuffle(unsigned int *order)
{
	for (unsigned int i = n_chosen - 1; i > 0; i--) {
		unsigned int j = (unsigned int)random() % (i + 1);
		unsigned int t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void run_round(int round)
{
	unsigned int order[MAX_VARIANTS];

	memcpy(order, chosen, sizeof(order));
	shuffle(order);
	for (unsigned int i = 0; i < n_chosen; i++)
		samples[order[i]][round] = conf.connections + conf.slow > 1 ?
			measure_connections(&variants[order[i]]) :
			measure_one(&variants[order[i]]);
}

/*
 * Run all rounds. Returns the share of CPU time that other programs used during
 * them.
 */
static double run_rounds(void)
{
	struct load from = load_now(), to;

	for (int round = 0; round < conf.rounds; round++)
		run_round(round);
	to = load_now();
	return (to.others - from.others) / (to.all - from.all);
}

/* ---- start ---- */

static uint64_t bytes_arg(const char *s)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(s, &end, 10);
	if (*end == 'K' || *end == 'M')
		n <<= *end++ == 'K' ? 10 : 20;
	if (errno || end == s || *end || n > INT32_MAX)
		die("not a size below 2048M: %s", s);
	return n;
}

static int count_arg(const char *s, int min, int max)
{
	int n = atoi(s);

	if (n < min || n > max)
		die("%s is not between %d and %d", s, min, max);
	return n;
}

static int version_arg(const char *s)
{
	if (strcmp(s, "1.2") == 0)
		return TLS1_2_VERSION;
	if (strcmp(s, "1.3") != 0)
		die("--tls: expected 1.2 or 1.3");
	return TLS1_3_VERSION;
}

static const struct suite *suite_arg(const char *s)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (strcmp(s, suites[i].name) == 0)
			return &suites[i];
	die("--cipher: expected aes128gcm, aes256gcm or chacha20");
}

static void add_variant(const char *name)
{
	unsigned int v = 0;

	while (variants[v].name && strcmp(variants[v].name, name) != 0)
		v++;
	if (!variants[v].name)
		die("no such variant: %s", name);
	if (n_chosen == MAX_VARIANTS)
		die("too many variants");
	chosen[n_chosen++] = v;
}

static void variants_arg(char *list)
{
	char *name, *at = NULL;

	for (name = strtok_r(list, ",", &at); name;
	     name = strtok_r(NULL, ",", &at))
		add_variant(name);
}

static FILE *results_arg(const char *path)
{
	FILE *f = fopen(path, "a");

	must(f != NULL, path);
	return f;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "size", required_argument, NULL, 's' },
		{ "header", required_argument, NULL, 'h' },
		{ "responses", required_argument, NULL, 'p' },
		{ "warm", required_argument, NULL, 'W' },
		{ "connections", required_argument, NULL, 'm' },
		{ "slow", required_argument, NULL, 'S' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "cipher", required_argument, NULL, 'c' },
		{ "tls", required_argument, NULL, 't' },
		{ "wake", required_argument, NULL, 'w' },
		{ "counted", no_argument, NULL, 'C' },
		{ "variants", required_argument, NULL, 'v' },
		{ "json", required_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': conf.name = optarg; break;
		case 's': conf.size = bytes_arg(optarg); break;
		case 'h': conf.header = (int)bytes_arg(optarg); break;
		case 'p': conf.responses = count_arg(optarg, 0, 99999); break;
		case 'W': conf.warm_up = count_arg(optarg, 0, 99999); break;
		case 'm': conf.connections = count_arg(optarg, 1, 9999); break;
		case 'S': conf.slow = count_arg(optarg, 1, 9999); break;
		case 'r': conf.rounds = count_arg(optarg, 1, MAX_ROUNDS); break;
		case 'c': conf.suite = suite_arg(optarg); break;
		case 't': conf.version = version_arg(optarg); break;
		case 'w': conf.wake = (int)bytes_arg(optarg); break;
		case 'C': conf.count_instructions = true; break;
		case 'v': variants_arg(optarg); break;
		case 'j': conf.results = results_arg(optarg); break;
		default: die("wrong options; bench/README.md lists them");
		}
	}
	if (optind != argc || !n_chosen || !conf.size)
		die("wrong options; bench/README.md lists them");
	for (unsigned int i = 0; conf.responses && i < n_chosen; i++)
		if (!variants[chosen[i]].is_tls)
			die("%s: for bulk transfers only (no --responses)",
			    variants[chosen[i]].name);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	parse_options(argc, argv);
	print_setting(unshare_network());
	start_server_and_client();
	srandom((unsigned int)time(NULL));
	for (unsigned int i = 0; i < n_chosen; i++)
		if (variants[chosen[i]].is_tls)
			verify(&variants[chosen[i]]);
	print_table(chosen, n_chosen, run_rounds());
	stop_server_and_client();
	return 0;
}
