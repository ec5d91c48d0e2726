/* SPDX-License-Identifier: MIT */
/* The report for people: a table, what to do, one line of verdict. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define WIDTH	79

enum paint { PLAIN, GOOD, BAD, DOUBT, TITLE };

static const char *const codes[] = {
	[GOOD] = "\033[32m", [BAD] = "\033[31m", [DOUBT] = "\033[33m",
	[TITLE] = "\033[1m",
};

static const char *const tristate[] = {
	[TLSSF_UNKNOWN] = "unknown", [TLSSF_NO] = "no", [TLSSF_YES] = "yes",
};

static const enum paint tristate_paint[] = {
	[TLSSF_UNKNOWN] = DOUBT, [TLSSF_NO] = BAD, [TLSSF_YES] = GOOD,
};

static bool coloured;

/* NO_COLOR (https://no-color.org): set and not empty means none. */
static bool wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term &&
	       strcmp(term, "dumb") != 0;
}

/* Padded to `width` columns, and the colour ends with it. */
static void put(enum paint paint, int width, const char *text)
{
	if (coloured && paint != PLAIN)
		printf("%s%-*s\033[0m", codes[paint], width, text);
	else
		printf("%-*s", width, text);
}

static void title(const char *text)
{
	printf("\n");
	put(TITLE, 0, text);
	printf("\n");
}

static void row(const char *name, enum paint paint, const char *value)
{
	printf("  %-34s ", name);
	put(paint, 0, value);
	printf("\n");
}

static void row_tristate(const char *name, int value)
{
	row(name, tristate_paint[value], tristate[value]);
}

/* ---- the machine ---- */

static void print_ulp(const struct report *r)
{
	switch (r->caps.ulp) {
	case TLSSF_ULP_LOADED:
		row("tls module", GOOD, "loaded");
		break;
	case TLSSF_ULP_NOT_LOADED:
		row("tls module", BAD, "present, not loaded");
		break;
	case TLSSF_ULP_ABSENT:
		row("tls module", BAD, r->module_list ? "absent" :
		    "absent or not loaded: no list here");
		break;
	default:
		row("tls module", DOUBT, "unknown");
	}
}

/* A "yes" that the TLS library could not confirm is marked. */
static void put_cap(const struct tlssf_cap *cap, int width)
{
	if (cap->tx == TLSSF_YES && !cap->verified)
		put(DOUBT, width, "yes?");
	else
		put(tristate_paint[cap->tx], width, tristate[cap->tx]);
}

static void print_ciphers(const struct tlssf_caps *caps)
{
	printf("\n");
	put(TITLE, 36, "Kernel sends");
	put(TITLE, 0, " TLS 1.2  TLS 1.3");
	printf("\n");
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		printf("  %-34s ", tlssf_cipher_name(c));
		put_cap(&caps->tls12[c], 8);
		printf(" ");
		put_cap(&caps->tls13[c], 0);
		printf("\n");
	}
}

static void print_machine(const struct report *r)
{
	const struct tlssf_caps *caps = &r->caps;

	put(TITLE, 0, "Kernel");
	printf("\n");
	row("release", PLAIN, r->release);
	print_ulp(r);
	row_tristate("rekey (TLS 1.3 KeyUpdate)", caps->rekey);
	row_tristate("zero-copy sendfile option", caps->zerocopy_ro);
	row_tristate("record size option", caps->max_payload_len);
	print_ciphers(caps);
	title("TLS library");
	row("name", PLAIN, caps->library);
	row_tristate("built with kernel TLS", caps->library_ktls);
	row_tristate("its kernel TLS survives KeyUpdate",
		     caps->library_rekey);
}

/* ---- the connection ---- */

static void print_method(const struct connection *conn, int method)
{
	int why = conn->status.why_not[method];
	char text[64];

	snprintf(text, sizeof(text), "no: %s", tlssf_reason_name(why));
	if (method == conn->method)
		row(tlssf_method_name(method), GOOD, "would be taken");
	else if (why == TLSSF_REASON_NOT_ASKED || why == TLSSF_REASON_NONE)
		row(tlssf_method_name(method), PLAIN, "not needed");
	else
		row(tlssf_method_name(method), BAD, text);
}

static void print_connection(const struct connection *conn)
{
	const struct tlssf_status *st = &conn->status;

	title("Connection");
	row("to", PLAIN, conn->target);
	if (conn->address[0] != '\0')
		row("address", PLAIN, conn->address);
	if (conn->error[0] != '\0') {
		row("failed", BAD, conn->error);
		return;
	}
	row("TLS version", PLAIN, st->version == 0x0304 ? "1.3" :
	    st->version == 0x0303 ? "1.2" : "other");
	row("cipher suite", PLAIN, st->cipher_name);
	for (int m = TLSSF_METHOD_SSL_SENDFILE; m < TLSSF_METHOD_COUNT; m++)
		print_method(conn, m);
}

/* ---- what to do ---- */

static void print_wrapped(const char *text)
{
	int column = 0;

	while (*text != '\0') {
		int len = (int)strcspn(text, " ");

		if (column && column + 1 + len > WIDTH) {
			printf("\n");
			column = 0;
		}
		column += printf("%s%.*s", column ? " " : "      ", len, text);
		text += len + (text[len] == ' ');
	}
	printf("\n");
}

static void print_remedies(const struct remedies *r)
{
	if (r->n == 0)
		return;
	title("What to do");
	for (size_t i = 0; i < r->n; i++) {
		printf("  ");
		put(TITLE, 0, r->list[i].about);
		printf("\n");
		print_wrapped(r->list[i].text);
	}
}

static void print_verdict(const struct report *r)
{
	const struct connection *conn = &r->conn;

	printf("\n");
	if (conn->target && conn->error[0] != '\0')
		put(DOUBT, 0, "There is no connection to be judged.");
	else if (conn->target && conn->offload)
		put(GOOD, 0, "This connection could be offloaded here.");
	else if (conn->target)
		put(BAD, 0, "This connection could not be offloaded here.");
	else if (r->usable)
		put(GOOD, 0, "Kernel TLS is usable here.");
	else if (r->caps.ulp == TLSSF_ULP_UNKNOWN)
		put(DOUBT, 0, "Kernel TLS could not be tried here.");
	else
		put(BAD, 0, "Kernel TLS is not usable here; "
		    "files go by user space.");
	printf("\n");
}

void probe_print_table(const struct report *r)
{
	coloured = wants_colour();
	print_machine(r);
	if (r->conn.target)
		print_connection(&r->conn);
	print_remedies(&r->remedies);
	print_verdict(r);
}
