/* SPDX-License-Identifier: MIT */
/* Prints the report as JSON; docs/tlssf-probe.schema.json is its schema. */
#include <stdio.h>

#include "probe.h"

static const char *const tristate_names[] = {
	[TLSSF_UNKNOWN] = "unknown", [TLSSF_NO] = "no", [TLSSF_YES] = "yes",
};

static const char *const ulp_names[] = {
	[TLSSF_ULP_UNKNOWN] = "unknown", [TLSSF_ULP_ABSENT] = "absent",
	[TLSSF_ULP_NOT_LOADED] = "not loaded", [TLSSF_ULP_LOADED] = "loaded",
};

static const char *boolean_name(bool value)
{
	return value ? "true" : "false";
}

/* Escapes all but ASCII, as Latin-1, because the text may not be UTF-8. */
static void print_string(const char *s)
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

static void print_member(const char *name, const char *value)
{
	printf("  \"%s\": ", name);
	print_string(value);
	printf(",\n");
}

static void print_caps(const char *name, const struct tlssf_cap *cap)
{
	printf("  \"%s\": {\n", name);
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++)
		printf("    \"%s\": {\"tx\": \"%s\", \"errno\": %d, "
		       "\"verified\": %s}%s\n", tlssf_cipher_name(c),
		       tristate_names[cap[c].tx], cap[c].error,
		       boolean_name(cap[c].verified),
		       c + 1 < TLSSF_CIPHER_COUNT ? "," : "");
	printf("  },\n");
}

static void print_why_not(const struct tlssf_status *st)
{
	printf("    \"why_not\": {");
	for (int m = TLSSF_METHOD_SSL_SENDFILE; m < TLSSF_METHOD_COUNT; m++)
		printf("%s\"%s\": \"%s\"",
		       m == TLSSF_METHOD_SSL_SENDFILE ? "" : ", ",
		       tlssf_method_name(m),
		       tlssf_reason_name(st->why_not[m]));
	printf("},\n");
}

static void print_connection(const struct connection *conn)
{
	if (!conn->target)
		return;
	printf("  \"connection\": {\n    \"target\": ");
	print_string(conn->target);
	printf(",\n    \"address\": ");
	print_string(conn->address);
	if (conn->error[0] != '\0') {
		printf(",\n    \"error\": ");
		print_string(conn->error);
		printf("\n  },\n");
		return;
	}
	printf(",\n    \"tls_version\": \"%s\",\n    \"cipher\": ",
	       conn->status.version == 0x0304 ? "1.3" :
	       conn->status.version == 0x0303 ? "1.2" : "other");
	print_string(conn->status.cipher_name);
	printf(",\n");
	print_why_not(&conn->status);
	printf("    \"method\": \"%s\",\n    \"offload\": %s\n  },\n",
	       tlssf_method_name(conn->method), boolean_name(conn->offload));
}

static void print_remedies(const struct remedies *list)
{
	printf("  \"remedies\": [");
	for (size_t i = 0; i < list->n; i++) {
		printf("%s\n    {\"about\": ", i ? "," : "");
		print_string(list->list[i].about);
		printf(",\n     \"text\": ");
		print_string(list->list[i].text);
		printf("}");
	}
	printf("%s],\n", list->n ? "\n  " : "");
}

void probe_print_json(const struct report *r)
{
	const struct tlssf_caps *c = &r->caps;

	printf("{\n  \"schema\": 1,\n");
	print_member("version", tlssf_version());
	print_member("kernel", r->release);
	printf("  \"module_list\": %s,\n", boolean_name(r->module_list));
	print_member("ulp", ulp_names[c->ulp]);
	print_caps("tls12", c->tls12);
	print_caps("tls13", c->tls13);
	print_member("rekey", tristate_names[c->rekey]);
	print_member("zerocopy_ro", tristate_names[c->zerocopy_ro]);
	print_member("max_payload_len", tristate_names[c->max_payload_len]);
	print_member("library", c->library);
	print_member("library_ktls", tristate_names[c->library_ktls]);
	print_member("library_rekey", tristate_names[c->library_rekey]);
	print_connection(&r->conn);
	print_remedies(&r->remedies);
	printf("  \"usable\": %s\n}\n", boolean_name(r->usable));
}
