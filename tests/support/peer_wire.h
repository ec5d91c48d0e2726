/* SPDX-License-Identifier: MIT */
/* What the peer detects on the wire and in the plaintext. */
#ifndef TLSSF_TEST_PEER_WIRE_H
#define TLSSF_TEST_PEER_WIRE_H

#include "peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEADER	5	/* of a TLS record */
#define WIRE_NONCE	8	/* the explicit part, TLS 1.2 AES-GCM */
#define WIRE_RANGES	64

/* Explicit nonces seen, as ranges of consecutive numbers. */
struct nonces {
	uint64_t first[WIRE_RANGES], last[WIRE_RANGES];
	unsigned int count;
};

struct wire_watch {
	bool explicit_nonce;	/* the cipher suite writes one */
	bool encrypted;		/* TLS 1.2: ChangeCipherSpec has arrived */
	/* of the record that is arriving */
	unsigned char head[WIRE_HEADER + WIRE_NONCE];
	size_t have, left;
	unsigned char tail[MARKER_LEN - 1];
	size_t tail_len;
	struct nonces nonces;
	/* results */
	unsigned int nonce_repeats, markers;
	size_t max_record;
};

/* Examine these bytes from the wire, before OpenSSL decrypts them. */
void wire_seen(struct wire_watch *w, const unsigned char *p, size_t n);
/*
 * Returns whether the plaintext of a record is itself a record, so that it was
 * encrypted twice. The plaintext has `whole` bytes, of which `p` has the first.
 */
bool wire_record_in_data(const unsigned char *p, size_t have, size_t whole);

#endif
