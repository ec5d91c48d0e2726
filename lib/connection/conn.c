/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection: the door through which the application comes in.
 * The state hangs on the SSL, is made at the first use, is examined again after
 * a new handshake or a new write BIO, and is freed with the SSL.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"

/* OpenSSL needs 272 bytes for our BIO and its place on the SSL: 512 at most. */
_Static_assert(sizeof(struct conn) + sizeof(struct bridge) <= 224,
	       "bench/memory measures what an idle connection costs");
_Static_assert(TLSSF_METHOD_COUNT <= 4 && LIFE_COUNT <= 4 &&
		       SEALER_COUNT <= 8 && SAMPLE_COUNT <= 4,
	       "the bit fields of struct conn are wide enough");

/* Free what the connection owns beside the struct, and wipe its secrets. */
static void free_parts(struct conn *c)
{
	tlssf_keys_wipe(c);
	tlssf_unreported_put(c->unreported);
	free(c->tx);
}

/*
 * Make a new connection of the old one, after SSL_clear() and a new handshake.
 * The secret is the new handshake's already. So is a failure, if there is a
 * bridge: a session ticket may have met a peer that had closed.
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

/* Another BIO covers the bridge. What the bridge still has leaves first. */
static int drop_covered_bridge(struct conn *c)
{
	int r = tlssf_queue_send(c->bridge);

	if (r)
		return r;
	tlssf_bridge_detach(c->bridge);
	c->bridge = NULL;
	return 0;
}

/* The library writes to another BIO than ours. */
static int replace_bridge(struct conn *c)
{
	/* A new bridge has not seen the library's last record. */
	if (c->sample_step != SAMPLE_REFUSED)
		tlssf_set_sample(c, SAMPLE_NONE, TLSSF_REASON_NONE);
	return c->bridge ? drop_covered_bridge(c) : 0;
}

static int attach(struct conn *c)
{
	bool on_top = c->bridge && tlssf_bridge_on_top(c);
	/* Below another BIO, write_pending may be due to bytes in that BIO. */
	bool pending = on_top ? c->bridge->write_pending
			      : tl_write_pending(c->ssl);
	int r = on_top ? 0 : replace_bridge(c);

	if (!r)
		r = tlssf_bridge_attach(c);
	if (r)
		return r;
	/* The new bridge of a dead connection fails all writes, too. */
	if (c->sealer != SEALER_NOBODY)
		r = tlssf_conn_examine(c);
	c->bridge->write_pending = pending;
	return r;
}

/*
 * A BIO of the application's covers the bridge of a takeover. If that BIO holds
 * bytes, there is no SSL_write() that the application would repeat.
 */
static int flush_above(struct conn *c)
{
	int r;

	if (tlssf_failed(c) || !c->bridge->write_pending)
		return 0;
	r = tlssf_conn_io_result(c, tlssf_bridge_flush_bios(c->bridge));
	if (!r)	/* no write is unfinished while a handshake message waits */
		c->bridge->write_pending =
			!tl_post_handshake_pending(c->ssl) &&
			tl_write_pending(c->ssl);
	return r;
}

/* Attach at the first use, after a new handshake, and to a new write BIO. */
static int ensure_attached(struct conn *c)
{
	bool same = tlssf_conn_same_handshake(c);
	bool same_fd = tl_write_fd(c->ssl) == c->fd;

	if (same && same_fd && tlssf_examined(c) && tlssf_bridge_on_top(c))
		return 0;
	/* After a takeover the library's records must not bypass the bridge. */
	if (tlssf_taken_over(c) && same) {
		if (same_fd && tlssf_bridge_in_chain(c))
			return flush_above(c);
		tlssf_bridge_block_stale_writes(c->bridge);
		return TLSSF_ERROR;
	}
	/* A renegotiation passes the bridge, and changes nothing here. */
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
	/* The library has failed; it is no new handshake after SSL_clear(). */
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
 * A connection whose keys the library may give to the kernel is watched from
 * its handshake on.
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
	/* A renegotiation changes neither the queue nor the state. */
	if (tlssf_examined(c) && !tl_new_handshake(ssl))
		return;
	if ((c->bridge || !may_attach_late(ssl)) &&
	    tlssf_bridge_attach(c) == 0)
		tlssf_bridge_on_new_handshake(c->bridge);
	tlssf_keys_wipe_secret(c);	/* an earlier handshake's */
}
