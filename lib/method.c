/* SPDX-License-Identifier: MIT */
/* Which of the methods, and why not the others. */
#include "internal.h"

/* The preference order of AUTO, and the one map from public enum to table. */
static const struct method *const methods[] = {
	&tlssf_method_ssl_sendfile,
	&tlssf_method_ktls,
	&tlssf_method_userspace,
};

#define METHODS	(sizeof(methods) / sizeof(methods[0]))

void tlssf_method_choose(struct conn *c)
{
	int named = c->conf ? c->conf->options.method : TLSSF_METHOD_AUTO;
	size_t i;

	c->named = (uint8_t)named;
	c->method = TLSSF_METHOD_AUTO;
	for (i = 0; i < METHODS; i++) {
		const struct method *m = methods[i];
		int why = m->why_not(c);

		if (named != TLSSF_METHOD_AUTO && named != m->id)
			why = TLSSF_REASON_NOT_ASKED;
		else if (c->method)
			why = TLSSF_REASON_NOT_ASKED;
		c->why_not[m->id] = (uint8_t)why;
		if (!why)
			c->method = m->id;
		tlssf_trace(c->ssl, "%s: %s", tlssf_method_name(m->id),
			    why ? tlssf_reason_name(why) : "taken");
	}
}

/* By the one that was chosen. */
int tlssf_method_send(struct conn *c, struct stream *s, uint64_t limit)
{
	size_t i = 0;

	while (methods[i]->id != c->method)
		i++;
	return methods[i]->send(c, s, limit);
}

/* ktls is chosen before it is in force, for a send that is worth it. */
int tlssf_method_in_force(const struct conn *c)
{
	if (c->method != TLSSF_METHOD_KTLS || c->kernel_tx)
		return c->method;
	return c->named == TLSSF_METHOD_AUTO ? TLSSF_METHOD_USERSPACE
					     : TLSSF_METHOD_AUTO;
}
