/* SPDX-License-Identifier: MIT */
/*
 * Our filter BIO on the write side of every connection that we touch. It
 *
 *   passes   the library's records on, remembering whether one is unfinished
 *            (then nothing else may be sent) and what the kernel was given;
 *   gathers  the records of our own SSL_write() calls into a batch that goes
 *            out in few large sends; what is left of it goes before anything
 *            else, so the order of records is the order of sealing;
 *   guards   a dead connection: every write fails as the first one did.
 *
 * The BIO owns the struct bridge; the conn and the bridge point at each other
 * and either may go first.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "connection.h"

/* Reserved in OpenSSL's bio.h, the same numbers from 3.0 to 4.0. */
enum {
	CTRL_SET_KTLS = 72,
	CTRL_GET_KTLS_SEND = 73,
	CTRL_SET_RECORD_TYPE = 74,
	CTRL_CLEAR_RECORD_TYPE = 75,
};

/*
 * Nobody looks for it by type. Between OpenSSL's own types and those of
 * BIO_get_new_index(), which, when memory fails it once, fails for ever.
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
 * SSL_clear() and a new handshake on the same BIO: a new life, in which the
 * library may or may not give its keys to the kernel.
 */
void tlssf_bridge_on_new_handshake(struct bridge *b)
{
	tlssf_keys_wipe(b->conn);
	b->renewed = true;
	b->guard = 0;
	b->pending = false;
	b->records = 0;
	tlssf_queue_discard(b);
	b->conn->kernel_tx = false;
	b->conn->examined = false;
}

/*
 * A KeyUpdate message (RFC 8446, 4.6.3) in its kernel TLS record, not a later
 * try of one that was let through.
 */
static bool is_key_update(const struct bridge *b, const char *in, int len)
{
	return b->record_type == RECORD_HANDSHAKE && !b->pending && len == 5 &&
	       !memcmp(in, "\x18\x00\x00\x01", 4);
}

static void count_records(struct bridge *b, const unsigned char *in, int len)
{
	int at = 0;

	while (at + 5 <= len) {
		at += 5 + (in[at + 3] << 8 | in[at + 4]);
		b->records++;
	}
}

static int gather(struct bridge *b, const char *in, int len)
{
	int r = tlssf_batch_append(&b->out, in, (size_t)len);

	if (r)
		return refuse(-r);
	count_records(b, (const unsigned char *)in, len);
	b->wrote = true;
	return len;
}

/* Records sealed earlier go first; 0 when they are out. */
static int queue_first(struct bridge *b)
{
	int r = tlssf_queue_send(b);

	if (r == WOULD_BLOCK) {
		BIO_set_retry_write(b->bio);
		return -1;
	}
	if (r) {
		tlssf_conn_io_error(b->conn, -r);
		return refuse(-r);
	}
	return 0;
}

/* What the library does to its keys may depend on what we have not asked yet. */
static bool key_update_may_leave(struct conn *c)
{
	if (!c->examined && tlssf_conn_examine(c)) {
		tlssf_conn_die(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
		return false;
	}
	return tlssf_conn_on_key_update(c);
}

static void fatal_alert_left(struct conn *c, int alert)
{
	if (!c->examined)
		tlssf_conn_examine(c);	/* without memory the reason is vaguer */
	tlssf_conn_on_fatal_alert_sent(c, alert);
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
		b->pending = true;	/* the library keeps the record */
		errno = err;
		return -1;
	}
	if (n > 0 && b->conn->kernel_tx)
		tlssf_tx_add(b->conn, (uint64_t)n);
	b->pending = n < len;
	if (b->pending)
		return n;
	b->wrote = true;
	if (b->record_type == RECORD_ALERT && len == 2 && in[0] == ALERT_FATAL)
		fatal_alert_left(b->conn, (unsigned char)in[1]);
	b->record_type = 0;
	return n;
}

/*
 * With its close_notify "sent" the library writes no more, by whatever BIO,
 * until SSL_clear(). SSL_shutdown() waits for the peer's then, so this is for
 * sockets that we cannot shut.
 */
static void silence(SSL *ssl)
{
	SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_SENT_SHUTDOWN);
}

static bool can_shut(const struct conn *c)
{
	uint64_t id;

	return tlssf_sys.process() == c->process && c->fd >= 0 &&
	       tlssf_sys.socket_id(c->fd, &id) == 0 && id == c->socket;
}

/*
 * Taken out of a living connection after a takeover: what the library seals is
 * stale, its numbers are used up, and it must not get to the socket. If that is
 * ours to shut and still the same one, the direction ends here.
 */
