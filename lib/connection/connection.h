/* SPDX-License-Identifier: MIT */
/*
 * Layer connection/: the two doors. The application comes in through conn.c,
 * the TLS library's write side through bio.c.
 */
#ifndef TLSSF_CONNECTION_H
#define TLSSF_CONNECTION_H

#include "method.h"

/* ---- bio.c: our filter BIO on the write side ---- */

/* Put the bridge on top of the write BIO, which owns it: 0, -ENOMEM. */
int tlssf_bridge_attach(struct conn *c);
/* Take the connection away from the bridge, which passes everything then. */
void tlssf_bridge_detach(struct bridge *b);
/* It is not what the library writes to any more: after a takeover, the end. */
void tlssf_bridge_block_stale_writes(struct bridge *b);
void tlssf_bridge_on_new_handshake(struct bridge *b);	/* a handshake is under way */

/* ---- conn.c: the life of a connection ---- */

/*
 * The state of a connection that is ready to send, made at first use: 0 and
 * *out, or TLSSF_ERROR (*out is NULL where there is no state).
 */
int tlssf_conn_enter(struct ssl_st *ssl, struct conn **out);
int tlssf_conn_state(struct ssl_st *ssl, struct conn **out);
void tlssf_conn_free(struct conn *c);		/* from SSL_free */
/* Put the bridge in before the first call, while the handshake goes on. */
void tlssf_conn_attach_early(struct ssl_st *ssl);

#endif
