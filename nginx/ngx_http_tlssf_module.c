/* SPDX-License-Identifier: MIT */
/*
 * An nginx module that sends files over HTTPS through libtlssf.
 *
 * At the start of a request on a TLS connection, nginx requires that the
 * response is read into memory. A handler in the POST_READ phase removes this
 * requirement, and a header filter, which knows the location and the response,
 * sets it again for responses that nginx shall send itself. The code that sends
 * is in ngx_http_tlssf_conn.c.
 */
#include "ngx_http_tlssf.h"

#include <openssl/ssl.h>

extern ngx_module_t ngx_http_tlssf_module;

enum { MODE_OFF, MODE_AUTO, MODE_ON };

/*
 * With "tlssf auto", nginx sends smaller responses itself as long as OpenSSL
 * has the keys: nginx puts header and file into one record, and libtlssf would
 * not be faster.
 */
#define AUTO_MIN_LENGTH	(32 << 10)

typedef struct {
	ngx_flag_t kernel;	/* directive tlssf_kernel */
	ngx_uint_t any_enabled;	/* a location has the mode auto or on */
	ngx_uint_t any_on;	/* a location has the mode on */
} srv_conf_t;

typedef struct {
	ngx_uint_t mode;	/* directive tlssf */
} loc_conf_t;

/* State of a request, for the variables. */
typedef struct {
	const char *why;	/* why nginx sends the response, or NULL */
	off_t bytes_before;	/* sent_bytes at the start of the response */
} request_ctx_t;

/* The capabilities of this machine, probed when the configuration is read. */
static struct tlssf_caps caps;

static ngx_http_output_header_filter_pt next_header_filter;

/* ---- who sends a response ---- */

/* nginx clears in_early before the handshake is finished, so check both. */
static int is_early(const ngx_connection_t *c)
{
	return c->ssl->in_early || !SSL_is_init_finished(c->ssl->connection);
}

/* Leave files in files until the header filter decides. */
static ngx_int_t post_read(ngx_http_request_t *r)
{
	ngx_connection_t *c = r->connection;
	srv_conf_t *conf = ngx_http_get_module_srv_conf(r,
							ngx_http_tlssf_module);

	if (c->ssl && conf->any_enabled && !is_early(c) &&
	    r->http_version < NGX_HTTP_VERSION_20)
		r->main_filter_need_in_memory = 0;
	return NGX_DECLINED;
}

static int nginx_encrypts(const ngx_connection_t *c,
			  const ngx_http_tlssf_conn_t *conn)
{
	return !c->ssl->sendfile &&
	       (!conn || (!conn->kernel_encrypts && !conn->keys_taken_over));
}

/* Returns why nginx has to send this response itself, or NULL. */
static const char *why_nginx(ngx_http_request_t *r,
			     const ngx_http_tlssf_conn_t *conn)
{
	ngx_connection_t *c = r->connection;
	loc_conf_t *conf = ngx_http_get_module_loc_conf(r,
							ngx_http_tlssf_module);
	ngx_http_core_loc_conf_t *clcf =
		ngx_http_get_module_loc_conf(r, ngx_http_core_module);
	off_t len = r->headers_out.content_length_n;

	if (conf->mode == MODE_OFF)
		return "off";
	if (r->http_version >= NGX_HTTP_VERSION_20)
		return "http_version";
	if (is_early(c))
		return "early_data";
	if (!conn && c->send_chain != ngx_ssl_send_chain)
		return "send_chain";
	if (conf->mode == MODE_ON)
		return NULL;
	if (!clcf->sendfile)
		return "sendfile_off";
	if (clcf->aio)
		return "aio";
	if (len >= 0 && len < AUTO_MIN_LENGTH && nginx_encrypts(c, conn))
		return "small";
	return NULL;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
	ngx_connection_t *c = r->connection;
	ngx_http_tlssf_conn_t *conn;
	request_ctx_t *ctx;
	const char *why;

	if (!c->ssl)
		return next_header_filter(r);
	conn = ngx_http_tlssf_conn(c);
	why = why_nginx(r, conn);
	if (!why && !conn)
		conn = ngx_http_tlssf_attach(c);
	if (!why && !conn)
		return NGX_ERROR;
	ctx = ngx_http_get_module_ctx(r->main, ngx_http_tlssf_module);
	if (!ctx) {
		ctx = ngx_palloc(r->pool, sizeof(*ctx));
		if (!ctx)
			return NGX_ERROR;
		ngx_http_set_ctx(r->main, ctx, ngx_http_tlssf_module);
		ctx->why = NULL;
		ctx->bytes_before = conn ? conn->sent_bytes : 0;
	}
	if (r == r->main)
		ctx->why = why;
	if (!why)
		c->sendfile = 1;	/* pass files to send_chain as files */
	else if (!c->ssl->sendfile)
		r->main_filter_need_in_memory = 1;
	return next_header_filter(r);
}

