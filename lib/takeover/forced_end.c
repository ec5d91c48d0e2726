/* SPDX-License-Identifier: MIT */
/* The end of a connection before its time, with a fatal alert. */
#include <errno.h>

#include "takeover.h"

static const unsigned char last_alert[] = { ALERT_FATAL,
					    ALERT_INTERNAL_ERROR };

/*
 * The kernel keeps its old key and the peer would get records that it cannot
 * open. So the KeyUpdate does not leave; a fatal alert does, under the key
 * that the peer still expects, and the stream never looks complete.
 */
bool tlssf_conn_on_key_update(struct conn *c)
{
	c->rekeys++;
	if (!c->key_update_breaks)
		return true;
	tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY);
	return false;
}

/* A forced end, by us: the peer hears a fatal alert. */
int tlssf_conn_end_with_alert(struct conn *c, int reason)
{
	if (!c->dead) {
		if (c->takeover && !c->kernel_tx &&
		    !tlssf_queue_encrypt(c->bridge, &c->takeover->ours,
				       RECORD_ALERT, last_alert,
				       sizeof(last_alert)))
			tlssf_queue_send(c->bridge);
		tlssf_conn_die(c, reason, EPROTO);
		c->alert_due = true;
		tlssf_conn_send_due_alert(c);
	}
	return -EPROTO;
}

/*
 * OpenSSL 3.2 and later gives the kernel both directions; where that cannot
 * rekey, a KeyUpdate of the peer's own ends in this alert. SSL_sendfile()
 * would go on after it.
 */
void tlssf_conn_on_fatal_alert_sent(struct conn *c, int alert)
{
	tlssf_conn_die(c, c->key_update_breaks && !c->takeover &&
			  alert == ALERT_INTERNAL_ERROR
		       ? TLSSF_REASON_REKEY : TLSSF_REASON_TLS, EPROTO);
	c->alert_due = true;
	c->alert_sent = true;
}

int tlssf_conn_send_due_alert(struct conn *c)
{
	ssize_t n;

	/* without the kernel it was tried by tlssf_conn_end_with_alert() */
	if (!c->kernel_tx || tlssf_tx_socket_alive(c)) {
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
			tlssf_tx_add(c, sizeof(last_alert));
		c->alert_sent = true;
	}
	if (tlssf_tx_drain(c) == WOULD_BLOCK)
		return tlssf_conn_want_write(c);
	c->alert_due = false;
	return 0;
}
