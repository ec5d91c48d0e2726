/* SPDX-License-Identifier: MIT */
/*
 * Our filter BIO, the bridge: the door through which the TLS library writes. It
 * stands on the write side of every connection that we touch. What becomes of a
 * record that the library writes is the bridge's mode (enum bridge_mode):
 *
 *   pass    the record goes to the BIO below, behind all that is queued. The
 *           bridge notes whether the library's last record is unfinished, since
 *           nothing else may be sent then.
 *   gather  during a send of ours: the record goes to a batch.
 *   reseal  after a takeover: the record is decrypted, and its content leaves
 *           under the right sequence number (takeover/reseal.c).
 *   fail    the connection has failed: the write fails with the same errno.
 *   block   the bridge of a takeover was removed from its connection: records
 *           of the library are stale, and no write passes any more.
 *   orphan  there is no connection any more: everything passes.
 *
 * The BIO owns struct bridge. Bridge and connection point at each other, and
 * either may be freed first.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "connection.h"

/*
 * OpenSSL's bio.h reserves these numbers, and has not changed them from 3.0 to
 * 4.0.
 */
enum {
	CTRL_SET_KTLS = 72,
	CTRL_GET_KTLS_SEND = 73,
	CTRL_SET_RECORD_TYPE = 74,
	CTRL_CLEAR_RECORD_TYPE = 75,
};

/*
 * This number lies between OpenSSL's own types and those that
 * BIO_get_new_index() returns. That function is not used, because it fails for
 * ever after one lack of memory. No code searches for the bridge by its type.
 */
#define BRIDGE_TYPE	(BIO_TYPE_FILTER | (BIO_TYPE_START - 1))

static BIO_METHOD *_Atomic bridge_method;
static pthread_mutex_t method_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the library's own writes ---- */

static int refuse(int err)
{
	errno = err;
	return -1;
}

/*
 * Read the options of the SSL_CTX again: SSL_set_SSL_CTX() may have replaced
 * the SSL_CTX and freed the one before.
 */
void tlssf_conn_refresh_conf(struct conn *c)
{
	c->conf = tl_conf(c->ssl);
}

/*
 * A new handshake has begun after SSL_clear(): the SSL and the bridge belong to
 * a new connection now. Reset the states, wipe the keys and discard the queue
 * of the old one.
 */
void tlssf_bridge_on_new_handshake(struct bridge *b)
{
	struct conn *c = b->conn;

	tlssf_keys_wipe(c);
	tlssf_set_life(c, LIFE_OPEN);
	tlssf_set_sealer(c, SEALER_UNKNOWN);
	tlssf_set_sample(c, SAMPLE_NONE, TLSSF_REASON_NONE);
	b->write_pending = false;
	b->records = 0;
	tlssf_queue_discard(b);
}

/*
 * Does the library write a KeyUpdate through its own kernel TLS? There it sets
 * the record type first and then writes the message as plaintext. If a
 * KeyUpdate was passed on before and its write is only repeated, the answer is
 * no.
 */
static bool is_key_update(const struct bridge *b, const char *in, int len)
{
	return b->record_type == RECORD_HANDSHAKE && !b->write_pending &&
	       tlssf_is_key_update(in, (size_t)len);
}

static void count_records(struct bridge *b, const unsigned char *in, int len)
{
	int at = 0;

	while (at + (int)RECORD_HEADER <= len) {
		at += (int)tlssf_record_len(in + at);
		b->records++;
	}
}

static int gather(struct bridge *b, const char *in, int len)
{
	int r = tlssf_batch_append(&b->out, in, (size_t)len);

	if (r)
		return refuse(-r);
	count_records(b, (const unsigned char *)in, len);
	b->wrote_since_sample = true;
	return len;
}

/*
 * Send the queue. Returns 0 when all of it has left; else the result that the
 * library's write must have.
 */
static int send_queue_first(struct bridge *b)
{
	int r = tlssf_queue_send(b);

	if (r == -EAGAIN) {
		BIO_set_retry_write(b->bio);
		return -1;
	}
	if (r) {
		tlssf_conn_io_error(b->conn, -r);
		return refuse(-r);
	}
	return 0;
}

/*
 * May the library's KeyUpdate leave? The answer depends on who has the keys, so
 * examine the connection first if that has not been done.
 */
