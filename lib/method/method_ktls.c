/* SPDX-License-Identifier: MIT */
/*
 * Method `ktls`: the TLS library has no kernel TLS, or may not use it, so its
 * keys are taken over by hand (takeover.c). The first record goes out through
 * SSL_write() and is looked at; from then on the file goes by sendfile() and
 * the library's own records through the bridge (resend.c).
 */
#include <errno.h>

#include "method.h"

/* ---- can it be, on this connection? ---- */

static bool must_survive_key_update(const struct conn *c)
{
	return c->conf && c->conf->options.key_update ==
			  TLSSF_KEY_UPDATE_USERSPACE;
}

static int unavailable_reason(const struct conn *c)
{
	int why;

	if (c->kernel_tx)
		return TLSSF_REASON_KERNEL_KEYS;
	if (c->fd < 0 || !tlssf_bridge_reaches_socket(c->bridge))
		return TLSSF_REASON_NOT_SOCKET;
	if (c->info.version < TLS12)
		return TLSSF_REASON_VERSION;
	if (c->info.kernel_cipher < 0)
		return TLSSF_REASON_CIPHER;
	if (c->info.compression)
		return TLSSF_REASON_COMPRESSION;
	if (c->info.max_fragment)
		return TLSSF_REASON_MAX_FRAGMENT;
	why = tlssf_kernel_unavailable_reason(c);
	if (why || c->info.version < TLS13)
		return why;
	if (must_survive_key_update(c) && !tlssf_kernel_can_rekey(c))
		return TLSSF_REASON_REKEY;
	return tlssf_secret_unavailable_reason(c);
}

/* ---- getting there ---- */

static bool lacks_memory(int why)
{
	return why == TLSSF_REASON_KEY_SCHEDULE || why == TLSSF_REASON_NO_MEMORY;
}

/*
 * It stays an ordinary connection: AUTO goes on in user space, a method that
 * was named is not replaced.
 */
static int abandon_takeover(struct conn *c, struct stream *s, uint64_t limit, int why)
{
	tlssf_trace(c->ssl, "ktls: given up: %s", tlssf_reason_name(why));
	c->why_not[TLSSF_METHOD_KTLS] = (uint8_t)why;
	if (c->dead)
		return TLSSF_ERROR;
	if (c->named != TLSSF_METHOD_AUTO) {
		/* memory may be there the next time */
		if (!lacks_memory(why) || c->attempts++ == 3)
			c->method = TLSSF_METHOD_AUTO;
		return tlssf_conn_fail(c, why, EOPNOTSUPP);
	}
	c->method = TLSSF_METHOD_USERSPACE;
	c->why_not[TLSSF_METHOD_USERSPACE] = TLSSF_REASON_NONE;
	return tlssf_method_userspace.send(c, s, limit);
}

/*
 * One record by SSL_write(), observed; or the rest of one that an earlier call
 * could not get rid of. 0: all that is sealed is in TCP.
 */
static int send_sample(struct conn *c, struct stream *s, uint64_t limit)
{
	uint64_t unreported = tlssf_unreported_bytes(c);
	uint64_t len = unreported ? unreported : SAMPLE_LEN;

	if (!unreported) {
		c->observed_valid = false;
		c->observing = true;
		tlssf_keys_refresh_secret(c);
	}
	if (limit - s->done > len)
		limit = s->done + len;
	return tlssf_method_userspace.send(c, s, limit);
}

static int take_over(struct conn *c, struct stream *s, uint64_t limit)
{
	int why = TLSSF_REASON_NONE, r = 0;

	while (!c->kernel_tx && !why && s->done < limit && !s->short_file) {
		r = send_sample(c, s, limit);
		c->observing = false;
		if (r)
			return r;
		why = tlssf_sample_rejected_why(c);
		if (why || !tlssf_sample_is_current(c) ||
		    !tlssf_bridge_bios_empty(c->bridge))
			continue;	/* look at the next one */
		why = tlssf_takeover_to_kernel(c);
	}
	return why ? abandon_takeover(c, s, limit, why) : 0;
}

/* ---- the method ---- */

static ssize_t send_file(struct conn *c, int fd, uint64_t off, size_t len)
{
	return tlssf_sys.sendfile(c->fd, fd, off, len);
}

static int ktls_send(struct conn *c, struct stream *s, uint64_t limit)
{
	int r;

	if (!c->kernel_tx && c->named == TLSSF_METHOD_AUTO &&
	    !tlssf_takeover_worth_it(c, s))
		return tlssf_method_userspace.send(c, s, limit);
	if (!c->kernel_tx) {
		r = take_over(c, s, limit);
		if (r || !c->kernel_tx)
			return r;
	}
	return tlssf_kernel_send(c, s, limit, send_file);
}

const struct method tlssf_method_ktls = {
	.unavailable_reason = unavailable_reason,
	.send = ktls_send,
};
