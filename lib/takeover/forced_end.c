/* SPDX-License-Identifier: MIT */
/*
 * Ends a connection with a fatal alert. The alert is encrypted with the key
 * that the peer expects, so that a truncated stream never looks complete.
 */
#include <errno.h>

#include "takeover.h"

static const unsigned char alert[] = { ALERT_FATAL, ALERT_INTERNAL_ERROR };

int tlssf_conn_send_due_alert(struct conn *c)
{
	ssize_t n;

	/*
	 * The alert can be sent only through the kernel, because the queue of
	 * our own records has been discarded.
	 */
	if (!tlssf_kernel_seals(c) || tlssf_tx_socket_alive(c)) {
		tlssf_set_life(c, LIFE_DEAD);
		return 0;
	}
	if (c->life == LIFE_ALERT_DUE) {
		c->calls++;
		n = tlssf_tx_send_record(c, RECORD_ALERT, alert, sizeof(alert));
		if (n == -EAGAIN || n == -EINTR)
			return tlssf_conn_want_write(c);
		tlssf_set_life(c, LIFE_ALERT_SENT);
	}
	if (tlssf_tx_drain(c) == -EAGAIN)
		return tlssf_conn_want_write(c);
	tlssf_set_life(c, LIFE_DEAD);
	return 0;
}

int tlssf_conn_end_with_alert(struct conn *c, int reason)
{
	if (tlssf_failed(c))
		return -EPROTO;
	if (c->sealer == SEALER_OURSELVES &&
	    !tlssf_queue_encrypt(c->bridge, &c->takeover->ours, RECORD_ALERT,
				 alert, sizeof(alert), 0))
		tlssf_queue_send(c->bridge);
	tlssf_conn_die_as(c, LIFE_ALERT_DUE, reason, EPROTO);
	tlssf_conn_send_due_alert(c);
	return -EPROTO;
}

bool tlssf_conn_on_key_update(struct conn *c)
{
	c->rekeys++;
	if (!c->key_update_breaks)
		return true;
	/*
	 * After the KeyUpdate the kernel would still use the old key, and the
	 * peer could not decrypt anything.
	 */
	tlssf_conn_end_with_alert(c, TLSSF_REASON_REKEY);
	return false;
}

/*
 * OpenSSL 3.2 and later gives the keys of both directions to the kernel. If the
 * kernel cannot rekey, OpenSSL answers a KeyUpdate of the peer with the alert
 * internal_error. SSL_sendfile() would still send data after that alert.
 */
void tlssf_conn_on_fatal_alert_sent(struct conn *c, int alert_code)
{
	bool rekey = c->key_update_breaks && !tlssf_taken_over(c) &&
		     alert_code == ALERT_INTERNAL_ERROR;

	tlssf_conn_die_as(c, LIFE_ALERT_SENT,
			  rekey ? TLSSF_REASON_REKEY : TLSSF_REASON_TLS,
			  EPROTO);
}
