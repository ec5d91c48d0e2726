/* SPDX-License-Identifier: MIT */
/*
 * Layer output/: what leaves, and what a call answers. struct conn is defined
 * here, since this is the lowest layer that knows a connection.
 *
 * Functions that act for the public calls return 0, TLSSF_WANT_* or
 * TLSSF_ERROR; before TLSSF_ERROR they have called tlssf_conn_fail().
 */
#ifndef TLSSF_OUTPUT_H
#define TLSSF_OUTPUT_H

#include "probe.h"

#define WOULD_BLOCK	1	/* of calls that return 0 or -errno */

struct bio_st;		/* BIO */
struct conn;
struct takeover;	/* see takeover.h */

/* ---- stream.c: header, file range and trailer as one stream of bytes ---- */

struct stream {
	const struct tlssf_job *job;	/* NULL: tlssf_send() */
	const void *header, *trailer;
	size_t header_len, trailer_len;
	int fd;
	uint64_t off, file_len;
	uint64_t total;
	uint64_t done;		/* bytes reported to the caller */
	int nonblocking;	/* enum tlssf_tristate, see below */
	bool short_file;	/* the file ended before file_len */
};

/* The part of a stream that a position lies in. */
struct stream_part {
	const unsigned char *data;	/* NULL: the file, from `off` */
	uint64_t off;
	uint64_t len;		/* from the position to the end of the part */
};

/*
 * Is the socket `fd` non-blocking? Asks the kernel once a stream. A connection
 * without a socket (fd -1) counts as non-blocking.
 */
bool tlssf_stream_nonblocking(struct stream *s, int fd);
struct stream_part tlssf_stream_part(const struct stream *s, uint64_t pos);
/*
 * Copy `cap` bytes from `pos` on, all parts joined: how many, or -errno. Fewer
 * than `cap` only where the file ends or cannot be read.
 */
ssize_t tlssf_stream_read(struct stream *s, uint64_t pos, unsigned char *buf,
			  size_t cap);

/* ---- batch.c: encrypted records on their way out; the thread's cache ---- */

/*
 * Bytes from which on a batch is full. A slow reader may cost no more than a
 * small batch, which the fourth full record crosses: 80 KiB with its keys.
 */
#define BATCH_SMALL	(56u << 10)
#define BATCH_LARGE	(512u << 10)
#define BATCH_SLACK	(RECORD_MAX + 512u)	/* the record that crosses */
#define BATCH_MARKS	64
#define PLAIN_SIZE	(64u << 10)	/* four records */

/* When the records up to `end` have left, `plain` more bytes have. */
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

/* An empty batch for `target` bytes and the record that crosses; or NULL. */
struct batch *tlssf_batch_get(size_t target);
void tlssf_batch_put(struct batch *batch);		/* NULL: nothing */
int tlssf_batch_append(struct batch **batch, const void *in, size_t len);
/* Where `len` bytes can be appended, or NULL; the caller advances `used`. */
unsigned char *tlssf_batch_room(struct batch **batch, size_t len);
/* The batch, or a small one with its unsent bytes where these fit in it. */
struct batch *tlssf_batch_shrink_to_fit(struct batch *batch);
void tlssf_batch_mark(struct batch *batch, size_t plain);
/* Plaintext bytes whose records have left since the last call. */
size_t tlssf_batch_plaintext_written(struct batch *batch);
/* A buffer of PLAIN_SIZE bytes, the caller's until it is put back; or NULL. */
unsigned char *tlssf_plaintext_buffer_get(void);
void tlssf_plaintext_buffer_put(unsigned char *plain);	/* NULL: nothing */

/*
 * Plaintext that is encrypted already, and not yet reported to the caller: the
 * bytes [pos, pos + len) of a file or job.
 */
struct unreported {
	const struct tlssf_job *job;	/* NULL: of the file `fd` */
	int fd;
	uint64_t pos;		/* job: done; file: offset */
	uint64_t len;
	uint64_t written;	/* of len: bytes that have left */
};

struct unreported *tlssf_unreported_get(void);		/* uninitialised; or NULL */
void tlssf_unreported_put(struct unreported *unreported);	/* NULL: nothing */

/* ---- a connection ---- */

/* What the sampled record has shown: how the next record is numbered. */
struct sample_result {
	uint64_t next_seq;
	unsigned char explicit_nonce[EXPLICIT_LEN];
};

