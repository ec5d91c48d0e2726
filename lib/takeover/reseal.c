/* SPDX-License-Identifier: MIT */
/*
 * The library's own records after a takeover: SSL_write(), alerts, session
 * tickets, KeyUpdate. The TLS library does not know of the takeover and
 * encrypts them with its own keys. They must not leave, since their sequence
 * numbers are in use by the new owner of the keys. So each record is decrypted
 * here, and its content leaves under the right sequence number: through the
 * kernel, with its record type, or encrypted again by us.
 *
 * Records that we encrypt have the padding that the TLS library gave them. The
 * kernel cannot pad. The sample has shown that data records are not padded, but
 * an application may pad handshake messages and alerts only, and a peer makes
 * the library send them. So the kernel sends these without their padding.
 *
 * The library's write succeeds only when all of its record has left; until then
 * it fails with "try again", and the library repeats the same record. There is
 * one exception. A library that defers handshake messages to the next
 * SSL_write() would be left with an unfinished write that nobody repeats when
 * we make it send these messages. So one such message is acknowledged early and
 * waits here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "takeover.h"

#define PART_MAX	(RECORD_HEADER + RECORD_MAX + 256u)

const char *const tlssf_reseal_names[] = {
	[RESEAL_IDLE] = "idle",
	[RESEAL_KEY_FIRST] = "key_first",
	[RESEAL_SEND] = "send",
	[RESEAL_QUEUED] = "queued",
};

#define TO(step)	(1u << (step))

static const uint8_t reseal_steps[] = {
	[RESEAL_IDLE] = TO(RESEAL_KEY_FIRST) | TO(RESEAL_SEND),
	[RESEAL_KEY_FIRST] = TO(RESEAL_SEND),
	[RESEAL_SEND] = TO(RESEAL_QUEUED) | TO(RESEAL_IDLE),
	[RESEAL_QUEUED] = TO(RESEAL_IDLE),
};

static void set_step(struct conn *c, enum reseal_step to)
{
	struct reseal *r = &c->takeover->reseal;

	tlssf_state_trace(c, "reseal", tlssf_reseal_names, reseal_steps,
			  r->step, to);
	r->step = to;
}

static void drop_plaintext(struct reseal *r)
{
	if (r->plain != r->stashed)
		tlssf_plaintext_buffer_put(r->plain);
	free(r->stashed);
	r->plain = r->stashed = NULL;
}

void tlssf_reseal_free(struct reseal *r)
{
	free(r->part);
	drop_plaintext(r);
	memset(r, 0, sizeof(*r));
}

/* ---- from the library: a whole record, and what it is ---- */

/*
 * A buffering BIO above the bridge, such as OpenSSL's own one for handshake
 * messages, cuts records anywhere. Append `in` to the part of the record that
 * has been received so far. Returns how many bytes of `in` belong to the
 * record, or -errno.
 */
static ssize_t append_piece(struct reseal *r, const unsigned char *in,
			    size_t len)
{
	size_t goal, consumed = 0, n;

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
		consumed += n;
	}
	return (ssize_t)consumed;
}

static bool part_complete(const struct reseal *r)
{
	return r->part_len > RECORD_HEADER &&
	       r->part_len == tlssf_record_len(r->part);
}

/*
 * Does a KeyUpdate message start in this record? Handshake messages follow each
 * other without a gap, and a message may reach into the next record.
 */
static bool has_key_update(struct reseal *r, const unsigned char *p,
			   size_t len)
{
	bool found = false;

	while (len > 0) {
		size_t n;

		if (r->message_left == 0) {
			/* No TLS library cuts a header. */
			if (len < HANDSHAKE_HEADER)
				break;
			found = found || p[0] == HANDSHAKE_KEY_UPDATE;
			r->message_left = HANDSHAKE_HEADER +
					  ((size_t)p[1] << 16 |
					   (size_t)p[2] << 8 | p[3]);
		}
		n = r->message_left < len ? r->message_left : len;
		r->message_left -= n;
		p += n;
		len -= n;
	}
	return found;
}

static int fatal_alert_in(const struct opened *o, const unsigned char *plain)
{
	return o->type == RECORD_ALERT && o->len == 2 &&
	       plain[0] == ALERT_FATAL ? plain[1] : -1;
}

/*
 * Is this padded data that cannot be sent? The kernel would send it without the
 * padding, and the option drop_padding does not allow that.
 */
