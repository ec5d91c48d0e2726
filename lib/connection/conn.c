/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection. Every public call enters here. The state of a
 * connection is stored on its SSL: it is made at the first use, examined again
 * after a new handshake or a new write BIO, and freed with the SSL.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"

/*
 * An idle connection may cost 512 bytes, of which OpenSSL needs 272 for our BIO
 * and for the place of our state on the SSL.
 */
_Static_assert(sizeof(struct conn) + sizeof(struct bridge) <= 224,
	       "bench/memory measures what an idle connection costs");
_Static_assert(TLSSF_METHOD_COUNT <= 4 && LIFE_COUNT <= 4 &&
		       SEALER_COUNT <= 8 && SAMPLE_COUNT <= 4,
	       "the bit fields of struct conn are wide enough");

/*
 * Free everything that the connection owns except the struct itself and the
 * bridge, and wipe the secrets.
 */
static void free_parts(struct conn *c)
{
	tlssf_keys_wipe(c);
	tlssf_unreported_put(c->unreported);
	free(c->tx);
}

/*
 * Reset the state after SSL_clear() and a new handshake. The secret stays,
 * because the new handshake has already set it. With a bridge a failure stays
 * too, because the bridge has cleared any failure of the old connection: the
 * new one may have failed when it sent a session ticket.
 */
static void reset(struct conn *c)
{
	struct conn fresh = { .ssl = c->ssl, .bridge = c->bridge,
			      .conf = c->conf, .fd = -1,
			      .secret_len = c->secret_len };

	tlssf_set_buffered(c, 0);
	memcpy(fresh.secret, c->secret, sizeof(fresh.secret));
	free_parts(c);
	if (c->bridge && tlssf_failed(c)) {
		fresh.life = c->life;
		fresh.error = c->error;
		fresh.err = c->err;
	}
	*c = fresh;
	explicit_bzero(fresh.secret, sizeof(fresh.secret));
}

/* ---- the bridge ---- */

/*
 * Another BIO is on top of the bridge: send the bridge's queued bytes, then
 * detach it.
 */
static int drop_covered_bridge(struct conn *c)
{
	int r = tlssf_queue_send(c->bridge);

	if (r)
		return r;
	tlssf_bridge_detach(c->bridge);
	c->bridge = NULL;
	return 0;
}

/* The library does not write to our bridge: prepare for a new bridge on top. */
static int replace_bridge(struct conn *c)
{
	/*
	 * The sample must be the library's last record, and a new bridge does
	 * not know which record that was.
	 */
	if (c->sample_step != SAMPLE_REFUSED)
		tlssf_set_sample(c, SAMPLE_NONE, TLSSF_REASON_NONE);
	return c->bridge ? drop_covered_bridge(c) : 0;
}

static int attach(struct conn *c)
{
	bool on_top = c->bridge && tlssf_bridge_on_top(c);
	/*
	 * If another BIO is on top, that BIO may have set the bridge's
	 * write_pending, so ask the library.
	 */
	bool pending = on_top ? c->bridge->write_pending
			      : tl_write_pending(c->ssl);
	int r = on_top ? 0 : replace_bridge(c);

	if (!r)
		r = tlssf_bridge_attach(c);
	if (r)
		return r;
	/*
	 * A connection whose keys are wiped is dead. It needs the new bridge
	 * only to make all writes fail.
	 */
	if (c->sealer != SEALER_NOBODY)
		r = tlssf_conn_examine(c);
	c->bridge->write_pending = pending;
	return r;
}

/*
 * A BIO of the application is on top of the bridge, after a takeover. Flush it:
 * bytes that it holds are no unfinished SSL_write(), so the application would
 * not repeat anything.
 */
static int flush_above(struct conn *c)
{
	int r;

	if (tlssf_failed(c) || !c->bridge->write_pending)
		return 0;
	r = tlssf_conn_io_result(c, tlssf_bridge_flush_bios(c->bridge));
	if (!r)	/* a waiting handshake message is no unfinished write */
		c->bridge->write_pending =
			!tl_post_handshake_pending(c->ssl) &&
			tl_write_pending(c->ssl);
	return r;
}

