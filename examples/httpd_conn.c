/* SPDX-License-Identifier: MIT */
/*
 * One connection as a state machine:
 *
 *   HANDSHAKE -> READ -> SEND -> SHUTDOWN -> LINGER -> closed
 *                  ^------' keep-alive
 *
 * Each state has a function, which makes all the progress that is possible
 * without blocking and then sets the event to wait for. Two states call
 * libtlssf: SEND calls tlssf_send_job(), SHUTDOWN calls tlssf_shutdown(). The
 * other states do what every TLS server does.
 */
#include "httpd.h"

#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DISCARD_MAX	16	/* reads in one step of the state LINGER */
#define LINGER_CHECK_MS	250	/* interval between looks at the send queue */

enum step { STEP_NEXT, STEP_WAIT, STEP_CLOSE };

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- waiting ---- */

static int tcp_queued(const struct conn *c)
{
	int n = 0;

	return ioctl(c->fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

static void set_deadline(struct conn *c, unsigned int ms)
{
	c->deadline = now_ms() + ms;
	c->queued_before = tcp_queued(c);
}

static enum step wait_for(struct conn *c, uint32_t events, int delay_ms)
{
	c->events = events;
	c->delay_ms = delay_ms;
	return STEP_WAIT;
}

static enum step enter_state(struct conn *c, enum conn_state state,
			     unsigned int ms)
{
	bool waiting = state == CONN_HANDSHAKE || state == CONN_READ ||
		       state == CONN_LINGER;

	c->state = state;
	c->waiting_since = waiting ? now_ms() : 0;
	set_deadline(c, ms);
	return STEP_NEXT;
}

/* Handle the return value n <= 0 of an OpenSSL call. */
static enum step wait_ssl(struct conn *c, int n)
{
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return wait_for(c, EPOLLIN, -1);
	case SSL_ERROR_WANT_WRITE:
		return wait_for(c, EPOLLOUT, -1);
	default:
		return STEP_CLOSE;
	}
}

/*
 * Handle TLSSF_WANT_READ or TLSSF_WANT_WRITE from a libtlssf call.
 *
 * If retry_ms is not 0, the socket may already be writable although the call
 * could not finish, because the kernel's TLS layer still holds records. Waiting
 * for EPOLLOUT would then spin (level-triggered) or never return
 * (edge-triggered), so wait for the timer only. If the call made progress, it
 * stopped at its limit of bytes per call: continue in the next round, after the
 * other connections.
 */
static enum step wait_tlssf(struct conn *c, int want, bool progress)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (want == TLSSF_WANT_READ)
		return wait_for(c, EPOLLIN, -1);
	if (tlssf_status(c->ssl, &st) < 0 || st.retry_ms == 0)
		return wait_for(c, EPOLLOUT, -1);
	return wait_for(c, 0, progress ? 0 : (int)st.retry_ms);
}

/* ---- failures ---- */

/*
 * The response is incomplete, so send no close_notify: the peer must be able to
 * detect the truncation. End with a TCP reset, except after a fatal error in
 * libtlssf: libtlssf may have sent an alert, and a reset could make the peer
 * discard the alert unread.
 */
void conn_fail(struct conn *c, const char *why)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (c->state == CONN_SEND)
		log_response(c, why);
	c->reset = tlssf_status(c->ssl, &st) < 0 || !st.dead;
}

/* ---- the states ---- */

static enum step do_handshake(struct conn *c)
{
	enum step s;
	int n;

	ERR_clear_error();
	n = SSL_accept(c->ssl);
	if (n == 1)
		return enter_state(c, CONN_READ, c->config->timeout_ms);
	s = wait_ssl(c, n);
	if (s == STEP_CLOSE && ERR_peek_error())
		fprintf(stderr, "%s: TLS handshake failed: %s\n", c->peer,
			ERR_reason_error_string(ERR_peek_error()));
	return s;
}

static enum step start_response(struct conn *c)
{
	if (c->stopping)
		c->response.close = true;
	c->sent_before_job = 0;
	c->jobs_done = 0;
	response_job(&c->response, 0, c->head, &c->job);
	return enter_state(c, CONN_SEND, c->config->timeout_ms);
}

static enum step start_error_response(struct conn *c, int status)
{
	c->response.head_only = c->request.parser.method == HTTP_HEAD;
	response_error(&c->response, status);
	return start_response(c);
}

/* The input buffer is full: is the request line too long, or the headers? */
static int too_large_status(const struct conn *c)
{
	return c->request.name.at ? 431 : 414;
}

