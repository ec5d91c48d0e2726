/* SPDX-License-Identifier: MIT */
/*
 * Layer output/: the bytes that leave, and the results of calls. struct conn is
 * defined here, since this is the lowest layer that knows a connection.
 *
 * In a takeover, we take the write keys of a connection over from the TLS
 * library (takeover.h). From the sample, a record of the library, we find its
 * key and sequence number. The bridge is our filter BIO below the SSL. After a
 * takeover it reseals the records that the library still writes: it decrypts
 * them, and their content is encrypted again with the right sequence number.
 *
 * Functions return 0 or more, or -errno; -EAGAIN means that the caller should
 * try again when the socket is writable. Functions that act for the public
 * calls return 0, TLSSF_WANT_* or TLSSF_ERROR, and call tlssf_conn_fail() or
 * tlssf_conn_die() before they return TLSSF_ERROR. tlssf_conn_io_result() turns
 * a result of the first kind into one of the second.
 */
#ifndef TLSSF_OUTPUT_H
#define TLSSF_OUTPUT_H

#include "probe.h"

struct bio_st;		/* BIO */
struct conn;
struct takeover;	/* see takeover.h */

/* ---- stream.c: header, file range and trailer as one stream of bytes ---- */

struct stream {
	const struct tlssf_job *job;	/* NULL for tlssf_send() */
	const void *header, *trailer;
	size_t header_len, trailer_len;
	int fd;
	uint64_t off, file_len;
	uint64_t total;
	uint64_t done;		/* bytes reported to the caller */
	int nonblocking;	/* enum tlssf_tristate, see below */
	bool short_file;	/* the file ended before file_len */
	bool copy_file;		/* sendfile() cannot send the file */
};

/* The part of a stream that a position lies in. */
struct stream_part {
	const unsigned char *data;	/* NULL: the file, from `off` on */
	uint64_t off;
	uint64_t len;		/* from the position to the end of the part */
};

/*
 * Is the socket `fd` non-blocking? The kernel is asked once for each stream. A
 * connection without a socket (fd -1) counts as non-blocking.
 */
bool tlssf_stream_nonblocking(struct stream *s, int fd);
struct stream_part tlssf_stream_part(const struct stream *s, uint64_t pos);
/*
 * Copy `cap` bytes of the stream, from `pos` on. Returns the number of bytes,
 * or -errno. The number is less than `cap` only if the file ends or cannot be
 * read.
 */
ssize_t tlssf_stream_read(struct stream *s, uint64_t pos, unsigned char *buf,
			  size_t cap);

/* ---- batch.c: encrypted records on their way out; the thread's cache ---- */

/*
 * A batch is full when it has this many bytes. A slow reader may cost no more
 * memory than a small batch, which the fourth full record fills: 80 KiB
 * together with the keys of the connection.
 */
#define BATCH_SMALL	(56u << 10)
#define BATCH_LARGE	(512u << 10)
#define BATCH_SLACK	(RECORD_MAX + 512u)	/* for the last record */
#define BATCH_MARKS	64
#define PLAIN_SIZE	(64u << 10)	/* four records */

/*
 * When all records up to the offset `end` have left, `plain` more bytes of
 * plaintext have left.
 */
struct mark {
	size_t end;
	size_t plain;
};

struct batch {
	size_t cap;		/* of data */
	size_t head, used;	/* data[head..used) has not left yet */
	unsigned int nmarks, next_mark;
	struct mark marks[BATCH_MARKS];
	unsigned char data[];
};

/* Returns an empty batch for `target` bytes and one more record, or NULL. */
struct batch *tlssf_batch_get(size_t target);
void tlssf_batch_put(struct batch *batch);		/* NULL: nothing */
int tlssf_batch_append(struct batch **batch, const void *in, size_t len);
/*
 * Returns where `len` bytes can be appended, or NULL. The caller advances
 * `used`.
 */
unsigned char *tlssf_batch_room(struct batch **batch, size_t len);
/*
 * Move the unsent bytes to a small batch if they fit in it. Returns the batch
 * that has them now.
 */
struct batch *tlssf_batch_shrink_to_fit(struct batch *batch);
void tlssf_batch_mark(struct batch *batch, size_t plain);
/* Returns how many plaintext bytes have left since the last call. */
size_t tlssf_batch_plaintext_written(struct batch *batch);
/*
 * Returns a buffer of PLAIN_SIZE bytes, or NULL. The caller owns the buffer
 * until it puts the buffer back.
 */
unsigned char *tlssf_plaintext_buffer_get(void);
void tlssf_plaintext_buffer_put(unsigned char *plain);	/* NULL: nothing */

