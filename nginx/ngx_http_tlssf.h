/* SPDX-License-Identifier: MIT */
#ifndef NGX_HTTP_TLSSF_H
#define NGX_HTTP_TLSSF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <tlssf/tlssf.h>

/* What hangs on each connection that a request has come from. */
typedef struct {
	ngx_connection_t *c;
	struct tlssf_job job;	/* in flight while busy */
	u_char *gathered;	/* its header, when that was in several bufs */
	ngx_event_t retry;	/* for when the socket has no event to wait for */
	ngx_msec_t stalled;	/* since when that has helped nothing, or 0 */
	off_t bytes;		/* sent by libtlssf, all requests together */
	unsigned busy:1;
	unsigned kernel:1;	/* the kernel seals what is written */
	unsigned taken:1;	/* or libtlssf does: it seals what SSL_write()
				 * has sealed once more */
	unsigned last:1;	/* the response ends with what was sent */
} ngx_http_tlssf_conn_t;

/* The index of the state among the SSL's extra data. */
extern int ngx_http_tlssf_index;

/* Make the state and put our send_chain in place of nginx's; NULL: no memory */
ngx_http_tlssf_conn_t *ngx_http_tlssf_attach(ngx_connection_t *c);
/* NULL where there is none, or another module's send_chain is in its place */
ngx_http_tlssf_conn_t *ngx_http_tlssf_conn(ngx_connection_t *c);

#endif
