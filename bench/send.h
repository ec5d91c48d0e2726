/* SPDX-License-Identifier: MIT */
/* The benchmark's parts: send.c runs it, the others are called by it. */
#ifndef BENCH_SEND_H
#define BENCH_SEND_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define MAX_ROUNDS	999
#define MAX_VARIANTS	32

struct suite {
	const char *name, *tls12, *tls13;
};

struct conf {
	const char *name;	/* of the question, for the results */
	uint64_t size;		/* of the file, in bytes */
	int header;		/* bytes before it */
	int responses;		/* timed, per connection; 0: a bulk transfer */
	int warm;		/* responses before those */
	int connections;	/* at once, a bulk transfer on each */
	int slow;		/* more of them, whose client hardly reads */
	int rounds;
	int version;		/* TLS1_2_VERSION or TLS1_3_VERSION */
	const struct suite *suite;
	int wake;		/* SO_RCVLOWAT of the client; 0: default */
	bool counted;		/* clocks count instructions */
	FILE *results;		/* a line of JSON for each row, or NULL */
};

extern struct conf conf;

/*
 * Until a stuck run is given up; without a limit where clocks count: an idle
 * machine's time flies there, also while the host fetches a page for it.
 */
static inline unsigned int sample_limit(void)	/* seconds */
{
	return conf.counted ? 0 : 300;
}

static inline int poll_limit(void)		/* milliseconds */
{
	return conf.counted ? -1 : 30000;
}

/* ---- send_ends.c: both ends, made before anything is timed ---- */

/* Whose SSL_CTX. Up to AUTO they know nothing of tlssf; GNUTLS has none. */
enum who { GNUTLS, OPENSSL, OPENSSL_KTLS, AUTO, NAMED_SSL_SENDFILE, NAMED_KTLS,
	   NAMED_USERSPACE, N_WHO };

/* What the client does: count records, throw all away, or compare. */
enum mode { COUNT, DRAIN, COMPARE };

struct order {
	enum mode mode;
	int responses;		/* to ask for; 0: read until the end */
	int connections;	/* DRAIN: so many of them at once */
	int slow;		/* ... and so many before them */
};

struct report {			/* what the client saw */
	uint64_t bytes;		/* of plaintext; DRAIN: on the wire */
	uint64_t records;	/* COUNT: all of them */
	bool equal;		/* COMPARE: to the file */
};

struct server {
	int listener, file;
	int ctl;		/* takes orders, gives reports */
	unsigned char *header;
	SSL_CTX *ctx[N_WHO];
};

extern struct server server;

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *fmt, ...);
void must(bool ok, const char *what);	/* or die, with errno */

double now(clockid_t clock);		/* seconds */

/* CPU seconds of the machine so far: all, and those that others used. */
struct load {
	double all, others;
};
struct load load_now(void);		/* after start_ends() */

/* A network of our own: no firewall, no neighbours. False: not allowed. */
bool own_network(void);
/* Fork the client, make contexts and file, pin each end to its CPU. */
void start_ends(void);
void stop_ends(void);

/* ---- send_ways.c: the ways to send a response ---- */

struct link {
	SSL *ssl;
	void *gnutls;		/* its session, in place of ssl */
	int sock;
};

struct variant {
	const char *name;
	void (*respond)(struct link *l);	/* header and file */
	enum who who;
	int method;		/* enum tlssf_method that must be in force */
	bool nonblocking;
	bool sealed;		/* TLS: the client can open it */
};

extern const struct variant variants[MAX_VARIANTS];	/* until !name */

struct sample {
	double cpu, wall;	/* seconds, for one response */
	double records;		/* of one response */
	double calls;		/* sends that tlssf made for one response */
	int method;		/* that tlssf took, or -1 */
};

/* ---- send.c ---- */
struct link accept_link(const struct variant *v);	/* and handshake */

/* ---- send_many.c ---- */
struct sample measure_many(const struct variant *v);

/* ---- send_gnutls.c: ends the program where it is not built in ---- */
void gnutls_open(struct link *l);	/* the handshake, on l->sock */
void gnutls_request(struct link *l);
void gnutls_respond(struct link *l);
void gnutls_close(struct link *l);

/* ---- send_table.c: what came out ---- */

extern struct sample samples[MAX_VARIANTS][MAX_ROUNDS];

void print_setting(bool own_net);
/* The first of `order`, n variants, is what the others are compared with. */
void print_table(const unsigned int *order, unsigned int n, double others);

#endif
