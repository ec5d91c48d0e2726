/* SPDX-License-Identifier: MIT */
/* "Can this machine do kernel TLS, and if not, what to do?" */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "probe.h"

enum { EXIT_USABLE = 0, EXIT_UNUSABLE = 1, EXIT_USAGE = 2, EXIT_UNKNOWN = 3 };

struct settings {
	bool json;
	const char *target;
};

static void usage(FILE *out)
{
	fputs("Usage: tlssf-probe [--json] [--connect HOST:PORT]\n"
	      "Try on a loopback connection what kernel TLS can do here, and\n"
	      "say for each \"no\" what to do. This may make the kernel load\n"
	      "its tls module.\n\n"
	      "  -c, --connect HOST:PORT  shake hands with a TLS server, too, and\n"
	      "                           tell whether this connection could be\n"
	      "                           offloaded here; its certificate is not\n"
	      "                           checked and no data is sent\n"
	      "  -j, --json               print the answers as one JSON object\n"
	      "  -h, --help               print this and exit\n"
	      "  -V, --version            print the version and exit\n\n"
	      "Exit status: 0 yes: kernel TLS is usable here (with --connect: the\n"
	      "connection could be offloaded); 1 no; 2 wrong usage; 3 this could\n"
	      "not be found out.\n",
	      out);
}

/* Options into *s: -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct settings *s)
{
	static const struct option options[] = {
		{ "connect", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "c:jhV", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			s->target = optarg;
			break;
		case 'j':
			s->json = true;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			printf("tlssf-probe %s\n", tlssf_version());
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "tlssf-probe: no argument expected: %s\n",
		argv[optind]);
	usage(stderr);
	return EXIT_USAGE;
}

static bool usable(const struct tlssf_caps *caps)
{
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		if (caps->tls12[c].tx == TLSSF_YES ||
		    caps->tls13[c].tx == TLSSF_YES)
			return true;
	return false;
}

/* A container seldom shows the modules of the kernel that it runs on. */
static void look_at_kernel(struct report *r)
{
	struct utsname name;
	char path[sizeof(r->release) + 32];

	if (uname(&name) < 0)
		return;
	snprintf(r->release, sizeof(r->release), "%s", name.release);
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep",
		 r->release);
	r->module_list = access(path, R_OK) == 0;
}

static int verdict(const struct report *r)
{
	if (r->conn.target) {
		if (r->conn.error[0] != '\0')
			return EXIT_UNKNOWN;
		return r->conn.offload ? EXIT_USABLE : EXIT_UNUSABLE;
	}
	if (r->usable)
		return EXIT_USABLE;
	return r->caps.ulp == TLSSF_ULP_UNKNOWN ? EXIT_UNKNOWN : EXIT_UNUSABLE;
}

int main(int argc, char **argv)
{
	static struct report r = { .caps = { .size = sizeof(r.caps) } };
	struct settings s = { 0 };
	int status = parse(argc, argv, &s);

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	if (s.target && !probe_connect(&r.conn, s.target)) {
		fprintf(stderr, "tlssf-probe: HOST:PORT expected: %s\n",
			s.target);
		return EXIT_USAGE;
	}
	if (tlssf_probe(&r.caps)) {
		perror("tlssf-probe");
		return EXIT_UNKNOWN;
	}
	look_at_kernel(&r);
	r.usable = usable(&r.caps);
	probe_remedies(&r);
	if (s.json)
		probe_print_json(&r);
	else
		probe_print_table(&r);
	if (fflush(stdout) || ferror(stdout)) {
		perror("tlssf-probe: standard output");
		return EXIT_UNKNOWN;
	}
	return verdict(&r);
}
