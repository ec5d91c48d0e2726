/* SPDX-License-Identifier: MIT */
/*
 * The send_chain of a connection: nginx passes a chain of bufs, which are bytes
 * in memory or ranges of files, and gets back the part that is not yet sent.
 *
 * Chains without files are sent by nginx's own send_chain, which collects bytes
 * into records. In chains with files, bytes, the file after them, and the bytes
 * after the file become one job of libtlssf. Once a job has started, it is
 * finished unchanged, whatever nginx passes in later calls, because some of its
 * records may already be encrypted.
 */
#include "ngx_http_tlssf.h"

#define COPY_MAX	16384	/* plaintext of one record */
#define JOB_MAX		(NGX_MAX_INT32_VALUE - ngx_pagesize)
#define RETRY_READ_MS	10

/* Bit in c->buffered: records of the response are not yet in TCP. */
#define TLSSF_BUFFERED	0x08

int ngx_http_tlssf_ex_index = -1;

/* ---- waiting ---- */

static void retry_send(ngx_event_t *ev)
{
	ngx_connection_t *c = ev->data;

	c->write->ready = 1;
	c->write->handler(c->write);
}

/*
 * nginx restarts its send_timeout with each call of send_chain. When the calls
 * come from our timer, send_timeout never expires, so check it here.
 */
static ngx_int_t send_timed_out(ngx_http_tlssf_conn_t *conn)
{
	ngx_http_request_t *r = conn->c->data;
	ngx_http_core_loc_conf_t *clcf;

	if (!conn->waiting_since) {
		conn->waiting_since = ngx_current_msec ? ngx_current_msec : 1;
		return 0;
	}
	clcf = ngx_http_get_module_loc_conf(r->main, ngx_http_core_module);
	return ngx_current_msec - conn->waiting_since > clcf->send_timeout;
}

/*
 * Wait for what `want` says: TLSSF_WANT_READ or TLSSF_WANT_WRITE. Returns
 * NGX_AGAIN, or NGX_ERROR after send_timeout.
 */
static ngx_int_t wait_after_want(ngx_http_tlssf_conn_t *conn, int want)
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
		conn->waiting_since = 0;
		return NGX_AGAIN;
	}
	if (send_timed_out(conn)) {
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
	case TLSSF_REASON_REKEY:	/* any peer may send a KeyUpdate */
	case TLSSF_REASON_KEY_LIMIT:
	case TLSSF_REASON_TLS:
	/*
	 * The peer closed before it got its session ticket: OpenSSL ignores the
	 * error in the handshake, but the write of the ticket stays unfinished.
	 */
	case TLSSF_REASON_PENDING_WRITE:
		return NGX_LOG_INFO;
	}
	return NGX_LOG_CRIT;
}

static ngx_int_t log_failure(ngx_http_tlssf_conn_t *conn, const char *call)
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

/* ---- building a job from a chain ---- */

static int is_file_only(const ngx_buf_t *b)
{
	return b->in_file && !ngx_buf_in_memory(b);
}

static ngx_chain_t *skip_special_bufs(ngx_chain_t *in)
{
	while (in && ngx_buf_special(in->buf))
		in = in->next;
	return in;
}

/*
 * Copy several bufs in memory to one header. Returns the first buf that is not
 * completely copied.
 */
static ngx_chain_t *copy_header(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
				size_t limit)
{
	struct tlssf_job *job = &conn->job;
	u_char *to;

	conn->copied_header = ngx_alloc(limit, conn->c->log);
	if (!conn->copied_header)
		return NGX_CHAIN_ERROR;
	to = conn->copied_header;
	for (; in && limit && !is_file_only(in->buf); in = in->next) {
		size_t n;

		if (ngx_buf_special(in->buf))
			continue;
		n = ngx_min((size_t)(in->buf->last - in->buf->pos), limit);
		to = ngx_cpymem(to, in->buf->pos, n);
		limit -= n;
		if (in->buf->pos + n < in->buf->last)
			break;
	}
	job->header = conn->copied_header;
	job->header_len = to - conn->copied_header;
	return in;
}

