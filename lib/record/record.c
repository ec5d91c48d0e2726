/* SPDX-License-Identifier: MIT */
/* TLS 1.2 and 1.3 records on the wire: encryption, decryption and checks. */
#include "record.h"

#include <errno.h>
#include <string.h>

#define CHECK_MAX	256u	/* plaintext bytes, tlssf_record_check() */

bool tlssf_explicit_nonce(const struct kernel_key *k)
{
	return k->version == TLS12 && k->cipher != TLSSF_CHACHA20_POLY1305;
}

static void write_seq(unsigned char *p, uint64_t seq)
{
	for (unsigned int i = 0; i < 8; i++)
		p[i] = (unsigned char)(seq >> (56 - 8 * i));
}

/*
 * The nonce is the salt and the explicit nonce of the record, or the IV XOR the
 * sequence number (RFC 8446, 5.3; RFC 7905, 2).
 */
static void make_nonce(const struct kernel_key *k, const unsigned char *rec,
		       unsigned char nonce[NONCE_LEN])
{
	unsigned char seq[8];

	memcpy(nonce, k->nonce, sizeof(k->nonce));
	if (tlssf_explicit_nonce(k)) {
		memcpy(nonce + 4, rec + RECORD_HEADER, EXPLICIT_LEN);
		return;
	}
	write_seq(seq, k->seq);
	for (unsigned int i = 0; i < sizeof(seq); i++)
		nonce[4 + i] ^= seq[i];
}

/*
 * The additional data is the record header (RFC 8446, 5.2), or the sequence
 * number and a header with the length of the plaintext (RFC 5246, 6.2.3.3).
 */
static size_t make_aad(const struct kernel_key *k, const unsigned char *rec,
		       size_t plain_len, unsigned char aad[13])
{
	if (k->version == TLS13) {
		memcpy(aad, rec, RECORD_HEADER);
		return RECORD_HEADER;
	}
	write_seq(aad, k->seq);
	memcpy(aad + 8, rec, 3);
	aad[11] = (unsigned char)(plain_len >> 8);
	aad[12] = (unsigned char)plain_len;
	return 13;
}

size_t tlssf_record_len(const unsigned char *header)
{
	return RECORD_HEADER + (size_t)(header[3] << 8 | header[4]);
}

size_t tlssf_record_start(const struct kernel_key *k)
{
	return RECORD_HEADER + (tlssf_explicit_nonce(k) ? EXPLICIT_LEN : 0);
}

void tlssf_next_nonce(struct kernel_key *k)
{
	unsigned char *p = k->nonce + 4;

	if (!tlssf_explicit_nonce(k))
		return;
	for (int i = EXPLICIT_LEN - 1; i >= 0 && ++p[i] == 0; i--)
		;
}

static void write_header(unsigned char *rec, int type, size_t len)
{
	len -= RECORD_HEADER;
	rec[0] = (unsigned char)type;
	rec[1] = rec[2] = 3;
	rec[3] = (unsigned char)(len >> 8);
	rec[4] = (unsigned char)len;
}

ssize_t tlssf_record_encrypt(struct kernel_key *k, struct tl_aead *aead,
			     int type, unsigned char *rec, size_t plain_len,
			     size_t padding)
{
	size_t start = tlssf_record_start(k), inner = plain_len, aad_len;
	unsigned char nonce[NONCE_LEN], aad[13];
	int r;

	if (tlssf_explicit_nonce(k))
		memcpy(rec + RECORD_HEADER, k->nonce + 4, EXPLICIT_LEN);
	if (k->version == TLS13) {	/* TLSInnerPlaintext, RFC 8446, 5.2 */
		rec[start + inner++] = (unsigned char)type;
		memset(rec + start + inner, 0, padding);
		inner += padding;
		type = RECORD_DATA;
	}
	write_header(rec, type, start + inner + TAG_LEN);
	make_nonce(k, rec, nonce);
	aad_len = make_aad(k, rec, plain_len, aad);
	/* advance before the call: a nonce must not be used twice */
	k->seq++;
	tlssf_next_nonce(k);
	r = tl_aead_seal(aead, nonce, aad, aad_len, rec + start, inner);
	return r ? r : (ssize_t)(start + inner + TAG_LEN);
}

