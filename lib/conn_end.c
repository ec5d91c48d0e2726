/* SPDX-License-Identifier: MIT */
/* How a call on a connection fails, and how a connection ends before its time. */
#include <errno.h>
#include <string.h>

#include "internal.h"

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

/* ---- a forced end ---- */

static const unsigned char last_alert[] = { ALERT_FATAL,
					    ALERT_INTERNAL_ERROR };

/*
 * The kernel keeps its old key and the peer would get records that it cannot
 * open. So the KeyUpdate does not leave; a fatal alert does, under the key
 * that the peer still expects, and the stream never looks complete.
 */
bool tlssf_conn_key_update(struct conn *c)
{
	c->rekeys++;
	if (!c->key_update_breaks)
		return true;
	tlssf_conn_end(c, TLSSF_REASON_REKEY);
	return false;
}

/* A forced end, by us: the peer hears a fatal alert. */
int tlssf_conn_end(struct conn *c, int reason)
{
	if (!c->dead) {
		if (c->takeover && !c->kernel_tx &&
		    !tlssf_bridge_seal(c->bridge, RECORD_ALERT, last_alert,
				       sizeof(last_alert)))
			tlssf_bridge_drain(c->bridge);
		tlssf_conn_die(c, reason, EPROTO);
		c->alert_due = true;
		tlssf_conn_last_words(c);
	}
	return -EPROTO;
}

static bool lacks_memory(enum tl_result res)
{
	return res == TL_SYSCALL && (errno == ENOMEM || errno == ENOBUFS);
}

int tlssf_conn_library(struct conn *c, enum tl_result res)
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
	unsigned int before = tlssf_bridge_asked(c->bridge);
	enum tl_result res = tl_continue(c->ssl);
	bool asked = tlssf_bridge_asked(c->bridge) != before;
	bool on_top = tlssf_bridge_on_top(c);

	/* a failed one answers for ever what it answered last */
	if (res == TL_WANT_WRITE && on_top && !asked)
		return TL_FATAL;
	/* not every filter hands on why the one below it could not flush */
	if (res == TL_SYSCALL && !on_top && asked &&
	    tlssf_bridge_pending(c->bridge))
		return TL_WANT_WRITE;
	return res;
}

/* A post-handshake message of the library's, or an answer that it owes. */
int tlssf_conn_finish_flight(struct conn *c)
{
	/* one of its messages can wait in the bridge, not two */
	int r = c->takeover ? tlssf_resend_flush(c) : 0;
	enum tl_result res;

	if (r)
		return tlssf_conn_result(c, r == -EAGAIN ? WOULD_BLOCK : r);
	res = go_on(c);
	if (c->dead)	/* it was a KeyUpdate that must not leave */
		return TLSSF_ERROR;
	/* OpenSSL 3.2 and later, and a kernel that keeps its key */
	if ((res == TL_FATAL || res == TL_SYSCALL) && !lacks_memory(res) &&
	    c->kernel_tx && !c->takeover && c->key_update_breaks)
		tlssf_conn_end(c, TLSSF_REASON_REKEY);
	return res == TL_OK ? 0 : tlssf_conn_library(c, res);
}

/*
 * OpenSSL 3.2 and later gives the kernel both directions; where that cannot
 * rekey, a KeyUpdate of the peer's own ends in this alert. SSL_sendfile()
 * would go on after it.
 */
void tlssf_conn_fatal_alert(struct conn *c, int alert)
{
	tlssf_conn_die(c, c->key_update_breaks && !c->takeover &&
			  alert == ALERT_INTERNAL_ERROR
		       ? TLSSF_REASON_REKEY : TLSSF_REASON_TLS, EPROTO);
	c->alert_due = true;
	c->alert_sent = true;
}

int tlssf_conn_last_words(struct conn *c)
{
	ssize_t n;

	/* without the kernel it was tried by tlssf_conn_end() */
	if (!c->kernel_tx || tlssf_ktx_alive(c)) {
		c->alert_due = false;
		return 0;
	}
	if (!c->alert_sent) {
		c->calls++;
		n = tlssf_sys.send_record(c->fd, RECORD_ALERT, last_alert,
					  sizeof(last_alert));
		if (n == -EAGAIN || n == -EINTR)
			return tlssf_conn_want_write(c);
		if (n > 0)
			tlssf_ktx_count(c, sizeof(last_alert));
		c->alert_sent = true;
	}
	if (tlssf_ktx_drain(c) == WOULD_BLOCK)
		return tlssf_conn_want_write(c);
	c->alert_due = false;
	return 0;
}