static bool padding_is_lost(const struct conn *c, const struct opened *o)
{
	return o->padding && o->type == RECORD_DATA && tlssf_kernel_seals(c) &&
	       !(c->conf && c->conf->options.drop_padding);
}

static int decrypt_record(struct conn *c, const unsigned char *rec, size_t len)
{
	struct takeover *t = c->takeover;
	struct reseal *r = &t->reseal;
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
	if (padding_is_lost(c, &o))
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_PADDING);
	r->len = o.len;
	r->padding = o.padding;
	r->sent = 0;
	r->type = o.type;
	r->fatal_alert = fatal_alert_in(&o, plain);
	r->rekeys = c->info.version == TLS13 && o.type == RECORD_HANDSHAKE &&
		    has_key_update(r, plain, o.len);
	return 0;
}

static int prepare_key_update(struct conn *c)
{
	return tlssf_keys_prepare_update(c) ?
	       tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY) : 0;
}

static int begin_record(struct conn *c, const unsigned char *rec, size_t len)
{
	int err = decrypt_record(c, rec, len);

	if (err)
		return err;
	set_step(c, tlssf_keys_records_left(c) <= KEY_RESERVE ?
		    RESEAL_KEY_FIRST : RESEAL_SEND);
	if (!c->takeover->reseal.rekeys)
		return 0;
	return tlssf_conn_on_key_update(c) ? prepare_key_update(c) : -EPROTO;
}

/*
 * Begin the next record, which is in `in`, or in earlier pieces and `in`.
 * Returns 0 if the record is complete; else how many bytes of `in` were
 * appended to the pieces, or -errno.
 */
static ssize_t reassemble(struct conn *c, const unsigned char *in, size_t len)
{
	struct reseal *r = &c->takeover->reseal;
	ssize_t n;
	int err;

	r->consumed = len < RECORD_HEADER ? 0 : tlssf_record_len(in);
	if (!r->part_len && len >= RECORD_HEADER && r->consumed <= len)
		return begin_record(c, in, r->consumed);
	n = append_piece(r, in, len);
	if (n < 0 || !part_complete(r))
		return n;
	r->consumed = (size_t)n;
	err = begin_record(c, r->part, r->part_len);
	/* After a lack of memory the library writes this piece again. */
	r->part_len = err == -ENOMEM ? r->part_len - r->consumed : 0;
	return err;
}

/* ---- to the peer ---- */

static int write_to_kernel(struct conn *c, struct reseal *r)
{
	ssize_t n;

	while (r->sent < r->len) {
		const unsigned char *at = r->plain + r->sent;
		size_t len = r->len - r->sent;

		if (r->type == RECORD_DATA) {
			n = tlssf_sys.send(c->fd, at, len, false);
			if (n > 0)
				tlssf_tx_sent(c, (uint64_t)n, false);
		} else {
			n = tlssf_tx_send_record(c, r->type, at, len);
		}
		if (n == -EINTR)
			return -EAGAIN;
		if (n < 0)
			return (int)n;
		r->sent += (size_t)n;
	}
	return 0;
}

/* Encrypt the record behind all records that are already in the queue. */
static int write_to_queue(struct conn *c, struct reseal *r)
{
	int err = 0;

	if (r->step == RESEAL_SEND)
		err = tlssf_queue_encrypt(c->bridge, &c->takeover->ours,
					  r->type, r->plain, r->len,
					  r->padding);
	if (err)
		return err;
	if (r->step == RESEAL_SEND)
		set_step(c, RESEAL_QUEUED);
	return tlssf_queue_send(c->bridge);
}

/*
 * The current key must not protect this record, so send a KeyUpdate of our own
 * first.
 */
static int send_key_first(struct conn *c, struct reseal *r)
{
	int err = tlssf_keys_send_own_update(c);

	if (err)
		return err;
	set_step(c, RESEAL_SEND);
	/* The KeyUpdate in the record was prepared from the old key. */
	return r->rekeys ? prepare_key_update(c) : 0;
}

/*
 * Copy the unsent rest of the content to a buffer of its size. If the record is
 * already in the queue, nothing has to be copied.
 */
static int stash_rest(struct conn *c, struct reseal *r, int err)
{
	size_t left = r->len - r->sent;
	unsigned char *copy;

	if (r->stashed)
		return err;
	if (r->step == RESEAL_QUEUED) {
		drop_plaintext(r);
		return err;
	}
	copy = malloc(left + 1);
	if (!copy)	/* part of the record may have left */
		return tlssf_conn_end_with_alert(c, TLSSF_REASON_NO_MEMORY);
	memcpy(copy, r->plain + r->sent, left);
	drop_plaintext(r);
	r->plain = r->stashed = copy;
	r->len = left;
	r->sent = 0;
	return err;
}

