/* SPDX-License-Identifier: MIT */
/* Per-connection state: found, made, looked at, freed. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BACKOFF_MAX_MS		64u

/* With OpenSSL's 272 for the BIO and its place an idle one stays below 512. */
_Static_assert(sizeof(struct conn) + sizeof(struct bridge) <= 224,
	       "bench/memory measures what a connection costs");
_Static_assert(TLSSF_METHOD_COUNT <= 4, "two bits in struct conn");

static _Atomic size_t process_held;

/* ---- waiting ---- */

/*
 * Linux before 6.5 leaves sendfile's last records in TCP without a push, and
 * when nothing is in flight no ACK will ever come to send them. Taking a cork
 * off that is not there pushes, and changes nothing else; one that is there is
 * the application's own wish, or kernel_send.c takes it off.
 */
static void push_tcp(const struct conn *c)
{
	if (tlssf_sys.tcp_corked(c->fd) == 0)
		tlssf_sys.tcp_cork(c->fd, false);
}

int tlssf_conn_want_write(struct conn *c)
{
	bool writable;

	if (c->kernel_tx)
		push_tcp(c);
	/* without a socket: is it the BIO that waits, or we for memory? */
	writable = c->fd >= 0 ? tlssf_sys.poll(c->fd, POLLOUT, 0) > 0
			      : c->bridge && !tlssf_bridge_queued(c->bridge);
	c->retry_ms = 0;
	if (writable) {
		c->retry_ms = c->backoff_ms ? c->backoff_ms : 1;
		c->backoff_ms = c->retry_ms < BACKOFF_MAX_MS ? c->retry_ms * 2
							     : BACKOFF_MAX_MS;
	}
	return TLSSF_WANT_WRITE;
}

int tlssf_conn_result(struct conn *c, int r)
{
	if (r == WOULD_BLOCK)
		return tlssf_conn_want_write(c);
	return r ? tlssf_conn_io_error(c, -r) : 0;
}

void tlssf_conn_hold(struct conn *c, size_t bytes)
{
	atomic_fetch_add(&process_held, bytes - c->held);
	c->held = (uint32_t)bytes;
}

bool tlssf_conn_may_hold(const struct conn *c)
{
	size_t cap = c->conf ? c->conf->options.max_buffered : 0;

	return !cap || atomic_load(&process_held) < cap;
}

void tlssf_conn_taken(struct conn *c, struct batch *batch)
{
	size_t plain = tlssf_batch_taken(batch);

	if (c->ahead)	/* not where the queue has messages only */
		c->ahead->taken += plain;
}

uint64_t tlssf_conn_ahead(const struct conn *c)
{
	return c->ahead ? c->ahead->len : 0;
}

/* Nothing is tried inside a send where tlssf_ctx_init() has done it. */
bool tlssf_conn_kernel_rekeys(const struct conn *c)
{
	return c->conf ? c->conf->kernel_rekeys : tlssf_probe_rekey();
}

/* ---- secrets ---- */

/* From the library, where it tells: then it is the present one. */
void tlssf_conn_ask_secret(struct conn *c)
{
	size_t n = c->info.version == TLS13 ?
		   tl_write_secret(c->ssl, c->secret) : 0;

	if (n)
		c->secret_len = (uint8_t)n;
}

/* The kernel's word counts, not that of whatever BIO lies below: 0, -ENOMEM. */
static int look_for_kernel(struct conn *c)
{
	int r = -ENOPROTOOPT;
	bool rekeys;

	c->key_update_breaks = false;
	c->kernel_tx = true;	/* so that the bridge passes the question */
	if (tl_kernel_tx(c->ssl))
		r = tlssf_ktx_start(c, false);
	c->kernel_tx = !r;
	if (r)
		return r == -ENOMEM ? r : 0;
	rekeys = tl_library_rekey() && tlssf_conn_kernel_rekeys(c);
	c->key_update_breaks = c->info.version >= TLS13 && !rekeys;
	return 0;
}

static int look(struct conn *c)
{
	c->handshake = tl_handshake_id(c->ssl);
	c->fd = tl_write_fd(c->ssl);
	c->socket = 0;
	if (c->fd >= 0 && tlssf_sys.socket_id(c->fd, &c->socket))
		c->socket = 0;
	c->process = tlssf_sys.process();
	c->heard = (uint16_t)tl_bytes_read(c->ssl);
	tl_describe(c->ssl, &c->info);
	return look_for_kernel(c);
}

int tlssf_conn_examine(struct conn *c)
{
	int r;

	c->examined = true;
	r = look(c);
	if (r) {	/* who seals is not known: nothing may be sent */
		c->examined = false;
		return r;
	}
	tlssf_conn_ask_secret(c);
	tlssf_method_choose(c);
	if (c->bridge)
		tlssf_bridge_examined(c->bridge);
	return 0;
}

/* What is kept beside the struct, but for the bridge; and the secret. */
static void free_parts(struct conn *c)
{
	tlssf_takeover_forget(c);
	tlssf_ahead_put(c->ahead);
	free(c->ktx);
}

/* A new handshake after SSL_clear() is a new connection. */
static void reset(struct conn *c)
{
	struct conn fresh = { .ssl = c->ssl, .bridge = c->bridge,
			      .conf = c->conf, .fd = -1,
			      .secret_len = c->secret_len };

	/* the bridge has renewed itself at the handshake's first record */
	tlssf_conn_hold(c, 0);
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
	int r = tlssf_bridge_drain(c->bridge);

	if (r)
		return r;
	tlssf_bridge_orphan(c->bridge);
	c->bridge = NULL;
	return 0;
}

static int attach(struct conn *c)
{
	/* that of a covered bridge may be what the BIO above it keeps */
	bool pending = tlssf_bridge_on_top(c) ? tlssf_bridge_pending(c->bridge)
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
	tlssf_bridge_set_pending(c->bridge, pending);
	if (c->dead)
		tlssf_bridge_guard(c->bridge, c->err);
	return r;
}

/* No: SSL_clear() was called, at least, and the keys that we know are gone. */
bool tlssf_conn_same_handshake(const struct conn *c)
{
	return tl_handshake_id(c->ssl) == c->handshake;
}

/* What a BIO above keeps is no SSL_write(), which somebody would repeat. */
static int flush_above(struct conn *c)
{
	int r;

	if (c->dead || !tlssf_bridge_pending(c->bridge))
		return 0;
	r = tlssf_conn_result(c, tlssf_bridge_flush(c->bridge));
	if (!r)	/* there is no unfinished write while a flight waits */
		tlssf_bridge_set_pending(c->bridge, !tl_flight_waits(c->ssl) &&
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
		tlssf_bridge_sever(c->bridge);
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
	if (!tl_ready(ssl) && !(c->examined && tl_flight_waits(ssl)))
		return tlssf_conn_fail(c, TLSSF_REASON_HANDSHAKE, EINVAL);
	return ensure_attached(c);
}

/* Keys that the library gives to the kernel are watched from the beginning. */
static bool may_attach_late(struct ssl_st *ssl)
{
	const struct ctx_conf *conf = tl_conf(ssl);

	return conf && conf->options.attach_late && !tl_option_ktls(ssl);
}

void tlssf_conn_watch(struct ssl_st *ssl)
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
		tlssf_bridge_renew(c->bridge);
	explicit_bzero(c->secret, sizeof(c->secret));	/* another handshake's */
	c->secret_len = 0;
}

void tlssf_conn_free(struct conn *c)
{
	tlssf_conn_hold(c, 0);
	if (c->bridge)
		tlssf_bridge_orphan(c->bridge);
	free_parts(c);
	free(c);
}
