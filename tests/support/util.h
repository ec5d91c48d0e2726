/* SPDX-License-Identifier: MIT */
/*
 * What the end-to-end tests share: files of known content, a link (our end of
 * a TLS connection, a plain peer at the other), loops as a correct application
 * writes them, and the account of what should have arrived.
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

/* ---- what is tried, skipped, failed ---- */

/*
 * Run the suite; print each skip by name and, last, "NAME: N passed, N failed,
 * N skipped". The exit status: 0, 1, or 77 when all was skipped.
 */
int run_suite(const char *name, Suite *suite);
/* Let all tests inherit what takes a while: the library's probe, the peers. */
void warm_up(void);
/* Count the test that runs now as skipped; return from it afterwards. */
void skip_test(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The budget: TLSSF_GUEST, and TLSSF_FULL for more of it. */
bool in_guest(void);
bool full_run(void);
/* One more stream that was compared by SHA-256. */
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
/* -1 without TLSSF_EXPECT, else whether it promises the word. */
int expected(const char *word);
int expected_cipher(int version, const struct cipher *c);
/* The kernel can seal, and be given new keys: promised, else probed. */
bool kernel_can(int version, const struct cipher *c);
bool kernel_rekeys(void);
/* The TLS library's own kernel TLS survives a KeyUpdate. */
bool survives_rekey(void);
/* What AUTO must take when `sent` bytes were asked for in all. */
int auto_method(int version, const struct cipher *c, uint64_t sent);
#define TAKEOVER_PAYS	(96 * KIB)

/* ---- files: all of them are the pattern ---- */

struct file {
	int fd;
	uint64_t size;
	const unsigned char *map;
};
void fill(unsigned char *buf, uint64_t off, size_t len);
void file_make(struct file *f, uint64_t size);
/* Size bytes of which only [from, size) is not a hole. */
void file_make_sparse(struct file *f, uint64_t from, uint64_t size);
void file_free(struct file *f);

/* ---- a connection ---- */

struct link_conf {
	int method;		/* enum tlssf_method, for tlssf_ctx_init */
	bool no_init;		/* no tlssf_ctx_init */
	bool client;		/* our end is the TLS client */
	int version;		/* 0: TLS 1.3 */
	const struct cipher *cipher; /* NULL: the first */
	const char *cipher_name; /* instead of it */
	bool nonblocking;
	bool no_handshake;	/* link_handshake() is left to the test */
	int sndbuf;
	uint64_t options;	/* SSL_OP_... of our SSL_CTX */
	int tickets;		/* as given + 1; 0: default */
	int key_update;		/* as in struct tlssf_options, these too: */
	bool drop_padding, attach_late;
	uint64_t key_records, takeover_from;
	size_t max_payload_len;
	bool zerocopy;
	SSL_CTX *ctx;		/* instead of a fresh one */
	size_t max_per_call, max_buffered;
	struct peer_conf peer;	/* rcvbuf, max_fragment, name */
};

struct link {
	SSL *ssl;
	int fd;
	struct peer peer;
	struct peer_report report; /* the last one heard */
	EVP_MD_CTX *sha;	/* of what should arrive */
	uint64_t bytes, total;	/* since the last comparison, and in all */
	unsigned int turns;	/* of the loops below, waits included */
	unsigned int waits;
};

SSL_CTX *plain_ctx(bool server);	/* with the test certificate */
SSL_CTX *test_ctx(const struct link_conf *conf);
void link_open(struct link *l, const struct link_conf *conf);
void link_handshake(struct link *l);

/* The methods and versions that most tests run over. */
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
 * Run a loop test `per_way` times for each. The user-space ways do not depend
 * on the kernel, and what AUTO comes to there is run by name: in a guest only
 * e2e_matrix runs these.
 */
#define add_ways(tc, test, per_way) \
	tcase_add_loop_test(tc, test, (int)(per_way) * first_way(), \
			    (int)(per_way) * end_of_ways())
int first_way(void);
int end_of_ways(void);
#define AUTO_WAY	(N_WAYS - 2)	/* and up to there the kernel's */
#define KERNEL_WAYS	2	/* from there on */
#define TLS12_WAY(i)	(2 * (i))
#define TLS13_WAY(i)	(2 * (i) + 1)
/* link_open() for one of them; false: counted as skipped, see there. */
bool link_open_way(struct link *l, int way, struct link_conf *conf,
		   const char *test);
/* Free all; safe on a zeroed link and twice. Does not say good-bye. */
void link_close(struct link *l);
void set_nonblocking(int fd, bool on);

/* The peer's side. */
void tell(struct link *l, int op, uint64_t n);
void tell_read(struct link *l, uint64_t n, size_t chunk, unsigned int pause);
const struct peer_report *hear(struct link *l);
/* Account for what the application has sent. */
void want_bytes(struct link *l, const void *buf, size_t len);
void want_file(struct link *l, const struct file *f, uint64_t off, size_t len);
void want_pattern(struct link *l, uint64_t off, uint64_t len);
/* Hear the report of a PEER_READ: these bytes, and nothing in the clear. */
void compare(struct link *l);
/* Peer reads all that was accounted for, then compare(). */
void sync_peer(struct link *l);
/* Peer reads to the end: all bytes and then this end. */
void expect_end(struct link *l, enum peer_end end);

/* ---- loops as an application writes them; all assert success ---- */

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
/* The kernel's own word on this socket: does it seal, and what comes next. */
bool kernel_seq(const struct link *l, uint64_t *seq);
/* Fail with both names unless the last failure is this one. */
void assert_failed(struct link *l, ssize_t got, int err, int reason,
		   bool dead);

#endif
