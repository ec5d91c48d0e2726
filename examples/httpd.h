/* SPDX-License-Identifier: MIT */
/*
 * tlssf-httpd: a static HTTPS server that shows how libtlssf is used.
 *
 *   tlssf-httpd.c     options, workers, signals
 *   httpd_tls.c       TLS context, certificate
 *   httpd_loop.c      listening socket, epoll, timers: knows no TLS, no HTTP
 *   httpd_conn.c      one connection as a state machine: the part to read first
 *   httpd_request.c   requests in: syntax, headers, target
 *   httpd_response.c  answers out: which one, its header, its jobs
 *   httpd_select.c    what of a file is wanted: conditions, ranges
 *   httpd_file.c      opening files without leaving the root; their types
 *   httpd_page.c      pages of our own: directories, errors
 */
#ifndef HTTPD_H
#define HTTPD_H

#include <http_parser.h>
#include <limits.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <tlssf/tlssf.h>

#define REQUEST_MAX	8192	/* bytes of a request's line and headers */
#define HEAD_MAX	2048	/* bytes of a response's line and headers */
#define PATH_MAX_BYTES	4096
#define RANGES_MAX	16	/* in one answer */
#define LINGER_MS	3000	/* waiting for the peer's FIN */
#define GRACE_MS	10000	/* for transfers in flight after SIGTERM */

struct config {
	const char *listen, *port, *root, *cert, *key;
	int root_fd;
	int method;			/* enum tlssf_method */
	unsigned int workers;
	unsigned int timeout_ms;	/* that a peer may stay silent */
	unsigned int conns_max;		/* connections per worker */
	bool listing;			/* of directories without index.html */
};

/* ---- httpd_request.c ---- */

/* A piece of text, somewhere else. */
struct slice {
	const char *at;
	size_t len;
};

enum header { HEADER_HOST, HEADER_TRANSFER_ENCODING, HEADER_RANGE,
	      HEADER_IF_RANGE, HEADER_IF_MATCH, HEADER_IF_NONE_MATCH,
	      HEADER_IF_MODIFIED, HEADER_IF_UNMODIFIED, HEADER_OTHER, HEADERS };

enum request_result { REQUEST_MORE, REQUEST_DONE, REQUEST_BAD };

/* All slices lie in the caller's buffer, which must not move meanwhile. */
struct request {
	http_parser parser;
	struct slice seen;	/* all that came so far */
	struct slice url;
	struct slice name;	/* of the header being read */
	enum header header;
	bool in_value;
	struct slice values[HEADERS];
	unsigned int counts[HEADERS];
	bool keep_alive, complete;
};

void request_init(struct request *r);
/* Take the next `len` bytes; *used tells how many belong to this request. */
enum request_result request_feed(struct request *r, const char *data,
				 size_t len, size_t *used);
/* Status of the answer to a request that has no right syntax. */
int request_error(const struct request *r);
/* 0, or the status of an error found before any file is looked at. */
int request_check(const struct request *r);
/* The decoded path, relative to the root: 0 or a status. */
int request_path(const struct request *r, char *out, size_t cap);
/* A header's value; at: NULL when it is not there, or there twice. */
struct slice request_value(const struct request *r, enum header header);
/* Cut the next element out of a comma-separated list; false at its end. */
bool list_next(struct slice *list, struct slice *element);

/* ---- httpd_response.c ---- */

struct range {
	uint64_t off, len;
};

struct response {
	int status;
	bool head_only;		/* answer to HEAD: no body */
	bool close;		/* last one on this connection */
	const char *type;
	int fd;			/* -1: no file */
	uint64_t size;		/* the whole file */
	time_t mtime;
	char etag[64];		/* empty: the file has no validators */
	struct range ranges[RANGES_MAX];
	unsigned int nranges;	/* more than 1: multipart/byteranges */
	char boundary[20];
	char location[3 * NAME_MAX + 4];	/* of a redirection */
	char *page;		/* a body that is no file, from malloc() */
	size_t page_len;
	size_t head_len;	/* written by response_job() */
};

/* The answer to a complete request; opens the file. */
void response_make(struct response *resp, const struct request *r,
		   const struct config *config);
/* An answer that is an error. */
void response_error(struct response *resp, int status);
void response_release(struct response *resp);
/* What follows the status on the first line: "Not Found". */
const char *status_text(int status);
/*
 * An answer is sent as this many jobs of libtlssf, one per range. Make the
 * i-th; its header and trailer are in buf, of HEAD_MAX bytes, or in resp.
 */
unsigned int response_jobs(const struct response *resp);
void response_job(struct response *resp, unsigned int i, char *buf,
		  struct tlssf_job *job);

/* ---- httpd_select.c ---- */

#define HTTP_DATE	"%a, %d %b %Y %H:%M:%S GMT"

/*
 * Fill in etag and mtime, judge conditions and ranges by them (RFC 9110, 13.2.2
 * and 14.2). Returns the status: 200, 206, 304, 412, 416.
 */
int select_content(struct response *resp, const struct request *r,
		   const struct stat *st);

/* ---- httpd_file.c ---- */

/*
 * Open the regular file or directory at `path` (relative, decoded) below
 * `root`. Returns a descriptor or -errno.
 */
int file_open(int root, const char *path, struct stat *st);
const char *file_type(const char *path);

/* ---- httpd_page.c ---- */

/* Make resp->page; false: no memory. Takes over `dir`, an open directory. */
bool page_directory(struct response *resp, int root, int dir, const char *path);
void page_error(struct response *resp);
void page_free(struct response *resp);
/* Percent-encode a name for a URL; `out` has room for 3 * len + 1. */
void url_encode(const char *in, size_t len, char *out);

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
	SSL *ssl;
	enum conn_state state;
	bool stopping;		/* the server is: no more requests */
	bool abort;		/* end by a reset */
	int queued;		/* bytes in TCP when the deadline was set */
	struct request request;
	struct response response;
	struct tlssf_job job;
	unsigned int jobs_done;
	uint64_t sent;		/* by the jobs that are done */
	size_t in_len, in_parsed;
	char peer[80];
	char head[HEAD_MAX];
	char in[REQUEST_MAX];
};

uint64_t now_ms(void);
/* Takes over `fd`, also when it fails: NULL. */
struct conn *conn_new(SSL_CTX *ctx, const struct config *config, int fd,
		      const char *peer);
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
	int listener, stop;	/* stop: readable when it is time */
};

/* Serve until `stop`; closes the listener. 0, or -1 after a message. */
int loop_run(const struct loop_args *args);

/* ---- httpd_tls.c ---- */

/* NULL after a message. */
SSL_CTX *tls_context(const struct config *config);

#endif
