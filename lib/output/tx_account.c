/* SPDX-License-Identifier: MIT */
/*
 * The account of what the kernel's TLS layer holds above TCP. If TCP has no
 * room for a record, Linux keeps the record on a list that no system call shows
 * and that close() discards. So the account computes how many bytes are held:
 *
 *   held = plaintext + records * overhead - (bytes in TCP now - at the start)
 *
 * The number of records comes from the sequence number, which
 * getsockopt(TLS_TX) returns. The sum is exact if nothing was held at its start
 * and all plaintext since then went through us. Otherwise the only sign that
 * nothing is held is an idle TCP queue, in which no byte is unacknowledged. The
 * queue must be idle at two looks, with time between them for the kernel to
 * refill it.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define IDLE_MS		25u	/* the kernel's worker needs a tick or two */
#define LOOKS_MAX	16
/* At most so many bytes are sent without a check that the peer is there. */
#define UNSEEN_MAX	(128u << 10)
/* RFC 8446, 5.5; for CCM RFC 9147, 4.5.3. ChaCha20 has no limit in practice. */
#define LIMIT_GCM	23726566u	/* 2^24.5 */
#define LIMIT_CCM	(1u << 23)

static int read_seq(const struct conn *c, uint64_t *seq)
{
	unsigned char info[SYS_CRYPTO_MAX];
	size_t len;
	int r;

	if (c->info.kernel_cipher < 0)
		return -ENOTSUP;
	len = tlssf_kernel_key_size(c->info.kernel_cipher);
	r = tlssf_sys.tls_tx_get(c->fd, info, &len);
	if (!r)
		*seq = tlssf_kernel_key_seq(info, c->info.kernel_cipher);
	explicit_bzero(info, sizeof(info));
	return r;
}

/*
 * Find out how many bytes have reached TCP, while nobody sends: 0, -EAGAIN,
 * -errno. *idle is set if no byte is unacknowledged. An acknowledgement that
 * arrives between the two system calls of one look makes the number too low,
 * never too high. So the highest number counts, once two looks have shown it.
 */
static int settled_tcp(const struct conn *c, uint64_t *in_tcp, bool *idle)
{
	struct sys_tcp tcp;
	int seen = 0, r;

	*in_tcp = 0;
	*idle = true;
	for (int looks = 0; looks < LOOKS_MAX && seen < 2; looks++) {
		r = tlssf_sys.tcp(c->fd, &tcp);
		if (r)
			return r;
		*idle = *idle && !tcp.queued;
		if (tcp.in_tcp == *in_tcp)
			seen++;
		if (tcp.in_tcp > *in_tcp) {
			*in_tcp = tcp.in_tcp;
			seen = 1;
		}
	}
	return seen < 2 ? -EAGAIN : 0;
}

/*
 * Start a new sum. It is exact if nothing is held now, which the caller knows
 * or an idle TCP queue shows.
 */
static void restart(struct conn *c, bool nothing_held)
{
	struct tx_account *k = c->tx;
	bool idle;

	k->exact = false;
	if (settled_tcp(c, &k->start_tcp, &idle) ||
	    read_seq(c, &k->start_seq))
		return;
	k->drained_seq = k->start_seq;
	k->plain = 0;
	k->past_sum = 0;
	k->exact = nothing_held || idle;
}

/*
 * Only these errors mean that the kernel has no keys for this socket. After any
 * other error it may be encrypting already.
 */
static bool has_no_keys(int err)
{
	return err == -ENOPROTOOPT || err == -EBUSY || err == -ENOTSOCK ||
	       err == -EOPNOTSUPP || err == -EBADF;
}

static unsigned int set_option(const struct conn *c, int option,
			       size_t wanted, size_t len)
{
	unsigned int value = (unsigned int)wanted;

	if (!wanted || tlssf_sys.tls_option(c->fd, option, &value, len))
		return 0;
	tlssf_trace(c->ssl, "kernel: option %d is %u", option, value);
	return value;
}

