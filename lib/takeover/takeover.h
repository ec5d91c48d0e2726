/* SPDX-License-Identifier: MIT */
/*
 * Layer takeover/: who owns the keys of the write direction. It takes a sample,
 * which is a record that shows the library's key and sequence number, takes the
 * keys over from the TLS library, follows each KeyUpdate, and ends a connection
 * with an alert when no key can be used any more.
 */
#ifndef TLSSF_TAKEOVER_H
#define TLSSF_TAKEOVER_H

#include "output.h"

#define KEY_RESERVE	4u	/* records that a key reserves for an alert */

#define HANDSHAKE_HEADER	4u	/* type and length, RFC 8446 4 */
#define HANDSHAKE_KEY_UPDATE	24u	/* RFC 8446, B.3 */

/*
 * After a takeover the library's records are resealed: decrypted, and sent
 * under the right sequence number. How far is the present one?
 */
enum reseal_step {
	RESEAL_IDLE,		/* no record is being resealed */
	RESEAL_KEY_FIRST,	/* a KeyUpdate of our own leaves first */
	RESEAL_SEND,		/* its content must be encrypted and sent */
	RESEAL_QUEUED,		/* encrypted by us, not yet sent */
	RESEAL_COUNT
};

extern const char *const tlssf_reseal_names[];

/* The library's record that is being resealed, see reseal.c. */
struct reseal {
	unsigned char *part;	/* the start of a record that comes in pieces */
	size_t part_len;
	enum reseal_step step;
	bool rekeys;		/* the record holds a KeyUpdate */
	bool acked_early;	/* the library believes that it has left */
	int type;
	int fatal_alert;	/* code of a fatal alert (RFC 8446, 6), or -1 */
	unsigned char *plain;	/* the content from `sent` on, or NULL */
	unsigned char *stashed;	/* `plain`, if it is a copy of what is left */
	size_t len, sent;	/* of the content */
	size_t padding;		/* bytes of padding, if we encrypt the record */
	size_t consumed;	/* bytes of the library's write that it took */
	size_t message_left;	/* bytes, of a handshake message */
};

/* The keys of a takeover; freed and wiped by tlssf_keys_wipe(). */
struct takeover {
	/* Decrypt what the library encrypts. */
	struct generation library, library_next;
	/*
	 * Encrypt the records that leave. If the kernel does that, `key` and
	 * `aead` are empty, and only the secret is set.
	 */
	struct generation ours, ours_next;
	struct reseal reseal;
};

/* ---- forced_end.c: the end of a connection before its time ---- */

/* End the connection with a fatal alert to the peer. Always returns -EPROTO. */
int tlssf_conn_end_with_alert(struct conn *c, int reason);
/*
 * Send the alert that is due, until all of it is in TCP. Returns 0 when that is
 * done or impossible, else TLSSF_WANT_WRITE.
 */
int tlssf_conn_send_due_alert(struct conn *c);
/*
 * Called before a KeyUpdate leaves. Returns false if it must not leave: the
 * kernel cannot use the next key, and the connection has been ended.
 */
bool tlssf_conn_on_key_update(struct conn *c);
/*
 * Called after the library has sent a fatal alert: the connection has failed.
 */
void tlssf_conn_on_fatal_alert_sent(struct conn *c, int alert_code);

/* ---- keys.c: generations, KeyUpdate, how long a key lasts ---- */

/* What the encryption context of a generation is for. */
enum key_use {
	KEY_DECRYPT,
	KEY_ENCRYPT,
	KEY_EXPORT	/* no context: the kernel gets the key */
};

bool tlssf_is_key_update(const void *message, size_t len);
/* Read the current write secret from a library that returns it. */
void tlssf_keys_refresh_secret(struct conn *c);
/* Returns why the write secret is not known: enum tlssf_reason, or NONE. */
int tlssf_secret_unavailable_reason(const struct conn *c);
void tlssf_keys_wipe_secret(struct conn *c);
bool tlssf_kernel_can_rekey(const struct conn *c);
/* Derive the key material of `secret`, with sequence number 0: 0, -errno. */
int tlssf_keys_derive(const struct conn *c, const unsigned char *secret,
		      struct kernel_key *key);