void tlssf_bridge_block_stale_writes(struct bridge *b)
{
	struct conn *c = b->conn;

	if (!c || !c->takeover)
		return;
	b->severed = true;
	if (!tl_lives(c->ssl)) {
		tlssf_keys_wipe(c);
		return;
	}
	if (can_shut(c))
		tlssf_sys.shutdown_write(c->fd);
	else if (tlssf_conn_same_handshake(c))
		silence(c->ssl);	/* else its keys are gone */
	tlssf_conn_die(c, TLSSF_REASON_IO, ECONNABORTED);
	tlssf_keys_wipe(c);
}

/* The keys were taken over, and the library does not know. */
static int resend(struct bridge *b, const char *in, int len)
{
	struct conn *c = b->conn;
	ssize_t n;

	if (tlssf_sys.process() != c->process)	/* the parent goes on */
		return refuse(EPERM);
	n = tlssf_reseal(c, (const unsigned char *)in, (size_t)len);
	b->pending = n < 0;
	if (n >= 0)
		return (int)n;
	if (n == -EAGAIN) {
		BIO_set_retry_write(b->bio);
		return -1;	/* OpenSSL knows no other number */
	}
	tlssf_conn_io_error(c, (int)-n);
	return refuse((int)-n);
}

static int bridge_write(BIO *bio, const char *in, int len)
{
	struct bridge *b = BIO_get_data(bio);
	BIO *next = BIO_next(bio);

	BIO_clear_retry_flags(bio);
	if (!next && b)
		tlssf_bridge_block_stale_writes(b); /* BoringSSL does not tell of BIO_pop() */
	if (!next || !in || len <= 0)
		return 0;
	if (b && b->severed)
		return refuse(EPERM);
	if (!b || !b->conn) {
		int n = BIO_write(next, in, len);

		BIO_copy_next_retry(bio);
		return n;
	}
	b->asked++;
	/* SSL_set_SSL_CTX() may have freed the one before */
	b->conn->conf = tl_conf(b->conn->ssl);
	if (!b->renewed && tl_new_handshake(b->conn->ssl))
		tlssf_bridge_on_new_handshake(b);
	if (b->guard)
		return refuse(b->guard);
	if (b->conn->takeover)
		return resend(b, in, len);
	if (b->gathering)
		return gather(b, in, len);
	if (queue_first(b)) {
		b->pending = true;
		return -1;
	}
	if (is_key_update(b, in, len) && !key_update_may_leave(b->conn))
		return refuse(b->guard);
	return pass(b, in, len);
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

	b->asked++;
	if (b->gathering)
		return 1;
	BIO_clear_retry_flags(b->bio);
	/* a handshake message may wait here, see resend.c */
	if (b->conn->takeover && !tlssf_queue_send(b))
		tlssf_reseal_flush(b->conn);
	else if (!b->conn->takeover && queue_first(b))
		return -1;
	r = BIO_flush(next);
	BIO_copy_next_retry(b->bio);
	return r;
}

/*
 * Only a kernel that was seen to hold the keys counts: a BIO below that says
 * yes to everything would make the library write plaintext.
 */
static long kernel_ctrl(struct bridge *b, BIO *next, int cmd, long num,
			void *ptr)
{
	if (b->conn->takeover || (!b->conn->kernel_tx && !b->renewed))
		return 0;
	if (cmd == CTRL_SET_RECORD_TYPE)
		b->record_type = (uint8_t)num;
	if (cmd == CTRL_CLEAR_RECORD_TYPE)
		b->record_type = 0;
	if (cmd == CTRL_SET_KTLS && !b->renewed)
		tlssf_tx_before_new_key(b->conn);
	return BIO_ctrl(next, cmd, num, ptr);
}

static long bridge_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	struct bridge *b = BIO_get_data(bio);
	BIO *next = BIO_next(bio);

	switch (cmd) {
	case BIO_CTRL_POP:
		if (b && ptr == bio)	/* not a buffer's above us */
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
		return BIO_ctrl(next, cmd, num, ptr) + (tlssf_queue_has_bytes(b) ?
			(long)(b->out->used - b->out->head) : 0);
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
	BIO_pop(bio);	/* or the one below would point back at us */
	if (!b)
		return 1;
	if (b->conn) {
		tlssf_set_buffered(b->conn, 0);
		b->conn->bridge = NULL;
		/* records that the peer will miss: no later one can be right */
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

/* Tried again after a failure: no pthread_once. */
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

	/* BoringSSL needs none for QUIC */
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
	*b = (struct bridge){ .bio = bio, .conn = c, .renewed = true };
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
	b->severed = b->severed || b->conn->takeover;
	b->conn = NULL;
}
