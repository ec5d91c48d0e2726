/* SPDX-License-Identifier: MIT */
/*
 * tlssf-httpd: a small static HTTPS server on libtlssf. This file has the
 * options, workers and signals; httpd.h lists the other files.
 */
#include "httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MAX	64
#define FDS_OF_PROCESS	16	/* descriptors */
#define FDS_OF_WORKER	8

/* ---- options ---- */

static const char usage[] =
"Usage: tlssf-httpd [options]\n"
"Serve the files of a directory over HTTPS. Defaults are in parentheses.\n\n"
"  --listen ADDR     numeric address to listen on (127.0.0.1)\n"
"  --port N          port; 0: any free port (8443)\n"
"  --root DIR        directory to serve (.)\n"
"  --cert FILE       certificate chain, PEM (self-signed, made at start)\n"
"  --key FILE        private key of the certificate, PEM\n"
"  --method NAME     auto, ssl_sendfile, ktls or userspace (auto)\n"
"  --workers N       threads, each with an event loop (1)\n"
"  --timeout N       seconds until an inactive peer is disconnected (30)\n"
"  --connections N   maximum at a time; beyond it, idle ones give way (1024)\n"
"  --no-listing      respond 403 for directories without index.html\n"
"  --help            print this and exit\n"
"  --version         print the version and exit\n";

static unsigned int number_arg(const char *name, const char *text,
			       unsigned long min, unsigned long max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < min ||
	    n > max) {
		fprintf(stderr, "--%s: expected a number from %lu to %lu\n",
			name, min, max);
		exit(2);
	}
	return (unsigned int)n;
}

static int method_by_name(const char *name)
{
	for (int m = TLSSF_METHOD_AUTO; m < TLSSF_METHOD_COUNT; m++)
		if (strcmp(name, tlssf_method_name(m)) == 0)
			return m;
	fprintf(stderr, "--method: expected auto, ssl_sendfile, ktls or "
		"userspace\n");
	exit(2);
}

static void apply_option(struct config *conf, int opt)
{
	switch (opt) {
	case 'l': conf->listen = optarg; break;
	case 'p':
		number_arg("port", optarg, 0, 65535);
		conf->port = optarg;
		break;
	case 'r': conf->root = optarg; break;
	case 'c': conf->cert = optarg; break;
	case 'k': conf->key = optarg; break;
	case 'm': conf->method = method_by_name(optarg); break;
	case 'w':
		conf->workers = number_arg("workers", optarg, 1, WORKERS_MAX);
		break;
	case 't':
		conf->timeout_ms = 1000 *
				   number_arg("timeout", optarg, 1, 3600);
		break;
	case 'n':
		conf->conns_max = number_arg("connections", optarg, 1, 1000000);
		break;
	case 'L': conf->listing = false; break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	case 'v':
		printf("tlssf-httpd %s\n", tlssf_version());
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

static void parse_options(struct config *conf, int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "port", required_argument, NULL, 'p' },
		{ "root", required_argument, NULL, 'r' },
		{ "cert", required_argument, NULL, 'c' },
		{ "key", required_argument, NULL, 'k' },
		{ "method", required_argument, NULL, 'm' },
		{ "workers", required_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 't' },
		{ "connections", required_argument, NULL, 'n' },
		{ "no-listing", no_argument, NULL, 'L' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		apply_option(conf, opt);
	if (optind != argc || !conf->cert != !conf->key) {
		fputs(usage, stderr);
		exit(2);
	}
}

/* ---- what is printed at start ---- */

static const char *tristate_name(int value)
{
	return value == TLSSF_YES ? "yes" : value == TLSSF_NO ? "no" :
	       "unknown";
}

static void print_ciphers(const char *version, const struct tlssf_cap *caps)
{
	const char *sep = "";

	printf(" %s=", version);
	for (int i = 0; i < TLSSF_CIPHER_COUNT; i++) {
		if (caps[i].tx != TLSSF_YES)
			continue;
		printf("%s%s", sep, tlssf_cipher_name(i));
		sep = ",";
	}
	if (!*sep)
		printf("none");
}

static void print_capabilities(void)
{
	static const char *const ulp[] = {
		[TLSSF_ULP_UNKNOWN] = "unknown",
		[TLSSF_ULP_ABSENT] = "absent",
		[TLSSF_ULP_NOT_LOADED] = "not_loaded",
		[TLSSF_ULP_LOADED] = "loaded",
	};
	struct tlssf_caps caps = { .size = sizeof(caps) };

	if (tlssf_probe(&caps) < 0) {
		perror("tlssf_probe");
		return;
	}
	printf("probe: library=\"%s\" library_ktls=%s kernel_tls=%s",
	       caps.library, tristate_name(caps.library_ktls), ulp[caps.ulp]);
	print_ciphers("tls1.2", caps.tls12);
	print_ciphers("tls1.3", caps.tls13);
	printf(" rekey=%s\n", tristate_name(caps.rekey));
}

static bool local_port(int fd, char *port, size_t cap)
{
	/* sockaddr_in is smaller and has the port at the same place */
	struct sockaddr_in6 sa = { 0 };
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	snprintf(port, cap, "%u", (unsigned int)ntohs(sa.sin6_port));
	return true;
}

/* ---- workers ---- */

/*
 * A worker has one thread, one listening socket and one event loop. With
 * SO_REUSEPORT the kernel distributes the connections among the sockets by a
 * hash, so the workers share no queue and no lock. Workers are threads, not
 * processes, so that they share the SSL_CTX with its ticket keys (a session can
 * be resumed at any worker) and the process-wide limits of libtlssf.
 */
struct worker {
	struct loop_args args;
	pthread_t thread;
	int result;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->result = loop_run(&w->args);
	if (w->result < 0)
		kill(getpid(), SIGTERM);
	return NULL;
}

static void close_listeners(struct worker *workers, unsigned int n)
{
	while (n--)
		close(workers[n].args.listener);
}

/* Open all listeners before the first thread starts, so errors show early. */
static bool open_listeners(const struct config *conf, struct worker *workers,
			   char *port, size_t cap)
{
	bool shared = conf->workers > 1;

	snprintf(port, cap, "%s", conf->port);
	for (unsigned int i = 0; i < conf->workers; i++) {
		int fd = listener_open(conf->listen, port, shared);

		workers[i].args.listener = fd;
		if (fd < 0 || !local_port(fd, port, cap)) {
			close_listeners(workers, fd < 0 ? i : i + 1);
			return false;
		}
	}
	return true;
}

static unsigned int start_workers(struct worker *workers, unsigned int n,
				  const struct loop_args *args)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		int listener = workers[i].args.listener;

		workers[i].args = *args;
		workers[i].args.listener = listener;
		if (pthread_create(&workers[i].thread, NULL, worker_main,
				   &workers[i]) != 0) {
			fprintf(stderr, "cannot create a worker thread\n");
			close_listeners(workers + i, n - i);
			break;
		}
	}
	return i;
}

