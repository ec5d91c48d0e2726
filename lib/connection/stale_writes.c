/* SPDX-License-Identifier: MIT */
/*
 * A bridge that the application removes after a takeover. The TLS library then
 * writes to another BIO, but its records are stale: their sequence numbers are
 * in use. So the library is stopped, the keys are wiped, and the connection is
 * dead.
 */
#include <errno.h>

#include "connection.h"

static bool can_shut_down(const struct conn *c)
{
	return tlssf_sys.process() == c->process && c->fd >= 0 &&
	       tlssf_tx_same_socket(c) == 0;
}

/*
 * Make sure that no later record of the library leaves, whichever BIO the
 * library writes to.
 */
static void stop_library(const struct conn *c)
{
	if (can_shut_down(c) && !tlssf_sys.shutdown_write(c->fd))
		return;
	/* After SSL_clear() the library has no stale keys. */
	if (tlssf_conn_same_handshake(c))
		tl_pretend_shutdown(c->ssl);
}

void tlssf_bridge_block_stale_writes(struct bridge *b)
{
	struct conn *c = b->conn;
	bool freed;

	if (!c || !tlssf_taken_over(c))
		return;
	freed = tl_being_freed(c->ssl);
	b->blocked = true;
	if (!freed) {
		stop_library(c);
		tlssf_conn_die(c, TLSSF_REASON_IO, ECONNABORTED);
	}
	tlssf_keys_wipe(c);
	tlssf_set_sealer(c, SEALER_NOBODY);
}
