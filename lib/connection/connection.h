/* SPDX-License-Identifier: MIT */
/*
 * Layer connection/: the two doors. The application comes in through conn.c,
 * and the TLS library writes through bio.c. And the table of the states that
 * may stand together.
 */
#ifndef TLSSF_CONNECTION_H
#define TLSSF_CONNECTION_H

#include "method.h"

/* ---- state_table.c: the legal combinations of states ---- */

#define BRIDGE_ABSENT	BRIDGE_MODE_COUNT	/* no bridge is attached */

/* Sets of states, one bit each; legal is each combination of their members. */
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

/* End the process unless the table has the states of `c`. */
void tlssf_state_require_legal(const struct conn *c);

#ifdef TLSSF_ASSERT_STATES
#define tlssf_state_check(c)	tlssf_state_require_legal(c)
#else
#define tlssf_state_check(c)	((void)(c))
#endif

/* ---- bio.c: our filter BIO on the write side ---- */

/* Put a bridge on top of the write BIO, unless it is there: 0, -ENOMEM. */
int tlssf_bridge_attach(struct conn *c);
/* Part bridge and connection; what is queued is discarded. */
void tlssf_bridge_detach(struct bridge *b);
/*
 * The library does not write to this bridge any more. After a takeover that
 * ends the connection: no stale record may leave by another BIO.
 */
void tlssf_bridge_block_stale_writes(struct bridge *b);
void tlssf_bridge_on_new_handshake(struct bridge *b);
void tlssf_conn_refresh_conf(struct conn *c);

/* ---- conn.c: the life of a connection ---- */

/* The state of an SSL, made at the first use: 0 and *out, or TLSSF_ERROR. */
int tlssf_conn_state(struct ssl_st *ssl, struct conn **out);
/*
 * The same for a connection that is to send: attached and examined. On
 * TLSSF_ERROR, *out is NULL only if there is no state.
 */
int tlssf_conn_enter(struct ssl_st *ssl, struct conn **out);
/* From the handshake: attach before the application can write. */
void tlssf_conn_attach_early(struct ssl_st *ssl);
void tlssf_conn_free(struct conn *c);		/* from SSL_free() */

#endif