/*
 * Attach a bridge at the first use, after a new handshake, and if the write BIO
 * has changed.
 */
static int ensure_attached(struct conn *c)
{
	bool same = tlssf_conn_same_handshake(c);
	bool same_fd = tl_write_fd(c->ssl) == c->fd;

	if (same && same_fd && tlssf_examined(c) && tlssf_bridge_on_top(c))
		return 0;
	/*
	 * After a takeover a record of the library that bypasses the bridge
	 * would be stale: end the connection.
	 */
	if (tlssf_taken_over(c) && same) {
		if (same_fd && tlssf_bridge_in_chain(c))
			return flush_above(c);
		tlssf_bridge_block_stale_writes(c->bridge);
		return TLSSF_ERROR;
	}
	/*
	 * Only a new handshake after SSL_clear() resets the state; a
	 * renegotiation does not.
	 */
	if (!same && (!c->bridge || !tlssf_examined(c)))
		reset(c);
	return tlssf_conn_io_result(c, attach(c));
}

/* ---- the state of an SSL ---- */

void tlssf_conn_free(struct conn *c)
{
	tlssf_set_buffered(c, 0);
	if (c->bridge)
		tlssf_bridge_detach(c->bridge);
	free_parts(c);
	free(c);
}

static struct conn *make(struct ssl_st *ssl)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->ssl = ssl;
	c->fd = -1;
	if (tl_set_conn(ssl, c, tlssf_conn_free)) {
		free(c);
		return NULL;
	}
	return c;
}

int tlssf_conn_state(struct ssl_st *ssl, struct conn **out)
{
	*out = NULL;
	if (!ssl) {
		errno = EINVAL;
		return TLSSF_ERROR;
	}
	*out = tl_conn(ssl);
	if (!*out)
		*out = make(ssl);
	if (!*out) {
		errno = ENOMEM;
		return TLSSF_ERROR;
	}
	tlssf_conn_refresh_conf(*out);
	return 0;
}

int tlssf_conn_enter(struct ssl_st *ssl, struct conn **out)
{
	struct conn *c;
	int kind;

	if (tlssf_conn_state(ssl, out))
		return TLSSF_ERROR;
	c = *out;
	c->retry_ms = 0;
	if (tlssf_examined(c) && c->process != tlssf_sys.process())
		return tlssf_conn_fail(c, TLSSF_REASON_FORKED, EPERM);
	/*
	 * The library has failed as well, and no new handshake has begun after
	 * SSL_clear(): the caller reports the failure.
	 */
	if (tlssf_failed(c) && c->bridge && !tl_ready(ssl) &&
	    !tl_new_handshake(ssl))
		return 0;
	kind = tl_stream_kind(ssl);
	if (kind)
		return tlssf_conn_fail(c, kind, EOPNOTSUPP);
	if (!tl_ready(ssl) &&
	    !(tlssf_examined(c) && tl_post_handshake_pending(ssl)))
		return tlssf_conn_fail(c, TLSSF_REASON_HANDSHAKE, EINVAL);
	return ensure_attached(c);
}

/*
 * May the bridge be attached at the first call only? Not if the library may
 * give its keys to the kernel: then the bridge must see all its records.
 */
static bool may_attach_late(struct ssl_st *ssl)
{
	const struct ctx_conf *conf = tl_conf(ssl);

	return conf && conf->options.attach_late && !tl_option_ktls(ssl);
}

void tlssf_conn_attach_early(struct ssl_st *ssl)
{
	struct conn *c = tl_conn(ssl);

	if (!c)
		c = make(ssl);
	if (!c)
		return;
	/*
	 * This is a renegotiation, which changes neither the queue nor the
	 * state.
	 */
	if (tlssf_examined(c) && !tl_new_handshake(ssl))
		return;
	if ((c->bridge || !may_attach_late(ssl)) &&
	    tlssf_bridge_attach(c) == 0)
		tlssf_bridge_on_new_handshake(c->bridge);
	tlssf_keys_wipe_secret(c);	/* the secret of an earlier handshake */
}