/* ---- variables ---- */

static ngx_int_t set_variable(ngx_http_variable_value_t *v, const char *text)
{
	v->data = (u_char *)text;
	v->len = ngx_strlen(text);
	v->valid = 1;
	v->no_cacheable = 1;
	v->not_found = 0;
	return NGX_OK;
}

/*
 * Returns how many bytes of this response libtlssf has sent, or -1 if there is
 * no response yet or no TLS.
 */
static off_t bytes_of(ngx_http_request_t *r, const request_ctx_t **out)
{
	const ngx_http_tlssf_conn_t *conn;
	const request_ctx_t *ctx =
		ngx_http_get_module_ctx(r->main, ngx_http_tlssf_module);

	*out = ctx;
	if (!ctx || !r->connection->ssl)
		return -1;
	conn = ngx_http_tlssf_conn(r->connection);
	return conn ? conn->sent_bytes - ctx->bytes_before : 0;
}

enum { METHOD, REASON };

/* Get the variable $tlssf_method or $tlssf_reason, as `data` says. */
static ngx_int_t name_variable(ngx_http_request_t *r,
			       ngx_http_variable_value_t *v, uintptr_t data)
{
	struct tlssf_status st = { .size = sizeof(st) };
	const request_ctx_t *ctx;
	off_t bytes = bytes_of(r, &ctx);

	v->not_found = 1;
	if (bytes < 0)
		return NGX_OK;
	if (bytes == 0 && data == METHOD)
		return set_variable(v, "nginx");
	if (bytes == 0)
		return set_variable(v, ctx->why ? ctx->why : "in_memory");
	tlssf_status(r->connection->ssl->connection, &st);
	return set_variable(v, data == METHOD ?
			    tlssf_method_name(st.method) :
			    tlssf_reason_name(st.error ? st.error : st.reason));
}

static ngx_int_t bytes_variable(ngx_http_request_t *r,
				ngx_http_variable_value_t *v, uintptr_t data)
{
	const request_ctx_t *ctx;
	off_t bytes = bytes_of(r, &ctx);

	v->not_found = 1;
	if (bytes < 0)
		return NGX_OK;
	v->data = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);
	if (!v->data)
		return NGX_ERROR;
	v->len = ngx_sprintf(v->data, "%O", bytes) - v->data;
	v->valid = 1;
	v->no_cacheable = 1;
	v->not_found = 0;
	return NGX_OK;
}

static ngx_http_variable_t variables[] = {
	{ ngx_string("tlssf_method"), NULL, name_variable, METHOD,
	  NGX_HTTP_VAR_NOCACHEABLE, 0 },
	{ ngx_string("tlssf_reason"), NULL, name_variable, REASON,
	  NGX_HTTP_VAR_NOCACHEABLE, 0 },
	{ ngx_string("tlssf_bytes"), NULL, bytes_variable, 0,
	  NGX_HTTP_VAR_NOCACHEABLE, 0 },
	ngx_http_null_variable
};

static ngx_int_t add_variables(ngx_conf_t *cf)
{
	ngx_http_variable_t *from, *var;

	for (from = variables; from->name.len; from++) {
		var = ngx_http_add_variable(cf, &from->name, from->flags);
		if (!var)
			return NGX_ERROR;
		var->get_handler = from->get_handler;
		var->data = from->data;
	}
	return NGX_OK;
}

