/* SPDX-License-Identifier: MIT */
/*
 * The sending side of a connection: nginx hands over a chain of bufs, bytes in
 * memory and ranges of files, and wants back what could not be sent yet.
 *
 * What has no file in it is left to nginx, which gathers it into records of its
 * own. Bytes, the file behind them and the bytes behind that make one job of
 * libtlssf. A job that has begun is finished as it is, whatever nginx would ask
 * for meanwhile: its records may be sealed already.
 */
#include "ngx_http_tlssf.h"

#define GATHER_MAX	16384	/* no more than one record */
#define JOB_MAX		(NGX_MAX_INT32_VALUE - ngx_pagesize)
#define RETRY_READ_MS	10

/* In c->buffered: the response has been sent, but not yet reached TCP. */
#define TLSSF_BUFFERED	0x08

int ngx_http_tlssf_index = -1;

/* ---- waiting ---- */

static void retry_now(ngx_event_t *ev)
{
	ngx_connection_t *c = ev->data;

	c->write->ready = 1;
	c->write->handler(c->write);
}

/*
 * nginx renews its send_timeout each time that it comes here, so where no event
 * of the socket brings it, we have to look at the clock.
 */
static ngx_int_t stalled_too_long(ngx_http_tlssf_conn_t *conn)
{
	ngx_http_request_t *r = conn->c->data;
	ngx_http_core_loc_conf_t *clcf;

	if (!conn->stalled) {
		conn->stalled = ngx_current_msec ? ngx_current_msec : 1;
		return 0;
	}
	clcf = ngx_http_get_module_loc_conf(r->main, ngx_http_core_module);
	return ngx_current_msec - conn->stalled > clcf->send_timeout;
}

/* After WANT: NGX_AGAIN, or NGX_ERROR when the peer had its time. */
static ngx_int_t wait_for(ngx_http_tlssf_conn_t *conn, int want)
{
	struct tlssf_status st = { .size = sizeof(st) };
	ngx_connection_t *c = conn->c;
	ngx_msec_t ms;

	c->write->ready = 0;
	tlssf_status(c->ssl->connection, &st);
	ms = st.retry_ms;
	if (want == TLSSF_WANT_READ && !ms)
		ms = RETRY_READ_MS;
	if (!ms) {
		conn->stalled = 0;
		return NGX_AGAIN;
	}
	if (stalled_too_long(conn)) {
		ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
			      "client timed out");
		c->timedout = 1;
		return NGX_ERROR;
	}
	ngx_add_timer(&conn->retry, ms);
	return NGX_AGAIN;
}

/* ---- failures ---- */

static ngx_uint_t log_level(int reason)
{
	switch (reason) {
	case TLSSF_REASON_PEER_GONE:
	case TLSSF_REASON_REKEY:	/* what peers do is no news */
	case TLSSF_REASON_KEY_LIMIT:
	case TLSSF_REASON_TLS:
	case TLSSF_REASON_PENDING_WRITE: /* a ticket, to a peer that had gone:
					  * the handshake forgives that */
		return NGX_LOG_INFO;
	}
	return NGX_LOG_CRIT;
}

static ngx_int_t failed(ngx_http_tlssf_conn_t *conn, const char *call)
{
	struct tlssf_status st = { .size = sizeof(st) };
	ngx_err_t err = ngx_errno;
	ngx_connection_t *c = conn->c;

	tlssf_status(c->ssl->connection, &st);
	ngx_log_error(log_level(st.error), c->log, err, "%s failed: %s: %s",
		      call, tlssf_reason_name(st.error),
		      tlssf_reason_text(st.error));
	c->write->error = 1;
	c->ssl->no_wait_shutdown = 1;
	c->ssl->no_send_shutdown = 1;
	return NGX_ERROR;
}

/* ---- making a job of a chain ---- */

static int only_in_file(const ngx_buf_t *b)
{
	return b->in_file && !ngx_buf_in_memory(b);
}

static ngx_chain_t *next_real(ngx_chain_t *in)
{
	while (in && ngx_buf_special(in->buf))
		in = in->next;
	return in;
}

