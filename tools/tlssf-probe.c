/* SPDX-License-Identifier: MIT */
/* tlssf-probe: tests what kernel TLS can do here, and advises what to do. */
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

static const char usage[] =
"Usage: tlssf-probe [--json] [--connect HOST:PORT]\n"
"Test on a loopback connection what kernel TLS can do on this\n"
"machine, and print what to do about each missing feature. The\n"
"test may make the kernel load its tls module.\n\n"
"  -c, --connect HOST:PORT  also connect to a TLS server, and print\n"
"                           whether this connection could be\n"
"                           offloaded (encrypted by the kernel);\n"
"                           the certificate is not verified, and\n"
"                           no data is sent\n"
"  -j, --json               print the results as a JSON object\n"
"  -h, --help               print this and exit\n"
"  -V, --version            print the version and exit\n\n"
"Exit status: 0: kernel TLS is usable; 1: it is not usable; 2: wrong\n"
"usage; 3: the test could not be done. With --connect, 0 and 1 mean\n"
"that this connection could or could not be offloaded.\n";

/* Returns -1 if the program has to go on, otherwise its exit status. */
static int parse_options(int argc, char **argv, struct settings *s)
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
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			printf("tlssf-probe %s\n", tlssf_version());
			return EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "tlssf-probe: unexpected argument: %s\n",
		argv[optind]);
	fputs(usage, stderr);
	return EXIT_USAGE;
}

static bool any_cipher_usable(const struct tlssf_caps *caps)
{
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		if (caps->tls12[c].tx == TLSSF_YES ||
		    caps->tls13[c].tx == TLSSF_YES)
			return true;
	return false;
}

/* Containers usually lack the /lib/modules of the kernel that they run on. */
static void read_kernel_release(struct report *r)
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

static int exit_status(const struct report *r)
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
	int status = parse_options(argc, argv, &s);

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	if (s.target && !probe_connect(&r.conn, s.target)) {
		fprintf(stderr, "tlssf-probe: not HOST:PORT: %s\n",
			s.target);
		return EXIT_USAGE;
	}
	if (tlssf_probe(&r.caps)) {
		perror("tlssf-probe");
		return EXIT_UNKNOWN;
	}
	read_kernel_release(&r);
	r.usable = any_cipher_usable(&r.caps);
	probe_remedies(&r);
	if (s.json)
		probe_print_json(&r);
	else
		probe_print_table(&r);
	if (fflush(stdout) || ferror(stdout)) {
		perror("tlssf-probe: standard output");
		return EXIT_UNKNOWN;
	}
	return exit_status(&r);
}
