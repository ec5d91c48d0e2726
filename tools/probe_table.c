/* SPDX-License-Identifier: MIT */
/* Prints the report as text: tables, advice, and a line with the conclusion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define WIDTH	79

enum colour { PLAIN, GREEN, RED, YELLOW, BOLD };

static const char *const escape_codes[] = {
	[GREEN] = "\033[32m", [RED] = "\033[31m", [YELLOW] = "\033[33m",
	[BOLD] = "\033[1m",
};

static const char *const tristate_names[] = {
	[TLSSF_UNKNOWN] = "unknown", [TLSSF_NO] = "no", [TLSSF_YES] = "yes",
};

static const enum colour tristate_colours[] = {
	[TLSSF_UNKNOWN] = YELLOW, [TLSSF_NO] = RED, [TLSSF_YES] = GREEN,
};

static bool use_colours;

/* https://no-color.org: no colours if NO_COLOR is set and not empty. */
static bool wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term &&
	       strcmp(term, "dumb") != 0;
}

/* Pads the text to `width` columns. */
static void print_padded(enum colour colour, int width, const char *text)
{
	if (use_colours && colour != PLAIN)
		printf("%s%-*s\033[0m", escape_codes[colour], width, text);
	else
		printf("%-*s", width, text);
}

static void print_title(const char *text)
{
	printf("\n");
	print_padded(BOLD, 0, text);
	printf("\n");
}

static void print_row(const char *name, enum colour colour, const char *value)
{
	printf("  %-34s ", name);
	print_padded(colour, 0, value);
	printf("\n");
}

static void print_row_tristate(const char *name, int value)
{
	print_row(name, tristate_colours[value], tristate_names[value]);
}

/* ---- the machine ---- */

static void print_ulp(const struct report *r)
{
	switch (r->caps.ulp) {
	case TLSSF_ULP_LOADED:
		print_row("tls module", GREEN, "loaded");
		break;
	case TLSSF_ULP_NOT_LOADED:
		print_row("tls module", RED, "present, not loaded");
		break;
	case TLSSF_ULP_ABSENT:
		print_row("tls module", RED, r->module_list ? "absent" :
		    "absent or not loaded (unknown)");
		break;
	default:
		print_row("tls module", YELLOW, "unknown");
	}
}

/* "yes?" means that the TLS library could not decrypt a record to verify it. */
static void print_cap(const struct tlssf_cap *cap, int width)
{
	if (cap->tx == TLSSF_YES && !cap->verified)
		print_padded(YELLOW, width, "yes?");
	else
		print_padded(tristate_colours[cap->tx], width,
			     tristate_names[cap->tx]);
}

static void print_ciphers(const struct tlssf_caps *caps)
{
	printf("\n");
	print_padded(BOLD, 36, "Kernel can encrypt");
	print_padded(BOLD, 0, " TLS 1.2  TLS 1.3");
	printf("\n");
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		printf("  %-34s ", tlssf_cipher_name(c));
		print_cap(&caps->tls12[c], 8);
		printf(" ");
		print_cap(&caps->tls13[c], 0);
		printf("\n");
	}
}

static void print_machine(const struct report *r)
{
	const struct tlssf_caps *caps = &r->caps;

	print_padded(BOLD, 0, "Kernel");
	printf("\n");
	print_row("release", PLAIN, r->release);
	print_ulp(r);
	print_row_tristate("rekey (TLS 1.3 KeyUpdate)", caps->rekey);
	print_row_tristate("zero-copy sendfile option", caps->zerocopy_ro);
	print_row_tristate("record size option", caps->max_payload_len);
	print_ciphers(caps);
	print_title("TLS library");
	print_row("name", PLAIN, caps->library);
	print_row_tristate("built with kernel TLS", caps->library_ktls);
	print_row_tristate("its kernel TLS survives KeyUpdate",
			   caps->library_rekey);
}

/* ---- the connection ---- */

static void print_method(const struct connection *conn, int method)
{
	int why = conn->status.why_not[method];
	char text[64];

	snprintf(text, sizeof(text), "no: %s", tlssf_reason_name(why));
	if (method == conn->method)
		print_row(tlssf_method_name(method), GREEN, "would be used");
	else if (why == TLSSF_REASON_NOT_ASKED || why == TLSSF_REASON_NONE)
		print_row(tlssf_method_name(method), PLAIN, "not needed");
	else
		print_row(tlssf_method_name(method), RED, text);
}

static void print_connection(const struct connection *conn)
{
	const struct tlssf_status *st = &conn->status;

	print_title("Connection");
	print_row("to", PLAIN, conn->target);
	if (conn->address[0] != '\0')
		print_row("address", PLAIN, conn->address);
	if (conn->error[0] != '\0') {
		print_row("failed", RED, conn->error);
		return;
	}
	print_row("TLS version", PLAIN, st->version == 0x0304 ? "1.3" :
	    st->version == 0x0303 ? "1.2" : "other");
	print_row("cipher suite", PLAIN, st->cipher_name);
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
	print_title("What to do");
	for (size_t i = 0; i < r->n; i++) {
		printf("  ");
		print_padded(BOLD, 0, r->list[i].about);
		printf("\n");
		print_wrapped(r->list[i].text);
	}
}

static void print_verdict(const struct report *r)
{
	const struct connection *conn = &r->conn;

	printf("\n");
	if (conn->target && conn->error[0] != '\0')
		print_padded(YELLOW, 0, "The connection failed: no result.");
	else if (conn->target && conn->offload)
		print_padded(GREEN, 0,
			     "This connection could be offloaded here.");
	else if (conn->target)
		print_padded(RED, 0,
			     "This connection could not be offloaded here.");
	else if (r->usable)
		print_padded(GREEN, 0, "Kernel TLS is usable here.");
	else if (r->caps.ulp == TLSSF_ULP_UNKNOWN)
		print_padded(YELLOW, 0, "Kernel TLS could not be tested here.");
	else
		print_padded(RED, 0, "Kernel TLS is not usable here; "
			     "files are encrypted in user space.");
	printf("\n");
}

void probe_print_table(const struct report *r)
{
	use_colours = wants_colour();
	print_machine(r);
	if (r->conn.target)
		print_connection(&r->conn);
	print_remedies(&r->remedies);
	print_verdict(r);
}
