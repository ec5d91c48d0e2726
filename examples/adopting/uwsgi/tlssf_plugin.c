/* SPDX-License-Identifier: MIT */
/*
 * A plugin for uWSGI that sends static files through libtlssf. uWSGI still
 * parses the request, finds the file and sends the response header. On HTTPS
 * sockets the plugin replaces two functions: the one that sends a file and the
 * one that closes the connection.
 */
#include <openssl/ssl.h>
#include <tlssf/tlssf.h>
#include <uwsgi.h>	/* printed by "uwsgi-core --dot-h" */

#define LINGER_READS	16

extern struct uwsgi_server uwsgi;
extern struct uwsgi_plugin tlssf_plugin;

/*
 * Wait by means of the event loop that uWSGI runs. Returns 1: call libtlssf
 * again; 0: time-out; -1: error. *waited sums up the retries, in milliseconds.
 */
static int wait_for(struct wsgi_request *req, int want, unsigned int *waited)
{
	struct tlssf_status st = { .size = sizeof(st) };
	int r;

	if (want == TLSSF_ERROR || tlssf_status(req->ssl, &st) < 0)
		return -1;
	if (want == TLSSF_WANT_READ) {
		r = uwsgi_wait_read_req(req);
	} else if (st.retry_ms == 0) {
		r = uwsgi_wait_write_req(req);
	} else {	/* the socket may be writable: wait for the time only */
		*waited += st.retry_ms;
		if (*waited > (unsigned int)uwsgi.socket_timeout * 1000)
			return 0;
		r = uwsgi.wait_milliseconds_hook((int)st.retry_ms);
		return r < 0 ? r : 1;
	}
	return r;
}

/* Called until write_pos is len; -1 ends the request. */
static int send_file(struct wsgi_request *req, int fd, size_t pos, size_t len)
{
	unsigned int waited = 0;
	ssize_t n;

	while ((n = tlssf_send(req->ssl, fd, (off_t)(pos + req->write_pos),
			       len - req->write_pos)) < 0)
		if (wait_for(req, (int)n, &waited) <= 0)
			break;
	if (n <= 0) {
		uwsgi_log("tlssf: after %zu bytes: %s\n", req->write_pos,
			  n == 0 ? "the file is shorter than it was" :
			  n == TLSSF_ERROR ? tlssf_strerror(req->ssl)
					   : "peer too slow");
		return -1;
	}
	req->write_pos += (size_t)n;
	errno = 0;		/* not "again": there is no need to wait */
	return req->write_pos == len ? UWSGI_OK : UWSGI_AGAIN;
}

/* uWSGI itself sends no close_notify, and close() may lose the end. */
static void close_request(struct wsgi_request *req)
{
	unsigned int waited = 0;
	char rest[4096];
	int r, i;

	do
		r = tlssf_shutdown(req->ssl);
	while (r != 0 && wait_for(req, r, &waited) > 0);
	for (i = 0; r == 0 && i < LINGER_READS; i++)
		if (SSL_read(req->ssl, rest, sizeof(rest)) <= 0)
			break;
	SSL_free(req->ssl);
	req->ssl = NULL;
	uwsgi_proto_ssl_close(req);
}

/* Set %(tlssf_method) and %(tlssf_reason) of --log-format. */
static void set_log_variables(struct wsgi_request *req)
{
	struct tlssf_status st = { .size = sizeof(st) };
	const char *method, *reason;

	if (!req->ssl || tlssf_status(req->ssl, &st) < 0)
		return;
	method = tlssf_method_name(st.method);
	reason = tlssf_reason_name(st.reason);
	uwsgi_logvar_add(req, "tlssf_method", 12, (char *)method,
			 (uint8_t)strlen(method));
	uwsgi_logvar_add(req, "tlssf_reason", 12, (char *)reason,
			 (uint8_t)strlen(reason));
}

static int send_and_log(struct wsgi_request *req, int fd, size_t pos,
			size_t len)
{
	int r = send_file(req, fd, pos, len);

	if (r != UWSGI_AGAIN)
		set_log_variables(req);
	return r;
}

static void prepare(SSL_CTX *ctx, const char *name)
{
	if (tlssf_ctx_init(ctx, NULL) < 0)
		uwsgi_log("tlssf: %s: %s; only the method userspace is used\n",
			  name, strerror(errno));
}

static void take_over_sockets(void)
{
	struct uwsgi_socket *s;
	struct uwsgi_string_list *sni;

	for (s = uwsgi.sockets; s; s = s->next) {
		if (s->proto_sendfile != uwsgi_proto_ssl_sendfile)
			continue;
		prepare(s->ssl_ctx, s->name);
		s->proto_sendfile = send_and_log;
		s->proto_close = close_request;
		uwsgi_log("tlssf: libtlssf %s sends the files of %s\n",
			  tlssf_version(), s->name);
	}
	for (sni = uwsgi.sni; sni; sni = sni->next)
		prepare(sni->custom_ptr, sni->value);
}

struct uwsgi_plugin tlssf_plugin = {
	.name = "tlssf",
	.post_init = take_over_sockets,
};
