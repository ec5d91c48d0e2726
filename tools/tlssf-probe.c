/* SPDX-License-Identifier: MIT */
/* "Can this machine do kernel TLS, and if not, what to do?" */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tlssf/tlssf.h>

enum { EXIT_USABLE = 0, EXIT_UNUSABLE = 1, EXIT_USAGE = 2 };

static const char *const tristate[] = {
	[TLSSF_UNKNOWN] = "unknown", [TLSSF_NO] = "no", [TLSSF_YES] = "yes",
};

static const char *const ulp[] = {
	[TLSSF_ULP_UNKNOWN] = "unknown", [TLSSF_ULP_ABSENT] = "absent",
	[TLSSF_ULP_NOT_LOADED] = "not loaded", [TLSSF_ULP_LOADED] = "loaded",
};

/* The kernel module that brings the cipher. */
static const char *const module[] = {
	[TLSSF_AES_128_GCM] = "gcm", [TLSSF_AES_256_GCM] = "gcm",
	[TLSSF_AES_128_CCM] = "ccm",
	[TLSSF_CHACHA20_POLY1305] = "chacha20poly1305",
	[TLSSF_SM4_GCM] = "sm4_generic", [TLSSF_SM4_CCM] = "sm4_generic",
	[TLSSF_ARIA_128_GCM] = "aria_generic",
	[TLSSF_ARIA_256_GCM] = "aria_generic",
};

static void usage(FILE *out)
{
	fputs("Usage: tlssf-probe [OPTION]...\n"
	      "Try on a loopback connection what kernel TLS can do here, and\n"
	      "say for each \"no\" what to do. This may make the kernel load\n"
	      "its tls module.\n\n"
	      "  -j, --json     print the answers as one JSON object\n"
	      "  -h, --help     print this and exit\n"
	      "  -V, --version  print the version and exit\n\n"
	      "Exit status: 0 kernel TLS is usable, 1 it is not, 2 usage.\n",
	      out);
}

static bool usable(const struct tlssf_caps *caps)
{
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		if (caps->tls12[c].tx == TLSSF_YES ||
		    caps->tls13[c].tx == TLSSF_YES)
			return true;
	return false;
}

/* ---- the table ---- */

/* A "yes" that the TLS library could not confirm is marked. */
static const char *cell(const struct tlssf_cap *cap)
{
	if (cap->tx == TLSSF_YES && !cap->verified)
		return "yes?";
	return tristate[cap->tx];
}

static void print_table(const struct tlssf_caps *caps)
{
	const char *form = "%-34s %s\n";

	printf(form, "kernel tls module", ulp[caps->ulp]);
	printf("\n%-34s %-8s %s\n", "kernel sends", "TLS 1.2", "TLS 1.3");
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		printf("  %-32s %-8s %s\n", tlssf_cipher_name(c),
		       cell(&caps->tls12[c]), cell(&caps->tls13[c]));
	printf("\n");
	printf(form, "rekey (TLS 1.3 KeyUpdate)", tristate[caps->rekey]);
	printf(form, "zero-copy sendfile option",
	       tristate[caps->zerocopy_ro]);
	printf(form, "record size option", tristate[caps->max_payload_len]);
	printf("\n");
	printf(form, "TLS library", caps->library);
	printf(form, "  built with kernel TLS",
	       tristate[caps->library_ktls]);
	printf(form, "  its kernel TLS survives KeyUpdate",
	       tristate[caps->library_rekey]);
}

/* ---- what to do ---- */

static void advise(const char *about, const char *text)
{
	printf("%s: %s.\n", about, text);
}

static void advise_ulp(const struct tlssf_caps *caps)
{
	switch (caps->ulp) {
	case TLSSF_ULP_ABSENT:
		advise("tls module", tlssf_reason_text(
			       TLSSF_REASON_ULP_ABSENT));
		break;
	case TLSSF_ULP_NOT_LOADED:
		advise("tls module", tlssf_reason_text(
			       TLSSF_REASON_ULP_NOT_LOADED));
		break;
	case TLSSF_ULP_UNKNOWN:
		printf("tls module: could not be tried (%s); bring the "
		       "loopback interface up ('ip link set lo up') and allow "
		       "connections to 127.0.0.1 or ::1.\n",
		       strerror(caps->tls12[0].error));
		break;
	}
}

static void advise_cap(int c, const char *version, const struct tlssf_cap *cap)
{
	if (cap->tx == TLSSF_YES && cap->verified)
		return;
	printf("%s, TLS %s: ", tlssf_cipher_name(c), version);
	if (cap->tx == TLSSF_YES)
		printf("accepted, but the TLS library lacks the cipher and "
		       "could not check a record; nothing to do.\n");
	else if (cap->error == ENOENT)
		printf("the kernel found no module for it; install one "
		       "('modprobe %s' as root) or prefer another cipher.\n",
		       module[c]);
	else if (cap->error == EINVAL)
		printf("this kernel does not know the pair; use a newer "
		       "kernel or prefer another cipher.\n");
	else if (cap->error == EBADMSG)
		printf("the kernel sends wrong records; update the kernel.\n");
	else
		printf("failed (%s); try again, then look at the kernel "
		       "log.\n", strerror(cap->error));
}

