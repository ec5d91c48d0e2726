/* SPDX-License-Identifier: MIT */
/* What the files of the benchmark `send` share. send.c has the main program. */
#ifndef BENCH_SEND_H
#define BENCH_SEND_H

#include <netinet/in.h>
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
	const char *name;	/* the "question" in the results */
	uint64_t size;		/* bytes of the file */
	int header;		/* bytes of the header before the file */
	int responses;		/* timed, per connection; 0: a bulk transfer */
	int warm_up;		/* untimed responses before these */
	int connections;	/* concurrent ones, each with a bulk transfer */
	int slow;		/* further connections with a slow client */
	int rounds;
	int version;		/* TLS1_2_VERSION or TLS1_3_VERSION */
	const struct suite *suite;
	int wake;		/* SO_RCVLOWAT of the client; 0: default */
	bool count_instructions; /* the machine's clocks count instructions */
	FILE *results;		/* gets a line of JSON per row, or NULL */
};

extern struct conf conf;

/*
 * Time limits, after which the benchmark gives up. There is none if clocks
 * count instructions: in such a virtual machine the clock of an idle CPU runs
 * fast, also while the host loads a page of its memory.
 */
static inline unsigned int sample_limit_s(void)
{
	return conf.count_instructions ? 0 : 300;
}

static inline int poll_limit_ms(void)
{
	return conf.count_instructions ? -1 : 30000;
}

/* ---- send_client.c ---- */

/* What the client does with a response. */
enum client_mode {
	COUNT,			/* count its records */
	DRAIN,			/* discard it */
	COMPARE			/* decrypt it and compare it with the file */
};

/* Sent to the client process for each sample. */
struct task {
	enum client_mode mode;
	int responses;		/* to request; 0: read until the end */
	int connections;	/* DRAIN: concurrent connections */
	int slow;		/* DRAIN: slow ones, connected before those */
};

/* The client's results. */
struct report {
	uint64_t bytes;		/* of plaintext; DRAIN: of the TCP stream */
	uint64_t records;	/* COUNT: number of records */
	bool equal;		/* COMPARE: all bytes are equal */
};

/* The client process: does the tasks from `ctl` until its end is closed. */
__attribute__((noreturn))
void run_client(int ctl, const struct sockaddr_in *to);

/* ---- send_setup.c: what is set up before anything is timed ---- */

/*
 * The index of a server's SSL_CTX. Those before AUTO are used without libtlssf;
 * GNUTLS has no SSL_CTX.
 */
enum ctx_id { GNUTLS, OPENSSL, OPENSSL_KTLS, AUTO, NAMED_SSL_SENDFILE,
	      NAMED_KTLS, NAMED_USERSPACE, N_CTX };

struct server {
	int listener, file;
	int ctl;		/* socket to the client: tasks and reports */
	unsigned char *header;
	SSL_CTX *ctx[N_CTX];
};

extern struct server server;

__attribute__((format(printf, 1, 2), noreturn))
void die(const char *fmt, ...);
/* Exits with a message and errno if `ok` is false. */
void must(bool ok, const char *what);

void set_int(int fd, int level, int option, int value);	/* setsockopt() */
/* Run this process on the n-th CPU only. No effect with a single CPU. */
void pin_to_cpu(unsigned int n);
SSL_CTX *new_ctx(const SSL_METHOD *method);

double now(clockid_t clock);		/* in seconds */

/* CPU seconds since boot, of the whole machine and of other programs. */
struct load {
	double all, others;
};
struct load load_now(void);		/* after start_server_and_client() */

/*
 * Use a network namespace without firewall and other traffic. Returns false if
 * that is not permitted.
 */
bool unshare_network(void);
/* Make the file, the client process and the contexts; pin both processes. */
void start_server_and_client(void);
void stop_server_and_client(void);

/* ---- send_ways.c: the ways to send a response ---- */

struct connection {
	SSL *ssl;
	void *gnutls;		/* session of GnuTLS, or NULL if ssl is set */
	int sock;
};

struct variant {
	const char *name;
	void (*respond)(struct connection *l);	/* sends header and file */
	enum ctx_id ctx_id;
	int method;		/* enum tlssf_method that must be in use */
	bool nonblocking;
	bool is_tls;		/* sends TLS that the client can decrypt */
};

extern const struct variant variants[MAX_VARIANTS];	/* last: no name */

struct sample {
	double cpu, wall;	/* seconds per response */
	double records;		/* per response */
	double calls;		/* tlssf_status.calls per response */
	int method;		/* which method libtlssf used, or -1 */
};

/* ---- send.c ---- */
/* Accept a connection and do the handshake. */
struct connection accept_connection(const struct variant *v);

/* ---- send_many.c ---- */
/* Measure bulk transfers on many concurrent connections. */
struct sample measure_many(const struct variant *v);

/* ---- send_gnutls.c; without GnuTLS these functions exit ---- */
void gnutls_open(struct connection *l);	/* handshake on l->sock */
void gnutls_request(struct connection *l);	/* read a request */
void gnutls_respond(struct connection *l);
void gnutls_close(struct connection *l);

/* ---- send_table.c: output of the results ---- */

extern struct sample samples[MAX_VARIANTS][MAX_ROUNDS];

void print_setting(bool own_net);
/* Print n variants; the first one is the base of the ratios. */
void print_table(const unsigned int *order, unsigned int n, double others);

#endif