/* If the kernel lacks an option, the connection does without it. */
static void set_options(struct conn *c)
{
	const struct tlssf_options *o = &c->conf->options;

	c->tx->zerocopy = set_option(c, TLS_OPTION_ZEROCOPY_RO,
				      o->zerocopy != 0,
				      sizeof(unsigned int)) != 0;
	c->tx->max_payload = set_option(c, TLS_OPTION_MAX_PAYLOAD_LEN,
					o->max_payload_len, sizeof(uint16_t));
}

int tlssf_tx_allocate(struct conn *c)
{
	if (!c->tx)
		c->tx = malloc(sizeof(*c->tx));
	if (!c->tx)
		return -ENOMEM;
	memset(c->tx, 0, sizeof(*c->tx));
	return 0;
}

int tlssf_tx_open(struct conn *c, bool nothing_held)
{
	unsigned char head[4];		/* version and cipher, no key */
	size_t len = sizeof(head);
	int r;

	r = c->fd < 0 ? -ENOTSOCK : tlssf_sys.tls_tx_get(c->fd, head, &len);
	if (has_no_keys(r))
		return r;
	r = tlssf_tx_allocate(c);
	if (r)
		return r;
	if (c->conf)
		set_options(c);
	if (read_seq(c, &c->tx->first_seq) == 0)
		c->tx->spent = c->tx->first_seq;
	restart(c, nothing_held);
	return 0;
}

size_t tlssf_tx_record_max(const struct conn *c)
{
	return c->tx->max_payload ? c->tx->max_payload : RECORD_MAX;
}

/*
 * Kernels fill each record at least by half, except the last one. So the number
 * that is added to `spent` here is an upper bound of the records.
 */
void tlssf_tx_sent(struct conn *c, uint64_t plain, bool open)
{
	c->tx->drained = false;
	c->tx->open = open;
	c->tx->plain += plain;
	c->tx->spent += 2 * (plain / tlssf_tx_record_max(c)) + 2;
}

ssize_t tlssf_tx_send_record(struct conn *c, int type, const void *buf,
			     size_t len)
{
	ssize_t n = tlssf_sys.send_record(c->fd, type, buf, len);

	if (n > 0)
		tlssf_tx_sent(c, (uint64_t)n, false);
	return n;
}

/*
 * After the application has closed the socket, its descriptor number may belong
 * to another socket, which would send the data in plaintext.
 */
int tlssf_tx_same_socket(const struct conn *c)
{
	uint64_t id;

	return tlssf_sys.socket_id(c->fd, &id) || id != c->socket ? -EBADF : 0;
}

/* Kernel TLS accepts data for a closed connection, so look at TCP's state. */
int tlssf_tx_socket_alive(const struct conn *c)
{
	int state, r = tlssf_tx_same_socket(c);

	if (r)
		return r;
	state = tlssf_sys.tcp_state(c->fd);
	if (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT)
		return 0;
	return state < 0 ? state : -EPIPE;
}

/*
 * A small send may skip the look at TCP's state if data of the peer arrived
 * since the last look, or if a flush follows. If the peer has gone just now,
 * the next call or the flush reports that.
 */
int tlssf_tx_check_before_send(struct conn *c, uint64_t len, bool flushed)
{
	uint16_t read = (uint16_t)tl_bytes_read(c->ssl);
	bool later =
		len <= UNSEEN_MAX && (flushed || read != c->last_bytes_read);

	c->last_bytes_read = read;
	return later ? tlssf_tx_same_socket(c) : tlssf_tx_socket_alive(c);
}

uint64_t tlssf_key_record_limit(const struct conn *c)
{
	uint64_t limit = UINT64_MAX, requested = 0;

	if (c->info.version != TLS13)
		return UINT64_MAX;
	if (c->info.kernel_cipher == TLSSF_AES_128_CCM)
		limit = LIMIT_CCM;
	else if (c->info.kernel_cipher != TLSSF_CHACHA20_POLY1305)
		limit = LIMIT_GCM;
	if (c->conf)
		requested = c->conf->options.key_records;
	return requested && requested < limit ? requested : limit;
}

