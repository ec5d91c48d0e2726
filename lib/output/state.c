/* SPDX-License-Identifier: MIT */
/*
 * The states of a connection. Each one changes here and nowhere else: the
 * change is checked against the steps that are legal (in test builds) and
 * traced. connection/state_table.c lists the states that may occur together.
 */
#include <stdio.h>
#include <stdlib.h>

#include "output.h"

const char *const tlssf_life_names[] = {
	[LIFE_OPEN] = "open",
	[LIFE_ALERT_DUE] = "alert_due",
	[LIFE_ALERT_SENT] = "alert_sent",
	[LIFE_DEAD] = "dead",
};

const char *const tlssf_sealer_names[] = {
	[SEALER_UNKNOWN] = "unknown",
	[SEALER_LIBRARY] = "library",
	[SEALER_LIBRARY_IN_KERNEL] = "library_in_kernel",
	[SEALER_KERNEL] = "kernel",
	[SEALER_OURSELVES] = "ourselves",
	[SEALER_NOBODY] = "nobody",
};

const char *const tlssf_sample_names[] = {
	[SAMPLE_NONE] = "none",
	[SAMPLE_NEXT] = "next",
	[SAMPLE_TAKEN] = "taken",
	[SAMPLE_REFUSED] = "refused",
};

#define TO(state)	(1u << (state))

/* For each state the states that may follow it. */
static const uint8_t life_steps[] = {
	[LIFE_OPEN] = TO(LIFE_ALERT_DUE) | TO(LIFE_ALERT_SENT) | TO(LIFE_DEAD),
	[LIFE_ALERT_DUE] = TO(LIFE_ALERT_SENT) | TO(LIFE_DEAD) | TO(LIFE_OPEN),
	[LIFE_ALERT_SENT] = TO(LIFE_DEAD) | TO(LIFE_OPEN),
	[LIFE_DEAD] = TO(LIFE_OPEN),	/* a new handshake */
};

static const uint8_t sealer_steps[] = {
	[SEALER_UNKNOWN] = TO(SEALER_LIBRARY) | TO(SEALER_LIBRARY_IN_KERNEL),
	[SEALER_LIBRARY] = TO(SEALER_UNKNOWN) | TO(SEALER_KERNEL) |
			   TO(SEALER_OURSELVES),
	[SEALER_LIBRARY_IN_KERNEL] = TO(SEALER_UNKNOWN),
	[SEALER_KERNEL] = TO(SEALER_UNKNOWN) | TO(SEALER_NOBODY),
	[SEALER_OURSELVES] = TO(SEALER_UNKNOWN) | TO(SEALER_NOBODY),
	[SEALER_NOBODY] = TO(SEALER_UNKNOWN),
};

static const uint8_t sample_steps[] = {
	[SAMPLE_NONE] = TO(SAMPLE_NEXT),
	[SAMPLE_NEXT] = TO(SAMPLE_NONE) | TO(SAMPLE_TAKEN) |
			TO(SAMPLE_REFUSED),
	[SAMPLE_TAKEN] = TO(SAMPLE_NONE) | TO(SAMPLE_NEXT) |
			 TO(SAMPLE_REFUSED),
	[SAMPLE_REFUSED] = TO(SAMPLE_NONE) | TO(SAMPLE_NEXT),
};

void tlssf_state_violation(const struct conn *c, const char *what,
			   const char *from, const char *to)
{
	fprintf(stderr, "tlssf: ssl=%p: illegal state: %s: %s -> %s\n",
		(const void *)(c ? c->ssl : NULL), what, from, to);
	abort();
}

void tlssf_state_trace(const struct conn *c, const char *what,
		       const char *const *names, const uint8_t *steps,
		       unsigned int from, unsigned int to)
{
	tlssf_assert_state(steps[from] & TO(to), c, what, names[from],
			   names[to]);
	tlssf_trace(c->ssl, "%s: %s -> %s", what, names[from], names[to]);
}

void tlssf_set_life(struct conn *c, enum life to)
{
	if (c->life == (unsigned int)to)
		return;
	tlssf_state_trace(c, "life", tlssf_life_names, life_steps, c->life, to);
	c->life = to;
}

void tlssf_set_sealer(struct conn *c, enum sealer to)
{
	if (c->sealer == (unsigned int)to)
		return;
	tlssf_state_trace(c, "sealer", tlssf_sealer_names, sealer_steps,
			  c->sealer, to);
	c->sealer = to;
}

void tlssf_set_sample(struct conn *c, enum sample_step to, int reason)
{
	c->sample_refused_why = (uint8_t)reason;
	if (c->sample_step == (unsigned int)to)
		return;
	tlssf_state_trace(c, "sample", tlssf_sample_names, sample_steps,
			  c->sample_step, to);
	c->sample_step = to;
}
