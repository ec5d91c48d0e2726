/* SPDX-License-Identifier: MIT */
/* Which of the methods, and why not the others. */
#include <errno.h>

#include "method.h"

/* In AUTO's order of preference, which is that of enum tlssf_method. */
static const struct method *const methods[TLSSF_METHOD_COUNT] = {
	[TLSSF_METHOD_SSL_SENDFILE] = &tlssf_method_ssl_sendfile,
	[TLSSF_METHOD_KTLS] = &tlssf_method_ktls,
	[TLSSF_METHOD_USERSPACE] = &tlssf_method_userspace,
};

void tlssf_method_choose(struct conn *c)
{
	int named = c->conf ? c->conf->options.method : TLSSF_METHOD_AUTO;

	c->named = (uint8_t)named;
	c->method = TLSSF_METHOD_AUTO;
	for (int id = TLSSF_METHOD_AUTO + 1; id < TLSSF_METHOD_COUNT; id++) {
		int why = methods[id]->unavailable_reason(c);

		if (named != TLSSF_METHOD_AUTO && named != id)
			why = TLSSF_REASON_NOT_ASKED;
		else if (c->method)
			why = TLSSF_REASON_NOT_ASKED;
		c->why_not[id] = (uint8_t)why;
		if (!why)
			c->method = (uint8_t)id;
		tlssf_trace(c->ssl, "%s: %s", tlssf_method_name(id),
			    why ? tlssf_reason_name(why) : "taken");
	}
}

/* By the one that was chosen. */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit)
{
	return methods[c->method]->send(c, s, limit);
}

/* ktls is chosen before it is in force, for a send that is worth it. */
int tlssf_method_in_force(const struct conn *c)
{
	if (c->method != TLSSF_METHOD_KTLS || c->kernel_tx)
		return c->method;
	return c->named == TLSSF_METHOD_AUTO ? TLSSF_METHOD_USERSPACE
					     : TLSSF_METHOD_AUTO;
}

/* ---- what has to be known before the choice ---- */

/* The kernel's word counts, not that of whatever BIO lies below: 0, -ENOMEM. */
static int find_sealer(struct conn *c)
{
	int r = -ENOPROTOOPT;
	bool rekeys;

	c->key_update_breaks = false;
	c->kernel_tx = true;	/* so that the bridge passes the question */
	if (tl_library_offloads(c->ssl))
		r = tlssf_tx_open(c, false);
	c->kernel_tx = !r;
	if (r)
		return r == -ENOMEM ? r : 0;
	rekeys = tl_library_rekey() && tlssf_kernel_can_rekey(c);
	c->key_update_breaks = c->info.version >= TLS13 && !rekeys;
	return 0;
}

static int gather_facts(struct conn *c)
{
	c->handshake = tl_handshake_id(c->ssl);
	c->fd = tl_write_fd(c->ssl);
	c->socket = 0;
	if (c->fd >= 0 && tlssf_sys.socket_id(c->fd, &c->socket))
		c->socket = 0;
	c->process = tlssf_sys.process();
	c->last_bytes_read = (uint16_t)tl_bytes_read(c->ssl);
	tl_describe(c->ssl, &c->info);
	return find_sealer(c);
}

int tlssf_conn_examine(struct conn *c)
{
	int r;

	c->examined = true;
	r = gather_facts(c);
	if (r) {	/* who seals is not known: nothing may be sent */
		c->examined = false;
		return r;
	}
	tlssf_keys_refresh_secret(c);
	tlssf_method_choose(c);
	if (c->bridge)
		tlssf_bridge_examined(c->bridge);
	return 0;
}

/* No: SSL_clear() was called, at least, and the keys that we know are gone. */
bool tlssf_conn_same_handshake(const struct conn *c)
{
	return tl_handshake_id(c->ssl) == c->handshake;
}
