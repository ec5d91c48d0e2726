/* SPDX-License-Identifier: MIT */
/*
 * tlssf-httpd: a small static HTTPS server that shows how libtlssf is used.
 *
 *   tlssf-httpd.c  options, TLS context, workers, signals
 *   httpd_loop.c   listening socket, epoll, timers: knows no TLS and no HTTP
 *   httpd_conn.c   one connection as a state machine: the part to read first
 *   httpd_http.c   requests in, response headers out
 *   httpd_file.c   opening files without leaving the root
 */
#ifndef HTTPD_H
#define HTTPD_H

#include <http_parser.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <tlssf/tlssf.h>

#define REQUEST_MAX	8192	/* bytes of a request's line and headers */
#define HEAD_MAX	512	/* bytes of a response's line and headers */
#define PATH_MAX_BYTES	4096
#define LINGER_MS	3000	/* waiting for the peer's FIN */
#define GRACE_MS	10000	/* for transfers in flight after SIGTERM */
#define CONNS_MAX	1024	/* connections per worker */

struct config {
	const char *listen, *port, *root, *cert, *key;
	int method;			/* enum tlssf_method */
	unsigned int workers;
	unsigned int timeout_ms;	/* that a peer may stay silent */
};

/* ---- httpd_http.c ---- */

enum request_result { REQUEST_MORE, REQUEST_DONE, REQUEST_BAD };
enum header { HEADER_OTHER, HEADER_HOST, HEADER_RANGE, HEADER_IF_RANGE };

struct request {
	http_parser parser;
	const char *url;	/* into the caller's buffer */
	size_t url_len;
	char field[16];		/* name of the header being read */
	size_t field_len;
	bool in_value;
	enum header header;
	unsigned int hosts, ranges;
	bool if_range;
	char range[64];
	size_t range_len;
	bool keep_alive, complete;
};

struct response {
	int status;
	bool head_only;		/* answer to HEAD: no body */
	bool close;		/* last one on this connection */
	int fd;			/* -1: no file */
	uint64_t off, len;	/* range of the file */
	uint64_t size;		/* the whole file */
	const char *type;
	const char *text;	/* static body of an error, or NULL */
};

void request_init(struct request *r);
/* Take the next `len` bytes; *used tells how many belong to this request. */
enum request_result request_feed(struct request *r, const char *data,
				 size_t len, size_t *used);
/* The answer to a complete request; opens the file. */
void response_make(struct response *resp, const struct request *r, int root);
/* An answer without a file. */
void response_error(struct response *resp, int status);
void response_release(struct response *resp);
/* Write the header, return its length. */
size_t response_head(const struct response *resp, char *buf, size_t cap);

/* ---- httpd_file.c ---- */

/*
 * Open the regular file at `path` (relative, decoded) below `root`, or the
 * index.html of the directory there. Returns a descriptor or -errno.
 */
int file_open(int root, const char *path, uint64_t *size);

/* ---- httpd_conn.c ---- */

enum conn_state { CONN_HANDSHAKE, CONN_READ, CONN_SEND, CONN_SHUTDOWN,
		  CONN_LINGER, CONN_STATES };

struct conn {
	/* for the loop */
	TAILQ_ENTRY(conn) all;
	TAILQ_ENTRY(conn) waiting;
	bool is_waiting;
	uint64_t due;		/* when a waiting connection is called again */
	uint32_t armed;		/* what epoll watches now */
	int fd;
	/* what conn_step() asks of the loop */
	uint32_t events;	/* EPOLLIN, EPOLLOUT or 0 */
	int delay_ms;		/* -1: only events; 0: next round */
	uint64_t deadline;	/* see conn_timeout() */
	/* the connection's own */
	const struct config *config;
	int root;
	SSL *ssl;
	enum conn_state state;
	bool stopping;		/* the server is: no more requests */
	bool abort;		/* end by a reset */
	int queued;		/* bytes in TCP when the deadline was set */
	struct request request;
	struct response response;
	struct tlssf_job job;
	size_t in_len, in_parsed;
	char peer[80];
	char head[HEAD_MAX];
	char in[REQUEST_MAX];
};

uint64_t now_ms(void);
/* Takes over `fd`, also when it fails: NULL. */
struct conn *conn_new(SSL_CTX *ctx, const struct config *config, int root,
		      int fd, const char *peer);
/* Go as far as it goes without blocking. False: conn_free() it. */
bool conn_step(struct conn *c);
/* The deadline has passed. False: conn_free() it. */
bool conn_timeout(struct conn *c);
/* The server stops: finish what is under way. False: conn_free() it. */
bool conn_stop(struct conn *c);
/* Give up; `why` goes into the log when a response was under way. */
void conn_fail(struct conn *c, const char *why);
void conn_free(struct conn *c);

/* ---- httpd_loop.c ---- */

/* A listening socket or -1; `shared`: other workers bind the same port. */
int listener_open(const char *addr, const char *port, bool shared);

struct loop_args {
	const struct config *config;
	SSL_CTX *ctx;
	int root, listener, stop;	/* stop: readable when it is time */
};

/* Serve until `stop`; closes the listener. 0, or -1 after a message. */
int loop_run(const struct loop_args *args);

#endif