/*
 * The state of one SSL, freed with it. Most connections of a server are idle,
 * so what only kernel TLS or a send in flight needs is allocated then.
 */
struct conn {
	struct ssl_st *ssl;
	const struct ctx_conf *conf;	/* of the SSL_CTX, or NULL */
	struct bridge *bridge;		/* the BIO owns it; NULL: not attached */
	struct tx_account *tx;		/* there wherever kernel_tx is true */
	struct takeover *takeover;	/* NULL: not taken over */
	struct unreported *unreported;	/* NULL: all is reported */
	uint64_t handshake;		/* tl_handshake_id() */
	uint64_t socket;		/* socket_id of fd, or 0 */
	uint64_t bytes;			/* sent by the method userspace */
	uint64_t calls;
	struct sample_result observed;
	unsigned char secret[SECRET_MAX];	/* TLS 1.3: our write secret */
	struct tl_info info;
	int fd;				/* below the write BIO, or -1 */
	uint32_t process;		/* of the first use */
	uint32_t rekeys;
	uint32_t buffered;			/* counted in the process's total */
	uint16_t last_bytes_read;			/* bytes read at the last look at TCP */
	int16_t err;			/* errno of the last failure */
	uint8_t error;			/* ... and its reason */
	uint8_t secret_len;
	uint8_t backoff_ms, retry_ms;
	uint8_t why_not[TLSSF_METHOD_COUNT];
	uint8_t observed_why;		/* a reason: nothing to build on */
	uint8_t named : 2;		/* method asked for, when attached */
	uint8_t method : 2;		/* AUTO: the named one is impossible */
	uint8_t attempts : 2;		/* that failed for want of memory */
	bool observing : 1;		/* the next record that is sealed */
	bool observed_valid : 1;
	bool examined : 1;		/* what was found out is known */
	bool kernel_tx : 1;		/* the kernel seals what is written */
	bool key_update_breaks : 1;	/* ... and would not survive one */
	bool dead : 1;
	bool alert_due : 1, alert_sent : 1; /* dead; the peer must hear it */
	bool no_takeover : 1;		/* tried, or known to be impossible */
};

/* ---- tx_account.c: what the kernel's TLS layer holds ---- */

struct tx_account {
	bool exact;		/* the sum is complete */
	bool drained;		/* all that was counted was seen in TCP */
	bool open;		/* a record may be open (MSG_MORE) */
	bool zerocopy;		/* requested, and in force */
	unsigned int max_payload; /* in force, or 0: RECORD_MAX */
	uint64_t bytes;		/* sent by our calls */
	uint64_t plain;		/* plaintext given to the kernel since start */
	uint64_t start_tcp;	/* bytes in TCP at the start of the sum */
	uint64_t start_seq, drained_seq;
	uint64_t first_seq;	/* at attach: records are counted from here */
	uint64_t past_records;	/* of keys before the present one */
	uint64_t past_sum;	/* of those, since the start of the sum */
	uint64_t spent;		/* records of the present key: upper bound */
	uint64_t last_tcp, idle_since;	/* the look before, when inexact */
};

int tlssf_tx_allocate(struct conn *c);	/* allocate the account: 0, -ENOMEM */
/*
 * Open the account of a socket whose keys the kernel has: 0, -ENOMEM, or
 * -errno where it has none. nothing_held: no record waits above TCP.
 */
int tlssf_tx_open(struct conn *c, bool nothing_held);
/* 0, or -EBADF: the descriptor is not the connection's socket any more. */
int tlssf_tx_same_socket(const struct conn *c);
/* 0, or -errno: the socket can take no more data. */
int tlssf_tx_socket_alive(const struct conn *c);
/* The same before `len` bytes are sent; flushed: a flush follows. */
int tlssf_tx_check_before_send(struct conn *c, uint64_t len, bool flushed);
/* Records that one key may protect (RFC 8446, 5.5; option key_records). */
uint64_t tlssf_key_record_limit(const struct conn *c);
uint64_t tlssf_tx_records_left(struct conn *c); /* records left for this key */
void tlssf_tx_add(struct conn *c, uint64_t plain);	/* given to it */
size_t tlssf_tx_record_max(const struct conn *c); /* plaintext bytes */
int tlssf_tx_close_record(struct conn *c);	/* close an open record: 0, -errno */
/* 0: the kernel holds nothing above TCP; WOULD_BLOCK; -errno. */
int tlssf_tx_drain(struct conn *c);
uint64_t tlssf_tx_records(struct conn *c);
void tlssf_tx_before_new_key(struct conn *c);	/* before a new key: seq becomes 0 */