/* Called when all of the record has left. */
static int record_done(struct conn *c, struct reseal *r)
{
	int err = r->rekeys ? tlssf_keys_commit_update(c) : 0;

	drop_plaintext(r);
	free(r->part);
	r->part = NULL;
	r->acked_early = r->rekeys = false;
	set_step(c, RESEAL_IDLE);
	if (r->fatal_alert >= 0)
		tlssf_conn_on_fatal_alert_sent(c, r->fatal_alert);
	if (!err)
		return 0;
	/* The peer expects the new key, but the kernel has the old one. */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	return -EPROTO;
}

static int finish_record(struct conn *c)
{
	struct reseal *r = &c->takeover->reseal;
	int err = tlssf_kernel_seals(c) ? tlssf_tx_socket_alive(c) : 0;

	if (!err && r->step == RESEAL_KEY_FIRST)
		err = send_key_first(c, r);
	if (!err)
		err = tlssf_kernel_seals(c) ? write_to_kernel(c, r)
					    : write_to_queue(c, r);
	if (err)
		return stash_rest(c, r, err);
	return record_done(c, r);
}

/* ---- both ---- */

int tlssf_reseal_flush(struct conn *c)
{
	if (!tlssf_taken_over(c) || !c->takeover->reseal.acked_early)
		return 0;
	return tlssf_sys.process() == c->process ? finish_record(c) : -ECHILD;
}

static bool is_temporary(ssize_t err)
{
	return err == -EAGAIN || tlssf_is_memory_error((int)-err);
}

ssize_t tlssf_reseal(struct conn *c, const unsigned char *in, size_t len)
{
	struct reseal *r = &c->takeover->reseal;
	ssize_t n = tlssf_reseal_flush(c);

	if (!n && r->step == RESEAL_IDLE)
		n = reassemble(c, in, len);
	/* A failure, or only a piece of a record. */
	if (n || r->step == RESEAL_IDLE)
		return n;
	n = finish_record(c);
	if (is_temporary(n) && r->type == RECORD_HANDSHAKE &&
	    tl_defers_post_handshake(c->ssl)) {
		r->acked_early = true;
		n = 0;
	}
	return n ? n : (ssize_t)r->consumed;
}

/* ---- the library's post-handshake messages ---- */

/* Did a write of the library fail because the bridge had no memory? */
static bool lacks_memory(enum tl_result res)
{
	return res == TL_SYSCALL && tlssf_is_memory_error(errno);
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

/*
 * Let the library send its post-handshake messages. Returns its result,
 * corrected if the library or a filter above the bridge does not report whether
 * the bridge is full.
 */
static enum tl_result drive_post_handshake(struct conn *c)
{
	unsigned int before = c->bridge->io_calls;
	enum tl_result res = tl_drive_post_handshake(c->ssl);
	bool bridge_used = c->bridge->io_calls != before;
	bool on_top = tlssf_bridge_on_top(c);

	/*
	 * The library has not written anything: it has failed and only repeats
	 * its last result.
	 */
	if (res == TL_WANT_WRITE && on_top && !bridge_used)
		return TL_FATAL;
	/*
	 * The bridge is full, and a filter above it has not copied its retry
	 * flags.
	 */
	if (res == TL_SYSCALL && !on_top && bridge_used &&
	    c->bridge->write_pending)
		return TL_WANT_WRITE;
	return res;
}

int tlssf_conn_finish_post_handshake(struct conn *c)
{
	/*
	 * The bridge has room for one waiting message, so send that one first.
	 */
	int r = tlssf_reseal_flush(c);
	enum tl_result res;

	if (r)
		return tlssf_conn_io_result(c, r);
	res = drive_post_handshake(c);
	/* The message was a KeyUpdate that must not leave. */
	if (tlssf_failed(c))
		return TLSSF_ERROR;
	/* OpenSSL 3.2 and later fails if the kernel cannot rekey. */
	if ((res == TL_FATAL || res == TL_SYSCALL) && !lacks_memory(res) &&
	    c->sealer == SEALER_LIBRARY_IN_KERNEL && c->key_update_breaks)
		tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY);
	return res == TL_OK ? 0 : tlssf_conn_tls_result(c, res);
}