/* ---- configuration ---- */

static void *create_srv_conf(ngx_conf_t *cf)
{
	srv_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

	if (conf)
		conf->kernel = NGX_CONF_UNSET;
	return conf;
}

static char *merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
	srv_conf_t *prev = parent, *conf = child;

	ngx_conf_merge_value(conf->kernel, prev->kernel, 1);
	return NGX_CONF_OK;
}

static void *create_loc_conf(ngx_conf_t *cf)
{
	loc_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

	if (conf)
		conf->mode = NGX_CONF_UNSET_UINT;
	return conf;
}

static char *merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
	srv_conf_t *srv =
		ngx_http_conf_get_module_srv_conf(cf, ngx_http_tlssf_module);
	loc_conf_t *prev = parent, *conf = child;

	ngx_conf_merge_uint_value(conf->mode, prev->mode, MODE_AUTO);
	srv->any_enabled |= conf->mode != MODE_OFF;
	srv->any_on |= conf->mode == MODE_ON;
	return NGX_CONF_OK;
}

static ngx_conf_enum_t modes[] = {
	{ ngx_string("off"), MODE_OFF },
	{ ngx_string("auto"), MODE_AUTO },
	{ ngx_string("on"), MODE_ON },
	{ ngx_null_string, 0 }
};

static ngx_command_t commands[] = {
	{ ngx_string("tlssf"),
	  NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF |
	  NGX_CONF_TAKE1,
	  ngx_conf_set_enum_slot, NGX_HTTP_LOC_CONF_OFFSET,
	  offsetof(loc_conf_t, mode), modes },
	{ ngx_string("tlssf_kernel"),
	  NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_CONF_FLAG,
	  ngx_conf_set_flag_slot, NGX_HTTP_SRV_CONF_OFFSET,
	  offsetof(srv_conf_t, kernel), NULL },
	ngx_null_command
};

/* ---- start ---- */

static int kernel_tls_works(void)
{
	return caps.ulp == TLSSF_ULP_LOADED;
}

static const char *why_no_kernel(void)
{
	switch (caps.ulp) {
	case TLSSF_ULP_ABSENT:
		return tlssf_reason_text(TLSSF_REASON_ULP_ABSENT);
	case TLSSF_ULP_NOT_LOADED:
		return tlssf_reason_text(TLSSF_REASON_ULP_NOT_LOADED);
	}
	return "the test could not be done: no loopback network";
}

/*
 * OpenSSL's own kernel TLS stays off unless ssl_conf_command enables it. It
 * also makes the kernel decrypt, and recv() in nginx's lingering close then
 * fails at an alert. With libtlssf's kernel TLS the kernel only encrypts.
 */
static ngx_int_t init_server(ngx_conf_t *cf, SSL_CTX *ctx,
			     const srv_conf_t *conf)
{
	struct tlssf_options o = {
		.size = sizeof(o),
		.method = conf->kernel ? TLSSF_METHOD_AUTO
				       : TLSSF_METHOD_USERSPACE,
		.max_per_call = NGX_MAX_INT32_VALUE,
		/* allowed: nginx never leaves an SSL_write() unfinished */
		.attach_late = 1,
	};
	int had_ktls = (SSL_CTX_get_options(ctx) & SSL_OP_ENABLE_KTLS) != 0;

	if (tlssf_ctx_init(ctx, &o) == TLSSF_ERROR) {
		ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
				   "tlssf_ctx_init() failed");
		return NGX_ERROR;
	}
	if (!had_ktls)
		SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS);
	if (conf->any_on && !conf->kernel)
		ngx_log_error(NGX_LOG_WARN, cf->log, 0,
			      "\"tlssf on\" in a server with "
			      "\"tlssf_kernel off\": its files are encrypted "
			      "in user space");
	return NGX_OK;
}