/* Several bufs in memory become one. Returns the first that is not in it. */
static ngx_chain_t *gather(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
			   size_t limit)
{
	struct tlssf_job *job = &conn->job;
	u_char *to;

	conn->gathered = ngx_alloc(limit, conn->c->log);
	if (!conn->gathered)
		return NGX_CHAIN_ERROR;
	to = conn->gathered;
	for (; in && limit && !only_in_file(in->buf); in = in->next) {
		size_t n;

		if (ngx_buf_special(in->buf))
			continue;
		n = ngx_min((size_t)(in->buf->last - in->buf->pos), limit);
		to = ngx_cpymem(to, in->buf->pos, n);
		limit -= n;
		if (in->buf->pos + n < in->buf->last)
			break;
	}
	job->header = conn->gathered;
	job->header_len = to - conn->gathered;
	return in;
}

/* Bytes in memory before the file: one buf where it lies, several copied. */
static ngx_chain_t *take_header(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
				off_t limit)
{
	struct tlssf_job *job = &conn->job;
	ngx_chain_t *next = next_real(in->next);
	size_t n;

	if (only_in_file(in->buf))
		return in;
	if (next && !only_in_file(next->buf))
		return gather(conn, in, ngx_min(limit, GATHER_MAX));
	n = in->buf->last - in->buf->pos;
	job->header = in->buf->pos;
	job->header_len = ngx_min((off_t)n, limit);
	return job->header_len < n ? in : next;
}

static ngx_int_t make_job(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
			  off_t limit)
{
	struct tlssf_job *job = &conn->job;
	size_t n;

	ngx_memzero(job, sizeof(*job));
	job->size = sizeof(*job);
	job->then_flush = conn->last;
	in = take_header(conn, in, limit);
	if (in == NGX_CHAIN_ERROR)
		return NGX_ERROR;
	limit -= job->header_len;
	if (in && limit > 0 && only_in_file(in->buf)) {
		job->fd = in->buf->file->fd;
		job->off = in->buf->file_pos;
		job->file_known = 1;	/* nginx has opened and measured it */
		job->file_len = ngx_chain_coalesce_file(&in, limit);
		limit -= job->file_len;
		in = next_real(in);
		n = in && !only_in_file(in->buf) ?
		    in->buf->last - in->buf->pos : 0;
		if (n && (off_t)n <= limit && n <= GATHER_MAX) {
			job->trailer = in->buf->pos;
			job->trailer_len = n;
		}
	}
	conn->busy = 1;
	return NGX_OK;
}

/* ---- sending ---- */

/* Who seals now? Asked once a job, until that can change no more. */
static void look_at_keys(ngx_http_tlssf_conn_t *conn)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (conn->taken || conn->kernel)
		return;
	tlssf_status(conn->c->ssl->connection, &st);
	conn->kernel = st.kernel_tx;
	conn->taken = st.takeover;
}

static void end_job(ngx_http_tlssf_conn_t *conn)
{
	conn->busy = 0;
	if (conn->gathered)
		ngx_free(conn->gathered);
	conn->gathered = NULL;
}

static ngx_int_t run_job(ngx_http_tlssf_conn_t *conn, ngx_chain_t **in)
{
	uint64_t before = conn->job.done;
	int r = tlssf_send_job(conn->c->ssl->connection, &conn->job);
	off_t n = conn->job.done - before;

	conn->c->sent += n;
	conn->bytes += n;
	if (n) {
		conn->stalled = 0;
		*in = ngx_chain_update_sent(*in, n);
	}
	if (r == TLSSF_ERROR)
		return failed(conn, "tlssf_send_job()");
	if (r)
		return wait_for(conn, r);
	end_job(conn);
	look_at_keys(conn);
	return NGX_OK;
}

/*
 * Bytes in memory only, and nobody seals them twice: nginx's own way. So is the
 * rest of what went this way before.
 */
static int for_nginx(const ngx_http_tlssf_conn_t *conn, const ngx_chain_t *in)
{
	if (conn->busy || conn->taken)
		return 0;
	for (; in; in = in->next) {
		if (only_in_file(in->buf))
			return 0;
	}
	return 1;
}

static ngx_chain_t *by_nginx(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
	unsigned sendfile = c->ssl->sendfile;

	c->ssl->sendfile = 0;	/* what is in memory is sent from there */
	in = ngx_ssl_send_chain(c, in, limit);
	c->ssl->sendfile = sendfile;
	return in;
}

static int ends_response(const ngx_chain_t *in)
{
	for (; in; in = in->next) {
		if (in->buf->last_buf)
			return 1;
	}
	return 0;
}

static ngx_int_t run_jobs(ngx_http_tlssf_conn_t *conn, ngx_chain_t **in,
			  off_t limit)
{
	off_t start = conn->c->sent;
	ngx_int_t rc = NGX_OK;

	while (rc == NGX_OK) {
		off_t left = limit - (conn->c->sent - start);

		if (!conn->busy) {
			*in = next_real(*in);
			if (!*in || left <= 0)
				break;
			if (make_job(conn, *in, left) != NGX_OK)
				return NGX_ERROR;
		}
		rc = run_job(conn, in);
	}
	return rc;
}

