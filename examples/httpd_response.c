/* SPDX-License-Identifier: MIT */
/* Builds responses: status, headers, and the jobs that send them. */
#include "httpd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TYPE_HTML "text/html; charset=utf-8"

/* ---- status ---- */

const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{ 200, "OK" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 414, "URI Too Long" },
		{ 416, "Range Not Satisfiable" },
		{ 431, "Request Header Fields Too Large" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Internal Server Error";
}

/* After these errors it is unknown where the next request begins. */
static bool ends_connection(int status)
{
	return status == 400 || status == 408 || status == 411 ||
	       status == 414 || status == 431 || status == 501 ||
	       status == 505;
}

static void drop_file(struct response *resp)
{
	if (resp->fd >= 0)
		close(resp->fd);
	resp->fd = -1;
	resp->nranges = 0;
}

static void set_page(struct response *resp, int status)
{
	drop_file(resp);
	resp->status = status;
	resp->type = TYPE_HTML;
}

void response_error(struct response *resp, int status)
{
	set_page(resp, status);
	if (ends_connection(status))
		resp->close = true;
	page_error(resp);
}

void response_release(struct response *resp)
{
	drop_file(resp);
	page_free(resp);
	memset(resp, 0, sizeof(*resp));
	resp->fd = -1;
}

/* ---- files and directories ---- */

static int open_status(int err)
{
	switch (-err) {
	case EACCES:
	case EPERM:
		return 403;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return 503;
	default:
		return 404;
	}
}

/*
 * Redirect from "dir" to "dir/", so that relative links in the page start from
 * the directory. NTFS and FUSE allow names longer than NAME_MAX, for which
 * resp->location is too small: there, a request without the slash fails.
 */
static void redirect_to_directory(struct response *resp, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char *out = resp->location;

	if (strlen(name) > NAME_MAX) {
		response_error(resp, 404);
		return;
	}
	strcpy(out, "./");
	url_encode(name, strlen(name), out + 2);
	strcat(out, "/");
	response_error(resp, 301);
}

static void respond_with_file(struct response *resp, const struct request *r,
			      int fd, const char *path, const struct stat *st)
{
	resp->fd = fd;
	resp->size = (uint64_t)st->st_size;
	resp->type = file_type(path);
	resp->status = select_content(resp, r, st);
	if (resp->status == 304)
		drop_file(resp);
	else if (resp->status >= 400)
		response_error(resp, resp->status);
	if (resp->nranges > 1) {
		uint64_t id;

		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			id = now_ms();
		snprintf(resp->boundary, sizeof(resp->boundary), "%016" PRIx64,
			 id);
	}
}

static void respond_with_listing(struct response *resp,
				 const struct config *config, int dir,
				 const char *path)
{
	set_page(resp, 200);
	if (!page_directory(resp, config->root_fd, dir, path))
		response_error(resp, 503);
}

/* Respond with index.html, else with a listing if allowed, else with 403. */
static void respond_with_directory(struct response *resp,
				   const struct request *r,
				   const struct config *config, int dir,
				   const char *path)
{
	char index[PATH_MAX_BYTES + sizeof("index.html")];
	struct stat st;
	int fd;

	snprintf(index, sizeof(index), "%sindex.html", path);
	fd = file_open(config->root_fd, index, &st);
	if (fd >= 0 && S_ISREG(st.st_mode)) {
		close(dir);
		respond_with_file(resp, r, fd, index, &st);
		return;
	}
	if (fd >= 0) {		/* a directory with the name index.html */
		close(fd);
		fd = -ENOENT;
	}
	if (fd == -ENOENT && config->listing) {
		respond_with_listing(resp, config, dir, path);
		return;
	}
	close(dir);
	response_error(resp, fd == -ENOENT ? 403 : open_status(fd));
}

void response_make(struct response *resp, const struct request *r,
		   const struct config *config)
{
	char path[PATH_MAX_BYTES];
	int status = request_check(r);
	struct stat st;
	int fd;

	resp->head_only = r->parser.method == HTTP_HEAD;
	resp->close = !r->keep_alive;
	if (status == 0)
		status = request_path(r, path, sizeof(path));
	if (status) {
		response_error(resp, status);
		return;
	}
	fd = file_open(config->root_fd, path, &st);
	if (fd < 0) {
		response_error(resp, open_status(fd));
	} else if (S_ISREG(st.st_mode)) {
		respond_with_file(resp, r, fd, path, &st);
	} else if (path[strlen(path) - 1] != '/') {
		close(fd);
		redirect_to_directory(resp, path);
	} else {
		respond_with_directory(resp, r, config, fd, path);
	}
}

/* ---- header ---- */

/*
 * Text in a buffer of HEAD_MAX bytes. Each part of a header has a maximum
 * length, and all of them together fit.
 */
struct text {
	char *buf;
	size_t len;
};

