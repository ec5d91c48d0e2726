/* SPDX-License-Identifier: MIT */
/* What userspace.c asks of userspace_ends.c: the client and the fixtures. */
#ifndef BENCH_USERSPACE_H
#define BENCH_USERSPACE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct suite {
	const char *name, *tls12, *tls13;
};

struct conf {
	uint64_t size;		/* of the file, in bytes */
	int rounds;
	int version;		/* TLS1_2_VERSION or TLS1_3_VERSION */
	const struct suite *suite;
	int wake;		/* SO_RCVLOWAT of the client; 0: default */
	double goal;		/* 0: none */
	const char *only;	/* run one variant, for profilers */
};

/* Whose SSL_CTX: the baseline's knows nothing of tlssf */
enum who { BASELINE, TLSSF_AUTO, TLSSF_NAMED, N_CTX };

enum mode { DRAIN, DECRYPT };	/* what the client does: its orders */

struct report {			/* what the client saw */
	uint64_t bytes;		/* of ciphertext, or of plaintext */
	unsigned char sha256[32];
};

struct server {
	int listener, file;
	int ctl;		/* takes orders, gives reports */
	SSL_CTX *ctx[N_CTX];	/* by enum who */
	unsigned char sha256[32]; /* of the file */
};

extern struct conf conf;

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
void start_ends(struct server *s);
void stop_ends(struct server *s);

#endif
