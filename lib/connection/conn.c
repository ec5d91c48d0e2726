/* SPDX-License-Identifier: MIT */
/* Per-connection state: found, made, looked at, freed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"

/* With OpenSSL's 272 for the BIO and its place an idle one stays below 512. */
_Static_assert(sizeof(struct conn) + sizeof(struct bridge) <= 224,
	       "bench/memory measures what a connection costs");
_Static_assert(TLSSF_METHOD_COUNT <= 4, "two bits in struct conn");

/* What is kept beside the struct, but for the bridge; and the secret. */
static void free_parts(struct conn *c)
{
	tlssf_keys_wipe(c);
	tlssf_unreported_put(c->unreported);
	free(c->tx);
}

/* A new handshake after SSL_clear() is a new connection. */
static void reset(struct conn *c)
{
	struct conn fresh = { .ssl = c->ssl, .bridge = c->bridge,
			      .conf = c->conf, .fd = -1,
			      .secret_len = c->secret_len };

	/* the bridge has renewed itself at the handshake's first record */
	tlssf_set_buffered(c, 0);
	memcpy(fresh.secret, c->secret, sizeof(fresh.secret));
	free_parts(c);
	/* dead since that handshake: a ticket may have met a peer that went */
	if (c->bridge && tlssf_bridge_guarded(c->bridge)) {
		fresh.dead = true;
		fresh.error = c->error;
		fresh.err = c->err;
	}
	*c = fresh;
	explicit_bzero(fresh.secret, sizeof(fresh.secret));
}

/* A bridge that another BIO covers: what it still holds goes out first. */
static int drop_covered_bridge(struct conn *c)
{
	int r = tlssf_queue_send(c->bridge);

	if (r)
		return r;
	tlssf_bridge_detach(c->bridge);
	c->bridge = NULL;
	return 0;
}

static int attach(struct conn *c)
{
	/* that of a covered bridge may be what the BIO above it keeps */
	bool pending = tlssf_bridge_on_top(c) ? tlssf_bridge_write_pending(c->bridge)
					      : tl_write_pending(c->ssl);
	int r = 0;

	if (!tlssf_bridge_on_top(c)) {
		c->observed_valid = false; /* another one counts from 0 on */
		r = c->bridge ? drop_covered_bridge(c) : 0;
	}
	if (!r)
		r = tlssf_bridge_attach(c);
	if (r)
		return r;
	r = tlssf_conn_examine(c);
	tlssf_bridge_set_write_pending(c->bridge, pending);
	if (c->dead)
		tlssf_bridge_guard(c->bridge, c->err);
	return r;
}

/* What a BIO above keeps is no SSL_write(), which somebody would repeat. */
static int flush_above(struct conn *c)
{
	int r;

	if (c->dead || !tlssf_bridge_write_pending(c->bridge))
		return 0;
	r = tlssf_conn_result(c, tlssf_bridge_flush_bios(c->bridge));
	if (!r)	/* there is no unfinished write while a flight waits */
		tlssf_bridge_set_write_pending(c->bridge, !tl_post_handshake_pending(c->ssl) &&
						    tl_write_pending(c->ssl));
	return r;
}

/* Attach at first use, after a new handshake, and to a new write BIO. */
static int ensure_attached(struct conn *c)
{
	bool same = tlssf_conn_same_handshake(c);
	bool same_fd = tl_write_fd(c->ssl) == c->fd;
	int r;

	if (same && same_fd && c->examined && tlssf_bridge_on_top(c))
		return 0;
	/* the library's keys are stale: nothing works but through the bridge */
	if (c->takeover && same) {
		if (same_fd && tlssf_bridge_in_chain(c))
			return flush_above(c);
		tlssf_bridge_block_stale_writes(c->bridge);
		return TLSSF_ERROR;
	}
	/* not at a renegotiation, which goes through the bridge as it is */
	if (!same && (!c->bridge || tlssf_bridge_renewed(c->bridge)))
		reset(c);
	r = attach(c);
	return tlssf_conn_result(c, r);
}

/* ---- finding the state ---- */

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
	/* anew each time: SSL_set_SSL_CTX() may have freed the one before */
	(*out)->conf = tl_conf(ssl);
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
	if (c->examined && c->process != tlssf_sys.process())
		return tlssf_conn_fail(c, TLSSF_REASON_FORKED, EPERM);
	/* the library's own fatal error, not a handshake after SSL_clear() */
	if (c->dead && c->bridge && !tl_ready(ssl) && !tl_new_handshake(ssl))
		return 0;
	kind = tl_stream_kind(ssl);
	if (kind)
		return tlssf_conn_fail(c, kind, EOPNOTSUPP);
	if (!tl_ready(ssl) && !(c->examined && tl_post_handshake_pending(ssl)))
		return tlssf_conn_fail(c, TLSSF_REASON_HANDSHAKE, EINVAL);
	return ensure_attached(c);
}

/* Keys that the library gives to the kernel are watched from the beginning. */
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
	/* a renegotiation changes neither queue nor state */
	if (c->examined && !tl_new_handshake(ssl))
		return;
	if ((c->bridge || !may_attach_late(ssl)) &&
	    tlssf_bridge_attach(c) == 0)
		tlssf_bridge_on_new_handshake(c->bridge);
	explicit_bzero(c->secret, sizeof(c->secret));	/* another handshake's */
	c->secret_len = 0;
}

void tlssf_conn_free(struct conn *c)
{
	tlssf_set_buffered(c, 0);
	if (c->bridge)
		tlssf_bridge_detach(c->bridge);
	free_parts(c);
	free(c);
}