/*
 * Returns the offset of the ciphertext, or 0 if `rec` cannot be a record of
 * this key.
 */
static size_t ciphertext_start(const struct kernel_key *k,
			       const unsigned char *rec, size_t len)
{
	size_t start = tlssf_record_start(k);

	if (len < start + TAG_LEN || len != tlssf_record_len(rec) ||
	    rec[1] != 3 || rec[2] != 3 ||
	    (k->version == TLS13 && rec[0] != RECORD_DATA))
		return 0;
	return start;
}

/* TLSInnerPlaintext of TLS 1.3: the content, its type, and zeros as padding. */
static int parse_inner_plaintext(const unsigned char *out, struct opened *o)
{
	size_t n = o->len;

	while (n > 0 && out[n - 1] == 0)
		n--;
	if (n == 0)
		return -EBADMSG;
	o->padding = o->len - n;
	o->type = out[n - 1];
	o->len = n - 1;
	return 0;
}

int tlssf_record_decrypt(const struct kernel_key *k, struct tl_aead *aead,
			 const unsigned char *rec, size_t len,
			 unsigned char *out, struct opened *o)
{
	size_t start = ciphertext_start(k, rec, len), aad_len;
	unsigned char nonce[NONCE_LEN], aad[13];
	ssize_t n;

	if (!start)
		return -EBADMSG;
	make_nonce(k, rec, nonce);
	aad_len = make_aad(k, rec, len - start - TAG_LEN, aad);
	n = tl_aead_open(aead, nonce, aad, aad_len, rec + start, len - start,
			 out);
	if (n < 0)
		return (int)n;
	*o = (struct opened){ .type = rec[0], .len = (size_t)n };
	return k->version == TLS13 ? parse_inner_plaintext(out, o) : 0;
}

bool tlssf_record_may_begin(const struct kernel_key *k, struct tl_aead *aead,
			    const unsigned char *rec, size_t len,
			    const unsigned char *plain, size_t plain_len)
{
	unsigned char nonce[NONCE_LEN], out[16];
	size_t start = ciphertext_start(k, rec, len);
	size_t n = plain_len < sizeof(out) ? plain_len : sizeof(out);

	if (!start || len - start - TAG_LEN < n)
		return false;
	make_nonce(k, rec, nonce);
	return tl_aead_peek(aead, nonce, rec + start, n, out) ||
	       !memcmp(out, plain, n);
}

/* The first record of a key has the explicit nonce that was installed. */
static bool has_installed_nonce(const struct kernel_key *k,
				const unsigned char *rec)
{
	return !tlssf_explicit_nonce(k) ||
	       !memcmp(rec + RECORD_HEADER, k->nonce + 4, EXPLICIT_LEN);
}

int tlssf_record_check(const struct kernel_key *k, const unsigned char *rec,
		       size_t len, const unsigned char *plain,
		       size_t plain_len)
{
	unsigned char out[CHECK_MAX + 64];
	struct tl_aead *aead;
	struct opened o;
	int r;

	if (plain_len > CHECK_MAX || len > sizeof(out) ||
	    len < RECORD_HEADER + EXPLICIT_LEN || !has_installed_nonce(k, rec))
		return -EBADMSG;
	r = tl_aead_new_decryptor(&aead, k->cipher, k->key);
	if (r)
		return r;
	r = tlssf_record_decrypt(k, aead, rec, len, out, &o);
	tl_aead_free(aead);
	if (!r && (o.type != RECORD_DATA || o.padding || o.len != plain_len ||
		   memcmp(out, plain, plain_len)))
		r = -EBADMSG;
	return r;
}