static bool key_update_may_leave(struct conn *c)
{
	if (!tlssf_examined(c) && tlssf_conn_examine(c)) {
		tlssf_conn_die(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
		return false;
	}
	return tlssf_conn_on_key_update(c);
}

static void fatal_alert_left(struct conn *c, int alert_code)
{
	/*
	 * If memory is short, the examination fails, and only the reason that
	 * is reported becomes less precise.
	 */
	if (!tlssf_examined(c))
		tlssf_conn_examine(c);
	tlssf_conn_on_fatal_alert_sent(c, alert_code);
}

static int pass(struct bridge *b, const char *in, int len)
{
	BIO *next = BIO_next(b->bio);
	int n, err;

	errno = 0;
	n = BIO_write(next, in, len);
	err = errno;
	BIO_copy_next_retry(b->bio);
	if (n <= 0 && !BIO_should_retry(next)) {
		tlssf_conn_io_error(b->conn, err ? err : EPIPE);
		b->write_pending = true; /* the library repeats the write */
		errno = err;
		return -1;
	}
	if (n > 0 && tlssf_kernel_seals(b->conn))
		tlssf_tx_sent(b->conn, (uint64_t)n, b->conn->tx->open);
	b->write_pending = n < len;
	if (b->write_pending)
		return n;
	b->wrote_since_sample = true;
	if (b->record_type == RECORD_ALERT && len == 2 && in[0] == ALERT_FATAL)
		fatal_alert_left(b->conn, (unsigned char)in[1]);
	b->record_type = 0;
	return n;
}

static int queue_and_pass(struct bridge *b, const char *in, int len)
{
	if (send_queue_first(b)) {
		b->write_pending = true;
		return -1;
	}
	if (is_key_update(b, in, len) && !key_update_may_leave(b->conn))
		return refuse(b->conn->err);
	return pass(b, in, len);
}

static int reseal(struct bridge *b, const char *in, int len)
{
	struct conn *c = b->conn;
	ssize_t n;

	/* In a forked child: only the parent may send. */
	if (tlssf_sys.process() != c->process)
		return refuse(EPERM);
	n = tlssf_reseal(c, (const unsigned char *)in, (size_t)len);
	b->write_pending = n < 0;
	if (n >= 0)
		return (int)n;
	if (n == -EAGAIN) {
		BIO_set_retry_write(b->bio);
		return -1;	/* other numbers are errors for OpenSSL */
	}
	tlssf_conn_io_error(c, (int)-n);
	return refuse((int)-n);
}

/* ---- the BIO's methods ---- */

static void before_write(struct bridge *b)
{
	struct conn *c = b->conn;

	b->io_calls++;
	tlssf_conn_refresh_conf(c);
	if (tlssf_examined(c) && tl_new_handshake(c->ssl))
		tlssf_bridge_on_new_handshake(b);
	tlssf_state_check(c);
}

static int write_to(BIO *next, BIO *bio, const char *in, int len)
{
	int n = BIO_write(next, in, len);

	BIO_copy_next_retry(bio);
	return n;
}

static int bridge_write(BIO *bio, const char *in, int len)
{
	struct bridge *b = BIO_get_data(bio);
	BIO *next = BIO_next(bio);

	BIO_clear_retry_flags(bio);
	/* The bridge was popped; BoringSSL sends no control for that. */
	if (!next && b)
		tlssf_bridge_block_stale_writes(b);
	if (!next || !in || len <= 0)
		return 0;
	if (b && b->conn && !b->blocked)
		before_write(b);
	switch (b ? tlssf_bridge_mode(b) : BRIDGE_ORPHAN) {
	case BRIDGE_PASS:
		return queue_and_pass(b, in, len);
	case BRIDGE_GATHER:
		return gather(b, in, len);
	case BRIDGE_RESEAL:
		return reseal(b, in, len);
	case BRIDGE_FAIL:
		return refuse(b->conn->err);
	case BRIDGE_BLOCK:
		return refuse(EPERM);
	default:
		return write_to(next, bio, in, len);
	}
}

static int bridge_read(BIO *bio, char *out, int len)
{
	BIO *next = BIO_next(bio);
	int n;

	if (!next)
		return 0;
	BIO_clear_retry_flags(bio);
	n = BIO_read(next, out, len);
	BIO_copy_next_retry(bio);
	return n;
}

/* ---- controls ---- */

static long flush(struct bridge *b, BIO *next)
{
	long r;

	b->io_calls++;
	if (b->gathering)
		return 1;
	BIO_clear_retry_flags(b->bio);
	/*
	 * After a takeover, also send the handshake message that may wait in
	 * the bridge (reseal.c).
	 */
	if (tlssf_taken_over(b->conn) && !tlssf_queue_send(b))
		tlssf_reseal_flush(b->conn);
	else if (!tlssf_taken_over(b->conn) && send_queue_first(b))
		return -1;
	r = BIO_flush(next);
	BIO_copy_next_retry(b->bio);
	return r;
}

/*
 * Handle the controls of OpenSSL's kernel TLS. After the handshake a control is
 * passed on only if the kernel is known to have the library's keys. Otherwise a
 * BIO below that answers yes to every control would make the library write
 * plaintext.
 */
static long kernel_ctrl(struct bridge *b, BIO *next, int cmd, long num,
			void *ptr)
{
	struct conn *c = b->conn;

	if (c->sealer != SEALER_UNKNOWN &&
	    c->sealer != SEALER_LIBRARY_IN_KERNEL)
		return 0;
	if (cmd == CTRL_SET_RECORD_TYPE)
		b->record_type = (uint8_t)num;
	if (cmd == CTRL_CLEAR_RECORD_TYPE)
		b->record_type = 0;
	if (cmd == CTRL_SET_KTLS && c->sealer == SEALER_LIBRARY_IN_KERNEL)
		tlssf_tx_before_new_key(c);
	return BIO_ctrl(next, cmd, num, ptr);
}

static long bridge_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	struct bridge *b = BIO_get_data(bio);
	BIO *next = BIO_next(bio);

	switch (cmd) {
	case BIO_CTRL_POP:
		/* Only if this BIO is popped, not one above it. */
		if (b && ptr == bio)
			tlssf_bridge_block_stale_writes(b);
		return 1;
	case BIO_CTRL_PUSH:
	case BIO_CTRL_DUP:
		return 1;
	}
	if (!next)
		return 0;
	if (!b || !b->conn)
		return BIO_ctrl(next, cmd, num, ptr);
	switch (cmd) {
	case BIO_CTRL_FLUSH:
		return flush(b, next);
	case BIO_CTRL_WPENDING:
		return BIO_ctrl(next, cmd, num, ptr) +
		       (tlssf_queue_has_bytes(b) ?
				(long)(b->out->used - b->out->head) :
				0);
	case CTRL_SET_KTLS:
	case CTRL_GET_KTLS_SEND:
	case CTRL_SET_RECORD_TYPE:
	case CTRL_CLEAR_RECORD_TYPE:
		return kernel_ctrl(b, next, cmd, num, ptr);
	}
	return BIO_ctrl(next, cmd, num, ptr);
}