/*
 * Plaintext that is encrypted already, and not yet reported to the caller: the
 * bytes [pos, pos + len) of a file or job.
 */
struct unreported {
	const struct tlssf_job *job;	/* NULL: tlssf_send() of `fd` */
	int fd;
	uint64_t pos;		/* position in the job, or offset in the file */
	uint64_t len;
	uint64_t written;	/* how many of `len` have left */
};

struct unreported *tlssf_unreported_get(void); /* uninitialised; or NULL */
void tlssf_unreported_put(struct unreported *u);	/* NULL: nothing */

/* ---- state.c: the states of a connection ---- */

/*
 * Is the connection usable, and if not, what does the peer still have to see?
 */
enum life {
	LIFE_OPEN,
	LIFE_ALERT_DUE,		/* failed; our fatal alert is to be sent */
	LIFE_ALERT_SENT,	/* failed; a fatal alert is with the kernel,
				 * perhaps not in TCP yet */
	LIFE_DEAD,		/* failed; nothing is left to do */
	LIFE_COUNT
};

/* Who encrypts the records that leave? */
enum sealer {
	SEALER_UNKNOWN,		/* not examined since the last handshake */
	SEALER_LIBRARY,		/* the TLS library, in user space */
	SEALER_LIBRARY_IN_KERNEL, /* the kernel, with keys from the library */
	SEALER_KERNEL,		/* the kernel, with keys from a takeover */
	SEALER_OURSELVES,	/* libtlssf, with keys from a takeover */
	SEALER_NOBODY,		/* the keys of a takeover were wiped */
	SEALER_COUNT
};

/*
 * How far is the search for the library's key and sequence number? They are
 * found from the sample, a record that the library writes.
 */
enum sample_step {
	SAMPLE_NONE,
	SAMPLE_NEXT,		/* the next record written is the sample */
	SAMPLE_TAKEN,		/* key and sequence number are known */
	SAMPLE_REFUSED,		/* sample_refused_why has the reason */
	SAMPLE_COUNT
};

extern const char *const tlssf_life_names[];
extern const char *const tlssf_sealer_names[];
extern const char *const tlssf_sample_names[];

void tlssf_set_life(struct conn *c, enum life to);
void tlssf_set_sealer(struct conn *c, enum sealer to);
/* `reason` is TLSSF_REASON_NONE, except with SAMPLE_REFUSED. */
void tlssf_set_sample(struct conn *c, enum sample_step to, int reason);

/*
 * Trace the change of a state. Test builds abort if `steps` forbids the change.
 */
void tlssf_state_trace(const struct conn *c, const char *what,
		       const char *const *names, const uint8_t *steps,
		       unsigned int from, unsigned int to);
void tlssf_state_violation(const struct conn *c, const char *what,
			   const char *from, const char *to);

/* Test builds end the process at an illegal state. */
#ifdef TLSSF_ASSERT_STATES
#define tlssf_assert_state(ok, c, what, from, to) \
	((ok) ? (void)0 : tlssf_state_violation(c, what, from, to))
#else
#define tlssf_assert_state(ok, c, what, from, to) ((void)(ok))
#endif

/* ---- a connection ---- */

/* What the sample has shown: how the library will number its next record. */
struct sample_result {
	uint64_t next_seq;
	unsigned char explicit_nonce[EXPLICIT_LEN];
};

/*
 * The state of one SSL, freed with the SSL. Most connections of a server are
 * idle, so what only kernel TLS or a send in flight needs is allocated when it
 * is needed.
 */
struct conn {
	struct ssl_st *ssl;
	const struct ctx_conf *conf;	/* of the SSL_CTX, or NULL */
	struct bridge *bridge;		/* our filter BIO, or NULL */
	struct tx_account *tx;		/* exists while the kernel encrypts */
	struct takeover *takeover;	/* keys of a takeover, or NULL */
	struct unreported *unreported;	/* NULL: all is reported */
	uint64_t handshake;		/* tl_handshake_id() when examined */
	uint64_t socket;		/* socket_id of fd, or 0 */
	uint64_t bytes;			/* sent by the method userspace */
	uint64_t calls;			/* see struct tlssf_status */
	struct sample_result sample;	/* valid with SAMPLE_TAKEN */
	unsigned char secret[SECRET_MAX];	/* TLS 1.3: our write secret */
	struct tl_info info;		/* valid once examined */
	int fd;				/* socket of the write BIO, or -1 */
	uint32_t process;		/* of the first use */
	uint32_t rekeys;
	uint32_t buffered;		/* see tlssf_set_buffered() */
	uint16_t last_bytes_read;	/* low bits of tl_bytes_read() when TCP
					 * was last looked at */
	int16_t err;			/* errno of the last failure */
	uint8_t error;			/* reason of the last failure */
	uint8_t secret_len;		/* 0: no secret is known */
	uint8_t backoff_ms, retry_ms;
	uint8_t why_not[TLSSF_METHOD_COUNT];
	uint8_t sample_refused_why;	/* a reason */
	uint8_t life : 2;		/* enum life */
	uint8_t sealer : 3;		/* enum sealer */
	uint8_t sample_step : 2;	/* enum sample_step */
	uint8_t requested_method : 2;	/* options.method, when examined */
	uint8_t method : 2;		/* chosen; AUTO: the requested one is
					 * impossible */
	uint8_t memory_failures : 2;	/* takeovers that failed for memory */
	bool key_update_breaks : 1; /* the kernel cannot follow a KeyUpdate */
};