static enum step do_read(struct conn *c)
{
	for (;;) {
		size_t used;
		int n;

		switch (request_parse(&c->request, c->in + c->in_parsed,
				      c->in_len - c->in_parsed, &used)) {
		case REQUEST_DONE:
			c->in_parsed += used;
			response_make(&c->response, &c->request, c->config);
			return start_response(c);
		case REQUEST_BAD:
			return start_error_response(c,
				request_error_status(&c->request));
		case REQUEST_MORE:
			c->in_parsed = c->in_len;
			break;
		}
		if (c->in_len == sizeof(c->in))
			return start_error_response(c, too_large_status(c));
		ERR_clear_error();
		n = SSL_read(c->ssl, c->in + c->in_len,
			     (int)(sizeof(c->in) - c->in_len));
		if (n <= 0 && SSL_get_error(c->ssl, n) ==
		    SSL_ERROR_ZERO_RETURN)
			return enter_state(c, CONN_SHUTDOWN,
					   c->config->timeout_ms);
		if (n <= 0)
			return wait_ssl(c, n);
		/* one time-out per request: a slow sender cannot extend it */
		if (c->in_len == 0)
			enter_state(c, CONN_READ, c->config->timeout_ms);
		c->in_len += (size_t)n;
	}
}

/* Start the job of the next range. Returns false if there are no more. */
static bool next_job(struct conn *c)
{
	if (++c->jobs_done == response_jobs(&c->response))
		return false;
	c->sent_before_job += c->job.done;
	response_job(&c->response, c->jobs_done, c->head, &c->job);
	return true;
}

/* Keep the bytes after this request: they are the start of the next one. */
static enum step next_request(struct conn *c)
{
	c->in_len -= c->in_parsed;
	memmove(c->in, c->in + c->in_parsed, c->in_len);
	c->in_parsed = 0;
	response_release(&c->response);
	request_init(&c->request);
	enter_state(c, CONN_READ, c->config->timeout_ms);
	/* epoll does not report bytes that were already read from the socket */
	if (c->in_len || SSL_has_pending(c->ssl))
		return wait_for(c, 0, 0);
	return wait_for(c, EPOLLIN, -1);
}

static enum step do_send(struct conn *c)
{
	struct tlssf_status st = { .size = sizeof(st) };
	uint64_t before = c->job.done;
	int r = tlssf_send_job(c->ssl, &c->job);
	bool progress = c->job.done != before;

	if (progress)
		set_deadline(c, c->config->timeout_ms);
	if (r == TLSSF_WANT_READ || r == TLSSF_WANT_WRITE)
		return wait_tlssf(c, r, progress);
	if (r == TLSSF_ERROR) {
		tlssf_status(c->ssl, &st);
		conn_fail(c, tlssf_reason_name(st.error));
		return STEP_CLOSE;
	}
	if (next_job(c))
		return STEP_NEXT;
	log_response(c, NULL);
	if (!c->response.close && !c->stopping)
		return next_request(c);
	return enter_state(c, CONN_SHUTDOWN, c->config->timeout_ms);
}

/*
 * With kernel TLS, SSL_shutdown() followed by close() can lose the end of the
 * response. tlssf_shutdown() returns 0 when TCP has the whole response and
 * close_notify; after that, close() loses nothing.
 */
static enum step do_shutdown(struct conn *c)
{
	int r = tlssf_shutdown(c->ssl);

	if (r == TLSSF_ERROR)
		return STEP_CLOSE;
	if (r != 0)
		return wait_tlssf(c, r, false);
	shutdown(c->fd, SHUT_WR);
	enter_state(c, CONN_LINGER, LINGER_CHECK_MS);
	c->linger_end = now_ms() + (c->queued_before > 0 ?
				    c->config->timeout_ms : LINGER_MS);
	return STEP_NEXT;
}

/*
 * Read from the socket and discard: SSL_read() would answer a request for new
 * keys (KeyUpdate), and after shutdown(SHUT_WR) that answer fails and ends
 * SSL_read() for ever. When the kernel decrypts, it returns an alert or a
 * KeyUpdate only to a recvmsg() that has room for the type of the record.
 */
static ssize_t discard_input(struct conn *c)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(unsigned char))];
	} type;
	/* c->in can be overwritten: there are no more requests to parse */
	struct iovec iov = { .iov_base = c->in, .iov_len = sizeof(c->in) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &type,
		.msg_controllen = sizeof(type),
	};

	return recvmsg(c->fd, &msg, MSG_DONTWAIT);
}

/*
 * If close() finds unread input in the socket, TCP sends a reset, and the peer
 * may lose bytes that it has not read yet. So read and discard the input until
 * the peer closes, or until the deadline.
 */