/* ---- life ---- */

static int bridge_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static int bridge_destroy(BIO *bio)
{
	struct bridge *b = BIO_get_data(bio);

	if (b)
		tlssf_bridge_block_stale_writes(b);
	BIO_pop(bio);	/* the BIO below must not point to this one any more */
	if (!b)
		return 1;
	if (b->conn) {
		tlssf_set_buffered(b->conn, 0);
		b->conn->bridge = NULL;
		/*
		 * The queued records are lost, and the peer could not decrypt
		 * any record after them.
		 */
		if (tlssf_queue_has_bytes(b))
			tlssf_conn_die(b->conn, TLSSF_REASON_IO, ECONNABORTED);
	}
	tlssf_batch_put(b->out);
	free(b);
	BIO_set_data(bio, NULL);
	return 1;
}

static BIO_METHOD *new_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BRIDGE_TYPE, "tlssf");

	if (m && BIO_meth_set_write(m, bridge_write) &&
	    BIO_meth_set_read(m, bridge_read) &&
	    BIO_meth_set_ctrl(m, bridge_ctrl) &&
	    BIO_meth_set_create(m, bridge_create) &&
	    BIO_meth_set_destroy(m, bridge_destroy))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/*
 * Make the method at the first call. pthread_once() is not used, because a
 * failed call must not prevent a later one.
 */
static const BIO_METHOD *method(void)
{
	if (bridge_method)
		return bridge_method;
	pthread_mutex_lock(&method_lock);
	if (!bridge_method)
		bridge_method = new_method();
	pthread_mutex_unlock(&method_lock);
	return bridge_method;
}

static int insert(struct conn *c)
{
	BIO *below = SSL_get_wbio(c->ssl);
	struct bridge *b;
	BIO *bio;

	/* A QUIC connection of BoringSSL may have no BIO. */
	if (!below || !method())
		return -ENOMEM;
	b = calloc(1, sizeof(*b));
	bio = b ? BIO_new(method()) : NULL;
	if (!bio || !BIO_up_ref(below)) {
		BIO_free(bio);
		free(b);
		return -ENOMEM;
	}
	if (c->bridge)
		tlssf_bridge_detach(c->bridge);
	*b = (struct bridge){ .bio = bio, .conn = c };
	BIO_set_data(bio, b);
	SSL_set0_wbio(c->ssl, BIO_push(bio, below));
	c->bridge = b;
	return 0;
}

int tlssf_bridge_attach(struct conn *c)
{
	return tlssf_bridge_on_top(c) ? 0 : insert(c);
}

void tlssf_bridge_detach(struct bridge *b)
{
	tlssf_queue_discard(b);
	b->gathering = false;
	b->blocked = b->blocked || tlssf_taken_over(b->conn);
	b->conn = NULL;
}
