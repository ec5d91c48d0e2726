/* SPDX-License-Identifier: MIT */
/*
 * The public calls on a connection: they check their arguments, call the layers
 * below, and return the result.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "connection.h"

/*
 * The part of each struct that a caller must know at least. A job must have all
 * members of version 0.1.
 */
#define END_OF(type, member)	(offsetof(struct type, member) + sizeof(int))
#define JOB_LEAST		END_OF(tlssf_job, then_flush)
#define STATUS_LEAST		END_OF(tlssf_status, method)

/* ---- waiting on a blocking socket ---- */

/*
 * Sleep once. Returns false if SO_SNDTIMEO, counted from `start`, has expired.
 */
static bool wait_blocking(struct conn *c, uint64_t start)
{
	int limit = -1, slice = 1000;
	uint64_t spent = tlssf_sys.now_ms() - start;

	tlssf_sys.send_timeout_ms(c->fd, &limit);
	if (limit >= 0 && spent >= (uint64_t)limit)
		return false;
	if (limit >= 0 && (uint64_t)limit - spent < (uint64_t)slice)
		slice = (int)((uint64_t)limit - spent);
	if (c->retry_ms)
		tlssf_sys.sleep_ms(c->retry_ms);
	else
		tlssf_sys.poll(c->fd, POLLOUT, slice);
	return true;
}

/*
 * Run `step`. On a blocking socket repeat it until it no longer returns
 * TLSSF_WANT_WRITE.
 */
static int run_blocking(struct conn *c, int (*step)(struct conn *))
{
	uint64_t start = tlssf_sys.now_ms();
	int r;

	for (;;) {
		r = step(c);
		if (r != TLSSF_WANT_WRITE || c->fd < 0 ||
		    tlssf_sys.nonblocking(c->fd) != 0)
			return r;
		if (!wait_blocking(c, start))
			return r;
	}
}

/*
 * Returns what each call returns after a failure. If an alert is due, it is
 * sent first.
 */
static int failed_result(struct conn *c)
{
	int r = c->life == LIFE_DEAD ? 0 :
		run_blocking(c, tlssf_conn_send_due_alert);

	return r == TLSSF_WANT_WRITE ? r : TLSSF_ERROR;
}

/* ---- sending ---- */

/*
 * May application data be sent now? Returns 0 if so, else TLSSF_WANT_* or
 * TLSSF_ERROR.
 */
static int may_send(struct conn *c)
{
	int r = 0;

	if (tlssf_failed(c))
		return failed_result(c);
	if (tl_post_handshake_pending(c->ssl))
		r = tlssf_conn_finish_post_handshake(c);
	if (r)
		return tlssf_failed(c) ? failed_result(c) : r;
	if (tl_sent_shutdown(c->ssl))
		return tlssf_conn_fail(c, TLSSF_REASON_SHUT_DOWN, EPIPE);
	if (c->bridge->write_pending)
		return tlssf_conn_fail(c, TLSSF_REASON_PENDING_WRITE, EBUSY);
	if (tlssf_taken_over(c) && tl_defers_post_handshake(c->ssl))
		r = tlssf_conn_finish_post_handshake(c);
	if (r) {
		/*
		 * The next call continues; the application has no SSL_write()
		 * to repeat.
		 */
		c->bridge->write_pending = false;
		return tlssf_failed(c) ? failed_result(c) : r;
	}
	if (!c->method)
		return tlssf_conn_fail(c, c->why_not[c->requested_method],
				       EOPNOTSUPP);
	return 0;
}

static int file_failed(struct conn *c, int err)
{
	if (err == EBADF)
		return tlssf_conn_fail(c, TLSSF_REASON_BAD_FD, err);
	if (err == EINVAL)
		return tlssf_conn_fail(c, TLSSF_REASON_NOT_REGULAR, err);
	return tlssf_conn_fail(c, TLSSF_REASON_FILE_READ, err);
}

static uint64_t call_limit(const struct conn *c, struct stream *s)
{
	uint64_t max = c->conf ? c->conf->options.max_per_call
			       : DEFAULT_PER_CALL;

	return s->total - s->done > max && tlssf_stream_nonblocking(s, c->fd) ?
	       s->done + max : s->total;
}

static int send_by_method(struct conn *c, struct stream *s)
{
	uint64_t before = s->done;
	int r;

	r = tlssf_method_send(c, s, call_limit(c, s));
	if (tlssf_tracing())
		tlssf_trace(c->ssl, "%s: %llu bytes, result %d",
			    tlssf_method_name(tlssf_method_in_force(c)),
			    (unsigned long long)(s->done - before), r);
	return r == TLSSF_ERROR && tlssf_failed(c) ? failed_result(c) : r;
}

/*
 * What each public call does last: it sets errno and leaves the error queue
 * empty. Returns `r`.
 */
static int finish_call(const struct conn *c, int r)
{
	if (c)
		tlssf_state_check(c);
	tl_clear_errors();
	if (r == TLSSF_ERROR && c)
		errno = c->err;
	return r;
}