static enum step do_linger(struct conn *c)
{
	for (int i = 0; i < DISCARD_MAX; i++) {
		ssize_t n = discard_input(c);

		if (n > 0)
			continue;
		if (n < 0 && errno == EINTR)
			break;
		if (n < 0 && errno == EAGAIN)
			return wait_for(c, EPOLLIN, -1);
		/* the kernel decrypts and does not have the peer's new key */
		if (n < 0 && (errno == EKEYEXPIRED || errno == EBADMSG))
			return wait_for(c, 0, -1);
		return STEP_CLOSE;
	}
	return wait_for(c, 0, 0);
}

/* ---- what the loop calls ---- */

bool conn_step(struct conn *c)
{
	static enum step (*const steps[CONN_STATES])(struct conn *) = {
		[CONN_HANDSHAKE] = do_handshake,
		[CONN_READ] = do_read,
		[CONN_SEND] = do_send,
		[CONN_SHUTDOWN] = do_shutdown,
		[CONN_LINGER] = do_linger,
	};
	enum step s;

	/*
	 * The loop ends: SEND returns STEP_NEXT at most once per range, and
	 * next_request() returns STEP_WAIT after each response.
	 */
	do {
		s = steps[c->state](c);
	} while (s == STEP_NEXT);
	return s != STEP_CLOSE;
}

/*
 * The peer is slow but alive if the TCP send queue has changed since the
 * deadline was set; the deadline then starts again.
 */
static bool still_draining(struct conn *c)
{
	if (tcp_queued(c) == c->queued_before)
		return false;
	set_deadline(c, c->config->timeout_ms);
	return true;
}

/*
 * The peer has LINGER_MS to close after it has acknowledged everything. Before
 * that, it may be slow, as in still_draining().
 */
static bool still_lingering(struct conn *c)
{
	int queued_before = c->queued_before;

	set_deadline(c, LINGER_CHECK_MS);
	if (c->queued_before != queued_before)
		c->linger_end = now_ms() + (c->queued_before > 0 ?
					    c->config->timeout_ms : LINGER_MS);
	return now_ms() < c->linger_end;
}

bool conn_timeout(struct conn *c)
{
	switch (c->state) {
	case CONN_READ:
		if (c->in_len)
			start_error_response(c, 408);
		else
			enter_state(c, CONN_SHUTDOWN, c->config->timeout_ms);
		return conn_step(c);
	case CONN_SEND:
	case CONN_SHUTDOWN:
		if (still_draining(c))
			return true;
		conn_fail(c, "timeout");
		return false;
	case CONN_LINGER:
		return still_lingering(c);
	default:
		c->reset = true;
		return false;
	}
}

bool conn_stop(struct conn *c)
{
	c->stopping = true;
	if (c->state == CONN_HANDSHAKE)
		return false;
	if (c->state == CONN_READ && c->in_len == 0) {
		enter_state(c, CONN_SHUTDOWN, c->config->timeout_ms);
		return conn_step(c);
	}
	return true;
}

/* Bytes that have arrived and not been read. */
static bool has_unread_input(const struct conn *c)
{
	int n = 0;

	return SSL_has_pending(c->ssl) ||
	       (ioctl(c->fd, SIOCINQ, &n) == 0 && n > 0);
}

bool conn_may_give_way(struct conn *c)
{
	switch (c->state) {
	case CONN_HANDSHAKE:
		return true;
	case CONN_READ:
		/* the input buffer has a whole request: delay_ms is 0 */
		if (c->delay_ms >= 0 ||
		    (c->in_len == 0 && has_unread_input(c)))
			return false;
		/* the end of the last response may be queued */
		return tlssf_flush(c->ssl) == 0 && tcp_queued(c) == 0;
	case CONN_LINGER:
		return tcp_queued(c) == 0;
	default:
		return false;
	}
}

void conn_give_way(struct conn *c)
{
	if (c->state == CONN_READ)
		tlssf_shutdown(c->ssl);
	c->reset = c->state == CONN_HANDSHAKE;
}

struct conn *conn_new(SSL_CTX *ctx, const struct config *config, int fd,
		      const char *peer)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	c->config = config;
	c->response.fd = -1;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	request_init(&c->request);
	c->ssl = SSL_new(ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1) {
		conn_free(c);
		return NULL;
	}
	enter_state(c, CONN_HANDSHAKE, config->timeout_ms);
	wait_for(c, EPOLLIN, -1);
	return c;
}

void conn_free(struct conn *c)
{
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	if (c->reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset,
			   sizeof(reset));
	SSL_free(c->ssl);
	close(c->fd);
	response_release(&c->response);
	free(c);
}