/*
 * Set the job's header to the bytes in memory before the file: a single buf is
 * used in place, several are copied. Returns the first buf after the header.
 */
static ngx_chain_t *set_job_header(ngx_http_tlssf_conn_t *conn, ngx_chain_t *in,
				   off_t limit)
{
	struct tlssf_job *job = &conn->job;
	ngx_chain_t *next = skip_special_bufs(in->next);
	size_t n;

	if (is_file_only(in->buf))
		return in;
	if (next && !is_file_only(next->buf))
		return copy_header(conn, in, ngx_min(limit, COPY_MAX));
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
	job->then_flush = conn->last_buf_seen;
	in = set_job_header(conn, in, limit);
	if (in == NGX_CHAIN_ERROR)
		return NGX_ERROR;
	limit -= job->header_len;
	if (in && limit > 0 && is_file_only(in->buf)) {
		job->fd = in->buf->file->fd;
		job->off = in->buf->file_pos;
		job->file_known = 1;	/* nginx has checked the file */
		job->file_len = ngx_chain_coalesce_file(&in, limit);
		limit -= job->file_len;
		in = skip_special_bufs(in);
		n = in && !is_file_only(in->buf) ?
		    in->buf->last - in->buf->pos : 0;
		if (n && (off_t)n <= limit && n <= COPY_MAX) {
			job->trailer = in->buf->pos;
			job->trailer_len = n;
		}
	}
	conn->job_active = 1;
	return NGX_OK;
}

/* ---- sending ---- */

/* Called after each job, until the kernel or libtlssf has the keys. */
static void update_key_owner(ngx_http_tlssf_conn_t *conn)
{
	struct tlssf_status st = { .size = sizeof(st) };

	if (conn->keys_taken_over || conn->kernel_encrypts)
		return;
	tlssf_status(conn->c->ssl->connection, &st);
	conn->kernel_encrypts = st.kernel_tx;
	conn->keys_taken_over = st.takeover;
}

static void end_job(ngx_http_tlssf_conn_t *conn)
{
	conn->job_active = 0;
	if (conn->copied_header)
		ngx_free(conn->copied_header);
	conn->copied_header = NULL;
}

static ngx_int_t run_job(ngx_http_tlssf_conn_t *conn, ngx_chain_t **in)
{
	uint64_t before = conn->job.done;
	int r = tlssf_send_job(conn->c->ssl->connection, &conn->job);
	off_t n = conn->job.done - before;

	conn->c->sent += n;
	conn->sent_bytes += n;
	if (n) {
		conn->waiting_since = 0;
		*in = ngx_chain_update_sent(*in, n);
	}
	if (r == TLSSF_ERROR)
		return log_failure(conn, "tlssf_send_job()");
	if (r)
		return wait_after_want(conn, r);
	end_job(conn);
	update_key_owner(conn);
	return NGX_OK;
}

/*
 * Returns whether nginx's own send_chain sends this chain. It sends chains
 * without files, and what it has buffered earlier. It does not if a job is
 * unfinished, or if libtlssf has taken the write keys over from OpenSSL,
 * because data of SSL_write() is then encrypted twice.
 */
static int nginx_can_send(const ngx_http_tlssf_conn_t *conn,
			  const ngx_chain_t *in)
{
	if (conn->job_active || conn->keys_taken_over)
		return 0;
	for (; in; in = in->next) {
		if (is_file_only(in->buf))
			return 0;
	}
	return 1;
}

static ngx_chain_t *send_by_nginx(ngx_connection_t *c, ngx_chain_t *in,
				  off_t limit)
{
	unsigned sendfile = c->ssl->sendfile;

	c->ssl->sendfile = 0;	/* the chain has no files */
	in = ngx_ssl_send_chain(c, in, limit);
	c->ssl->sendfile = sendfile;
	return in;
}

static int has_last_buf(const ngx_chain_t *in)
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

		if (!conn->job_active) {
			*in = skip_special_bufs(*in);
			if (!*in || left <= 0)
				break;
			if (make_job(conn, *in, left) != NGX_OK)
				return NGX_ERROR;
		}
		rc = run_job(conn, in);
	}
	return rc;
}

