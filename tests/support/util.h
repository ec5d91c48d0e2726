/* SPDX-License-Identifier: MIT */
/*
 * What the end-to-end tests share: files of known content; a link, which is our
 * end of a TLS connection to a peer; loops as a correct application has them;
 * and the hash of the bytes that should arrive.
 */
#ifndef TLSSF_TEST_UTIL_H
#define TLSSF_TEST_UTIL_H

#include "time_limits.h"
#include "peer.h"
#include "tls_compat.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <tlssf/tlssf.h>

#define KIB	1024u
#define MIB	(1024u * 1024u)

#ifndef ELIBBAD
#define ELIBBAD 80
#endif

/* ---- passed, failed, skipped ---- */

/*
 * Run the suite. Prints each skip by name and, as the last line, "NAME: N
 * passed, N failed, N skipped". Returns the exit status: 0, 1, or 77 when all
 * tests were skipped.
 */
int run_suite(const char *name, Suite *suite);
/*
 * Do once, before the tests fork, what takes long: the probe, the peer program.
 */
void warm_up(void);
/* Count the running test as skipped. The test returns afterwards. */
void skip_test(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How much to test: TLSSF_GUEST for less, TLSSF_FULL for everything. */
bool in_guest(void);
bool full_run(void);
/* Count a stream that was compared by SHA-256. */
void count_comparison(void);

/* ---- versions and ciphers ---- */

struct cipher {
	const char *word;	/* as in TLSSF_EXPECT: "aes128gcm" */
	const char *v12, *v13;	/* OpenSSL's names */
	int offload;		/* enum tlssf_cipher */
};
#define N_CIPHERS 3
extern const struct cipher ciphers[N_CIPHERS];
const char *version_word(int version);	/* "tls12", "tls13" */
/* Returns -1 without TLSSF_EXPECT, otherwise whether the word is in it. */
int expected(const char *word);
int expected_cipher(int version, const struct cipher *c);
/*
 * Return whether the kernel can encrypt with this cipher, and whether it can
 * rekey, according to TLSSF_EXPECT or, without that, to the probe.
 */
bool kernel_can(int version, const struct cipher *c);
bool kernel_rekeys(void);
/* Returns whether the TLS library's own kernel TLS works after a KeyUpdate. */
bool survives_rekey(void);
/* The method that AUTO must use once `sent` bytes were sent. */
int auto_method(int version, const struct cipher *c, uint64_t sent);
#define TAKEOVER_PAYS	(96 * KIB)

/* ---- files, filled with the pattern ---- */

struct file {
	int fd;
	uint64_t size;
	const unsigned char *map;
};
void fill(unsigned char *buf, uint64_t off, size_t len);
void file_make(struct file *f, uint64_t size);
/* A file of `size` bytes of which only [from, size) has data. */
void file_make_sparse(struct file *f, uint64_t from, uint64_t size);
void file_free(struct file *f);

/* ---- a connection ---- */

struct link_conf {
	int method;		/* enum tlssf_method, for tlssf_ctx_init */
	bool no_init;		/* without tlssf_ctx_init() */
	bool client;		/* our end is the TLS client */
	int version;		/* 0: TLS 1.3 */
	const struct cipher *cipher; /* NULL: the first */
	const char *cipher_name; /* replaces `cipher` */
	bool nonblocking;
	bool no_handshake;	/* the test calls link_handshake() itself */
	int sndbuf;
	uint64_t options;	/* SSL_OP_... of our SSL_CTX */
	int tickets;		/* number of tickets, plus 1; 0: default */
	int key_update;		/* members of struct tlssf_options: */
	bool drop_padding, attach_late;
	uint64_t key_records, takeover_from;
	size_t max_payload_len;
	bool zerocopy;
	SSL_CTX *ctx;		/* replaces a new SSL_CTX */
	size_t max_per_call, max_buffered;
	struct peer_conf peer; /* only rcvbuf, max_fragment and name are used */
};

struct link {
	SSL *ssl;
	int fd;
	struct peer peer;
	struct peer_report report; /* the last report of the peer */
	EVP_MD_CTX *sha;	/* of the bytes that should arrive */
	/* expected since the last comparison, and in all */
	uint64_t bytes, total;
	unsigned int turns;	/* of the loops below, with their waits */
	unsigned int waits;
};

SSL_CTX *plain_ctx(bool server);	/* with the test certificate */
SSL_CTX *test_ctx(const struct link_conf *conf);
void link_open(struct link *l, const struct link_conf *conf);
void link_handshake(struct link *l);

/* The combinations of method and version that most tests run with. */
struct way {
	int method, version;
	const char *name;
};
#ifdef OPENSSL_IS_BORINGSSL
#define N_WAYS 6	/* userspace, ktls, auto */
#else
#define N_WAYS 8	/* userspace, ssl_sendfile, ktls, auto */
#endif
extern const struct way ways[N_WAYS];
/*
 * Run a loop test `per_way` times for each way. In a guest only e2e_matrix runs
 * the ways of user space, where the kernel does not matter, and of AUTO, which
 * chooses one of the other methods.
 */
#define add_ways(tc, test, per_way) \
	tcase_add_loop_test(tc, test, (int)(per_way) * first_way(), \
			    (int)(per_way) * end_of_ways())
int first_way(void);
int end_of_ways(void);
/* the ways before this one need the kernel */
#define AUTO_WAY	(N_WAYS - 2)
#define KERNEL_WAYS	2	/* the ways from here on need the kernel */
#define TLS12_WAY(i)	(2 * (i))
#define TLS13_WAY(i)	(2 * (i) + 1)
/*
 * link_open() for this way. Returns false if the way cannot run here; then the
 * test counts as skipped.
 */
bool link_open_way(struct link *l, int way, struct link_conf *conf,
		   const char *test);
/*
 * Free everything, without close_notify. May be called twice, and for a zeroed
 * link.
 */
void link_close(struct link *l);
void set_nonblocking(int fd, bool on);

/* ---- the peer ---- */
void peer_do(struct link *l, int op, uint64_t n);
void peer_do_read(struct link *l, uint64_t n, size_t chunk, unsigned int pause);
const struct peer_report *get_report(struct link *l);
/* Add to the bytes that should arrive. */
void expect_bytes(struct link *l, const void *buf, size_t len);
void expect_file(struct link *l, const struct file *f, uint64_t off,
		 size_t len);
void expect_pattern(struct link *l, uint64_t off, uint64_t len);
/*
 * Wait for the report of a PEER_READ: exactly the expected bytes have arrived,
 * and none in plaintext.
 */
void compare(struct link *l);
/* The peer reads all expected bytes; then compare(). */
void sync_peer(struct link *l);
/* The peer reads to the end: all expected bytes, and this kind of end. */
void expect_end(struct link *l, enum peer_end end);

/* ---- loops as an application has them; each must succeed ---- */

void wait_writable(struct link *l);
void send_all(struct link *l, const struct file *f, uint64_t off, size_t len);
/* send_all() while the peer reads, then compare(). */
void deliver(struct link *l, const struct file *f, uint64_t off, size_t len);
void job_all(struct link *l, struct tlssf_job *job);
void write_all(struct link *l, const void *buf, size_t len);
void flush_all(struct link *l);
void shutdown_all(struct link *l);

/* ---- what is in force ---- */

void get_status(struct link *l, struct tlssf_status *st);
/*
 * Ask the kernel about the socket. Returns whether the kernel encrypts, and
 * sets the next sequence number.
 */
bool kernel_seq(const struct link *l, uint64_t *seq);
/*
 * Fail the test unless the call has failed in this way. The message has both
 * names.
 */
void assert_failed(struct link *l, ssize_t got, int err, int reason,
		   bool dead);

#endif
