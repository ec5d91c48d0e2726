/* SPDX-License-Identifier: MIT */
/*
 * After a takeover the TLS library goes on sealing: SSL_write, alerts, tickets,
 * KeyUpdate. Each such record is opened here and its content goes through the
 * kernel, with its type, under the kernel's sequence number, or is sealed again
 * under our own; what the library sealed never leaves the process.
 *
 * A record is taken whole and only when all of its content is in the kernel;
 * until then the library gets "try again" and comes back with the same one. But
 * for a handshake message of a library that keeps them for the next SSL_write:
 * we call that to have them sent, and it must not be left unfinished, for the
 * application's own SSL_write() is none that repeats it. One may wait here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "takeover.h"

#define HS_HEADER	4u	/* type and length, RFC 8446 4 */
#define HS_KEY_UPDATE	24u
#define PART_MAX	(RECORD_HEADER + RECORD_MAX + 256u)

/* The content, wherever it is. */
static void drop_plain(struct reseal *r)
{
	if (r->plain != r->kept)
		tlssf_plaintext_buffer_put(r->plain);
	free(r->kept);
	r->plain = r->kept = NULL;
}

void tlssf_reseal_free(struct reseal *r)
{
	free(r->part);
	drop_plain(r);
	memset(r, 0, sizeof(*r));
}

/* ---- a whole record ---- */

/*
 * A buffering BIO above us (the library's own, around handshake messages) cuts
 * records anywhere. Collect: how much of `in` was taken, or -errno.
 */
static ssize_t collect(struct reseal *r, const unsigned char *in, size_t len)
{
	size_t goal, taken = 0, n;

	if (!r->part)
		r->part = malloc(PART_MAX);
	if (!r->part)
		return -ENOMEM;
	while (len > 0) {
		goal = r->part_len < RECORD_HEADER ? RECORD_HEADER
						   : tlssf_record_len(r->part);
		if (goal > PART_MAX)
			return -EBADMSG;
		if (goal == r->part_len)
			break;
		n = goal - r->part_len < len ? goal - r->part_len : len;
		memcpy(r->part + r->part_len, in, n);
		r->part_len += n;
		in += n;
		len -= n;
		taken += n;
	}
	return (ssize_t)taken;
}

static bool part_complete(const struct reseal *r)
{
	return r->part_len > RECORD_HEADER &&
	       r->part_len == tlssf_record_len(r->part);
}

/*
 * Does a KeyUpdate message begin in this record? Messages lie back to back
 * and may reach into the next record.
 */
static bool has_key_update(struct reseal *r, const unsigned char *p,
			   size_t len)
{
	bool found = false;

	while (len > 0) {
		size_t n;

		if (r->message_left == 0) {
			if (len < HS_HEADER)	/* no library cuts there */
				break;
			found = found || p[0] == HS_KEY_UPDATE;
			r->message_left = HS_HEADER + ((size_t)p[1] << 16 |
						       (size_t)p[2] << 8 | p[3]);
		}
		n = r->message_left < len ? r->message_left : len;
		r->message_left -= n;
		p += n;
		len -= n;
	}
	return found;
}

static int fatal_alert(const struct opened *o, const unsigned char *plain)
{
	return o->type == RECORD_ALERT && o->len == 2 &&
	       plain[0] == ALERT_FATAL ? plain[1] : -1;
}

/* Open `rec` into a buffer and look at what it is. */
static int open_record(struct conn *c, const unsigned char *rec, size_t len)
{
	struct takeover *t = c->takeover;
	struct reseal *r = &t->resend;
	unsigned char *plain = tlssf_plaintext_buffer_get();
	struct opened o;

	if (!plain)
		return -ENOMEM;
	r->plain = plain;
	if (len > PART_MAX ||
	    tlssf_record_decrypt(&t->library.key, t->library.aead, rec, len,
			      plain, &o))
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_TLS);
	t->library.key.seq++;
	if (o.padded && !(c->conf && c->conf->options.drop_padding))
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_PADDING);
	r->len = o.len;
	r->sent = 0;
	r->type = o.type;
	r->fatal_alert = fatal_alert(&o, plain);
	r->busy = true;
	r->rekeys = c->info.version == TLS13 && o.type == RECORD_HANDSHAKE &&
		    has_key_update(r, plain, o.len);
	return 0;
}

