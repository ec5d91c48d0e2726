/* SPDX-License-Identifier: MIT */
/* Types and functions that the files of tlssf-probe share. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <tlssf/tlssf.h>

/* The connection of --connect, and how libtlssf could send on it. */
struct connection {
	const char *target;	/* HOST:PORT; NULL: no --connect */
	char address[64];	/* numeric address of the server */
	char error[256];	/* why there is no connection, or "" */
	struct tlssf_status status;
	bool offload;		/* the kernel could encrypt what is sent */
	int method;		/* enum tlssf_method that would be used */
};

/* Advice about one feature that does not work. */
struct remedy {
	char about[64];		/* the feature */
	char text[512];		/* what to do */
};

struct remedies {
	size_t n;
	struct remedy list[64];
};

/* The results of one run. */
struct report {
	struct tlssf_caps caps;
	struct connection conn;
	struct remedies remedies;
	char release[128];	/* of the running kernel */
	bool module_list;	/* the kernel's modules.dep is readable */
	bool usable;		/* at least one version and cipher works */
};

/*
 * probe_connect.c: connect to HOST:PORT and fill in *conn. Returns false if
 * `target` does not have that form; other errors are in conn->error.
 */
bool probe_connect(struct connection *conn, const char *target);

/* probe_remedy.c: fill in r->remedies from the rest of the report. */
void probe_remedies(struct report *r);

/* probe_table.c, probe_json.c: print the report to standard output. */
void probe_print_table(const struct report *r);
void probe_print_json(const struct report *r);

#endif
