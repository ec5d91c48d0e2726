/* SPDX-License-Identifier: MIT */
/*
 * Sends through a kernel that has the keys, whoever installed them: a file by
 * sendfile(), bytes in memory by send(). This file avoids the weaknesses of
 * both calls: it never asks for more bytes than the file has, it closes a
 * record that a call left open, and it checks the state of the connection
 * before it sends, because kernel TLS accepts data for a closed connection.
 */
#include <errno.h>
#include <poll.h>

#include "method.h"

/*
 * A file of at most this many bytes is copied behind the header, because that
 * costs less than to send the file by a second system call (measured by
 * bench/kernel).
 */
#define JOINED_FILE	2048u
#define JOINED_MAX	4096u	/* with header and trailer */

/*
 * If c->conf is set, tlssf_ctx_init() has run the probe already, so that no
 * send has to wait for it.
 */
int tlssf_kernel_unavailable_reason(const struct conn *c)
{
	int ulp, tx;

	if (!c->conf)
		tlssf_probe_cap(c->info.version, c->info.kernel_cipher);
	tlssf_probe_peek(c->info.version, c->info.kernel_cipher, &ulp, &tx);
	if (ulp == TLSSF_ULP_ABSENT)
		return TLSSF_REASON_ULP_ABSENT;
	if (ulp == TLSSF_ULP_NOT_LOADED)
		return TLSSF_REASON_ULP_NOT_LOADED;
	return tx == TLSSF_NO ? TLSSF_REASON_KERNEL_CIPHER
			      : TLSSF_REASON_NONE;
}

/*
 * Close a record that is still open, since bytes that were reported as sent
 * must not wait in it.
 */
static int close_record(struct conn *c)
{
	int r = tlssf_tx_close_record(c);

	if (r && r != -EAGAIN && r != -EINTR)
		return tlssf_conn_io_error(c, -r);
	return 0;
}

static int file_failed(struct conn *c, int err)
{
	if (close_record(c))
		return TLSSF_ERROR;
	return tlssf_conn_fail(c, err == EBADF ? TLSSF_REASON_BAD_FD
					       : TLSSF_REASON_FILE_READ, err);
}

static int socket_failed(struct conn *c, int err)
{
	if (close_record(c))
		return TLSSF_ERROR;
	return tlssf_conn_io_error(c, err);
}

/*
 * The socket is full, or a signal arrived. On a blocking socket the caller may
 * not call again, so a record that is open is closed here.
 *
 * If a signal made the kernel cut a record (seen on 6.1 with SO_SNDTIMEO),
 * every later send returns EINTR. In this state poll() reports POLLERR, without
 * clearing the error, so the connection fails. If poll() also reports POLLHUP,
 * the peer caused the error.
 */
static int wait_for_room(struct conn *c, struct stream *s, int err)
{
	int revents = err == EINTR ? tlssf_sys.poll(c->fd, 0, 0) : 0;

	if (revents > 0 && revents & POLLERR)
		return tlssf_conn_io_error(c, revents & POLLHUP ?
					      EPIPE : ERRNO_RESTARTSYS);
	if (!tlssf_stream_nonblocking(s, c->fd) && close_record(c))
		return TLSSF_ERROR;
	return tlssf_conn_want_write(c);
}

/*
 * Send what has to leave before the stream: bytes in buffering BIOs of the
 * application and, after a takeover, a handshake message that waits in
 * reseal.c.
 */
static int flush_bios(struct conn *c)
{
	int r = tlssf_bridge_flush_bios(c->bridge);

	if (!r)
		r = tlssf_reseal_flush(c);
	return tlssf_conn_io_result(c, r);
}

/* What one system call sends. */
struct piece {
	const unsigned char *data;	/* NULL: send the file from `off` */
	uint64_t off;
	size_t len;
	bool more;
};

/*
 * MSG_MORE puts the header and the first bytes of the file into one record.
 * That saves time only if the whole stream fits into one record. In a longer
 * stream the records would not be aligned with the pages of the file, so such a
 * stream is sent without MSG_MORE.
 */
