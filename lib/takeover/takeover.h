/* SPDX-License-Identifier: MIT */
/*
 * Layer takeover/: who owns the keys of the write direction, from the sample
 * that finds key and sequence number to the last KeyUpdate; and the forced end
 * of a connection whose keys cannot go on.
 */
#ifndef TLSSF_TAKEOVER_H
#define TLSSF_TAKEOVER_H

#include "output.h"

#define KEY_RESERVE	4u	/* records that a key reserves for an alert */

#define HANDSHAKE_HEADER	4u	/* type and length, RFC 8446 4 */
#define HANDSHAKE_KEY_UPDATE	24u	/* RFC 8446, B.3 */

/* How far is the library's record that the bridge is resealing? */
enum reseal_step {
	RESEAL_IDLE,		/* there is none */
	RESEAL_KEY_FIRST,	/* a KeyUpdate of our own leaves first */
	RESEAL_SEND,		/* its content is to be encrypted and sent */
	RESEAL_QUEUED,		/* encrypted by us, not yet sent */
	RESEAL_COUNT
};

extern const char *const tlssf_reseal_names[];

/* The library's record that the bridge is resealing, see reseal.c. */
struct reseal {
	unsigned char *part;	/* the start of a record that comes in pieces */
	size_t part_len;
	enum reseal_step step;
	bool rekeys;		/* the record holds a KeyUpdate */
	bool acked_early;	/* the library believes that it has left */
	int type;
	int fatal_alert;	/* its code (RFC 8446, 6), or -1 */
	unsigned char *plain;	/* the content from `sent` on, or NULL */
	unsigned char *stashed;	/* `plain`, if it is a copy of what is left */
	size_t len, sent;	/* of the content */
	size_t padding;		/* bytes, if we encrypt the record */
	size_t consumed;	/* bytes of the library's write that it used */
	size_t message_left;	/* bytes of the current handshake message */
};

/* The keys of a takeover; freed and wiped by tlssf_keys_wipe(). */
struct takeover {
	/* Decrypt what the library encrypts. */
	struct generation library, library_next;
	/* Protect the records that leave. If the kernel does that, key and
	 * aead are empty, and only the secret is here. */
	struct generation ours, ours_next;
	struct reseal reseal;
};

/* ---- forced_end.c: the end of a connection before its time ---- */

/* End the connection with a fatal alert to the peer; always -EPROTO. */
int tlssf_conn_end_with_alert(struct conn *c, int reason);
/*
 * Go on with LIFE_ALERT_DUE or LIFE_ALERT_SENT: 0 when that is done or
 * impossible, TLSSF_WANT_WRITE.
 */
int tlssf_conn_send_due_alert(struct conn *c);
/*
 * A KeyUpdate is about to leave. False: it must not, since the kernel cannot
 * follow, and the connection has been ended.
 */
bool tlssf_conn_on_key_update(struct conn *c);
/* The library has sent a fatal alert: the connection has failed. */
void tlssf_conn_on_fatal_alert_sent(struct conn *c, int alert_code);

/* ---- keys.c: generations, KeyUpdate, how long a key lasts ---- */

/* What the encryption context of a generation is for. */
enum key_use {
	KEY_DECRYPT,
	KEY_ENCRYPT,
	KEY_EXPORT	/* no context: the kernel gets the key */
};

bool tlssf_is_key_update(const void *message, size_t len);
/* Read the present write secret from the library, where it returns it. */
void tlssf_keys_refresh_secret(struct conn *c);
/* Why there is no write secret: enum tlssf_reason, or NONE. */
int tlssf_secret_unavailable_reason(const struct conn *c);
void tlssf_keys_wipe_secret(struct conn *c);
bool tlssf_kernel_can_rekey(const struct conn *c);
/* Key material of `secret`'s generation, sequence number 0: 0, -errno. */
int tlssf_keys_derive(const struct conn *c, const unsigned char *secret,
		      struct kernel_key *key);
int tlssf_generation_make(const struct conn *c, const unsigned char *secret,
			  enum key_use use, struct generation *g);
void tlssf_generation_drop(struct generation *g);	/* wipes it */
int tlssf_keys_install(int fd, const struct kernel_key *key);
/* Records that the key in use may still protect (RFC 8446, 5.5). */
uint64_t tlssf_keys_records_left(struct conn *c);
/*
 * A KeyUpdate of the library's. _prepare_ does all that can fail, before the
 * message leaves; _commit_ switches to the next keys once it has left. 0,
 * -errno.
 */
int tlssf_keys_prepare_update(struct conn *c);
int tlssf_keys_commit_update(struct conn *c);
/* A KeyUpdate of our own: 0, -EAGAIN, -errno. */
int tlssf_keys_send_own_update(struct conn *c);

/* ---- reseal.c: the library's records after a takeover ---- */

/*
 * Reseal the records in `in`: how many bytes are done with, or -errno; after
 * -EAGAIN the library must repeat the same write.
 */
ssize_t tlssf_reseal(struct conn *c, const unsigned char *in, size_t len);
/* Go on with a record that was acknowledged early: 0, -EAGAIN, -errno. */
int tlssf_reseal_flush(struct conn *c);
void tlssf_reseal_free(struct reseal *r);
/* What a failed call of the TLS library means: TLSSF_WANT_*, TLSSF_ERROR. */
int tlssf_conn_tls_result(struct conn *c, enum tl_result res);
/* Let the library send its post-handshake messages: 0, WANT_*, ERROR. */
int tlssf_conn_finish_post_handshake(struct conn *c);

/* ---- sample.c: which key and sequence number made this record? ---- */

/*
 * Plaintext bytes of a sample: nearly a full record, so that a smaller limit
 * shows, with room left so that padding shows; and, with the type byte, a prime
 * number, which no padding block size divides. A larger limit does not show,
 * so the TLS library is asked for it: tl_small_fragments().
 */
#define SAMPLE_LEN	15990u

/*
 * SAMPLE_NEXT is over: the library has made `record` of `plain`. Finds key and
 * sequence number, and sets the sample step. `room` is scratch space for the
 * largest record.
 */
void tlssf_sample_find_sequence(struct conn *c, const unsigned char *plain,
				size_t plain_len, const unsigned char *record,
				size_t record_len, unsigned char *room);
/* Take the next record as the sample no more, if none has been written. */
void tlssf_sample_stop(struct conn *c);
/* The sample is the library's last record, and no other one has begun. */
bool tlssf_sample_is_current(const struct conn *c);

/* ---- takeover.c ---- */

/* Why no takeover is possible on this connection: a reason, or NONE. */
int tlssf_takeover_unavailable_reason(const struct conn *c);
/*
 * Will there be no takeover of this connection, whatever write BIO it gets? Its
 * secret is then of no use.
 */
bool tlssf_takeover_ruled_out(const struct conn *c);
/* Is enough data left in `s` to be worth the cost of a takeover? */
bool tlssf_takeover_worth_it(const struct conn *c, const struct stream *s);
/*
 * Take the keys over, with a current sample: TLSSF_REASON_NONE, or why not;
 * then the connection is as it was.
 */
int tlssf_takeover_to_kernel(struct conn *c);
int tlssf_takeover_to_userspace(struct conn *c);
/* Wipe and free the keys of a takeover, and the write secret. */
void tlssf_keys_wipe(struct conn *c);

#endif