/*
 * The account has an upper bound of the records that the present key has
 * protected. The exact number is read from the kernel only when that bound
 * comes near the limit.
 */
uint64_t tlssf_tx_records_left(struct conn *c)
{
	uint64_t limit = tlssf_key_record_limit(c), seq;

	if (c->tx->spent < limit / 2)
		return limit - c->tx->spent;
	if (read_seq(c, &seq) == 0)
		c->tx->spent = seq;
	return c->tx->spent < limit ? limit - c->tx->spent : 0;
}

int tlssf_tx_close_record(struct conn *c)
{
	ssize_t n;

	if (!c->tx->open)
		return 0;
	c->calls++;
	n = tlssf_tx_send_record(c, RECORD_DATA, NULL, 0);
	if (n < 0)
		return (int)n;
	c->tx->open = false;	/* no byte was accepted, but the record left */
	return 0;
}

uint64_t tlssf_tx_records(struct conn *c)
{
	const struct tx_account *k = c->tx;
	uint64_t seq;

	if (read_seq(c, &seq))
		return k->past_records;
	return k->past_records + seq - k->first_seq;
}

void tlssf_tx_before_new_key(struct conn *c)
{
	struct tx_account *k = c->tx;
	uint64_t seq;

	if (read_seq(c, &seq)) {
		k->exact = false;
	} else {
		k->past_records += seq - k->first_seq;
		k->past_sum += seq - k->start_seq;
	}
	k->first_seq = k->start_seq = k->spent = 0;
}

static bool sum_is_zero(struct conn *c, const struct sys_tcp *tcp)
{
	struct tx_account *k = c->tx;
	uint64_t seq, sealed, sent = tcp->in_tcp - k->start_tcp;

	if (!k->exact)
		return false;
	if (read_seq(c, &seq)) {
		k->exact = false;	/* look for an idle queue instead */
		return false;
	}
	k->drained_seq = seq;
	sealed = k->plain + (k->past_sum + seq - k->start_seq) *
		tlssf_record_overhead(c->info.version, c->info.kernel_cipher);
	if (sent > sealed)
		k->exact = false;	/* the application sends, too */
	return sent == sealed;
}

/*
 * Once the sum was zero, nothing is held until another record is sent, for
 * example by an SSL_sendfile() of the application. A later look at TCP need not
 * show that, since its number may be too low (see settled_tcp()).
 */
static bool still_drained(const struct conn *c)
{
	uint64_t seq;

	return c->tx->drained && !read_seq(c, &seq) &&
	       seq == c->tx->drained_seq;
}

static bool idle_twice(struct conn *c, const struct sys_tcp *tcp)
{
	struct tx_account *k = c->tx;
	uint64_t now = tlssf_sys.now_ms();

	if (tcp->queued || tcp->in_tcp != k->last_tcp || !k->idle_since) {
		k->last_tcp = tcp->in_tcp;
		k->idle_since = tcp->queued ? 0 : now;
		return false;
	}
	return now - k->idle_since >= IDLE_MS;
}

int tlssf_tx_drain(struct conn *c)
{
	struct sys_tcp tcp;
	int r = tlssf_tx_close_record(c);

	if (r == -EINTR)
		return -EAGAIN;
	if (r)
		return r;
	c->calls++;
	r = tlssf_sys.tcp(c->fd, &tcp);
	if (r)
		return r;
	if (tcp.state == TCP_CLOSE && tcp.queued)
		return -EPIPE;	/* TCP has discarded its queue */
	c->tx->drained = still_drained(c) || sum_is_zero(c, &tcp);
	if (c->tx->drained)
		return 0;
	if (tcp.state == TCP_CLOSE)
		return -EPIPE;
	if (c->tx->exact || !idle_twice(c, &tcp))
		return -EAGAIN;
	restart(c, true);
	c->tx->drained = c->tx->exact;
	return 0;
}
