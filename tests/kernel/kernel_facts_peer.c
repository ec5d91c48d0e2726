/* SPDX-License-Identifier: MIT */
/*
 * The receiving end. It splits the stream into records and decrypts them with
 * libcrypto alone.
 */
#include "kernel_facts_util.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static void nonce_make(const struct peer *p, const unsigned char *body,
		       unsigned char nonce[12])
{
	const struct keys *k = &p->keys;
	const struct aead *a = k->aead;
	unsigned char seq[8];

	memcpy(nonce, k->info + 4 + a->iv + a->key, a->salt);
	memcpy(nonce + a->salt, k->info + 4, a->iv);
	if (explicit_nonce(k)) {
		/*
		 * the explicit nonce starts at crypto_info.iv and grows by 1
		 * per record
		 */
		ck_assert_uint_eq(get_be64(body), get_be64(k->info + 4) +
						  p->key_records);
		memcpy(nonce + 4, body, 8);
		return;
	}
	put_be64(seq, p->seq);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= seq[i];
}

static size_t aad_make(const struct peer *p, const unsigned char *rec,
		       size_t plain, unsigned char aad[13])
{
	if (p->keys.version == V13) {
		memcpy(aad, rec, 5);
		return 5;
	}
	put_be64(aad, p->seq);
	memcpy(aad + 8, rec, 3);
	aad[11] = (unsigned char)(plain >> 8);
	aad[12] = (unsigned char)plain;
	return 13;
}

bool can_open(const struct aead *a)
{
	return EVP_get_cipherbyname(a->evp) != NULL;
}

/* The tag follows the ciphertext, as in a record. */
static bool aead_open(const struct keys *k, const unsigned char *nonce,
		      const unsigned char *aad, size_t aad_len,
		      unsigned char *text, size_t len, unsigned char *out)
{
	const EVP_CIPHER *ci = EVP_get_cipherbyname(k->aead->evp);
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
	bool ccm = k->aead->id == ID_CCM || k->aead->id == ID_SM4_CCM;
	int n;
	bool ok = ci && x && EVP_DecryptInit_ex(x, ci, NULL, NULL, NULL) == 1;

	ok = ok && EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, 12,
				       NULL) == 1 &&
	     EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, 16,
				 text + len) == 1 &&
	     EVP_DecryptInit_ex(x, NULL, NULL, k->info + 4 + k->aead->iv,
				nonce) == 1;
	if (ok && ccm)	/* CCM needs the length first and has no final call */
		ok = EVP_DecryptUpdate(x, NULL, &n, NULL, (int)len) == 1;
	ok = ok && EVP_DecryptUpdate(x, NULL, &n, aad, (int)aad_len) == 1 &&
	     EVP_DecryptUpdate(x, out, &n, text, (int)len) == 1 &&
	     (ccm || EVP_DecryptFinal_ex(x, out + n, &n) == 1);
	EVP_CIPHER_CTX_free(x);
	return ok;
}

/* `rec` is a whole record of n bytes. */
static void peer_open(struct peer *p, unsigned char *rec, size_t n)
{
	size_t skip = 5 + (explicit_nonce(&p->keys) ? 8 : 0);
	unsigned char nonce[12], aad[13];
	size_t len = n - skip - 16;
	unsigned char *out = p->plain + p->plain_len;
	uint8_t type = rec[0];
	size_t aad_len;

	ck_assert_uint_ge(n, skip + 16);
	ck_assert_uint_le(p->plain_len + len, sizeof(p->plain));
	ck_assert_uint_lt(p->n_records, MAX_RECORDS);
	nonce_make(p, rec + 5, nonce);
	aad_len = aad_make(p, rec, len, aad);
	ck_assert_msg(aead_open(&p->keys, nonce, aad, aad_len, rec + skip, len,
				out), "record %u: bad tag", p->n_records);
	if (p->keys.version == V13) {
		ck_assert_int_eq(type, TYPE_DATA);
		type = out[--len];
		ck_assert_int_ne(type, 0);	/* the kernel never pads */
	}
	p->records[p->n_records++] = (struct record){ type, (uint16_t)len };
	p->plain_len += len;
	p->key_records++;
	p->seq++;
}

static void peer_parse(struct peer *p)
{
	size_t at = 0;

	while (p->wire_len - at >= 5) {
		unsigned char *rec = p->wire + at;
		size_t n = 5 + ((size_t)rec[3] << 8 | rec[4]);

		ck_assert_int_eq(rec[1] << 8 | rec[2], 0x0303);
		ck_assert_uint_le(n, 5 + RECORD_MAX + 256);
		if (p->wire_len - at < n)
			break;
		peer_open(p, rec, n);
		at += n;
	}
	p->wire_len -= at;
	memmove(p->wire, p->wire + at, p->wire_len);
}

size_t peer_take(struct peer *p, size_t max)
{
	size_t room = sizeof(p->wire) - p->wire_len;
	ssize_t n = recv(p->fd, p->wire + p->wire_len, max < room ? max : room,
			 0);

	if (n > 0) {
		p->wire_len += (size_t)n;
		p->wire_total += (size_t)n;
		peer_parse(p);
		return (size_t)n;
	}
	if (n == 0)
		p->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		p->error = errno;
	return 0;
}

bool peer_quiet(struct peer *p, int ms)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 0;
}

bool peer_wait(struct peer *p, size_t plain, int ms)
{
	while (p->plain_len < plain && !p->eof && !p->error)
		if (!peer_take(p, sizeof(p->wire)) && !p->eof &&
		    peer_quiet(p, ms))
			break;
	return p->plain_len >= plain;
}

bool peer_finish(struct peer *p, int ms)
{
	peer_wait(p, SIZE_MAX, ms);
	return p->eof;
}

bool peer_matches(const struct peer *p, size_t from, size_t off)
{
	for (size_t i = from; i < p->plain_len; i++)
		if (p->plain[i] != pattern(off + i - from))
			return false;
	return true;
}