static void advise_cipher(int c, const struct tlssf_caps *caps)
{
	const struct tlssf_cap *v12 = &caps->tls12[c], *v13 = &caps->tls13[c];

	if (v12->tx == v13->tx && v12->error == v13->error &&
	    v12->verified == v13->verified) {
		advise_cap(c, "1.2 and 1.3", v12);
		return;
	}
	advise_cap(c, "1.2", v12);
	advise_cap(c, "1.3", v13);
}

static void advise_extras(const struct tlssf_caps *caps)
{
	if (caps->rekey != TLSSF_YES)
		advise("rekey", "use Linux 6.14 or later; until then a TLS "
		       "1.3 connection that may see a KeyUpdate is sealed in "
		       "user space");
	if (caps->zerocopy_ro != TLSSF_YES)
		advise("zero-copy sendfile option", "use Linux 5.19 or "
		       "later; it matters only to network cards that encrypt");
	if (caps->max_payload_len != TLSSF_YES)
		advise("record size option", "use Linux 6.19 or later; until "
		       "then a connection with max_fragment_length is sealed "
		       "in user space");
}

static void advise_library(const struct tlssf_caps *caps)
{
	if (caps->library_ktls != TLSSF_YES)
		advise("TLS library",
		       tlssf_reason_text(TLSSF_REASON_LIBRARY_NO_KTLS));
	if (caps->library_rekey != TLSSF_YES)
		advise("TLS library, KeyUpdate", "use OpenSSL 3.2 or later, "
		       "or TLS 1.2");
}

static void print_advice(const struct tlssf_caps *caps)
{
	printf("\nWhat to do:\n");
	if (caps->ulp != TLSSF_ULP_LOADED) {
		advise_ulp(caps);
		advise("all else about the kernel",
		       "depends on the tls module");
	} else {
		for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
			advise_cipher(c, caps);
		advise_extras(caps);
	}
	advise_library(caps);
}

/* ---- JSON ---- */

static void json_string(const char *s)
{
	putchar('"');
	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20) {
			printf("\\u%04x", (unsigned int)*s);
			continue;
		}
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static void json_member(const char *name, const char *value)
{
	printf("  \"%s\": ", name);
	json_string(value);
	printf(",\n");
}

static void json_caps(const char *name, const struct tlssf_cap *caps)
{
	printf("  \"%s\": {\n", name);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		printf("    \"%s\": {\"tx\": \"%s\", \"errno\": %d, "
		       "\"verified\": %s}%s\n", tlssf_cipher_name(c),
		       tristate[caps[c].tx], caps[c].error,
		       caps[c].verified ? "true" : "false",
		       c + 1 < TLSSF_CIPHER_COUNT ? "," : "");
	printf("  },\n");
}

static void print_json(const struct tlssf_caps *caps)
{
	printf("{\n");
	json_member("version", tlssf_version());
	json_member("ulp", ulp[caps->ulp]);
	json_caps("tls12", caps->tls12);
	json_caps("tls13", caps->tls13);
	json_member("rekey", tristate[caps->rekey]);
	json_member("zerocopy_ro", tristate[caps->zerocopy_ro]);
	json_member("max_payload_len", tristate[caps->max_payload_len]);
	json_member("library", caps->library);
	json_member("library_ktls", tristate[caps->library_ktls]);
	json_member("library_rekey", tristate[caps->library_rekey]);
	printf("  \"usable\": %s\n}\n", usable(caps) ? "true" : "false");
}

static void print_text(const struct tlssf_caps *caps)
{
	print_table(caps);
	print_advice(caps);
	printf("\nKernel TLS is %susable here.\n",
	       usable(caps) ? "" : "not ");
}

/* Options into *json: -1 to go on, else the exit status. */
static int parse(int argc, char **argv, bool *json)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "jhV", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			*json = true;
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

int main(int argc, char **argv)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };
	bool json = false;
	int status = parse(argc, argv, &json);

	if (status >= 0)
		return status;
	if (tlssf_probe(&caps)) {
		perror("tlssf-probe");
		return EXIT_UNUSABLE;
	}
	if (json)
		print_json(&caps);
	else
		print_text(&caps);
	if (fflush(stdout) || ferror(stdout)) {
		perror("tlssf-probe: standard output");
		return EXIT_UNUSABLE;
	}
	return usable(&caps) ? EXIT_USABLE : EXIT_UNUSABLE;
}