static ngx_int_t init_servers(ngx_conf_t *cf, ngx_uint_t *any_on)
{
	ngx_http_core_main_conf_t *cmcf =
		ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
	ngx_http_core_srv_conf_t **cscf = cmcf->servers.elts;
	ngx_http_ssl_srv_conf_t *ssl;
	ngx_uint_t i;
	srv_conf_t *conf;

	for (i = 0; i < cmcf->servers.nelts; i++) {
		conf = ngx_http_conf_get_module_srv_conf(cscf[i],
							 ngx_http_tlssf_module);
		ssl = ngx_http_conf_get_module_srv_conf(cscf[i],
							ngx_http_ssl_module);
		if (!conf->any_enabled || !ssl->ssl.ctx)
			continue;
		if (init_server(cf, ssl->ssl.ctx, conf) != NGX_OK)
			return NGX_ERROR;
		*any_on |= conf->any_on && conf->kernel;
	}
	return NGX_OK;
}

static ngx_int_t add_handler(ngx_conf_t *cf)
{
	ngx_http_core_main_conf_t *cmcf =
		ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
	ngx_http_handler_pt *h =
		ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);

	if (!h)
		return NGX_ERROR;
	*h = post_read;
	return NGX_OK;
}

static ngx_int_t init(ngx_conf_t *cf)
{
	ngx_uint_t any_on = 0;

	if (ngx_http_tlssf_ex_index < 0)
		ngx_http_tlssf_ex_index =
			SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (ngx_http_tlssf_ex_index < 0 || add_handler(cf) != NGX_OK)
		return NGX_ERROR;
	next_header_filter = ngx_http_top_header_filter;
	ngx_http_top_header_filter = header_filter;

	caps.size = sizeof(caps);
	if (tlssf_probe(&caps) == TLSSF_ERROR ||
	    init_servers(cf, &any_on) != NGX_OK)
		return NGX_ERROR;
	if (any_on && !kernel_tls_works())
		ngx_log_error(NGX_LOG_WARN, cf->log, 0,
			      "\"tlssf on\", but the kernel cannot seal: %s; "
			      "files are encrypted in user space",
			      why_no_kernel());
	return NGX_OK;
}

static u_char *print_ciphers(u_char *to, u_char *end, const char *version,
			     const struct tlssf_cap *cap)
{
	int i;

	to = ngx_slprintf(to, end, "; %s:", version);
	for (i = 0; i < TLSSF_CIPHER_COUNT; i++) {
		if (cap[i].tx == TLSSF_YES)
			to = ngx_slprintf(to, end, " %s",
					  tlssf_cipher_name(i));
	}
	return to;
}

/* Write one line to the error log when the configured log is open. */
static ngx_int_t log_capabilities(ngx_cycle_t *cycle)
{
	u_char text[NGX_MAX_ERROR_STR], *end = text + sizeof(text), *p = text;

	if (!caps.size)		/* no http block */
		return NGX_OK;
	if (kernel_tls_works()) {
		p = print_ciphers(p, end, "TLSv1.2", caps.tls12);
		p = print_ciphers(p, end, "TLSv1.3", caps.tls13);
		p = ngx_slprintf(p, end, "; KeyUpdate: %s",
				 caps.rekey == TLSSF_YES ? "yes" : "no");
	} else {
		p = ngx_slprintf(p, end, ": %s", why_no_kernel());
	}
	ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
		      "libtlssf %s, %s, kernel TLS %s%*s", tlssf_version(),
		      caps.library,
		      kernel_tls_works() ? "works" : "is impossible",
		      (size_t)(p - text), text);
	return NGX_OK;
}

static ngx_http_module_t module_ctx = {
	add_variables,
	init,
	NULL,
	NULL,
	create_srv_conf,
	merge_srv_conf,
	create_loc_conf,
	merge_loc_conf
};

ngx_module_t ngx_http_tlssf_module = {
	NGX_MODULE_V1,
	&module_ctx,
	commands,
	NGX_HTTP_MODULE,
	NULL,		/* init master */
	log_capabilities,	/* init module */
	NULL,		/* init process */
	NULL,		/* init thread */
	NULL,		/* exit thread */
	NULL,		/* exit process */
	NULL,		/* exit master */
	NGX_MODULE_V1_PADDING
};
