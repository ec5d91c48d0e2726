/* SPDX-License-Identifier: MIT */
/*
 * Method `ssl_sendfile`: the TLS library has given its keys to the kernel, so
 * the file goes by SSL_sendfile() and bytes in memory by send(). The traps of
 * both are closed here: counts clamped to the file, no call inside an
 * unfinished SSL_write, open records pushed, and a look at the connection's
 * state before each call, because kernel TLS goes on "sending" to a dead peer.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "internal.h"

/* Nothing is tried inside a send where tlssf_ctx_init() has done it. */
static int kernel_lacks(const struct conn *c)
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

/* The option was off, or the library or kernel said no: which, and why? */
static int why_not(const struct conn *c)
{
	bool on = tl_option_ktls(c->ssl);
	int why;

	if (c->kernel_tx)
		return TLSSF_REASON_NONE;
	if (c->fd < 0)
		return TLSSF_REASON_NOT_SOCKET;
	if (c->info.version < 0x0303)
		return TLSSF_REASON_VERSION;
	if (c->info.kernel_cipher < 0)
		return TLSSF_REASON_CIPHER;
	if (!tl_library_ktls())
		return TLSSF_REASON_LIBRARY_NO_KTLS;
	if (!on && !c->conf)
		return TLSSF_REASON_OPTION_OFF;
	why = kernel_lacks(c);
	if (why)
		return why;
	if (!on && c->conf->drop_ktls13 && c->info.version == 0x0304)
		return TLSSF_REASON_REKEY;
	if (!on)
		return TLSSF_REASON_OPTION_OFF;
	if (c->info.compression)
		return TLSSF_REASON_COMPRESSION;
	if (c->info.max_fragment)
		return TLSSF_REASON_MAX_FRAGMENT;
	return TLSSF_REASON_REFUSED;
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
	int r = tlssf_ktx_push(c);

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
 */
static int wait_for_room(struct conn *c, const struct stream *s, int err)
{
	int revents = err == EINTR ? tlssf_sys.poll(c->fd, 0, 0) : 0;

	if (revents > 0 && revents & POLLERR)
		return tlssf_conn_io_error(c, ERRNO_RESTARTSYS);
	if (!s->nonblocking && push(c))
		return TLSSF_ERROR;
	return tlssf_conn_want_write(c);
}

static int check_alive(struct conn *c)
{
	int state = tlssf_sys.tcp_state(c->fd);

	if (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT)
		return 0;
	return tlssf_conn_io_error(c, state < 0 ? -state : EPIPE);
}

/* The application's own buffering BIO, if any, goes first. */
static int queue_below(struct conn *c)
{
	return tlssf_conn_result(c, tlssf_bridge_flush_below(c->bridge));
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
	struct part part = tlssf_stream_part(s, s->done);
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

static ssize_t send_piece(struct conn *c, const struct stream *s,
			  const struct piece *p)
{
	c->calls++;
	if (p->data)
		return tlssf_sys.send(c->fd, p->data, p->len, p->more);
	return tl_sendfile(c->ssl, s->fd, p->off, p->len);
}

static int send_stream(struct conn *c, struct stream *s, uint64_t limit)
{
	struct piece p;
	ssize_t n;
	int r = check_alive(c);

	if (!r)
		r = queue_below(c);
	if (r)
		return r;
	while (s->done < limit) {
		p = next_piece(s, limit);
		n = send_piece(c, s, &p);
		if (n == -EAGAIN || n == -EINTR)
			return wait_for_room(c, s, (int)-n);
		if (n < 0)
			return stop(c, !p.data, (int)-n);
		if (n == 0) {
			s->short_file = true;
			return push(c);
		}
		s->done += (uint64_t)n;
		c->backoff_ms = 0;
		tlssf_ktx_count(c, (uint64_t)n);
		/* a short call may leave its last record open, too */
		c->ktx.open = p.more || (size_t)n < p.len;
		if ((size_t)n < p.len && !s->nonblocking)
			return wait_for_room(c, s, EINTR);
	}
	return 0;
}

static int drain(struct conn *c)
{
	int r = queue_below(c);

	if (r)
		return r;
	return tlssf_conn_result(c, tlssf_ktx_drain(c));
}

const struct method tlssf_method_ssl_sendfile = {
	.id = TLSSF_METHOD_SSL_SENDFILE,
	.why_not = why_not,
	.send = send_stream,
	.drain = drain,
	.records = tlssf_ktx_records,
};