/* ---- to the kernel ---- */

/* The rest waits in a place of its size; what is queued need not. */
static int keep(struct conn *c, struct reseal *r, int err)
{
	size_t left = r->len - r->sent;
	unsigned char *kept;

	if (r->kept)
		return err;
	if (r->sealed) {
		drop_plain(r);
		return err;
	}
	kept = malloc(left + 1);
	if (!kept)	/* part of it may be out */
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_NO_MEMORY);
	memcpy(kept, r->plain + r->sent, left);
	drop_plain(r);
	r->plain = r->kept = kept;
	r->len = left;
	r->sent = 0;
	return err;
}

static int give_to_kernel(struct conn *c, struct reseal *r)
{
	ssize_t n;

	while (r->sent < r->len) {
		const unsigned char *at = r->plain + r->sent;
		size_t len = r->len - r->sent;

		if (r->type == RECORD_DATA)
			n = tlssf_sys.send(c->fd, at, len, false);
		else
			n = tlssf_sys.send_record(c->fd, r->type, at, len);
		if (n == -EAGAIN || n == -EINTR)
			return -EAGAIN;
		if (n < 0)
			return (int)n;
		r->sent += (size_t)n;
		tlssf_tx_add(c, (uint64_t)n);
		c->tx->open = false;
	}
	return 0;
}

/*
 * Sealed by us, it goes the way of all records of ours: behind those that are
 * queued, and "sent" when it is out.
 */
static int give_to_queue(struct conn *c, struct reseal *r)
{
	int err = 0;

	if (!r->sealed)
		err = tlssf_queue_encrypt(c->bridge, &c->takeover->ours, r->type,
					r->plain, r->len);
	if (err)
		return err;
	r->sealed = true;
	err = tlssf_queue_send(c->bridge);
	return err == WOULD_BLOCK ? -EAGAIN : err;
}

static int give(struct conn *c, struct reseal *r)
{
	return c->kernel_tx ? give_to_kernel(c, r) : give_to_queue(c, r);
}

/* What the library's own record means for us. */
static int after(struct conn *c, struct reseal *r)
{
	int err = r->rekeys ? tlssf_keys_commit_update(c) : 0;

	drop_plain(r);
	free(r->part);
	r->part = NULL;
	r->busy = r->held = r->rekeys = r->sealed = r->key_first = false;
	if (r->fatal_alert >= 0)
		tlssf_conn_on_fatal_alert_sent(c, r->fatal_alert);
	if (!err)
		return 0;
	/* the peer waits for the new key, the kernel has the old one */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	return -EPROTO;
}

/* Asked before each piece that goes to the socket, and only then. */
static int alive(const struct conn *c)
{
	return c->kernel_tx ? tlssf_tx_socket_alive(c) : 0;
}

static int prepare_rekey(struct conn *c)
{
	return tlssf_keys_prepare_update(c) ?
	       tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY) : 0;
}

static int start(struct conn *c, const unsigned char *rec, size_t len)
{
	struct reseal *r = &c->takeover->resend;
	int err = open_record(c, rec, len);

	if (err)
		return err;
	r->key_first = tlssf_keys_records_left(c) <= KEY_RESERVE;
	if (!r->rekeys)
		return 0;
	return tlssf_conn_on_key_update(c) ? prepare_rekey(c) : -EPROTO;
}

/* The key must not protect the record: a KeyUpdate of our own goes first. */
static int new_key_first(struct conn *c, struct reseal *r)
{
	int err = tlssf_keys_send_own_update(c);

	if (err)
		return err;
	r->key_first = false;
	return r->rekeys ? prepare_rekey(c) : 0;	/* from the new one */
}

/*
 * The next record, from `in` or from pieces that came before: 0 when there is
 * one, else how much of `in` was taken as a piece, or -errno.
 */
