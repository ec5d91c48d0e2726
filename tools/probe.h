/* SPDX-License-Identifier: MIT */
/* What the files of tlssf-probe share. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <tlssf/tlssf.h>

/* A connection made to see what could be done with it. */
struct connection {
	const char *target;	/* as given: HOST:PORT; NULL: not asked for */
	char address[64];	/* numeric, of the one that answered */
	char error[256];	/* why there is no connection, or "" */
	struct tlssf_status status;
	bool offload;		/* the kernel could seal what it sends */
	int method;		/* by which way, if so */
};

/* What to do about one "no". */
struct remedy {
	char about[64];
	char text[512];
};

struct remedies {
	size_t n;
	struct remedy list[64];
};

/* All that one run has found out. */
struct report {
	struct tlssf_caps caps;
	struct connection conn;
	struct remedies remedies;
	char release[128];	/* of the running kernel */
	bool module_list;	/* its list of modules can be seen from here */
	bool usable;		/* at least one version and cipher is */
};

/* probe_connect.c: false when `target` is no HOST:PORT. */
bool probe_connect(struct connection *conn, const char *target);

/* probe_remedy.c */
void probe_remedies(struct report *r);

/* probe_table.c, probe_json.c: to standard output */
void probe_print_table(const struct report *r);
void probe_print_json(const struct report *r);

#endif