int tlssf_generation_make(const struct conn *c, const unsigned char *secret,
			  enum key_use use, struct generation *g);
void tlssf_generation_drop(struct generation *g);	/* wipes it */
int tlssf_keys_install(int fd, const struct kernel_key *key);
/* Returns how many records the key in use may still protect (RFC 8446, 5.5). */
uint64_t tlssf_keys_records_left(struct conn *c);
/*
 * The library sends a KeyUpdate. _prepare_ does everything that can fail before
 * the message leaves. _commit_ switches to the next keys after the message has
 * left. Both return 0 or -errno.
 */
int tlssf_keys_prepare_update(struct conn *c);
int tlssf_keys_commit_update(struct conn *c);
/*
 * Send a KeyUpdate of our own and switch to the next key: 0, -EAGAIN, -errno.
 */
int tlssf_keys_send_own_update(struct conn *c);

/* ---- reseal.c: the library's records after a takeover ---- */

/*
 * Reseal the record at the start of `in`. Returns how many bytes of `in` need
 * not be written again, or -errno. After -EAGAIN the library must repeat the
 * same write.
 */
ssize_t tlssf_reseal(struct conn *c, const unsigned char *in, size_t len);
/*
 * Continue to send a record whose write has already succeeded (`acked_early`):
 * 0, -EAGAIN, -errno. Returns 0 if there is none, as without a takeover.
 */
int tlssf_reseal_flush(struct conn *c);
void tlssf_reseal_free(struct reseal *r);
/*
 * Translate the result of a failed call of the TLS library: TLSSF_WANT_*,
 * TLSSF_ERROR.
 */
int tlssf_conn_tls_result(struct conn *c, enum tl_result res);
/* Let the library send its post-handshake messages: 0, WANT_*, ERROR. */
int tlssf_conn_finish_post_handshake(struct conn *c);

/* ---- sample.c: which key and sequence number made this record? ---- */

/*
 * How many plaintext bytes a sample has. It is nearly a full record, so that a
 * smaller size limit splits it, and not quite a full one, so that padding has
 * room. With the type byte it is a prime number, which is no multiple of any
 * padding block size. A larger size limit does not split it, so that is looked
 * up in the TLS library: tl_small_fragments().
 */
#define SAMPLE_LEN	15990u

/*
 * The library has just encrypted `plain` into `record`, which is the sample.
 * Find its key and its sequence number, and set the sample step. `room` is
 * scratch space for the largest record.
 */
void tlssf_sample_find_sequence(struct conn *c, const unsigned char *plain,
				size_t plain_len, const unsigned char *record,
				size_t record_len, unsigned char *room);
/* Cancel SAMPLE_NEXT, if no record has been written since it was set. */
void tlssf_sample_stop(struct conn *c);
/* Is the sample still the library's last record, and no other record begun? */
bool tlssf_sample_is_current(const struct conn *c);

/* ---- takeover.c ---- */

/* Returns why no takeover is possible on this connection: a reason, or NONE. */
int tlssf_takeover_unavailable_reason(const struct conn *c);
/*
 * Is a takeover of this connection impossible for ever, whatever write BIO it
 * gets? Then its secret is of no use.
 */
bool tlssf_takeover_ruled_out(const struct conn *c);
/* May a takeover that failed for the reason `why` have lacked memory? */
bool tlssf_takeover_lacked_memory(int why);
/* Is enough data left in `s` to be worth the cost of a takeover? */
bool tlssf_takeover_worth_it(const struct conn *c, const struct stream *s);
/*
 * Take the keys over. The sample must be current. Returns TLSSF_REASON_NONE, or
 * the reason for a failure, after which the connection is as it was.
 */
int tlssf_takeover_to_kernel(struct conn *c);
int tlssf_takeover_to_userspace(struct conn *c);
/* Wipe and free the keys of a takeover, and the write secret. */
void tlssf_keys_wipe(struct conn *c);

#endif
