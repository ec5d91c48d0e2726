/* SPDX-License-Identifier: MIT */
/*
 * tlssf-httpd: a static HTTPS server that shows how libtlssf is used.
 *
 *   tlssf-httpd.c     options, workers, signals
 *   httpd_tls.c       TLS context, certificate
 *   httpd_loop.c      listening socket, epoll, timers; no TLS, no HTTP
 *   httpd_conn.c      one connection as a state machine: read this file first
 *   httpd_log.c       writes the access log
 *   httpd_request.c   parses requests: syntax, headers, target
 *   httpd_response.c  builds responses: status, headers, jobs for libtlssf
 *   httpd_select.c    conditional requests and range requests
 *   httpd_file.c      opens files below the root directory; media types
 *   httpd_page.c      generates pages: directory listings, error pages
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
#define RANGES_MAX	16	/* in one response */
#define LINGER_MS	3000	/* time to wait for the peer's FIN */
#define GRACE_MS	10000	/* after SIGTERM: time to finish responses */

struct config {
	const char *listen, *port, *root, *cert, *key;
	int root_fd;
	int method;			/* enum tlssf_method */
	unsigned int workers;
	unsigned int timeout_ms;	/* time-out of an inactive peer */
	unsigned int conns_max;		/* connections per worker */
	bool listing;			/* list directories */
};

/* ---- httpd_request.c ---- */

/* Text in a buffer that belongs to somebody else; no final NUL. */
struct slice {
	const char *at;
	size_t len;
};

enum header { HEADER_HOST, HEADER_TRANSFER_ENCODING, HEADER_RANGE,
	      HEADER_IF_RANGE, HEADER_IF_MATCH, HEADER_IF_NONE_MATCH,
	      HEADER_IF_MODIFIED, HEADER_IF_UNMODIFIED, HEADER_OTHER, HEADERS };

enum request_result { REQUEST_MORE, REQUEST_DONE, REQUEST_BAD };

/*
 * All slices point into the caller's input buffer. The buffer must stay at its
 * address as long as the request is in use.
 */
struct request {
	http_parser parser;
	struct slice received;	/* the request as far as it has arrived */
	struct slice url;
	struct slice name;	/* of the header that is being parsed */
	enum header header;	/* which header `name` is */
	bool in_value;		/* the parser has reached its value */
	struct slice values[HEADERS];	/* of the last line of each header */
	unsigned int counts[HEADERS];	/* lines of each header */
	bool keep_alive, complete;
};

void request_init(struct request *r);
/*
 * Parse the next `len` bytes of input. Sets *used to the number of bytes that
 * belong to this request; the rest is the start of the next request.
 */
enum request_result request_parse(struct request *r, const char *data,
				  size_t len, size_t *used);
/* After REQUEST_BAD: the status code of the response. */
int request_error_status(const struct request *r);
/* Checks that need no file. Returns 0 or the status code of an error. */
int request_check(const struct request *r);
/*
 * Write the path of the target to `out`: percent-decoded, without "." and "..",
 * relative to the root directory; "./" is the root. Returns 0 or the status
 * code of an error.
 */
int request_path(const struct request *r, char *out, size_t cap);
/* Value of a header; .at is NULL if the header is absent or occurs twice. */
struct slice request_value(const struct request *r, enum header header);
/*
 * Move the first element of the comma-separated list to *element. Returns false
 * if the list has no more elements.
 */
bool list_next(struct slice *list, struct slice *element);

/* ---- httpd_response.c ---- */

struct range {
	uint64_t off, len;
};

struct response {
	int status;
	bool head_only;		/* response to HEAD: no body */
	bool close;		/* the connection ends after this response */
	const char *type;	/* media type */
	int fd;			/* -1: no file */
	uint64_t size;		/* of the whole file */
	time_t mtime;
	char etag[64];		/* empty: send no ETag and no Last-Modified */
	struct range ranges[RANGES_MAX];
	unsigned int nranges;	/* more than 1: multipart/byteranges */
	char boundary[20];
	char location[3 * NAME_MAX + 4];	/* of a redirection */
	char *page;		/* a generated body, from malloc() */
	size_t page_len;
	size_t head_len;	/* set by response_job() */
};

/* Make the response to a complete request; opens the file. */
void response_make(struct response *resp, const struct request *r,
		   const struct config *config);
/* Make an error response. */
void response_error(struct response *resp, int status);
void response_release(struct response *resp);
/* The reason phrase of a status code, such as "Not Found". */
const char *status_text(int status);
/*
 * A response is sent as one job of libtlssf per range. response_jobs() returns
 * the number of jobs. response_job() fills in job `i`; the job's header and
 * trailer point into `buf`, which has HEAD_MAX bytes, or into `resp`.
 */
unsigned int response_jobs(const struct response *resp);
void response_job(struct response *resp, unsigned int i, char *buf,
		  struct tlssf_job *job);

/* ---- httpd_select.c ---- */

