/* SPDX-License-Identifier: MIT */
#ifndef NGX_HTTP_TLSSF_H
#define NGX_HTTP_TLSSF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <tlssf/tlssf.h>

/* The module's state of a connection. */
typedef struct {
	ngx_connection_t *c;
	struct tlssf_job job;	/* valid while job_active is set */
	u_char *copied_header;	/* the job's header, if it had several bufs */
	ngx_event_t retry;	/* timer for when no socket event will come */
	ngx_msec_t waiting_since;	/* time of the first retry without
					 * progress, or 0 */
	off_t sent_bytes;	/* sent by libtlssf, in all requests */
	unsigned job_active:1;
	unsigned kernel_encrypts:1;	/* the kernel has the keys */
	unsigned keys_taken_over:1;	/* libtlssf has the write keys: data of
					 * SSL_write() is encrypted twice */
	unsigned last_buf_seen:1;	/* nginx has passed the final buf */
} ngx_http_tlssf_conn_t;

/* Index of the state in the ex_data of an SSL. */
extern int ngx_http_tlssf_ex_index;

/*
 * Create the state and replace nginx's send_chain by the module's. Returns NULL
 * if there is no memory.
 */
ngx_http_tlssf_conn_t *ngx_http_tlssf_attach(ngx_connection_t *c);
/* Returns NULL if the connection's send_chain is not the module's. */
ngx_http_tlssf_conn_t *ngx_http_tlssf_conn(ngx_connection_t *c);

#endif