__attribute__((format(printf, 2, 3)))
static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, HEAD_MAX - t->len, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < HEAD_MAX - t->len)
		t->len += (size_t)n;
}

/* Adds no line for a time that this date format cannot express. */
static void add_date(struct text *t, const char *name, time_t when)
{
	char date[sizeof("Sun, 06 Nov 1994 08:49:37 GMT")];
	struct tm tm;

	if (gmtime_r(&when, &tm) &&
	    strftime(date, sizeof(date), HTTP_DATE, &tm) == sizeof(date) - 1)
		add(t, "%s: %s\r\n", name, date);
}

static void add_content_range(struct text *t, const struct response *resp,
			      const struct range *range)
{
	add(t, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
	    range->off, range->off + range->len - 1, resp->size);
}

/* With several ranges: the delimiter and headers before range `i`. */
static void add_part(struct text *t, const struct response *resp,
		     unsigned int i)
{
	add(t, "\r\n--%s\r\nContent-Type: %s\r\n", resp->boundary, resp->type);
	add_content_range(t, resp, &resp->ranges[i]);
	add(t, "\r\n");
}

/* With several ranges: the delimiter after the last one. */
static void add_closing(struct text *t, const struct response *resp)
{
	add(t, "\r\n--%s--\r\n", resp->boundary);
}

static uint64_t content_length(const struct response *resp)
{
	uint64_t sum = resp->page_len;
	char buf[HEAD_MAX];
	struct text t = { buf, 0 };

	for (unsigned int i = 0; i < resp->nranges; i++) {
		sum += resp->ranges[i].len;
		if (resp->nranges > 1) {
			t.len = 0;
			add_part(&t, resp, i);
			sum += t.len;
		}
	}
	if (resp->nranges > 1) {
		t.len = 0;
		add_closing(&t, resp);
		sum += t.len;
	}
	return sum;
}

static void add_file_lines(struct text *t, const struct response *resp)
{
	if (resp->fd >= 0)
		add(t, "Accept-Ranges: bytes\r\n");
	if (*resp->etag && resp->status < 400) {
		add(t, "ETag: %s\r\n", resp->etag);
		add_date(t, "Last-Modified", resp->mtime);
	}
	if (resp->status == 206 && resp->nranges == 1)
		add_content_range(t, resp, &resp->ranges[0]);
	if (resp->status == 416)
		add(t, "Content-Range: bytes */%" PRIu64 "\r\n", resp->size);
}

static void add_content_lines(struct text *t, const struct response *resp)
{
	if (resp->nranges > 1)
		add(t, "Content-Type: multipart/byteranges; boundary=%s\r\n",
		    resp->boundary);
	else
		add(t, "Content-Type: %s\r\n", resp->type);
	add(t, "Content-Length: %" PRIu64 "\r\n"
	    "X-Content-Type-Options: nosniff\r\n", content_length(resp));
	/* a generated page needs nothing but its inline style and icon */
	if (resp->page)
		add(t, "Content-Security-Policy: default-src 'none'; "
		    "style-src 'unsafe-inline'; img-src data:\r\n");
}

static void add_head(struct text *t, const struct response *resp)
{
	add(t, "HTTP/1.1 %d %s\r\nServer: tlssf-httpd\r\n", resp->status,
	    status_text(resp->status));
	add_date(t, "Date", time(NULL));
	add_file_lines(t, resp);
	if (resp->status != 304)
		add_content_lines(t, resp);
	if (*resp->location)
		add(t, "Location: %s\r\n", resp->location);
	if (resp->status == 405)
		add(t, "Allow: GET, HEAD\r\n");
	if (resp->status == 503)
		add(t, "Retry-After: 1\r\n");
	add(t, "Connection: %s\r\n\r\n", resp->close ? "close" : "keep-alive");
}

/* ---- jobs ---- */

unsigned int response_jobs(const struct response *resp)
{
	return resp->nranges > 1 ? resp->nranges : 1;
}

void response_job(struct response *resp, unsigned int i, char *buf,
		  struct tlssf_job *job)
{
	struct text t = { buf, 0 };

	*job = (struct tlssf_job) { .size = sizeof(*job), .header = buf };
	if (i == 0) {
		add_head(&t, resp);
		resp->head_len = t.len;
	}
	if (resp->nranges > 1)
		add_part(&t, resp, i);
	job->header_len = t.len;
	if (resp->head_only)
		return;
	if (i < resp->nranges) {
		job->fd = resp->fd;
		job->off = (off_t)resp->ranges[i].off;
		job->file_len = resp->ranges[i].len;
		job->file_known = 1;	/* file_open() has checked it */
	}
	if (resp->page) {
		job->trailer = resp->page;
		job->trailer_len = resp->page_len;
	} else if (resp->nranges > 1 && i + 1 == resp->nranges) {
		job->trailer = buf + t.len;
		add_closing(&t, resp);
		job->trailer_len = t.len - job->header_len;
	}
}
