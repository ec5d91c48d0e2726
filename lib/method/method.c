/* SPDX-License-Identifier: MIT */
/* Examines a connection, and chooses the method that sends on it. */
#include <errno.h>

#include "method.h"

/* ---- the choice ---- */

/* In the order in which TLSSF_METHOD_AUTO prefers them. */
static const struct method *const methods[TLSSF_METHOD_COUNT] = {
	[TLSSF_METHOD_SSL_SENDFILE] = &tlssf_method_ssl_sendfile,
	[TLSSF_METHOD_KTLS] = &tlssf_method_ktls,
	[TLSSF_METHOD_USERSPACE] = &tlssf_method_userspace,
};

static void choose(struct conn *c)
{
	int requested = c->requested_method;

	c->method = TLSSF_METHOD_AUTO;
	for (int id = TLSSF_METHOD_AUTO + 1; id < TLSSF_METHOD_COUNT; id++) {
		int why = methods[id]->unavailable_reason(c);

		if (requested != TLSSF_METHOD_AUTO && requested != id)
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

/*
 * Wipe the write secret if no takeover can come. Only a takeover, in which we
 * take the write keys over from the TLS library, needs the secret.
 */
static void wipe_useless_secret(struct conn *c)
{
	if (c->secret_len && tlssf_takeover_ruled_out(c))
		tlssf_keys_wipe_secret(c);
}

int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit)
{
	int r = methods[c->method]->send(c, s, limit);

	wipe_useless_secret(c);	/* the send may rule a takeover out */
	return r;
}

/*
 * The method ktls is chosen before its takeover, but is in force only after the
 * takeover. Until then AUTO sends by the method userspace. If ktls was
 * requested by name, no method is in force, which TLSSF_METHOD_AUTO stands for.
 */
int tlssf_method_in_force(const struct conn *c)
{
	if (c->method != TLSSF_METHOD_KTLS || tlssf_kernel_seals(c))
		return c->method;
	return c->requested_method == TLSSF_METHOD_AUTO ?
	       TLSSF_METHOD_USERSPACE : TLSSF_METHOD_AUTO;
}

/* ---- what has to be known before the choice ---- */

/*
 * Find out who encrypts ("seals") the records: the TLS library, or the kernel
 * with keys that the library has given to it. The BIO below may claim that the
 * kernel does, but only the kernel's own answer counts. Returns 0, or -ENOMEM,
 * and then the sealer stays unknown.
 */
static int find_sealer(struct conn *c)
{
	int r = -ENOPROTOOPT;
	bool rekeys;

	c->key_update_breaks = false;
	tlssf_set_sealer(c, SEALER_UNKNOWN);
	if (tl_library_offloads(c->ssl))
		r = tlssf_tx_open(c, false);
	if (r == -ENOMEM)
		return r;
	if (r) {
		tlssf_set_sealer(c, SEALER_LIBRARY);
		return 0;
	}
	tlssf_set_sealer(c, SEALER_LIBRARY_IN_KERNEL);
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
	c->requested_method = c->conf ? (uint8_t)c->conf->options.method
				      : TLSSF_METHOD_AUTO;
	return find_sealer(c);
}

int tlssf_conn_examine(struct conn *c)
{
	int r = gather_facts(c);

	if (r)
		return r;
	if (!tlssf_takeover_ruled_out(c))
		tlssf_keys_refresh_secret(c);
	wipe_useless_secret(c);
	choose(c);
	return 0;
}

bool tlssf_conn_same_handshake(const struct conn *c)
{
	return tl_handshake_id(c->ssl) == c->handshake;
}