/* ---- queue.c: the bridge's queue, and its place among the BIOs ---- */

/* Our filter BIO (bio.c): what the layers below that file may know of it. */
struct bridge {
	struct bio_st *bio;
	struct conn *conn;	/* NULL: orphan, passes everything */
	struct batch *out;	/* gathered or still to be sent, or NULL */
	uint64_t records;
	bool gathering : 1;
	bool pending : 1;	/* the library's last record is unfinished */
	bool renewed : 1;	/* or new: nothing is known yet */
	bool severed : 1;	/* after a takeover: nothing may pass */
	bool wrote : 1;		/* the library, since it was observed */
	uint8_t record_type;	/* kernel TLS: of the next write */
	uint16_t asked;		/* to write or flush, by whomever */
	int guard;		/* errno for every write, 0: alive */
};

/* Account for what is kept between calls. */
void tlssf_set_buffered(struct conn *c, size_t bytes);
bool tlssf_below_buffer_cap(const struct conn *c); /* below max_buffered */
uint64_t tlssf_unreported_bytes(const struct conn *c); /* unreported bytes */
/* Count the plaintext of `batch` that has left. */
void tlssf_count_written(struct conn *c, struct batch *batch);
/* Put the library's records into `batch` until _release(). */
void tlssf_bridge_begin_gather(struct bridge *b, struct batch *batch);
void tlssf_bridge_end_gather(struct bridge *b);
/* Encrypt a record with key `g`, behind all that is queued: 0, -errno. */
int tlssf_queue_encrypt(struct bridge *b, struct generation *g, int type,
		      const void *plain, size_t len);
void tlssf_bridge_count_record(struct bridge *b);	/* one record of ours */
struct batch *tlssf_queue_batch(struct bridge *b);	/* queued, or NULL */
void tlssf_queue_set_batch(struct bridge *b, struct batch *batch);
bool tlssf_queue_has_bytes(const struct bridge *b);
/* Send what is queued: 0 when all has left, WOULD_BLOCK, -errno. */
int tlssf_queue_send(struct bridge *b);
void tlssf_queue_discard(struct bridge *b);	/* discard the queue */
/* Flush all BIOs of the write side: the same results. */
int tlssf_bridge_flush_bios(struct bridge *b);
bool tlssf_bridge_bios_empty(struct bridge *b);	/* no BIO holds a byte */
/* Only BIOs of OpenSSL's own lie between the bridge and a socket. */
bool tlssf_bridge_reaches_socket(const struct bridge *b);
bool tlssf_bridge_on_top(const struct conn *c);
bool tlssf_bridge_in_chain(const struct conn *c);
uint64_t tlssf_bridge_records(const struct bridge *b);	/* gathered */
void tlssf_bridge_reset_wrote(struct bridge *b);	/* from now on: */
bool tlssf_bridge_wrote_since_sample(const struct bridge *b);	/* has the library? */
unsigned int tlssf_bridge_io_calls(const struct bridge *b); /* how often */
bool tlssf_bridge_write_pending(const struct bridge *b); /* library's, unfinished */
void tlssf_bridge_set_write_pending(struct bridge *b, bool pending);
bool tlssf_bridge_renewed(const struct bridge *b);
void tlssf_bridge_examined(struct bridge *b);	/* ... and over */
void tlssf_bridge_guard(struct bridge *b, int err); /* fail all writes */
bool tlssf_bridge_guarded(const struct bridge *b);

/* ---- outcome.c: what a call answers ---- */

int tlssf_conn_fail(struct conn *c, int reason, int err);  /* not sticky */
int tlssf_conn_die(struct conn *c, int reason, int err);   /* sticky */
int tlssf_conn_io_error(struct conn *c, int err);	/* errno of a send */
/* TLSSF_WANT_WRITE; sets retry_ms if the socket is writable already. */
int tlssf_conn_want_write(struct conn *c);
/* What 0, WOULD_BLOCK or -errno of a send means for the caller. */
int tlssf_conn_result(struct conn *c, int r);

#endif