static inline bool tlssf_examined(const struct conn *c)
{
	return c->sealer != SEALER_UNKNOWN;
}

/* The kernel encrypts what is written to the socket. */
static inline bool tlssf_kernel_seals(const struct conn *c)
{
	return c->sealer == SEALER_LIBRARY_IN_KERNEL ||
	       c->sealer == SEALER_KERNEL;
}

/*
 * True after a takeover. The library's own records must not leave any more,
 * since we use their sequence numbers.
 */
static inline bool tlssf_taken_over(const struct conn *c)
{
	return c->sealer == SEALER_KERNEL || c->sealer == SEALER_OURSELVES;
}

/*
 * The connection has failed for good: every later call and write fails with
 * c->err.
 */
static inline bool tlssf_failed(const struct conn *c)
{
	return c->life != LIFE_OPEN;
}

/* ---- tx_account.c: what the kernel holds that is not in TCP yet ---- */

struct tx_account {
	bool exact;		/* nothing is missing in the sum */
	bool drained;		/* all that was counted has reached TCP */
	bool open;		/* a record may be open (MSG_MORE) */
	bool zerocopy;		/* requested, and in force */
	unsigned int max_payload; /* in force; 0 means RECORD_MAX */
	uint64_t bytes;		/* sent by our calls */
	uint64_t plain;		/* plaintext given to the kernel since start */
	uint64_t start_tcp;	/* bytes in TCP at the start of the sum */
	uint64_t start_seq, drained_seq;
	uint64_t first_seq;	/* records are counted from this number on */
	uint64_t past_records;	/* records of earlier keys */
	uint64_t past_sum;	/* those since the start of the sum */
	uint64_t spent;		/* at most so many records used this key */
	uint64_t last_tcp, idle_since;	/* see idle_twice() */
};

int tlssf_tx_allocate(struct conn *c);	/* 0, -ENOMEM */
/*
 * Open the account of a socket for which the kernel has keys: 0, -ENOMEM, or
 * another -errno if the kernel has none. `nothing_held`: the caller knows that
 * no record waits above TCP.
 */
int tlssf_tx_open(struct conn *c, bool nothing_held);
/* Returns -EBADF if the descriptor is not the connection's socket any more. */
int tlssf_tx_same_socket(const struct conn *c);
/* Returns 0, or -errno if the socket can send no more data. */
int tlssf_tx_socket_alive(const struct conn *c);
/*
 * The same check before `len` bytes are sent. `flushed`: a flush will follow.
 */
int tlssf_tx_check_before_send(struct conn *c, uint64_t len, bool flushed);
/*
 * Returns how many records one key may protect (RFC 8446, 5.5; option
 * key_records).
 */
uint64_t tlssf_key_record_limit(const struct conn *c);
uint64_t tlssf_tx_records_left(struct conn *c);	/* for the present key */
/* Count `plain` bytes that the kernel took. `open`: a record may be open. */
void tlssf_tx_sent(struct conn *c, uint64_t plain, bool open);
size_t tlssf_tx_record_max(const struct conn *c); /* plaintext bytes */
/* Send one record of that type. Returns the bytes accepted, or -errno. */
ssize_t tlssf_tx_send_record(struct conn *c, int type, const void *buf,
			     size_t len);
int tlssf_tx_close_record(struct conn *c);	/* if one is open */
/* Returns 0 if the kernel holds nothing above TCP, else -EAGAIN or -errno. */
int tlssf_tx_drain(struct conn *c);
uint64_t tlssf_tx_records(struct conn *c);	/* sent since first_seq */
/*
 * Call this before the kernel gets a new key, because the sequence number then
 * starts again at 0.
 */
void tlssf_tx_before_new_key(struct conn *c);

/* ---- queue.c: the bridge's queue, and its place among the BIOs ---- */

