/* SPDX-License-Identifier: MIT */
/*
 * A TLS connection in memory for unit tests. The handshake runs over memory
 * BIOs; then our end gets a write BIO that claims to be a socket (or none) and
 * whose bytes go through a wire with little room, as each test sets it.
 */
#ifndef TLSSF_TEST_TLS_PAIR_H
#define TLSSF_TEST_TLS_PAIR_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define UNLIMITED	((size_t)-1)
#define NO_SOCKET	(-1)

/* What lies below our end. It takes at most `chunk` bytes at a time while it
 * has room, then fails with `err`. */
struct wire {
	size_t room, chunk;
	int err;
	size_t taken;		/* in all */
	size_t last;		/* length offered last */
	unsigned int writes;	/* by the TLS library, not by us */
};

struct pair {
	SSL *ssl;		/* our end: the server */
	SSL *peer;
	BIO *to_peer;
	int fd;			/* as the BIO tells, or NO_SOCKET */
	bool kernel;		/* the BIO says that the kernel seals */
	struct wire wire;
	/* sees all that the wire takes; NULL: nobody looks */
	void (*watch)(const void *buf, size_t len);
};

struct suite_row {		/* what most tests run over */
	int version;
	const char *cipher;	/* OpenSSL's name */
};
#define N_ROWS	4
extern const struct suite_row rows[N_ROWS];

/* The wire starts without limits. `ctx` NULL: a fresh one. */
void pair_open(struct pair *p, SSL_CTX *ctx, const struct suite_row *row,
	       int fd, bool kernel);
/*
 * SSL_clear() our end, and handshake with a new peer through the same BIOs, up
 * to the peer's Finished: the next SSL_do_handshake() of our end completes the
 * handshake and writes `tickets` session tickets.
 */
void pair_restart(struct pair *p, const struct suite_row *row, int tickets);
void pair_close(struct pair *p);
/* Bytes leave our end: how many the wire took, or -errno. */
ssize_t pair_send(struct pair *p, const void *buf, size_t len);
/* All that the peer can open by now; fails the test when it cannot go on. */
size_t pair_read(struct pair *p, void *buf, size_t cap);
bool pair_closed(struct pair *p);	/* the peer has seen close_notify */

/* Every errno, and 512 which the kernel leaks. */
void for_each_errno(void (*test)(int err));

#endif
