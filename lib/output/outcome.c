/* SPDX-License-Identifier: MIT */
/* How a call on a connection fails, and how a connection ends before its time. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "output.h"

#define BACKOFF_MAX_MS		64u

/* ---- failures ---- */

int tlssf_conn_fail(struct conn *c, int reason, int err)
{
	if (tlssf_tracing() && (c->error != reason || c->err != err))
		tlssf_trace(c->ssl, "error %s (%s)", tlssf_reason_name(reason),
			    strerror(err));
	c->error = (uint8_t)reason;
	c->err = (int16_t)err;
	errno = err;
	return TLSSF_ERROR;
}

int tlssf_conn_die(struct conn *c, int reason, int err)
{
	if (c->dead) {
		errno = c->err;
		return TLSSF_ERROR;
	}
	c->dead = true;
	tlssf_conn_fail(c, reason, err);
	if (c->bridge)
		tlssf_bridge_guard(c->bridge, err);
	return TLSSF_ERROR;
}

int tlssf_conn_io_error(struct conn *c, int err)
{
	switch (err) {
	case ENOMEM:
	case ENOBUFS:
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, err);
	case ECHILD:	/* the bridge met another process */
		return tlssf_conn_fail(c, TLSSF_REASON_FORKED, EPERM);
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case ESHUTDOWN:
	case ETIMEDOUT:
		return tlssf_conn_die(c, TLSSF_REASON_PEER_GONE, err);
	case EBADMSG:
		return tlssf_conn_die(c, TLSSF_REASON_TLS, err);
	case ERRNO_RESTARTSYS:
		return tlssf_conn_die(c, TLSSF_REASON_INTERRUPTED, EIO);
	}
	return tlssf_conn_die(c, TLSSF_REASON_IO, err);
}

/* ---- waiting ---- */

/*
 * Linux before 6.5 leaves sendfile's last records in TCP without a push, and
 * when nothing is in flight no ACK will ever come to send them. Taking a cork
 * off that is not there pushes, and changes nothing else; one that is there is
 * the application's own wish, or kernel_send.c takes it off.
 */
static void push_tcp(const struct conn *c)
{
	if (tlssf_sys.tcp_corked(c->fd) == 0)
		tlssf_sys.tcp_cork(c->fd, false);
}

int tlssf_conn_want_write(struct conn *c)
{
	bool writable;

	if (c->kernel_tx)
		push_tcp(c);
	/* without a socket: is it the BIO that waits, or we for memory? */
	writable = c->fd >= 0 ? tlssf_sys.poll(c->fd, POLLOUT, 0) > 0
			      : c->bridge && !tlssf_queue_has_bytes(c->bridge);
	c->retry_ms = 0;
	if (writable) {
		c->retry_ms = c->backoff_ms ? c->backoff_ms : 1;
		c->backoff_ms = c->retry_ms < BACKOFF_MAX_MS ? c->retry_ms * 2
							     : BACKOFF_MAX_MS;
	}
	return TLSSF_WANT_WRITE;
}

int tlssf_conn_result(struct conn *c, int r)
{
	if (r == WOULD_BLOCK)
		return tlssf_conn_want_write(c);
	return r ? tlssf_conn_io_error(c, -r) : 0;
}