/* First flush the bytes that nginx has collected for a record. */
static ngx_chain_t *send_by_libtlssf(ngx_http_tlssf_conn_t *conn,
				     ngx_chain_t *in, off_t limit)
{
	ngx_connection_t *c = conn->c;

	if (c->buffered & NGX_SSL_BUFFERED &&
	    send_by_nginx(c, NULL, 0) == NGX_CHAIN_ERROR)
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
 * With kernel TLS, records can be queued above TCP, and close() discards them.
 * After the response counts as sent, nginx may call close() at any time. So
 * first wait until all records are in TCP, including close_notify if nginx is
 * about to close the connection.
 */
static ngx_int_t flush_response(ngx_http_tlssf_conn_t *conn)
{
	ngx_connection_t *c = conn->c;
	int r = will_close(c) ? tlssf_shutdown(c->ssl->connection)
			      : tlssf_flush(c->ssl->connection);

	if (r == TLSSF_ERROR)
		return log_failure(conn, "tlssf_flush()");
	if (r) {
		c->buffered |= TLSSF_BUFFERED;
		return wait_after_want(conn, r);
	}
	c->buffered &= ~TLSSF_BUFFERED;
	conn->last_buf_seen = 0;
	conn->waiting_since = 0;
	return NGX_OK;
}

static ngx_chain_t *send_chain(ngx_connection_t *c, ngx_chain_t *in,
			       off_t limit)
{
	ngx_http_tlssf_conn_t *conn =
		SSL_get_ex_data(c->ssl->connection, ngx_http_tlssf_ex_index);

	if (!c->write->ready)
		return in;
	if (conn->retry.timer_set)
		ngx_del_timer(&conn->retry);
	if (limit == 0 || limit > (off_t)JOB_MAX)
		limit = JOB_MAX;
	if (has_last_buf(in))
		conn->last_buf_seen = 1;
	if (!conn->job_active && !(c->buffered & NGX_SSL_BUFFERED))
		in = skip_special_bufs(in);
	if (!in && !(c->buffered & NGX_SSL_BUFFERED))
		;	/* no bytes to send; flush_response() may follow */
	else if (nginx_can_send(conn, in))
		in = send_by_nginx(c, in, limit);
	else
		in = send_by_libtlssf(conn, in, limit);
	if (in == NGX_CHAIN_ERROR)
		return in;
	if (in || c->buffered & NGX_SSL_BUFFERED || !conn->last_buf_seen)
		return in;
	if (!conn->kernel_encrypts)
		conn->last_buf_seen = 0;
	else if (flush_response(conn) == NGX_ERROR)
		return NGX_CHAIN_ERROR;
	return NULL;
}

/* ---- attaching to a connection ---- */

static void conn_cleanup(void *data)
{
	ngx_http_tlssf_conn_t *conn = data;

	if (conn->retry.timer_set)
		ngx_del_timer(&conn->retry);
	end_job(conn);
}

ngx_http_tlssf_conn_t *ngx_http_tlssf_conn(ngx_connection_t *c)
{
	if (c->send_chain != send_chain)
		return NULL;
	return SSL_get_ex_data(c->ssl->connection, ngx_http_tlssf_ex_index);
}

ngx_http_tlssf_conn_t *ngx_http_tlssf_attach(ngx_connection_t *c)
{
	ngx_http_tlssf_conn_t *conn = ngx_pcalloc(c->pool, sizeof(*conn));
	ngx_pool_cleanup_t *cln = ngx_pool_cleanup_add(c->pool, 0);

	if (!conn || !cln || !SSL_set_ex_data(c->ssl->connection,
					      ngx_http_tlssf_ex_index, conn))
		return NULL;
	conn->c = c;
	conn->kernel_encrypts = c->ssl->sendfile;
	conn->retry.handler = retry_send;
	conn->retry.data = c;
	conn->retry.log = c->log;
	cln->handler = conn_cleanup;
	cln->data = conn;
	c->send_chain = send_chain;
	c->need_last_buf = 1;	/* call send_chain for an empty last buf, too */
	return conn;
}
