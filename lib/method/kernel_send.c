/* SPDX-License-Identifier: MIT */
/*
 * Sending through a kernel that holds the keys, whoever gave them to it: the
 * file by sendfile(), bytes in memory by send(). The traps of both are closed
 * here: counts clamped to the file, open records pushed, and a look at the
 * connection's state before each call, because kernel TLS goes on "sending" to
 * a dead peer.
 */
#include <errno.h>
#include <poll.h>

#include "method.h"

/*
 * Up to so many bytes of a file it costs less to copy them beside the header
 * than to make a second call for them; bench/kernel has counted it.
 */
#define JOINED_FILE	2048u
#define JOINED_MAX	4096u	/* with header and trailer */

/* Nothing is tried inside a send where tlssf_ctx_init() has done it. */
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

/* Errors that tell of the file, not of the connection. */
static bool file_error(int err)
{
	switch (err) {
	case EIO:
	case EBADF:
	case EINVAL:
	case EFAULT:
	case ESPIPE:
	case EISDIR:
	case ENXIO:
	case ENODEV:
	case EACCES:
	case ESTALE:
	case EOVERFLOW:
		return true;
	}
	return false;
}

/* Nothing that was counted may stay in an open record. */
static int push(struct conn *c)
{
	int r = tlssf_tx_close_record(c);

	if (r && r != -EAGAIN && r != -EINTR)
		return tlssf_conn_io_error(c, -r);
	return 0;
}

static int stop(struct conn *c, bool file, int err)
{
	if (push(c))
		return TLSSF_ERROR;
	if (file && err == EBADF)
		return tlssf_conn_fail(c, TLSSF_REASON_BAD_FD, err);
	if (file && file_error(err))
		return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ, err);
	return tlssf_conn_io_error(c, err);
}

/*
 * A blocking caller may not come back: leave nothing open behind. Kernels
 * that let a signal cut a record say EINTR for ever (seen on 6.1 with
 * SO_SNDTIMEO); the socket's error, not consumed by poll, tells them apart.
 * A peer that is gone has hung up as well.
 */
static int wait_for_room(struct conn *c, struct stream *s, int err)
{
	int revents = err == EINTR ? tlssf_sys.poll(c->fd, 0, 0) : 0;

	if (revents > 0 && revents & POLLERR)
		return tlssf_conn_io_error(c, revents & POLLHUP ?
					      EPIPE : ERRNO_RESTARTSYS);
	if (!tlssf_stream_nonblocking(s, c->fd) && push(c))
		return TLSSF_ERROR;
	return tlssf_conn_want_write(c);
}

/* The application's own buffering BIO, if any, goes first. */
static int flush_bio(struct conn *c)
{
	int r = tlssf_bridge_flush_bios(c->bridge);

	if (!r && c->takeover)
		r = tlssf_reseal_flush(c);
	return tlssf_conn_result(c, r == -EAGAIN ? WOULD_BLOCK : r);
}

/* What one system call sends. */
struct piece {
	const unsigned char *data;	/* NULL: the file, from off */
	uint64_t off;
	size_t len;
	bool more;
};

/*
 * MSG_MORE joins the header with the file's first bytes. It pays while all
 * fits in one record; beyond, records shift against pages and nothing is won.
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

static bool worth_joining(const struct stream *s, uint64_t limit)
{
	struct stream_part part = tlssf_stream_part(s, s->done);
	uint64_t len = limit - s->done;

	return part.data && len > part.len && len <= JOINED_MAX &&
	       s->file_len <= JOINED_FILE;
}

/* At least the first part: an error of the file shows at its own turn. */
static struct piece join(struct stream *s, uint64_t limit, unsigned char *buf)
{
	ssize_t n = tlssf_stream_read(s, s->done, buf,
				      (size_t)(limit - s->done));

	return (struct piece){ .data = buf, .len = (size_t)n };
}

static ssize_t send_piece(struct conn *c, const struct stream *s,
			  const struct piece *p, file_sender *send_file)
{
	c->calls++;
	if (p->data)
		return tlssf_sys.send(c->fd, p->data, p->len, p->more);
	return send_file(c, s->fd, p->off, p->len);
}

/* ---- a key lasts only so long ---- */

/*
 * RFC 8446, 5.5: before the key has protected too many records, ask for
 * another one. A few are left for the alert where that cannot be.
 */
static int new_key(struct conn *c)
{
	if (c->takeover) {
		int r = tlssf_keys_send_own_update(c);

		return tlssf_conn_result(c, r == -EAGAIN ? WOULD_BLOCK : r);
	}
	if (c->key_update_breaks || tl_key_update(c->ssl)) {
		tlssf_conn_end_with_alert(c, TLSSF_REASON_KEY_LIMIT);
		return TLSSF_ERROR;
	}
	return tlssf_conn_finish_post_handshake(c);
}

/*
 * No more than the key has records for, `left`; half-full ones are the worst
 * case.
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

/* ---- the two that the methods share ---- */

static int account(struct conn *c, struct stream *s, const struct piece *p,
		   size_t n)
{
	s->done += n;
	c->tx->bytes += n;
	c->backoff_ms = 0;
	tlssf_tx_add(c, n);
	/* a short call may leave its last record open, too */
	c->tx->open = p->more || n < p->len;
	if (n < p->len && !tlssf_stream_nonblocking(s, c->fd))
		return wait_for_room(c, s, EINTR);
	return 0;
}

static int send_some(struct conn *c, struct stream *s, uint64_t limit,
		     file_sender *send_file)
{
	uint64_t left = tlssf_tx_records_left(c);
	unsigned char buf[JOINED_MAX];
	struct piece p;
	ssize_t n;

	if (left <= KEY_RESERVE) {
		int r = new_key(c);

		if (r)
			return r;
		left = tlssf_tx_records_left(c);
	}
	p = worth_joining(s, limit) ? join(s, limit, buf)
				    : next_piece(s, limit);
	clamp_to_key(c, left, &p);
	n = send_piece(c, s, &p, send_file);
	if (n == -EAGAIN || n == -EINTR)
		return wait_for_room(c, s, (int)-n);
	if (n < 0)
		return stop(c, !p.data, (int)-n);
	if (n == 0) {
		s->short_file = true;
		return push(c);
	}
	return account(c, s, &p, (size_t)n);
}

/*
 * A header that has a record of its own need not have a packet of its own, too:
 * that costs more than three system calls.
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

	if (!c->kernel_tx)	/* it would go out in the clear */
		return tlssf_conn_die(c, TLSSF_REASON_TLS, EPROTO);
	r = tlssf_tx_check_before_send(c, s->total - s->done,
			   s->job && s->job->then_flush);
	if (r)
		return tlssf_conn_io_error(c, -r);
	r = flush_bio(c);
	corked = !r && cork(c, s, limit);
	while (!r && s->done < limit && !s->short_file)
		r = send_some(c, s, limit, send_file);
	if (corked)
		tlssf_sys.tcp_cork(c->fd, false);
	return r;
}

int tlssf_kernel_drain(struct conn *c)
{
	int r = flush_bio(c);

	return r ? r : tlssf_conn_result(c, tlssf_tx_drain(c));
}
