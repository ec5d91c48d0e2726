/* SPDX-License-Identifier: MIT */
/* Which of the methods, and why not the others. */
#include "internal.h"

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
		int why = methods[id]->why_not(c);

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