static struct piece next_piece(const struct stream *s, uint64_t limit)
{
	struct stream_part part = tlssf_stream_part(s, s->done);
	struct piece p = { .data = part.data, .off = part.off };
	uint64_t len = limit - s->done;

	if (len > part.len)
		len = part.len;
	if (len > SENDFILE_MAX)
		len = SENDFILE_MAX;
	p.len = (size_t)len;
	p.more = p.data && s->total <= RECORD_MAX && s->done + len < s->total;
	return p;
}

/*
 * Is it cheaper to copy the rest of the stream into one buffer and send that?
 */
static bool worth_joining(const struct stream *s, uint64_t limit)
{
	struct stream_part part = tlssf_stream_part(s, s->done);
	uint64_t len = limit - s->done;

	return part.data && len > part.len && len <= JOINED_MAX &&
	       s->file_len <= JOINED_FILE;
}

/*
 * Returns at least the bytes before the file. If the file cannot be read, the
 * next call reports that error, because the file is then first in line.
 */
static struct piece join(struct stream *s, uint64_t limit, unsigned char *buf)
{
	ssize_t n = tlssf_stream_read(s, s->done, buf,
				      (size_t)(limit - s->done));

	return (struct piece){ .data = buf, .len = (size_t)n };
}

static ssize_t send_bytes(struct conn *c, const struct piece *p)
{
	c->calls++;
	return tlssf_sys.send(c->fd, p->data, p->len, p->more);
}

static ssize_t send_piece(struct conn *c, const struct stream *s,
			  const struct piece *p, file_sender *send_file)
{
	if (p->data)
		return send_bytes(c, p);
	c->calls++;
	return send_file(c, s->fd, p->off, p->len);
}

/* ---- the limit of a key ---- */

/*
 * Replace the key by a KeyUpdate. This is called before the key has protected
 * as many records as RFC 8446, 5.5 allows: KEY_RESERVE records remain. If no
 * KeyUpdate is possible, an alert ends the connection.
 */
static int replace_key(struct conn *c)
{
	if (tlssf_taken_over(c))
		return tlssf_conn_io_result(c, tlssf_keys_send_own_update(c));
	if (c->key_update_breaks || tl_key_update(c->ssl)) {
		tlssf_conn_end_with_alert(c, TLSSF_REASON_KEY_LIMIT);
		return TLSSF_ERROR;
	}
	return tlssf_conn_finish_post_handshake(c);
}

/*
 * Shorten the piece to what `left` records can hold, in the worst case of
 * half-full records.
 */
static void clamp_to_key(const struct conn *c, uint64_t left, struct piece *p)
{
	uint64_t records = left / 2;
	size_t max = tlssf_tx_record_max(c);

	if (records > SENDFILE_MAX / max)
		return;
	if (records < 1)
		records = 1;
	if (p->len > records * max)
		p->len = (size_t)records * max;
}

/* ---- sending and draining ---- */

/*
 * A blocking socket took only `n` bytes. Returns true if the file ended there,
 * and false if a signal cut the call short.
 */
static bool file_has_ended(const struct stream *s, const struct piece *p,
			   size_t n)
{
	unsigned char byte;

	return !p->data && tlssf_sys.pread(s->fd, &byte, 1, p->off + n) == 0;
}

static int account(struct conn *c, struct stream *s, const struct piece *p,
		   size_t n)
{
	s->done += n;
	c->tx->bytes += n;
	c->backoff_ms = 0;
	/* A call that sent less than asked may leave a record open. */
	tlssf_tx_sent(c, n, p->more || n < p->len);
	if (n == p->len || tlssf_stream_nonblocking(s, c->fd))
		return 0;
	if (!file_has_ended(s, p, n))
		return wait_for_room(c, s, EINTR);
	s->short_file = true;
	return close_record(c);
}

/*
 * Account for the result `n` of the system call that was to send `p`.
 */
