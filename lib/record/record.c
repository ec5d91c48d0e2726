/* SPDX-License-Identifier: MIT */
/* A record on the wire: sealed, or opened with the key that sealed it. */
#include "record.h"

#include <errno.h>
#include <string.h>

#define CHECK_MAX	256u	/* plaintext; a check needs no more */

/* RFC 5288, 3 and RFC 6655, 3: half of the nonce is on the wire. */
bool tlssf_explicit_nonce(const struct kernel_key *k)
{
	return k->version == TLS12 && k->cipher != TLSSF_CHACHA20_POLY1305;
}

static void put_seq(unsigned char *p, uint64_t seq)
{
	for (unsigned int i = 0; i < 8; i++)
		p[i] = (unsigned char)(seq >> (56 - 8 * i));
}

/* As on the wire, or XORed: RFC 8446, 5.3 and RFC 7905, 2. */
static void make_nonce(const struct kernel_key *k, const unsigned char *rec,
		       unsigned char nonce[NONCE_LEN])
{
	unsigned char seq[8];

	memcpy(nonce, k->nonce, sizeof(k->nonce));
	if (tlssf_explicit_nonce(k)) {
		memcpy(nonce + 4, rec + RECORD_HEADER, EXPLICIT_LEN);
		return;
	}
	put_seq(seq, k->seq);
	for (unsigned int i = 0; i < sizeof(seq); i++)
		nonce[4 + i] ^= seq[i];
}

/* RFC 8446, 5.2: the record header; RFC 5246, 6.2.3.3: number and header. */
static size_t make_aad(const struct kernel_key *k, const unsigned char *rec,
		       size_t plain_len, unsigned char aad[13])
{
	if (k->version == TLS13) {
		memcpy(aad, rec, RECORD_HEADER);
		return RECORD_HEADER;
	}
	put_seq(aad, k->seq);
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

/* The nonce after this one: GCM must never see one twice. */
void tlssf_next_nonce(struct kernel_key *k)
{
	unsigned char *p = k->nonce + 4;

	if (!tlssf_explicit_nonce(k))
		return;
	for (int i = EXPLICIT_LEN - 1; i >= 0 && ++p[i] == 0; i--)
		;
}

static void put_header(unsigned char *rec, int type, size_t len)
{
	len -= RECORD_HEADER;
	rec[0] = (unsigned char)type;
	rec[1] = rec[2] = 3;
	rec[3] = (unsigned char)(len >> 8);
	rec[4] = (unsigned char)len;
}

ssize_t tlssf_record_encrypt(struct kernel_key *k, struct tl_aead *sealer,
			  int type, unsigned char *rec, size_t plain_len)
{
	size_t start = tlssf_record_start(k), inner = plain_len, aad_len;
	unsigned char nonce[NONCE_LEN], aad[13];
	int r;

	if (tlssf_explicit_nonce(k))
		memcpy(rec + RECORD_HEADER, k->nonce + 4, EXPLICIT_LEN);
	if (k->version == TLS13) {	/* RFC 8446, 5.2 */
		rec[start + inner++] = (unsigned char)type;
		type = RECORD_DATA;
	}
	put_header(rec, type, start + inner + TAG_LEN);
	make_nonce(k, rec, nonce);
	aad_len = make_aad(k, rec, plain_len, aad);
	/* whatever comes of it, this number is spent */
	k->seq++;
	tlssf_next_nonce(k);
	r = tl_aead_seal(sealer, nonce, aad, aad_len, rec + start, inner);
	return r ? r : (ssize_t)(start + inner + TAG_LEN);
}

/* Where the ciphertext starts; 0: this is no protected record of this key. */
static size_t body(const struct kernel_key *k, const unsigned char *rec,
		   size_t len)
{
	size_t start = tlssf_record_start(k);

	if (len < start + TAG_LEN || len != tlssf_record_len(rec) ||
	    rec[1] != 3 || rec[2] != 3 ||
	    (k->version == TLS13 && rec[0] != RECORD_DATA))
		return 0;
	return start;
}

/* TLS 1.3: the type stands behind the content, zeros behind the type. */
static int inner_type(const unsigned char *out, struct opened *o)
{
	size_t n = o->len;

	while (n > 0 && out[n - 1] == 0)
		n--;
	if (n == 0)
		return -EBADMSG;
	o->padded = n < o->len;
	o->type = out[n - 1];
	o->len = n - 1;
	return 0;
}

int tlssf_record_decrypt(const struct kernel_key *k, struct tl_aead *aead,
		      const unsigned char *rec, size_t len, unsigned char *out,
		      struct opened *o)
{
	size_t start = body(k, rec, len), aad_len;
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
	return k->version == TLS13 ? inner_type(out, o) : 0;
}

bool tlssf_record_may_begin(const struct kernel_key *k, struct tl_aead *aead,
			    const unsigned char *rec, size_t len,
			    const unsigned char *plain, size_t plain_len)
{
	unsigned char nonce[NONCE_LEN], out[16];
	size_t start = body(k, rec, len);
	size_t n = plain_len < sizeof(out) ? plain_len : sizeof(out);

	if (!start || len - start - TAG_LEN < n)
		return false;
	make_nonce(k, rec, nonce);
	return tl_aead_peek(aead, nonce, rec + start, n, out) ||
	       !memcmp(out, plain, n);
}

/* The kernel is to use the explicit nonce that it was given. */
static bool right_nonce(const struct kernel_key *k, const unsigned char *rec)
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
	    len < RECORD_HEADER + EXPLICIT_LEN || !right_nonce(k, rec))
		return -EBADMSG;
	r = tl_aead_new_decryptor(&aead, k->cipher, k->key);
	if (r)
		return r;
	r = tlssf_record_decrypt(k, aead, rec, len, out, &o);
	tl_aead_free(aead);
	if (!r && (o.type != RECORD_DATA || o.padded || o.len != plain_len ||
		   memcmp(out, plain, plain_len)))
		r = -EBADMSG;
	return r;
}
