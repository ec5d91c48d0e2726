/* SPDX-License-Identifier: MIT */
/*
 * Layer record/: bytes in, bytes out. The key schedule, a record on the wire,
 * and the kernel's layout of a key. Nothing here knows an SSL or a connection.
 */
#ifndef TLSSF_RECORD_H
#define TLSSF_RECORD_H

#include "tls.h"

#define RECORD_HEADER	5u	/* type, version, length */
#define RECORD_SLACK	32u	/* a record is longer than its plaintext by less */
#define EXPLICIT_LEN	8u	/* the nonce on the wire, TLS 1.2 GCM and CCM */

/* ---- kernel_key.c: the layout of linux/tls.h ---- */

/* Key material, and the number of the next record. */
struct kernel_key {
	int version;		/* TLS12 or TLS13 */
	int cipher;		/* enum tlssf_cipher */
	unsigned char key[32];
	/* TLS 1.3 and ChaCha20: the write IV. TLS 1.2 GCM and CCM: the salt and
	 * the explicit nonce of the next record. */
	unsigned char nonce[NONCE_LEN];
	uint64_t seq;		/* sequence number of the next record */
};

/* Fill `info` (SYS_CRYPTO_MAX bytes); returns its size for the kernel. */
size_t tlssf_kernel_key_pack(void *info, const struct kernel_key *key);
/* The sequence number in what getsockopt(TLS_TX) returned. */
uint64_t tlssf_kernel_key_seq(const void *info, int cipher);
size_t tlssf_kernel_key_size(int cipher);
size_t tlssf_cipher_key_len(int cipher);
/* By how many bytes a record, header included, is longer than its plaintext. */
size_t tlssf_record_overhead(int version, int cipher);

/* ---- keysched.c: from a secret or key block to key material ---- */

#define KEY_BLOCK_MAX	88u	/* two keys of 32 bytes, two IVs of 12 */

/* Key material with sequence number 0 (RFC 8446, 7.3): 0 or -errno. */
int tlssf_keys_from_secret(const unsigned char *secret, size_t len, int cipher,
			   struct kernel_key *key);
/* The secret after a KeyUpdate (RFC 8446, 7.2), in place: 0 or -errno. */
int tlssf_next_secret(unsigned char *secret, size_t len);
size_t tlssf_key_block_len(int cipher);
void tlssf_keys_from_block(const unsigned char *block, bool server, int cipher,
			   struct kernel_key *key);

/* ---- record.c: a record on the wire ---- */

struct opened {			/* the content of a record */
	int type;		/* enum record_type, and others */
	size_t len;
	bool padded;
};

/* Is half of the nonce on the wire (RFC 5288, 3; RFC 6655, 3)? */
bool tlssf_explicit_nonce(const struct kernel_key *k);
/* The length of the whole record; `header` has RECORD_HEADER bytes. */
size_t tlssf_record_len(const unsigned char *header);
/* Where in a record its content starts. */
size_t tlssf_record_start(const struct kernel_key *k);
/* Advance the explicit nonce of the next record. */
void tlssf_next_nonce(struct kernel_key *k);
/*
 * Decrypt a record with sequence number k->seq; `aead` has k's key. The
 * content, at most len bytes, goes to `out`: 0 or -EBADMSG.
 */
int tlssf_record_decrypt(const struct kernel_key *k, struct tl_aead *aead,
		      const unsigned char *rec, size_t len, unsigned char *out,
		      struct opened *o);
/*
 * Encrypt the content that stands at tlssf_record_start() of `rec`, which has
 * room for RECORD_SLACK bytes more, and advance k: the length of the record, or
 * -errno. The sequence number is used up in both cases.
 */
ssize_t tlssf_record_encrypt(struct kernel_key *k, struct tl_aead *sealer,
			  int type, unsigned char *rec, size_t plain_len);
/*
 * A cheap guess: false only if tlssf_record_decrypt() would not find `plain` at
 * the start of the content.
 */
bool tlssf_record_may_begin(const struct kernel_key *k, struct tl_aead *aead,
			    const unsigned char *rec, size_t len,
			    const unsigned char *plain, size_t plain_len);
/*
 * Is `rec` the application data record that `key` makes of `plain` (at most
 * 256 bytes) with sequence number key->seq? 0, -EBADMSG, -ENOTSUP, -ENOMEM.
 */
int tlssf_record_check(const struct kernel_key *key, const unsigned char *rec,
		       size_t len, const unsigned char *plain,
		       size_t plain_len);

/* ---- a key and the secret that it comes from ---- */

/* One key generation. A KeyUpdate derives the next generation from it. */
struct generation {
	bool made;
	unsigned char secret[SECRET_MAX];	/* TLS 1.3 */
	struct kernel_key key;
	struct tl_aead *aead;	/* has the key; NULL: the kernel has it */
};

#endif
