/* SPDX-License-Identifier: MIT */
/*
 * Method `ktls`: the TLS library has no kernel TLS, or may not use it, so we
 * take its write keys over (a takeover, takeover.c). The first record leaves by
 * SSL_write() and is the sample, from which the key and the sequence number are
 * found. From then on sendfile() sends the file. A record that the library
 * still writes is resealed: its content is decrypted, and sent through the
 * kernel (reseal.c).
 */
#include <errno.h>

#include "method.h"

/* ---- is it possible on this connection? ---- */

static bool must_survive_key_update(const struct conn *c)
{
	return c->conf && c->conf->options.key_update ==
			  TLSSF_KEY_UPDATE_USERSPACE;
}

static int unavailable_reason(const struct conn *c)
{
	int why;

	if (tlssf_kernel_seals(c))
		return TLSSF_REASON_KERNEL_KEYS;
	why = tlssf_takeover_unavailable_reason(c);
	if (!why)
		why = tlssf_kernel_unavailable_reason(c);
	if (why || c->info.version < TLS13)
		return why;
	if (must_survive_key_update(c) && !tlssf_kernel_can_rekey(c))
		return TLSSF_REASON_REKEY;
	return tlssf_secret_unavailable_reason(c);
}

/* ---- the takeover ---- */

/* How often a requested takeover may fail for lack of memory. */
#define MEMORY_FAILURES_MAX	3

/*
 * The takeover failed for the reason `why`, and the TLS library still encrypts.
 * AUTO continues with the method userspace. If ktls was requested by name, the
 * send fails, since no other method replaces ktls. If memory was short, the
 * next send may try the takeover again.
 */
static int abandon_takeover(struct conn *c, struct stream *s, uint64_t limit,
			    int why)
{
	tlssf_trace(c->ssl, "ktls: abandoned: %s", tlssf_reason_name(why));
	c->why_not[TLSSF_METHOD_KTLS] = (uint8_t)why;
	if (tlssf_failed(c))
		return TLSSF_ERROR;
	if (c->requested_method != TLSSF_METHOD_AUTO) {
		if (!tlssf_takeover_lacked_memory(why) ||
		    c->memory_failures++ == MEMORY_FAILURES_MAX)
			c->method = TLSSF_METHOD_AUTO;
		return tlssf_conn_fail(c, why, EOPNOTSUPP);
	}
	c->method = TLSSF_METHOD_USERSPACE;
	c->why_not[TLSSF_METHOD_USERSPACE] = TLSSF_REASON_NONE;
	return tlssf_method_userspace.send(c, s, limit);
}

/*
 * Send one sample by SSL_write(), or the rest of a sample that an earlier call
 * could not send completely. Returns 0 when all of it is in TCP.
 */
static int send_sample(struct conn *c, struct stream *s, uint64_t limit)
{
	uint64_t unreported = tlssf_unreported_bytes(c);
	uint64_t len = unreported ? unreported : SAMPLE_LEN;

	if (!unreported) {
		tlssf_set_sample(c, SAMPLE_NEXT, TLSSF_REASON_NONE);
		tlssf_keys_refresh_secret(c);
	}
	if (limit - s->done > len)
		limit = s->done + len;
	return tlssf_method_userspace.send(c, s, limit);
}

static int take_over(struct conn *c, struct stream *s, uint64_t limit)
{
	int why = TLSSF_REASON_NONE, r = 0;

	/*
	 * Calls for fewer bytes may have sent a sample that was then refused.
	 * So check first whether a takeover is still possible, unless a part of
	 * the sample is left to send.
	 */
	if (!tlssf_unreported_bytes(c))
		why = tlssf_secret_unavailable_reason(c);
	while (!tlssf_kernel_seals(c) && !why && s->done < limit &&
	       !s->short_file) {
		r = send_sample(c, s, limit);
		tlssf_sample_stop(c);
		if (r)
			return r;
		why = c->sample_refused_why;
		if (why || !tlssf_sample_is_current(c) ||
		    !tlssf_bridge_bios_empty(c->bridge))
			continue;	/* another sample is needed */
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

	if (tlssf_kernel_seals(c))
		return tlssf_kernel_send(c, s, limit, send_file);
	if (c->requested_method == TLSSF_METHOD_AUTO &&
	    !tlssf_takeover_worth_it(c, s))
		return tlssf_method_userspace.send(c, s, limit);
	r = take_over(c, s, limit);
	if (r || !tlssf_kernel_seals(c))
		return r;
	return tlssf_kernel_send(c, s, limit, send_file);
}

const struct method tlssf_method_ktls = {
	.unavailable_reason = unavailable_reason,
	.send = ktls_send,
};
