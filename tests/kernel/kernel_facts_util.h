/* SPDX-License-Identifier: MIT */
/*
 * What the files of kernel_facts share: a loopback TCP pair, key material in
 * the layout of linux/tls.h, and a peer that decrypts the records with
 * libcrypto alone.
 */
#ifndef TLSSF_KERNEL_FACTS_UTIL_H
#define TLSSF_KERNEL_FACTS_UTIL_H

#include "time_limits.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Constants that older headers lack; the numbers are the kernel's ABI. */
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TLS_TX_ZEROCOPY_RO
#define TLS_TX_ZEROCOPY_RO 3
#endif
#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif

#define V12 0x0303
#define V13 0x0304
#define N_AEAD 8
#define AES128GCM 0	/* index into aeads[] */
#define CHACHA20 3
#define RECORD_MAX 16384
#define INFO_MAX 56
#define MAX_PLAIN (1 << 20)
#define MAX_RECORDS 256
#define PATIENCE HANG_MS
#define QUIET 250	/* after so many ms without a byte, none will come */

enum { TYPE_ALERT = 21, TYPE_HANDSHAKE = 22, TYPE_DATA = 23 };
/*
 * tcpi_state, with the kernel's numbers (netinet/tcp.h clashes with
 * linux/tcp.h)
 */
enum { ST_ESTABLISHED = 1, ST_FIN_WAIT1 = 4, ST_FIN_WAIT2 = 5, ST_CLOSE = 7 };

struct aead {
	const char *word;	/* its part of a word in TLSSF_EXPECT */
	const char *evp;	/* libcrypto's name */
	uint16_t id;
	uint8_t iv, key, salt;	/* their sizes in the crypto_info */
};
/* numbers of the ciphers that need code of their own */
#define ID_CCM 53
#define ID_CHACHA 54
#define ID_SM4_CCM 56
extern const struct aead aeads[N_AEAD];

/* The keys of one direction: the bytes that setsockopt(TLS_TX) takes. */
struct keys {
	const struct aead *aead;
	uint16_t version;
	unsigned int len;
	_Alignas(8) unsigned char info[INFO_MAX];
};

struct record {
	uint8_t type;
	uint16_t len;		/* of the plaintext */
};

/*
 * The receiving end. The plaintext of all records is stored one after the
 * other.
 */
struct peer {
	int fd;
	struct keys keys;
	uint64_t seq;
	unsigned int key_records;	/* records decrypted with these keys */
	bool eof;
	int error;
	size_t wire_total;
	size_t wire_len;
	size_t plain_len;
	unsigned int n_records;
	struct record records[MAX_RECORDS];
	unsigned char wire[2 * RECORD_MAX + 512];
	unsigned char plain[MAX_PLAIN];
};

struct conn {
	int tx;
	int file;
	uint64_t base;		/* bytes in TCP before the first record */
	uint64_t seq0;
	struct keys keys;
	struct peer peer;
};

/* One connection for each test; setup() and teardown() are Check's fixture. */
extern struct conn c;
extern int spare[2];			/* closed by teardown */
extern unsigned char buf[4 * RECORD_MAX];	/* filled with pattern() */
extern volatile sig_atomic_t pipes;	/* SIGPIPEs caught */
void setup(void);
void teardown(void);
void add_send_tests(Suite *suite);
void assert_errno(ssize_t r, int want);

/* A size of 0 leaves the kernel's default. */
void conn_open(int sndbuf, int rcvbuf);
/* conn_open(), ULP and TLS_TX; fails the test if the kernel refuses them. */
void conn_open_tls(uint16_t version, const struct aead *a, int sndbuf,
		   int rcvbuf);
/* TLS 1.3, AES-128-GCM, the kernel's default buffers */
void open_default(void);
void conn_close(void);
/* Call setsockopt() with an int. Returns 0 or an errno. */
int opt_int(int fd, int level, int name, int value);
void close_fd(int *fd);
/* An unnamed file whose bytes are pattern() of their offsets. */
int memory_file(size_t size);
void nonblocking(int fd, bool on);
void set_linger(int fd, int seconds);

/* The byte at offset i of every test file. */
unsigned char pattern(size_t i);
void put_be64(unsigned char *p, uint64_t v);
uint64_t get_be64(const unsigned char *p);

void keys_make(struct keys *k, uint16_t version, const struct aead *a,
	       uint64_t seq);
/* Returns whether the nonce is on the wire (TLS 1.2, but not ChaCha20). */
bool explicit_nonce(const struct keys *k);
unsigned int overhead(const struct keys *k);
/* Both return 0 or an errno. */
int set_ulp(int fd);
int set_tx(int fd, const struct keys *k);

ssize_t send_cmsg(int fd, uint8_t type, const void *data, size_t len,
		  int flags);
/* Send an empty record of type 23. It sends the open record and adds none. */
ssize_t push_open(int fd);
uint64_t rec_seq(void);
int tcp_state(int fd);
int out_queue(int fd);
short poll_now(int fd);
/* Returns how many bytes of records the kernel still holds above TCP. */
int64_t pending(uint64_t accepted);

/* Returns whether this libcrypto has the cipher. */
bool can_open(const struct aead *a);
/* Read what has arrived, at most max bytes. Returns the bytes, or 0. */
size_t peer_take(struct peer *p, size_t max);
bool peer_wait(struct peer *p, size_t plain, int ms);
/*
 * Read until the end of the stream, an error, or `ms` without a byte. Returns
 * true at the end of the stream.
 */
bool peer_finish(struct peer *p, int ms);
bool peer_quiet(struct peer *p, int ms);
/* Returns whether the plaintext from `from` on is the file from `off` on. */
bool peer_matches(const struct peer *p, size_t from, size_t off);

/*
 * Check that TLSSF_EXPECT has the word if and only if the feature was shown.
 * Returns `shown`.
 */
bool feature(const char *word, bool shown);

#endif
