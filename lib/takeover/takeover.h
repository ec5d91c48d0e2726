/* SPDX-License-Identifier: MIT */
/*
 * Layer takeover/: who owns the keys of the write direction, from the sample
 * that finds them to the last KeyUpdate, and the end of a connection whose keys
 * cannot follow.
 */
#ifndef TLSSF_TAKEOVER_H
#define TLSSF_TAKEOVER_H

#include "output.h"

#define KEY_RESERVE	4u	/* records that a key keeps for its end */

/* What the encryption context of a generation is for. */
enum key_use { KEY_DECRYPT, KEY_ENCRYPT, KEY_EXPORT };

/* A record of the library's on its way through the bridge. */
struct reseal {
	unsigned char *part;	/* a record that came in pieces, or NULL */
	size_t part_len;
	bool busy;		/* a record is on its way: */
	bool rekeys;		/* with a KeyUpdate in it */
	bool held;		/* the library thinks that it is sent */
	bool sealed;		/* queued already */
	bool key_first;		/* the present one is spent */
	int type;
	int fatal_alert;	/* RFC 8446, 6; or -1 */
	unsigned char *plain;	/* its content, once opened, or NULL */
	unsigned char *kept;	/* ... or what was left of it then */
	size_t len, sent;
	size_t take;		/* what to tell the library at the end */
	size_t message_left;	/* of a handshake message */
};

struct takeover {
	struct generation library, library_next; /* opens what it seals */
	/* with which records leave; the kernel's: without key and aead */
	struct generation ours, ours_next;
	struct reseal resend;
};

/* ---- forced_end.c: the end of a connection before its time ---- */

/* End the connection with a fatal alert; always -EPROTO. */
int tlssf_conn_end_with_alert(struct conn *c, int reason);
/* Deliver the alert of a forced end: 0 done or given up, TLSSF_WANT_WRITE. */
int tlssf_conn_send_due_alert(struct conn *c);
/* A KeyUpdate is about to leave: may it? If not, the connection is dead. */
bool tlssf_conn_on_key_update(struct conn *c);
/* The library has given the connection up, by kernel TLS: so do we. */
void tlssf_conn_on_fatal_alert_sent(struct conn *c, int alert);

/* ---- keys.c: generations, KeyUpdate, how long a key lasts ---- */

void tlssf_keys_refresh_secret(struct conn *c);
bool tlssf_kernel_can_rekey(const struct conn *c);
/* Key material of `secret`'s generation, with sequence number 0. */
int tlssf_keys_derive(const struct conn *c, const unsigned char *secret,
		      struct kernel_key *key);
int tlssf_generation_make(const struct conn *c, const unsigned char *secret,
			  enum key_use use, struct generation *g);
void tlssf_generation_drop(struct generation *g);
int tlssf_keys_install(int fd, const struct kernel_key *key);
uint64_t tlssf_keys_records_left(struct conn *c);	/* records, RFC 8446 5.5 */
/* A KeyUpdate message before, and after it is with the kernel: 0, -errno */
int tlssf_keys_prepare_update(struct conn *c);
int tlssf_keys_commit_update(struct conn *c);
/* A KeyUpdate of our own; the library need not know: 0, -EAGAIN, -errno */
int tlssf_keys_send_own_update(struct conn *c);

/* ---- sample.c: which key and number made this record? ---- */

/*
 * How many bytes to write for a sample: nearly a full record, so that smaller
 * records show, with room left for padding; with the type byte a prime number,
 * which no padding block size divides.
 */
#define SAMPLE_LEN	15990u

/*
 * Look at what the library has just made of `plain`, into c->observed. `room`
 * has space for the largest record.
 */
void tlssf_sample_find_sequence(struct conn *c, const unsigned char *plain,
			    size_t plain_len, const unsigned char *sealed,
			    size_t sealed_len, unsigned char *room);

/* ---- reseal.c: the library's records after a takeover ---- */

ssize_t tlssf_reseal(struct conn *c, const unsigned char *in, size_t len);
int tlssf_reseal_flush(struct conn *c);	/* what is held: 0, -EAGAIN, -errno */
void tlssf_reseal_free(struct reseal *r);
/* Its call did not succeed, and its message is kept: TLSSF_WANT_*, _ERROR. */
int tlssf_conn_tls_result(struct conn *c, enum tl_result res);
int tlssf_conn_finish_post_handshake(struct conn *c); /* the library's, waiting */

/* ---- takeover.c ---- */

/* Give the kernel the keys: TLSSF_REASON_NONE, or why not. */
int tlssf_takeover_to_kernel(struct conn *c);
int tlssf_takeover_to_userspace(struct conn *c);	/* seal ourselves: same */
int tlssf_sample_rejected_why(const struct conn *c);	/* a reason */
bool tlssf_sample_is_current(const struct conn *c);
bool tlssf_takeover_worth_it(const struct conn *c, const struct stream *s);
int tlssf_secret_unavailable_reason(const struct conn *c);	/* a secret? a reason */
void tlssf_keys_wipe(struct conn *c);	/* wipes keys and secret */

#endif