/* What becomes of a record that the library writes. */
enum bridge_mode {
	BRIDGE_PASS,		/* it goes to the BIO below */
	BRIDGE_GATHER,		/* it goes to a batch */
	BRIDGE_RESEAL,		/* it is decrypted, and its content leaves */
	BRIDGE_FAIL,		/* the write fails with c->err */
	BRIDGE_BLOCK,		/* stale since a takeover, so it never leaves */
	BRIDGE_ORPHAN,		/* it passes, since the connection is gone */
	BRIDGE_MODE_COUNT
};

/* Our filter BIO (connection/bio.c). */
struct bridge {
	struct bio_st *bio;
	struct conn *conn;	/* NULL: detached */
	struct batch *out;	/* gathered or still to be sent, or NULL */
	uint64_t records;	/* gathered, or encrypted by us */
	bool gathering : 1;
	bool blocked : 1;	/* see BRIDGE_BLOCK; for ever */
	bool write_pending : 1;	/* the library's last record is unfinished */
	bool wrote_since_sample : 1; /* the library wrote after it */
	uint8_t record_type;	/* for the next write to kernel TLS */
	uint16_t io_calls;	/* writes and flushes, by anybody */
};

extern const char *const tlssf_bridge_mode_names[];

static inline enum bridge_mode
tlssf_bridge_mode(const struct bridge *b)
{
	if (b->blocked)
		return BRIDGE_BLOCK;
	if (!b->conn)
		return BRIDGE_ORPHAN;
	if (tlssf_failed(b->conn))
		return BRIDGE_FAIL;
	if (tlssf_taken_over(b->conn))
		return BRIDGE_RESEAL;
	return b->gathering ? BRIDGE_GATHER : BRIDGE_PASS;
}


/* Account for the bytes that a connection keeps between calls. */
void tlssf_set_buffered(struct conn *c, size_t bytes);
bool tlssf_below_buffer_cap(const struct conn *c); /* options.max_buffered */
uint64_t tlssf_unreported_bytes(const struct conn *c);
/* Note how much plaintext of `batch` has left since the last call. */
void tlssf_count_written(struct conn *c, struct batch *batch);

/* The library's records go to `batch` until tlssf_bridge_end_gather(). */
void tlssf_bridge_begin_gather(struct bridge *b, struct batch *batch);
void tlssf_bridge_end_gather(struct bridge *b);
/*
 * Encrypt a record with the key of `g`, and append it to the queue: 0, -errno.
 */
int tlssf_queue_encrypt(struct bridge *b, struct generation *g, int type,
			const void *plain, size_t len, size_t padding);
struct batch *tlssf_queue_batch(struct bridge *b);	/* or NULL */
void tlssf_queue_set_batch(struct bridge *b, struct batch *batch);
bool tlssf_queue_has_bytes(const struct bridge *b);
/* Send what is queued. Returns 0 when all has left, else -EAGAIN or -errno. */
int tlssf_queue_send(struct bridge *b);
void tlssf_queue_discard(struct bridge *b);

/* Flush all BIOs of the write side: 0, -EAGAIN, -errno. */
int tlssf_bridge_flush_bios(struct bridge *b);
bool tlssf_bridge_bios_empty(struct bridge *b);
/* Are there only BIOs of OpenSSL's own between the bridge and a socket? */
bool tlssf_bridge_reaches_socket(const struct bridge *b);
bool tlssf_bridge_on_top(const struct conn *c);
bool tlssf_bridge_in_chain(const struct conn *c);

/* ---- outcome.c: the results of calls ---- */

/*
 * Note why a call fails, and set errno. Returns TLSSF_ERROR. The connection
 * stays usable.
 */
int tlssf_conn_fail(struct conn *c, int reason, int err);
/*
 * The same, but the connection has failed for good (LIFE_DEAD). If there are
 * several such failures, the first one stays noted.
 */
int tlssf_conn_die(struct conn *c, int reason, int err);
/* The same with another life than LIFE_DEAD. */
int tlssf_conn_die_as(struct conn *c, enum life life, int reason, int err);
/* Fail, or die, as the errno of a send requires. Returns TLSSF_ERROR. */
int tlssf_conn_io_error(struct conn *c, int err);
/* Is `err` a lack of memory, which may have passed at the next call? */
bool tlssf_is_memory_error(int err);
/* Returns TLSSF_WANT_WRITE. Sets retry_ms if the socket is already writable. */
int tlssf_conn_want_write(struct conn *c);
/*
 * Returns 0 for 0, TLSSF_WANT_WRITE for -EAGAIN, and TLSSF_ERROR for any other
 * -errno.
 */
int tlssf_conn_io_result(struct conn *c, int r);

#endif
