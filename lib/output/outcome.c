/* SPDX-License-Identifier: MIT */
/* The results of calls: a failure and its reason, or when to call again. */
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

int tlssf_conn_die_as(struct conn *c, enum life life, int reason, int err)
{
	if (!tlssf_failed(c)) {
		tlssf_conn_fail(c, reason, err ? err : EPIPE);
		tlssf_set_life(c, life);
		/*
		 * While a batch is being filled, its method owns it, so do not
		 * discard it here.
		 */
		if (c->bridge && !c->bridge->gathering)
			tlssf_queue_discard(c->bridge);
	}
	errno = c->err;
	return TLSSF_ERROR;
}

int tlssf_conn_die(struct conn *c, int reason, int err)
{
	return tlssf_conn_die_as(c, LIFE_DEAD, reason, err);
}

bool tlssf_is_memory_error(int err)
{
	return err == ENOMEM || err == ENOBUFS;
}

int tlssf_conn_io_error(struct conn *c, int err)
{
	if (tlssf_is_memory_error(err))
		return tlssf_conn_fail(c, TLSSF_REASON_NO_MEMORY, err);
	switch (err) {
	case ECHILD:	/* a forked child has used the bridge */
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
 * Make TCP send what it has. Linux before 6.5 leaves the last records of a
 * sendfile() in TCP without a push. If nothing is in flight, no acknowledgement
 * comes that would make TCP send them. To clear TCP_CORK makes TCP send, even
 * if the option was not set. If it is set, it stays: the application set it, or
 * kernel_send.c did and will clear it.
 */
static void push_tcp(const struct conn *c)
{
	if (tlssf_sys.tcp_corked(c->fd) == 0)
		tlssf_sys.tcp_cork(c->fd, false);
}

int tlssf_conn_want_write(struct conn *c)
{
	bool writable;

	if (tlssf_kernel_seals(c))
		push_tcp(c);
	/*
	 * Without a socket there is nothing to poll, so look at the queue. If
	 * records are queued, the BIO below is full. If not, memory ran out, so
	 * set retry_ms to let the caller retry later.
	 */
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

int tlssf_conn_io_result(struct conn *c, int r)
{
	if (r == -EAGAIN)
		return tlssf_conn_want_write(c);
	return r ? tlssf_conn_io_error(c, -r) : 0;
}
