/* SPDX-License-Identifier: MIT */
/* The report as JSON: docs/tlssf-probe.schema.json says what it may hold. */
#include <stdio.h>

#include "probe.h"

static const char *const tristate[] = {
	[TLSSF_UNKNOWN] = "unknown", [TLSSF_NO] = "no", [TLSSF_YES] = "yes",
};

static const char *const ulp[] = {
	[TLSSF_ULP_UNKNOWN] = "unknown", [TLSSF_ULP_ABSENT] = "absent",
	[TLSSF_ULP_NOT_LOADED] = "not loaded", [TLSSF_ULP_LOADED] = "loaded",
};

static const char *boolean(bool value)
{
	return value ? "true" : "false";
}

/* Bytes that may be no UTF-8 are taken for Latin-1: the result is JSON. */
static void string(const char *s)
{
	putchar('"');
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void member(const char *name, const char *value)
{
	printf("  \"%s\": ", name);
	string(value);
	printf(",\n");
}

static void caps(const char *name, const struct tlssf_cap *cap)
{
	printf("  \"%s\": {\n", name);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		printf("    \"%s\": {\"tx\": \"%s\", \"errno\": %d, "
		       "\"verified\": %s}%s\n", tlssf_cipher_name(c),
		       tristate[cap[c].tx], cap[c].error,
		       boolean(cap[c].verified),
		       c + 1 < TLSSF_CIPHER_COUNT ? "," : "");
	printf("  },\n");
}

static void why_not(const struct tlssf_status *st)
{
	printf("    \"why_not\": {");
	for (int m = TLSSF_METHOD_SSL_SENDFILE; m < TLSSF_METHOD_COUNT; m++)
		printf("%s\"%s\": \"%s\"",
		       m == TLSSF_METHOD_SSL_SENDFILE ? "" : ", ",
		       tlssf_method_name(m),
		       tlssf_reason_name(st->why_not[m]));
	printf("},\n");
}

static void connection(const struct connection *conn)
{
	if (!conn->target)
		return;
	printf("  \"connection\": {\n    \"target\": ");
	string(conn->target);
	printf(",\n    \"address\": ");
	string(conn->address);
	if (conn->error[0] != '\0') {
		printf(",\n    \"error\": ");
		string(conn->error);
		printf("\n  },\n");
		return;
	}
	printf(",\n    \"tls_version\": \"%s\",\n    \"cipher\": ",
	       conn->status.version == 0x0304 ? "1.3" :
	       conn->status.version == 0x0303 ? "1.2" : "other");
	string(conn->status.cipher_name);
	printf(",\n");
	why_not(&conn->status);
	printf("    \"method\": \"%s\",\n    \"offload\": %s\n  },\n",
	       tlssf_method_name(conn->method), boolean(conn->offload));
}

static void remedies(const struct remedies *list)
{
	printf("  \"remedies\": [");
	for (size_t i = 0; i < list->n; i++) {
		printf("%s\n    {\"about\": ", i ? "," : "");
		string(list->list[i].about);
		printf(",\n     \"text\": ");
		string(list->list[i].text);
		printf("}");
	}
	printf("%s],\n", list->n ? "\n  " : "");
}

void probe_print_json(const struct report *r)
{
	const struct tlssf_caps *c = &r->caps;

	printf("{\n  \"schema\": 1,\n");
	member("version", tlssf_version());
	member("kernel", r->release);
	printf("  \"module_list\": %s,\n", boolean(r->module_list));
	member("ulp", ulp[c->ulp]);
	caps("tls12", c->tls12);
	caps("tls13", c->tls13);
	member("rekey", tristate[c->rekey]);
	member("zerocopy_ro", tristate[c->zerocopy_ro]);
	member("max_payload_len", tristate[c->max_payload_len]);
	member("library", c->library);
	member("library_ktls", tristate[c->library_ktls]);
	member("library_rekey", tristate[c->library_rekey]);
	connection(&r->conn);
	remedies(&r->remedies);
	printf("  \"usable\": %s\n}\n", boolean(r->usable));
}
