/* SPDX-License-Identifier: MIT */
/* A record on the wire, judged with the key that should have sealed it. */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define TLS12		0x0303
#define TLS13		0x0304
#define HEADER_LEN	5u
#define TAG_LEN		16u
#define EXPLICIT_LEN	8u
#define CHECK_MAX	256u	/* plaintext; a check needs no more */

static bool explicit_nonce(const struct kernel_key *k)
{
	return k->version == TLS12 && k->cipher != TLSSF_CHACHA20_POLY1305;
}

static void put_seq(unsigned char *p, uint64_t seq)
{
	for (unsigned int i = 0; i < 8; i++)
		p[i] = (unsigned char)(seq >> (56 - 8 * i));
}

/* RFC 5288 3 and RFC 6655 3: as given; RFC 8446 5.3 and RFC 7905 2: XORed. */
static void make_nonce(const struct kernel_key *k, unsigned char nonce[12])
{
	unsigned char seq[8];

	memcpy(nonce, k->nonce, sizeof(k->nonce));
	if (explicit_nonce(k))
		return;
	put_seq(seq, k->seq);
	for (unsigned int i = 0; i < sizeof(seq); i++)
		nonce[4 + i] ^= seq[i];
}

/* RFC 8446 5.2: the record header; RFC 5246 6.2.3.3: number, header, length. */
static size_t make_aad(const struct kernel_key *k, const unsigned char *rec,
		       size_t plain_len, unsigned char aad[13])
{
	if (k->version == TLS13) {
		memcpy(aad, rec, HEADER_LEN);
		return HEADER_LEN;
	}
	put_seq(aad, k->seq);
	memcpy(aad + 8, rec, 3);
	aad[11] = (unsigned char)(plain_len >> 8);
	aad[12] = (unsigned char)plain_len;
	return 13;
}

int tlssf_record_check(const struct kernel_key *k, const unsigned char *rec,
		       size_t len, const unsigned char *plain,
		       size_t plain_len)
{
	size_t start = HEADER_LEN + (explicit_nonce(k) ? EXPLICIT_LEN : 0);
	size_t inner = plain_len + (k->version == TLS13 ? 1 : 0);
	unsigned char nonce[12], aad[13], out[CHECK_MAX + 64];
	size_t aad_len;
	ssize_t n;

	if (plain_len > CHECK_MAX || len != start + inner + TAG_LEN ||
	    rec[0] != RECORD_DATA || rec[1] != 3 || rec[2] != 3 ||
	    (size_t)(rec[3] << 8 | rec[4]) != len - HEADER_LEN)
		return -EBADMSG;
	make_nonce(k, nonce);
	if (explicit_nonce(k) && memcmp(rec + HEADER_LEN, nonce + 4, 8))
		return -EBADMSG;
	aad_len = make_aad(k, rec, plain_len, aad);
	n = tl_aead_open(k->cipher, k->key, nonce, aad, aad_len, rec + start,
			 len - start, out);
	if (n < 0)
		return (int)n;
	if ((size_t)n != inner || memcmp(out, plain, plain_len) ||
	    (k->version == TLS13 && out[plain_len] != RECORD_DATA))
		return -EBADMSG;
	return 0;
}