/*
 * Clamp the range to the size of the file. But bytes that are already encrypted
 * will leave and must be reported, even if the file has been truncated since
 * then.
 */
static int open_range(struct conn *c, struct stream *s, off_t off, size_t len)
{
	uint64_t size;
	int r;

	if (off < 0)
		return tlssf_conn_fail(c, TLSSF_REASON_ARGUMENT, EINVAL);
	r = tlssf_sys.file_size(s->fd, &size);
	if (r)
		return file_failed(c, -r);
	s->off = (uint64_t)off;
	s->total = s->off < size ? size - s->off : 0;
	if (s->total < tlssf_unreported_bytes(c))
		s->total = tlssf_unreported_bytes(c);
	if (s->total > len)
		s->total = len;
	if (s->total > SSIZE_MAX)
		s->total = SSIZE_MAX;
	s->file_len = s->total;
	return 0;
}

ssize_t tlssf_send(struct ssl_st *ssl, int fd, off_t off, size_t len)
{
	struct stream s = { .fd = fd };
	struct conn *c;
	int r = tlssf_conn_enter(ssl, &c);

	if (!r)
		r = may_send(c);
	if (!r && len)
		r = open_range(c, &s, off, len);
	if (!r && s.total)
		r = send_by_method(c, &s);
	finish_call(c, r);
	return s.done ? (ssize_t)s.done : r;
}

static int check_job(struct conn *c, const struct tlssf_job *j)
{
	uint64_t size, total;
	int r;

	if (!j || tlssf_abi_check(j, JOB_LEAST, sizeof(*j)) ||
	    (j->header_len && !j->header) ||
	    (j->trailer_len && !j->trailer) || j->off < 0 ||
	    __builtin_add_overflow(j->file_len, (uint64_t)j->off, &size) ||
	    size > INT64_MAX ||
	    __builtin_add_overflow((uint64_t)j->header_len, j->file_len,
				   &total) ||
	    __builtin_add_overflow(total, (uint64_t)j->trailer_len, &total) ||
	    j->done > total)
		return tlssf_conn_fail(c, TLSSF_REASON_ARGUMENT, EINVAL);
	if (!j->file_len || j->file_known ||
	    j->done >= j->header_len + j->file_len ||
	    c->unreported)	/* see open_range() */
		return 0;
	r = tlssf_sys.file_size(j->fd, &size);
	if (r)
		return file_failed(c, -r);
	if (size < (uint64_t)j->off + j->file_len)
		return tlssf_conn_fail(c, TLSSF_REASON_FILE_TRUNCATED, ENODATA);
	return 0;
}

static struct stream job_stream(const struct tlssf_job *j)
{
	return (struct stream){
		.job = j,
		.header = j->header, .header_len = j->header_len,
		.trailer = j->trailer, .trailer_len = j->trailer_len,
		.fd = j->fd, .off = (uint64_t)j->off, .file_len = j->file_len,
		.total = j->header_len + j->file_len + j->trailer_len,
		.done = j->done,
	};
}

static int run_job(struct conn *c, struct tlssf_job *j)
{
	struct stream s = job_stream(j);
	int r = 0;

	if (s.done < s.total)
		r = send_by_method(c, &s);
	j->done = s.done;
	if (r || s.done == s.total)
		return r;
	if (s.short_file)
		return tlssf_conn_fail(c, TLSSF_REASON_FILE_TRUNCATED, ENODATA);
	/*
	 * max_per_call is reached. The socket is still writable, so no edge
	 * will come: the caller must call again soon.
	 */
	c->retry_ms = 1;
	return TLSSF_WANT_WRITE;
}

int tlssf_send_job(struct ssl_st *ssl, struct tlssf_job *job)
{
	struct conn *c;
	int r = tlssf_conn_enter(ssl, &c);

	if (!r)
		r = may_send(c);
	if (!r)
		r = check_job(c, job);
	if (!r)
		r = run_job(c, job);
	return finish_call(c, r);
}

/* ---- flush and shutdown ---- */

static int drain_step(struct conn *c)
{
	int r = tlssf_kernel_seals(c) ? tlssf_kernel_drain(c)
				      : tlssf_userspace_drain(c);

	if (!r)
		c->backoff_ms = 0;
	return r;
}

/* Send close_notify. It is sent again only if its record is unfinished. */
static int close_notify(struct conn *c)
{
	struct bridge *b = c->bridge;
	enum tl_result res;

	if (tl_sent_shutdown(c->ssl) != b->write_pending)
		return tl_sent_shutdown(c->ssl) ? 0 :
		       tlssf_conn_fail(c, TLSSF_REASON_PENDING_WRITE, EBUSY);
	res = tl_shutdown(c->ssl);
	if (tlssf_failed(c))
		return failed_result(c);
	/* A BIO above the bridge may be the one that wants to write. */
	if (res == TL_WANT_WRITE)
		b->write_pending = true;
	if (res == TL_OK || (res != TL_FATAL && !b->write_pending &&
			     tl_sent_shutdown(c->ssl)))
		return 0;
	return tlssf_conn_tls_result(c, res);
}

