/* SPDX-License-Identifier: MIT */
/*
 * Layer record/: the key schedule, TLS records on the wire, and the layout of a
 * key in linux/tls.h. The functions work on bytes only; they use no SSL and no
 * connection.
 */
#ifndef TLSSF_RECORD_H
#define TLSSF_RECORD_H

#include "tls.h"

#define RECORD_HEADER	5u	/* type, version, length */
#define RECORD_SLACK	32u	/* more than any tlssf_record_overhead() */
#define EXPLICIT_LEN	8u	/* explicit nonce of TLS 1.2 GCM and CCM */

/* ---- kernel_key.c: the layout of linux/tls.h ---- */

/* A write key, its nonce, and the sequence number of the next record. */
struct kernel_key {
	int version;		/* TLS12 or TLS13 */
	int cipher;		/* enum tlssf_cipher */
	unsigned char key[32];
	/* TLS 1.3 and ChaCha20: the write IV. TLS 1.2 GCM and CCM: the salt and
	 * the explicit nonce of the next record. */
	unsigned char nonce[NONCE_LEN];
	uint64_t seq;		/* sequence number of the next record */
};

/*
 * Fill `info` (SYS_CRYPTO_MAX bytes). Returns the size to pass to the kernel.
 */
size_t tlssf_kernel_key_pack(void *info, const struct kernel_key *key);
/*
 * Returns the sequence number in `info`, which getsockopt(TLS_TX) has filled.
 */
uint64_t tlssf_kernel_key_seq(const void *info, int cipher);
size_t tlssf_kernel_key_size(int cipher);	/* of `info` */
size_t tlssf_cipher_key_len(int cipher);
/*
 * Returns by how much a record, with its header, is longer than its plaintext.
 */
size_t tlssf_record_overhead(int version, int cipher);

/* ---- keysched.c: from a secret or key block to key material ---- */

#define KEY_BLOCK_MAX	88u	/* two keys of 32 bytes, two IVs of 12 */

/*
 * Derive the key and IV of TLS 1.3, with sequence number 0 (RFC 8446, 7.3): 0
 * or -errno.
 */
int tlssf_keys_from_secret(const unsigned char *secret, size_t len, int cipher,
			   struct kernel_key *key);
/* Replace a secret by the next one (RFC 8446, 7.2): 0 or -errno. */
int tlssf_next_secret(unsigned char *secret, size_t len);
/*
 * TLS 1.2: the length of the key block of an AEAD cipher (RFC 5246, 6.3), and
 * our write key from such a block.
 */
size_t tlssf_key_block_len(int cipher);
void tlssf_keys_from_block(const unsigned char *block, bool server, int cipher,
			   struct kernel_key *key);

/* ---- record.c: a record on the wire ---- */

struct opened {			/* the content of a decrypted record */
	int type;		/* enum record_type, or another type */
	size_t len;
	size_t padding;		/* TLS 1.3: zeros behind the type */
};

/* Does a record contain 8 bytes of its nonce (RFC 5288, 3; RFC 6655, 3)? */
bool tlssf_explicit_nonce(const struct kernel_key *k);
/* Returns the length of a record; `header` is its first RECORD_HEADER bytes. */
size_t tlssf_record_len(const unsigned char *header);
/* Returns the offset of the content in a record. */
size_t tlssf_record_start(const struct kernel_key *k);
/* Advance the explicit nonce of the next record. */
void tlssf_next_nonce(struct kernel_key *k);
/*
 * Decrypt a record with sequence number k->seq, and write its content, at most
 * `len` bytes, to `out`: 0 or -EBADMSG. `aead` is a context with k's key.
 */
int tlssf_record_decrypt(const struct kernel_key *k, struct tl_aead *aead,
			 const unsigned char *rec, size_t len,
			 unsigned char *out, struct opened *o);
/*
 * Encrypt the content at offset tlssf_record_start() of `rec` in place, with
 * `padding` bytes of padding (TLS 1.3; else 0). The sequence number of k
 * advances, on failure as well. `rec` has room for plain_len + padding +
 * RECORD_SLACK bytes. Returns the length of the record, or -errno.
 */
ssize_t tlssf_record_encrypt(struct kernel_key *k, struct tl_aead *aead,
			     int type, unsigned char *rec, size_t plain_len,
			     size_t padding);
/*
 * Could the content of `rec` start with `plain`? This cheap test decrypts the
 * first bytes without authentication. If the cipher does not allow that, the
 * function returns true.
 */
bool tlssf_record_may_begin(const struct kernel_key *k, struct tl_aead *aead,
			    const unsigned char *rec, size_t len,
			    const unsigned char *plain, size_t plain_len);
/*
 * Is `rec` an application data record with the content `plain` (at most 256
 * bytes) and sequence number key->seq? Returns 0 if so, else -EBADMSG, -ENOTSUP
 * or -ENOMEM.
 */
int tlssf_record_check(const struct kernel_key *key, const unsigned char *rec,
		       size_t len, const unsigned char *plain,
		       size_t plain_len);

/* ---- a key and the secret that the key is derived from ---- */

/* One key generation: the key that is in use between two KeyUpdates. */
struct generation {
	bool made;		/* the other members are set */
	unsigned char secret[SECRET_MAX];	/* TLS 1.3 */
	struct kernel_key key;
	struct tl_aead *aead;	/* context with the key, or NULL */
};

#endif