/* What nginx has gathered for a record of its own goes first. */
static ngx_chain_t *by_libtlssf(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
				off_t limit)
{
	ngx_connection_t *c = conn->c;

	if (c->buffered & NGX_SSL_BUFFERED &&
	    by_nginx(c, NULL, 0) == NGX_CHAIN_ERROR)
		return NGX_CHAIN_ERROR;
	if (c->buffered & NGX_SSL_BUFFERED)
		return in;
	return run_jobs(conn, &in, limit) == NGX_ERROR ? NGX_CHAIN_ERROR : in;
}

/* ---- the end of a response ---- */

static int will_close(const ngx_connection_t *c)
{
	ngx_http_request_t *r = c->data;

	return !r->main->keepalive || c->read->eof || ngx_exiting ||
	       ngx_terminate;
}

/*
 * Records may wait in the kernel above TCP, and close() throws them away. Once
 * the response is called sent, nginx may close at any time; so first they have
 * to be in TCP, and close_notify with them if nginx is going to close now.
 */
static ngx_int_t finish(ngx_http_tlssf_conn_t *conn)
{
	ngx_connection_t *c = conn->c;
	int r = will_close(c) ? tlssf_shutdown(c->ssl->connection)
			      : tlssf_flush(c->ssl->connection);

	if (r == TLSSF_ERROR)
		return failed(conn, "tlssf_flush()");
	if (r) {
		c->buffered |= TLSSF_BUFFERED;
		return wait_for(conn, r);
	}
	c->buffered &= ~TLSSF_BUFFERED;
	conn->last = 0;
	conn->stalled = 0;
	return NGX_OK;
}

static ngx_chain_t *send_chain(ngx_connection_t *c, ngx_chain_t *in,
			       off_t limit)
{
	ngx_http_tlssf_conn_t *conn =
		SSL_get_ex_data(c->ssl->connection, ngx_http_tlssf_index);

	if (!c->write->ready)
		return in;
	if (conn->retry.timer_set)
		ngx_del_timer(&conn->retry);
	if (limit == 0 || limit > (off_t)JOB_MAX)
		limit = JOB_MAX;
	if (ends_response(in))
		conn->last = 1;
	if (!conn->busy && !(c->buffered & NGX_SSL_BUFFERED))
		in = next_real(in);
	if (!in && !(c->buffered & NGX_SSL_BUFFERED))
		;	/* an end without bytes, or a flush that goes on */
	else if (for_nginx(conn, in))
		in = by_nginx(c, in, limit);
	else
		in = by_libtlssf(conn, in, limit);
	if (in == NGX_CHAIN_ERROR)
		return in;
	if (in || c->buffered & NGX_SSL_BUFFERED || !conn->last)
		return in;
	if (!conn->kernel)
		conn->last = 0;
	else if (finish(conn) == NGX_ERROR)
		return NGX_CHAIN_ERROR;
	return NULL;
}

/* ---- life ---- */

static void detach(void *data)
{
	ngx_http_tlssf_conn_t *conn = data;

	if (conn->retry.timer_set)
		ngx_del_timer(&conn->retry);
	end_job(conn);
}

ngx_http_tlssf_conn_t *ngx_http_tlssf_conn(ngx_connection_t *c)
{
	return c->send_chain == send_chain ?
	       SSL_get_ex_data(c->ssl->connection, ngx_http_tlssf_index) : NULL;
}

ngx_http_tlssf_conn_t *ngx_http_tlssf_attach(ngx_connection_t *c)
{
	ngx_http_tlssf_conn_t *conn = ngx_pcalloc(c->pool, sizeof(*conn));
	ngx_pool_cleanup_t *cln = ngx_pool_cleanup_add(c->pool, 0);

	if (!conn || !cln || !SSL_set_ex_data(c->ssl->connection,
					      ngx_http_tlssf_index, conn))
		return NULL;
	conn->c = c;
	conn->kernel = c->ssl->sendfile;
	conn->retry.handler = retry_now;
	conn->retry.data = c;
	conn->retry.log = c->log;
	cln->handler = detach;
	cln->data = conn;
	c->send_chain = send_chain;
	c->need_last_buf = 1;	/* the end of a response, bytes or none */
	return conn;
}