static int shutdown_step(struct conn *c)
{
	bool sent = tl_sent_shutdown(c->ssl) && !c->bridge->write_pending;
	int r = 0;

	/*
	 * After its close_notify the library sends nothing more. A later
	 * failure, such as a FIN without close_notify, affects only reading.
	 */
	if (!sent && tl_post_handshake_pending(c->ssl))
		r = tlssf_conn_finish_post_handshake(c);
	if (!r && !sent && !tl_quiet_shutdown(c->ssl))
		r = close_notify(c);
	return r ? r : drain_step(c);
}

static int enter_and_run(struct ssl_st *ssl, int (*step)(struct conn *))
{
	struct conn *c;
	int r = tlssf_conn_enter(ssl, &c);

	if (!r && tlssf_kernel_seals(c) && !tlssf_failed(c))
		r = tlssf_conn_io_result(c, tlssf_tx_same_socket(c));
	if (!r)
		r = tlssf_failed(c) ? failed_result(c) : run_blocking(c, step);
	return finish_call(c, r);
}

int tlssf_flush(struct ssl_st *ssl)
{
	return enter_and_run(ssl, drain_step);
}

int tlssf_shutdown(struct ssl_st *ssl)
{
	return enter_and_run(ssl, shutdown_step);
}

/* ---- status ---- */

/*
 * Returns why no faster method is in use. With AUTO that is the reason for the
 * method ktls, because most connections could use it.
 */
static int main_reason(const struct conn *c)
{
	if (tlssf_kernel_seals(c))
		return TLSSF_REASON_NONE;
	if (c->method == TLSSF_METHOD_KTLS)
		return TLSSF_REASON_NOT_YET;
	if (c->requested_method != TLSSF_METHOD_AUTO)
		return c->why_not[c->requested_method];
	return c->why_not[TLSSF_METHOD_KTLS];
}

static void describe_why_not(const struct conn *c, struct tlssf_status *st)
{
	for (int i = 0; i < TLSSF_METHOD_COUNT; i++)
		st->why_not[i] = c->why_not[i];
	if (c->method != TLSSF_METHOD_KTLS || tlssf_kernel_seals(c))
		return;
	st->why_not[TLSSF_METHOD_KTLS] = TLSSF_REASON_NOT_YET;
	if (st->method)
		st->why_not[st->method] = TLSSF_REASON_NONE;
}

static void describe_kernel(struct conn *c, struct tlssf_status *st)
{
	st->kernel_tx = true;
	st->max_payload_len = c->tx->max_payload;
	st->zerocopy = c->tx->zerocopy;
	if (!c->method)
		return;
	st->bytes[c->method] = c->tx->bytes;
	st->records[c->method] = tlssf_tx_records(c);
}

static void describe(struct conn *c, struct tlssf_status *st)
{
	st->error = c->error;
	st->dead = tlssf_failed(c);
	st->retry_ms = c->retry_ms;
	if (!tlssf_examined(c)) {
		st->reason = c->error ? c->error : TLSSF_REASON_HANDSHAKE;
		return;
	}
	st->method = tlssf_method_in_force(c);
	st->reason = main_reason(c);
	describe_why_not(c, st);
	st->version = c->info.version;
	st->cipher = c->info.cipher;
	st->cipher_name = tl_cipher_name(c->ssl);
	st->takeover = tlssf_taken_over(c);
	st->bytes[TLSSF_METHOD_USERSPACE] = c->bytes;
	st->calls = c->calls;
	st->rekeys = c->rekeys;
	st->buffered = c->buffered;
	if (c->bridge)
		st->records[TLSSF_METHOD_USERSPACE] = c->bridge->records;
	if (tlssf_kernel_seals(c))
		describe_kernel(c, st);
}

/*
 * If the handshake is unfinished, this call succeeds and reports that as the
 * reason.
 */
int tlssf_status(struct ssl_st *ssl, struct tlssf_status *status)
{
	struct tlssf_status st;
	uint8_t retry_ms = 0;
	struct conn *c = NULL;

	tl_clear_errors();
	if (!status || status->size < STATUS_LEAST) {
		errno = EINVAL;
		return TLSSF_ERROR;
	}
	if (tlssf_conn_state(ssl, &c))
		return finish_call(NULL, TLSSF_ERROR);
	memset(&st, 0, sizeof(st));	/* including the padding */
	st.cipher_name = "";
	retry_ms = c->retry_ms;
	if (!tlssf_examined(c) && tl_ready(ssl))
		tlssf_conn_enter(ssl, &c);
	c->retry_ms = retry_ms;
	describe(c, &st);
	tlssf_state_check(c);
	tlssf_abi_export(status, &st, sizeof(st));
	return finish_call(NULL, 0);
}

const char *tlssf_strerror(const struct ssl_st *ssl)
{
	const struct conn *c = ssl ? tl_conn(ssl) : NULL;

	if (!c && errno == ELIBBAD)	/* from tlssf_ctx_init() */
		return tlssf_reason_text(TLSSF_REASON_WRONG_LIBRARY);
	return c ? tlssf_reason_text(c->error) : strerror(errno);
}