static int stop_workers(struct worker *workers, unsigned int n, int stop)
{
	const uint64_t one = 1;
	int result = 0;

	/* nobody reads the eventfd, so it stays readable for every worker */
	if (write(stop, &one, sizeof(one)) != sizeof(one))
		abort();
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].result < 0)
			result = -1;
	}
	return result;
}

static int serve(const struct config *conf, const struct loop_args *args,
		 const sigset_t *signals)
{
	struct worker workers[WORKERS_MAX] = { 0 };
	char port[16];
	unsigned int n;
	int sig, result = -1;

	if (!open_listeners(conf, workers, port, sizeof(port)))
		return -1;
	n = start_workers(workers, conf->workers, args);
	if (n == conf->workers) {
		print_capabilities();
		printf(strchr(conf->listen, ':') ?
		       "listening on https://[%s]:%s/\n" :
		       "listening on https://%s:%s/\n", conf->listen, port);
		result = sigwait(signals, &sig) == 0 ? 0 : -1;
		/* a second signal ends the process at once */
		pthread_sigmask(SIG_UNBLOCK, signals, NULL);
	}
	if (stop_workers(workers, n, args->stop_fd) < 0)
		result = -1;
	return result;
}

/* ---- start ---- */

/* SSL_write() and sendfile() raise SIGPIPE when the peer has closed. */
static void prepare_signals(sigset_t *signals)
{
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/*
 * Raise the limit of descriptors as far as possible; the default is often 1024.
 * Returns it.
 */
static rlim_t raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return RLIM_INFINITY;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	getrlimit(RLIMIT_NOFILE, &lim);
	return lim.rlim_cur;
}

/*
 * A connection needs a socket and a file. The process needs a few descriptors
 * more; a worker needs a listener, an epoll set, and some to open a file.
 */
static void limit_connections(struct config *conf)
{
	const rlim_t fds = raise_fd_limit();
	const rlim_t own = FDS_OF_PROCESS + FDS_OF_WORKER * conf->workers;
	const rlim_t most = fds > own + 2 ? (fds - own) / 2 : 1;

	if (fds != RLIM_INFINITY && conf->conns_max > most) {
		fprintf(stderr, "--connections: %llu instead of %u, because "
			"RLIMIT_NOFILE is %llu\n", (unsigned long long)most,
			conf->conns_max, (unsigned long long)fds);
		conf->conns_max = (unsigned int)most;
	}
	/* from here on, per worker */
	conf->conns_max = (conf->conns_max - 1) / conf->workers + 1;
}

int main(int argc, char **argv)
{
	struct config conf = {
		.listen = "127.0.0.1", .port = "8443", .root = ".",
		.method = TLSSF_METHOD_AUTO, .workers = 1,
		.timeout_ms = 30000, .conns_max = 1024, .listing = true,
	};
	struct loop_args args = { .config = &conf };
	sigset_t signals;
	int result = -1;

	parse_options(&conf, argc, argv);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	prepare_signals(&signals);
	limit_connections(&conf);
	conf.root_fd = open(conf.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (conf.root_fd < 0)
		perror(conf.root);
	args.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (args.stop_fd < 0)
		perror("eventfd");
	if (conf.root_fd >= 0 && args.stop_fd >= 0)
		args.ctx = tls_context(&conf);
	if (args.ctx)
		result = serve(&conf, &args, &signals);
	SSL_CTX_free(args.ctx);
	if (args.stop_fd >= 0)
		close(args.stop_fd);
	if (conf.root_fd >= 0)
		close(conf.root_fd);
	return result == 0 ? 0 : 1;
}
