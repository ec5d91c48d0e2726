/* SPDX-License-Identifier: MIT */
/*
 * Layer connection/: the two entrances. The public calls of the application
 * enter a connection in conn.c, and the TLS library writes its records to
 * bio.c. state_table.c has the combinations of states that are legal.
 */
#ifndef TLSSF_CONNECTION_H
#define TLSSF_CONNECTION_H

#include "method.h"

/* ---- state_table.c: the legal combinations of states ---- */

#define BRIDGE_ABSENT	BRIDGE_MODE_COUNT	/* no bridge is attached */

/*
 * A row has a set of values for each state, one bit for each value. Each
 * combination of values from the five sets is legal.
 */
struct state_row {
	uint8_t life;		/* of enum life */
	uint8_t sealer;		/* of enum sealer */
	uint8_t sample;		/* of enum sample_step */
	uint8_t bridge;		/* of enum bridge_mode, and BRIDGE_ABSENT */
	uint8_t reseal;		/* of enum reseal_step */
	const char *meaning;
};

extern const struct state_row tlssf_state_table[];
extern const unsigned int tlssf_state_rows;

/* End the process if no row of the table allows the states of `c`. */
void tlssf_state_require_legal(const struct conn *c);

#ifdef TLSSF_ASSERT_STATES
#define tlssf_state_check(c)	tlssf_state_require_legal(c)
#else
#define tlssf_state_check(c)	((void)(c))
#endif

/* ---- stale_writes.c ---- */

/*
 * The library writes to another BIO from now on. After a takeover this ends the
 * connection, because a stale record could leave by the other BIO.
 */
void tlssf_bridge_block_stale_writes(struct bridge *b);

/* ---- bio.c: our filter BIO on the write side ---- */

/* Put a bridge on top of the write BIO, unless one is there: 0, -ENOMEM. */
int tlssf_bridge_attach(struct conn *c);
/* Separate the bridge from its connection, and discard the queued bytes. */
void tlssf_bridge_detach(struct bridge *b);
void tlssf_bridge_on_new_handshake(struct bridge *b);
void tlssf_conn_refresh_conf(struct conn *c);

/* ---- conn.c: the life of a connection ---- */

/* Find the state of an SSL, or make it: 0 and *out, or TLSSF_ERROR. */
int tlssf_conn_state(struct ssl_st *ssl, struct conn **out);
/*
 * The same before a connection is used: also attaches the bridge and examines
 * the connection. After TLSSF_ERROR, *out is NULL only if there is no state.
 */
int tlssf_conn_enter(struct ssl_st *ssl, struct conn **out);
/*
 * Called during the handshake: attach the bridge before the application can
 * write.
 */
void tlssf_conn_attach_early(struct ssl_st *ssl);
void tlssf_conn_free(struct conn *c);		/* called by SSL_free() */

#endif