#define HTTP_DATE	"%a, %d %b %Y %H:%M:%S GMT"

/*
 * Set etag, mtime and ranges of the response: evaluate the conditions and the
 * Range header of the request (RFC 9110, 13.2.2 and 14.2). Returns the status
 * code: 200, 206, 304, 412 or 416.
 */
int select_content(struct response *resp, const struct request *r,
		   const struct stat *st);

/* ---- httpd_file.c ---- */

/*
 * Open the regular file or directory `path`, relative to the directory `root`
 * and never outside of it. Returns a descriptor or -errno.
 */
int file_open(int root, const char *path, struct stat *st);
/* The media type, from the extension of the file name. */
const char *file_type(const char *path);

/* ---- httpd_page.c ---- */

/*
 * Set resp->page to a listing of the open directory `dir`, and close `dir`.
 * Returns false if there is no memory for the page.
 */
bool page_directory(struct response *resp, int root, int dir, const char *path);
/* Set resp->page to an error page for resp->status. */
void page_error(struct response *resp);
void page_free(struct response *resp);
/* Percent-encode a name for a URL; `out` has room for 3 * len + 1. */
void url_encode(const char *in, size_t len, char *out);

/* ---- httpd_conn.c ---- */

enum conn_state { CONN_HANDSHAKE, CONN_READ, CONN_SEND, CONN_SHUTDOWN,
		  CONN_LINGER, CONN_STATES };

struct conn {
	/* members of the event loop */
	TAILQ_ENTRY(conn) all_entry;
	TAILQ_ENTRY(conn) retry_entry;
	TAILQ_ENTRY(conn) waiting_entry;
	bool has_retry;		/* is in the list of retries */
	uint64_t listed_since;	/* in the list of waiting ones; 0: not in it */
	uint64_t retry_at;	/* when the loop calls conn_step() again */
	uint32_t watched_events;	/* the events in the epoll set */
	int fd;
	/* set by conn_step(): what the event loop has to wait for */
	uint32_t events;	/* EPOLLIN, EPOLLOUT or 0 */
	int delay_ms;		/* -1: wait for events only; 0: next round */
	uint64_t deadline;	/* see conn_timeout() */
	/*
	 * The server waits for the peer since then; 0: a response is in
	 * progress. Set by conn_step().
	 */
	uint64_t waiting_since;
	/* members of the connection */
	const struct config *config;
	SSL *ssl;
	enum conn_state state;
	bool stopping;		/* the server stops: read no more requests */
	bool reset;		/* conn_free() sends a TCP reset */
	int queued_before;	/* TCP send queue when the deadline was set */
	uint64_t linger_end;	/* the state LINGER ends then */
	struct request request;
	struct response response;
	struct tlssf_job job;
	unsigned int jobs_done;
	uint64_t sent_before_job;	/* bytes sent by the finished jobs */
	size_t in_len, in_parsed;	/* bytes in `in`; how many are parsed */
	char peer[80];
	char head[HEAD_MAX];	/* buffer of response_job() */
	char in[REQUEST_MAX];
};

uint64_t now_ms(void);
/* Takes ownership of `fd`. Returns NULL, and closes `fd`, on failure. */
struct conn *conn_new(SSL_CTX *ctx, const struct config *config, int fd,
		      const char *peer);
/*
 * Make all the progress that is possible without blocking. After a return value
 * of false from this function, conn_timeout() or conn_stop(), the connection
 * has ended and the caller has to call conn_free().
 */
bool conn_step(struct conn *c);
/* To be called when the deadline has passed. */
bool conn_timeout(struct conn *c);
/* The server stops: finish the request in progress, accept no other. */
bool conn_stop(struct conn *c);
/*
 * May the server close this connection, to accept another one? Not while a
 * response is in progress or on its way, or a request has arrived.
 */
bool conn_may_give_way(struct conn *c);
/* End a connection that may give way; the caller has to call conn_free(). */
void conn_give_way(struct conn *c);
/* Abort the connection; log `why` if a response was being sent. */
void conn_fail(struct conn *c, const char *why);
void conn_free(struct conn *c);

/* ---- httpd_loop.c ---- */

/*
 * Returns a listening socket, or -1 after an error message. `shared`: other
 * workers listen on the same port.
 */
int listener_open(const char *addr, const char *port, bool shared);

struct loop_args {
	const struct config *config;
	SSL_CTX *ctx;
	int listener;
	int stop_fd;		/* becomes readable when the loop has to stop */
};

/*
 * Serve until stop_fd is readable, then close the listener. Returns 0, or -1
 * after an error message.
 */
int loop_run(const struct loop_args *args);

/* ---- httpd_tls.c ---- */

/* Returns NULL after an error message. */
SSL_CTX *tls_context(const struct config *config);

/* ---- httpd_log.c ---- */

/* Write the line of a response; `error` is NULL if the response is complete. */
void log_response(const struct conn *c, const char *error);

#endif