static ssize_t take_in(struct conn *c, const unsigned char *in, size_t len)
{
	struct reseal *r = &c->takeover->resend;
	ssize_t n;
	int err;

	r->take = len < RECORD_HEADER ? 0 : tlssf_record_len(in);
	if (!r->part_len && len >= RECORD_HEADER && r->take <= len)
		return start(c, in, r->take);
	n = collect(r, in, len);
	if (n < 0 || !part_complete(r))
		return n;
	r->take = (size_t)n;
	err = start(c, r->part, r->part_len);
	/* not yet: the same piece will come again */
	r->part_len = err == -ENOMEM ? r->part_len - r->take : 0;
	return err;
}

static int finish(struct conn *c)
{
	struct reseal *r = &c->takeover->resend;
	int err = alive(c);

	if (!err && r->key_first)
		err = new_key_first(c, r);
	if (!err)
		err = give(c, r);
	if (err)
		return keep(c, r, err);
	return after(c, r);
}

static bool passes(ssize_t err)
{
	return err == -EAGAIN || err == -ENOMEM || err == -ENOBUFS;
}

int tlssf_reseal_flush(struct conn *c)
{
	if (!c->takeover->resend.held)
		return 0;
	return tlssf_sys.process() == c->process ? finish(c) : -ECHILD;
}

/* How much of `in` is done with, or -errno; -EAGAIN: come again with it. */
ssize_t tlssf_reseal(struct conn *c, const unsigned char *in, size_t len)
{
	struct reseal *r = &c->takeover->resend;
	ssize_t n = tlssf_reseal_flush(c);

	if (!n && !r->busy)
		n = take_in(c, in, len);
	if (n || !r->busy)	/* a failure, or a piece */
		return n;
	n = finish(c);
	if (passes(n) && r->type == RECORD_HANDSHAKE &&
	    tl_defers_post_handshake(c->ssl)) {
		r->held = true;
		n = 0;
	}
	return n ? n : (ssize_t)r->take;
}

/* ---- the library's post-handshake messages ---- */

static bool lacks_memory(enum tl_result res)
{
	return res == TL_SYSCALL && (errno == ENOMEM || errno == ENOBUFS);
}

int tlssf_conn_tls_result(struct conn *c, enum tl_result res)
{
	if (res == TL_WANT_READ)
		return TLSSF_WANT_READ;
	if (res == TL_WANT_WRITE)
		return tlssf_conn_want_write(c);
	if (lacks_memory(res))
		return tlssf_conn_io_error(c, errno);
	return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
}

/* Does the library wait for us? It and filters above may say otherwise. */
static enum tl_result go_on(struct conn *c)
{
	unsigned int before = tlssf_bridge_io_calls(c->bridge);
	enum tl_result res = tl_drive_post_handshake(c->ssl);
	bool asked = tlssf_bridge_io_calls(c->bridge) != before;
	bool on_top = tlssf_bridge_on_top(c);

	/* a failed one answers for ever what it answered last */
	if (res == TL_WANT_WRITE && on_top && !asked)
		return TL_FATAL;
	/* not every filter hands on why the one below it could not flush */
	if (res == TL_SYSCALL && !on_top && asked &&
	    tlssf_bridge_write_pending(c->bridge))
		return TL_WANT_WRITE;
	return res;
}

/* A post-handshake message of the library's, or an answer that it owes. */
int tlssf_conn_finish_post_handshake(struct conn *c)
{
	/* one of its messages can wait in the bridge, not two */
	int r = c->takeover ? tlssf_reseal_flush(c) : 0;
	enum tl_result res;

	if (r)
		return tlssf_conn_result(c, r == -EAGAIN ? WOULD_BLOCK : r);
	res = go_on(c);
	if (c->dead)	/* it was a KeyUpdate that must not leave */
		return TLSSF_ERROR;
	/* OpenSSL 3.2 and later, and a kernel that keeps its key */
	if ((res == TL_FATAL || res == TL_SYSCALL) && !lacks_memory(res) &&
	    c->kernel_tx && !c->takeover && c->key_update_breaks)
		tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY);
	return res == TL_OK ? 0 : tlssf_conn_tls_result(c, res);
}
