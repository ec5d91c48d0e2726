/* SPDX-License-Identifier: MIT */
/*
 * Which combinations of states are legal. Test builds look up the combination
 * at each write of the library and at each return of a public call.
 * docs/DESIGN.md shows the table, and scripts/states compares the two.
 */
#include "connection.h"

#define LIFE(x)		(1u << LIFE_##x)
#define SEALER(x)	(1u << SEALER_##x)
#define SAMPLE(x)	(1u << SAMPLE_##x)
#define BRIDGE(x)	(1u << BRIDGE_##x)
#define RESEAL(x)	(1u << RESEAL_##x)

#define ANY_SAMPLE	(SAMPLE(NONE) | SAMPLE(NEXT) | SAMPLE(TAKEN) | \
			 SAMPLE(REFUSED))
#define ANY_RESEAL	(RESEAL(IDLE) | RESEAL(KEY_FIRST) | RESEAL(SEND) | \
			 RESEAL(QUEUED))
#define FAILED		(LIFE(ALERT_DUE) | LIFE(ALERT_SENT) | LIFE(DEAD))

const struct state_row tlssf_state_table[] = {
	{ LIFE(OPEN), SEALER(UNKNOWN), SAMPLE(NONE),
	  BRIDGE(ABSENT) | BRIDGE(PASS), RESEAL(IDLE),
	  "new, or in a handshake: not examined yet" },
	{ LIFE(OPEN), SEALER(LIBRARY), ANY_SAMPLE,
	  BRIDGE(ABSENT) | BRIDGE(PASS) | BRIDGE(GATHER), RESEAL(IDLE),
	  "the library encrypts, in user space" },
	{ LIFE(OPEN), SEALER(LIBRARY_IN_KERNEL), SAMPLE(NONE),
	  BRIDGE(ABSENT) | BRIDGE(PASS), RESEAL(IDLE),
	  "the library has given its keys to the kernel" },
	{ LIFE(OPEN), SEALER(KERNEL), SAMPLE(TAKEN), BRIDGE(RESEAL),
	  RESEAL(IDLE) | RESEAL(KEY_FIRST) | RESEAL(SEND),
	  "a takeover: the kernel has the keys" },
	{ LIFE(OPEN), SEALER(OURSELVES), SAMPLE(TAKEN), BRIDGE(RESEAL),
	  ANY_RESEAL, "a takeover: libtlssf has the keys" },
	{ FAILED, SEALER(LIBRARY_IN_KERNEL), SAMPLE(NONE),
	  BRIDGE(ABSENT) | BRIDGE(FAIL), RESEAL(IDLE),
	  "failed; an alert may be on its way through the kernel" },
	{ FAILED, SEALER(KERNEL) | SEALER(OURSELVES), SAMPLE(TAKEN),
	  BRIDGE(FAIL), ANY_RESEAL,
	  "failed after a takeover; the keys are kept for the alert" },
	{ LIFE(DEAD), SEALER(UNKNOWN) | SEALER(LIBRARY), ANY_SAMPLE,
	  BRIDGE(ABSENT) | BRIDGE(FAIL), RESEAL(IDLE),
	  "failed while the library encrypted, or in a handshake" },
	{ LIFE(DEAD), SEALER(NOBODY), SAMPLE(NONE) | SAMPLE(TAKEN),
	  BRIDGE(ABSENT) | BRIDGE(BLOCK) | BRIDGE(FAIL), RESEAL(IDLE),
	  "the bridge of a takeover was removed; the keys are wiped" },
};

const unsigned int tlssf_state_rows =
	sizeof(tlssf_state_table) / sizeof(tlssf_state_table[0]);

static bool has(const struct state_row *row, const struct conn *c,
		enum bridge_mode bridge, enum reseal_step reseal)
{
	return row->life & 1u << c->life && row->sealer & 1u << c->sealer &&
	       row->sample & 1u << c->sample_step &&
	       row->bridge & 1u << bridge && row->reseal & 1u << reseal;
}

void tlssf_state_require_legal(const struct conn *c)
{
	enum bridge_mode bridge = c->bridge ? tlssf_bridge_mode(c->bridge)
					    : BRIDGE_ABSENT;
	enum reseal_step reseal = c->takeover ? c->takeover->reseal.step
					      : RESEAL_IDLE;
	bool legal = (c->takeover != NULL) == tlssf_taken_over(c) &&
		     (!tlssf_kernel_seals(c) || c->tx);
	unsigned int row = 0;

	while (row < tlssf_state_rows &&
	       !has(&tlssf_state_table[row], c, bridge, reseal))
		row++;
	if (legal && row < tlssf_state_rows)
		return;
	tlssf_trace(c->ssl, "illegal: bridge %s, sample %s, reseal %s",
		    bridge == BRIDGE_ABSENT ? "absent"
					    : tlssf_bridge_mode_names[bridge],
		    tlssf_sample_names[c->sample_step],
		    tlssf_reseal_names[reseal]);
	tlssf_state_violation(c, legal ? "combination" : "takeover",
			      tlssf_life_names[c->life],
			      tlssf_sealer_names[c->sealer]);
}
