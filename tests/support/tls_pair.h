/* SPDX-License-Identifier: MIT */
/*
 * A TLS connection in memory for unit tests. The handshake runs over memory
 * BIOs. Then our end gets a write BIO that claims to be a socket (or not), and
 * that passes the bytes to a "wire" with as much room as the test sets.
 */
#ifndef TLSSF_TEST_TLS_PAIR_H
#define TLSSF_TEST_TLS_PAIR_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define UNLIMITED	((size_t)-1)
#define NO_SOCKET	(-1)

/*
 * What lies below our end. It accepts at most `chunk` bytes at a time as long
 * as it has room, and then fails with `err`.
 */
struct wire {
	size_t room, chunk;
	int err;
	size_t taken;		/* bytes that it has accepted */
	size_t last;		/* length of the last write */
	/* writes by the TLS library, without those of libtlssf */
	unsigned int writes;
};

struct pair {
	SSL *ssl;		/* our end: the server */
	SSL *peer;
	BIO *to_peer;
	int fd;			/* what the write BIO returns, or NO_SOCKET */
	bool kernel;		/* the BIO claims that the kernel encrypts */
	struct wire wire;
	/* called with all that the wire accepts; or NULL */
	void (*watch)(const void *buf, size_t len);
};

struct suite_row {		/* version and cipher of a connection */
	int version;
	const char *cipher;	/* OpenSSL's name */
};
#define N_ROWS	4
extern const struct suite_row rows[N_ROWS];

/* The wire is unlimited at first. `ctx` NULL: a new SSL_CTX. */
void pair_open(struct pair *p, SSL_CTX *ctx, const struct suite_row *row,
	       int fd, bool kernel);
/*
 * SSL_clear() our end, and handshake with a new peer through the same BIOs, up
 * to the peer's Finished: the next SSL_do_handshake() of our end completes the
 * handshake and writes `tickets` session tickets.
 */
void pair_restart(struct pair *p, const struct suite_row *row, int tickets);
void pair_close(struct pair *p);
/* Send bytes from our end. Returns how many the wire accepted, or -errno. */
ssize_t pair_send(struct pair *p, const void *buf, size_t len);
/*
 * Read all that the peer can decrypt by now. Fails the test if it cannot
 * decrypt.
 */
size_t pair_read(struct pair *p, void *buf, size_t cap);
/* Returns whether the peer has received close_notify. */
bool pair_closed(struct pair *p);

/* Call `test` with every errno, and with 512, which the kernel may return. */
void for_each_errno(void (*test)(int err));

#endif