static int sent(struct conn *c, struct stream *s, const struct piece *p,
		ssize_t n)
{
	if (n == -EAGAIN || n == -EINTR)
		return wait_for_room(c, s, (int)-n);
	if (n < 0)
		return socket_failed(c, (int)-n);
	return account(c, s, p, (size_t)n);
}

/*
 * After these errors of kernel TLS the connection cannot continue, and nothing
 * may be sent again.
 */
static bool is_final(int err)
{
	return err == EBADMSG || err == EPROTO || err == ERRNO_RESTARTSYS;
}

/*
 * sendfile() has failed with `err`. That does not tell whether the file or the
 * socket was the reason, since any file system may return any errno. So this
 * function does the two halves of sendfile() separately: it reads the file, and
 * then sends what it has read. It can also send a file that cannot be spliced;
 * `err` is 0 if the file is already known to be such a file.
 */
static int send_copied(struct conn *c, struct stream *s, struct piece p,
		       int err)
{
	unsigned char *buf;
	ssize_t n;
	int r;

	if (err && tlssf_tx_socket_alive(c))
		return socket_failed(c, err);
	buf = tlssf_plaintext_buffer_get();
	if (!buf)
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, ENOMEM);
	if (p.len > PLAIN_SIZE)
		p.len = PLAIN_SIZE;
	n = tlssf_sys.pread(s->fd, buf, p.len, p.off);
	if (n < 0) {
		r = file_failed(c, (int)-n);
	} else if (n == 0) {
		s->short_file = true;
		r = close_record(c);
	} else if (is_final(err)) {
		r = socket_failed(c, err);
	} else {
		s->copy_file = true;
		p.data = buf;
		p.len = (size_t)n;
		r = sent(c, s, &p, send_bytes(c, &p));
	}
	tlssf_plaintext_buffer_put(buf);
	return r;
}

static int send_some(struct conn *c, struct stream *s, uint64_t limit,
		     file_sender *send_file)
{
	uint64_t left = tlssf_tx_records_left(c);
	unsigned char buf[JOINED_MAX];
	struct piece p;
	ssize_t n;

	if (left <= KEY_RESERVE) {
		int r = replace_key(c);

		if (r)
			return r;
		left = tlssf_tx_records_left(c);
	}
	p = worth_joining(s, limit) ? join(s, limit, buf)
				    : next_piece(s, limit);
	clamp_to_key(c, left, &p);
	if (!p.data && s->copy_file)
		return send_copied(c, s, p, 0);
	n = send_piece(c, s, &p, send_file);
	if (n == 0 && !p.data) {
		s->short_file = true;
		return close_record(c);
	}
	if (n < 0 && n != -EAGAIN && n != -EINTR && !p.data)
		return send_copied(c, s, p, (int)-n);
	return sent(c, s, &p, n);
}

/*
 * Keep a header that gets a record of its own from getting a packet of its own,
 * which would cost more than the three system calls for TCP_CORK. Returns true
 * if TCP_CORK was set here.
 */
static bool cork(const struct conn *c, const struct stream *s, uint64_t limit)
{
	return s->done < s->header_len && limit > s->header_len &&
	       s->total > RECORD_MAX && tlssf_sys.tcp_corked(c->fd) == 0 &&
	       tlssf_sys.tcp_cork(c->fd, true) == 0;
}

int tlssf_kernel_send(struct conn *c, struct stream *s, uint64_t limit,
		      file_sender *send_file)
{
	bool corked;
	int r;

	if (!tlssf_kernel_seals(c))	/* data would leave in plaintext */
		return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
	r = tlssf_tx_check_before_send(c, s->total - s->done,
				       s->job && s->job->then_flush);
	if (r)
		return tlssf_conn_io_error(c, -r);
	r = flush_bios(c);
	corked = !r && cork(c, s, limit);
	while (!r && s->done < limit && !s->short_file)
		r = send_some(c, s, limit, send_file);
	if (corked)
		tlssf_sys.tcp_cork(c->fd, false);
	return r;
}

int tlssf_kernel_drain(struct conn *c)
{
	int r = flush_bios(c);

	return r ? r : tlssf_conn_io_result(c, tlssf_tx_drain(c));
}
