/* SPDX-License-Identifier: MIT */
/*
 * What the kernel's TLS layer holds above TCP. A record that TCP has no room
 * for waits on a list that no system call shows and that close() throws away,
 * so we add up: what was sealed since the start, less what reached TCP.
 *
 *   held = plaintext + records * overhead - (bytes in TCP now - at the start)
 *
 * with the number of records from rec_seq, read back by getsockopt(TLS_TX).
 * The sum is exact when nothing was held at the start and all plaintext since
 * went through us. Otherwise only an idle TCP queue tells: nothing
 * unacknowledged, twice, with time between for the kernel to refill it.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "internal.h"

#define IDLE_MS	25u	/* the kernel's worker needs a tick or two */

static int read_seq(const struct conn *c, uint64_t *seq)
{
	unsigned char info[SYS_CRYPTO_MAX];
	size_t len = tlssf_crypto_size(c->info.kernel_cipher);
	int r = tlssf_sys.tls_tx_get(c->fd, info, &len);

	if (!r)
		*seq = tlssf_crypto_seq(info, c->info.kernel_cipher);
	explicit_bzero(info, sizeof(info));
	return r;
}

/* The sum starts anew, at a moment when the TCP queue is empty. */
static int restart(struct conn *c, const struct sys_tcp *tcp)
{
	struct kernel_tx *k = &c->ktx;
	int r = read_seq(c, &k->start_seq);

	if (r)
		return r;
	k->plain = 0;
	k->start_tcp = tcp->in_tcp;
	k->exact = tcp->queued == 0;
	return 0;
}

int tlssf_ktx_start(struct conn *c)
{
	struct sys_tcp tcp;
	int r;

	memset(&c->ktx, 0, sizeof(c->ktx));
	if (c->fd < 0 || c->info.kernel_cipher < 0)
		return -ENOTSUP;
	r = tlssf_sys.tcp(c->fd, &tcp);
	if (!r)
		r = restart(c, &tcp);
	c->ktx.first_seq = c->ktx.start_seq;
	return r;
}

void tlssf_ktx_count(struct conn *c, uint64_t plain)
{
	c->ktx.plain += plain;
}

int tlssf_ktx_push(struct conn *c)
{
	ssize_t n;

	if (!c->ktx.open)
		return 0;
	c->calls++;
	n = tlssf_sys.send_record(c->fd, RECORD_DATA, NULL, 0);
	if (n < 0)
		return (int)n;
	c->ktx.open = false;
	return 0;
}

uint64_t tlssf_ktx_records(struct conn *c)
{
	uint64_t seq;

	return read_seq(c, &seq) ? 0 : seq - c->ktx.first_seq;
}

static bool sum_is_zero(struct conn *c, const struct sys_tcp *tcp)
{
	struct kernel_tx *k = &c->ktx;
	uint64_t seq, sealed, sent = tcp->in_tcp - k->start_tcp;

	if (!k->exact)
		return false;
	if (read_seq(c, &seq)) {
		k->exact = false;	/* look at the TCP queue instead */
		return false;
	}
	sealed = k->plain + (seq - k->start_seq) *
		tlssf_record_overhead(c->info.version, c->info.kernel_cipher);
	if (sent > sealed)
		k->exact = false;	/* somebody else sends, too */
	return sent == sealed;
}

static bool idle_twice(struct conn *c, const struct sys_tcp *tcp)
{
	struct kernel_tx *k = &c->ktx;
	uint64_t now = tlssf_sys.now_ms();

	if (tcp->queued || tcp->in_tcp != k->last_tcp || !k->idle_since) {
		k->last_tcp = tcp->in_tcp;
		k->idle_since = tcp->queued ? 0 : now;
		return false;
	}
	return now - k->idle_since >= IDLE_MS;
}

int tlssf_ktx_drain(struct conn *c)
{
	struct sys_tcp tcp;
	int r = tlssf_ktx_push(c);

	if (r == -EAGAIN || r == -EINTR)
		return TLSSF_WANT_WRITE;
	if (r)
		return r;
	c->calls++;
	r = tlssf_sys.tcp(c->fd, &tcp);
	if (r)
		return r;
	if (sum_is_zero(c, &tcp))
		return 0;
	if (tcp.state == TCP_CLOSE)
		return -EPIPE;
	if (c->ktx.exact || !idle_twice(c, &tcp))
		return TLSSF_WANT_WRITE;
	return restart(c, &tcp);
}
