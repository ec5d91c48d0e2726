/* SPDX-License-Identifier: MIT */
/* Requests in, response headers out. RFC 9110 and RFC 9112. */
#include "httpd.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* ---- parsing ---- */

static int on_url(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	/* the caller's buffer does not move: pieces are neighbours */
	if (!r->url)
		r->url = at;
	r->url_len += len;
	return 0;
}

/* Append what fits; a length beyond the buffer marks what did not. */
static void append(char *buf, size_t cap, size_t *used, const char *at,
		   size_t len)
{
	if (*used < cap)
		memcpy(buf + *used, at, len < cap - *used ? len : cap - *used);
	*used += len;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	if (r->in_value)
		r->field_len = 0;
	r->in_value = false;
	append(r->field, sizeof(r->field), &r->field_len, at, len);
	return 0;
}

static bool field_is(const struct request *r, const char *name)
{
	return r->field_len == strlen(name) &&
	       strncasecmp(r->field, name, r->field_len) == 0;
}

static void start_value(struct request *r)
{
	r->in_value = true;
	r->header = HEADER_OTHER;
	if (field_is(r, "host")) {
		r->header = HEADER_HOST;
		r->hosts++;
	} else if (field_is(r, "range")) {
		r->header = HEADER_RANGE;
		r->ranges++;
	} else if (field_is(r, "if-range")) {
		r->header = HEADER_IF_RANGE;
		r->if_range = true;
	}
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	if (!r->in_value)
		start_value(r);
	if (r->header == HEADER_RANGE)
		append(r->range, sizeof(r->range), &r->range_len, at, len);
	return 0;
}

/*
 * A body is never looked at: the answer is sent at once, the connection closed
 * behind it, and the lingering close discards the body.
 */
static int on_headers(http_parser *p)
{
	struct request *r = p->data;
	bool body = (p->flags & F_CHUNKED) ||
		    (p->content_length && p->content_length != ULLONG_MAX);

	r->keep_alive = http_should_keep_alive(p) && !body;
	return 1;		/* skip the body */
}

static int on_complete(http_parser *p)
{
	struct request *r = p->data;

	r->complete = true;
	/* what follows is the next request of a pipeline */
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_message_complete = on_complete,
};

void request_init(struct request *r)
{
	memset(r, 0, sizeof(*r));
	http_parser_init(&r->parser, HTTP_REQUEST);
	r->parser.data = r;
}

enum request_result request_feed(struct request *r, const char *data,
				 size_t len, size_t *used)
{
	*used = 0;
	if (len == 0)		/* the parser would take it for the end */
		return REQUEST_MORE;
	*used = http_parser_execute(&r->parser, &settings, data, len);
	if (r->complete)
		return REQUEST_DONE;
	if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		return REQUEST_BAD;
	return REQUEST_MORE;
}

/* ---- target ---- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode once. Returns 0 or the status of the answer. */
static int decode(const char *in, size_t len, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)in[i];

		if (c == '%') {
			int hi = i + 2 < len ? hex(in[i + 1]) : -1;
			int lo = hi >= 0 ? hex(in[i + 2]) : -1;

			if (lo < 0)
				return 400;
			c = hi * 16 + lo;
			i += 2;
			/* part of a name, and no file can have that name */
			if (c == '/')
				return 404;
		}
		if (c == '\0')
			return 400;
		if (n + 1 >= cap)
			return 404;	/* longer than any path */
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return 0;
}

static bool has_dotdot(const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && memcmp(path, "..", 2) == 0)
			return true;
		path += len;
		path += strspn(path, "/");
	}
	return false;
}

/* The decoded, relative path that a request names: 0 or a status. */
static int request_path(const struct request *r, char *out, size_t cap)
{
	struct http_parser_url u;
	const char *path = "/";
	size_t len = 1;
	int status;

	http_parser_url_init(&u);
	if (http_parser_parse_url(r->url, r->url_len, 0, &u) != 0)
		return 400;
	if (u.field_set & (1 << UF_PATH)) {
		path = r->url + u.field_data[UF_PATH].off;
		len = u.field_data[UF_PATH].len;
	}
	if (*path != '/')
		return 400;	/* "*" */
	while (len && *path == '/') {
		path++;
		len--;
	}
	status = decode(path, len, out, cap);
	if (status == 0 && has_dotdot(out))
		status = 400;
	if (status == 0 && !*out)
		strcpy(out, ".");
	return status;
}

/* ---- ranges ---- */

/* Digits; too large a number becomes the largest. */
static bool number(const char **p, uint64_t *value)
{
	const char *start = *p;

	*value = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		unsigned int digit = (unsigned int)(**p - '0');

		if (*value > (UINT64_MAX - digit) / 10)
			*value = UINT64_MAX;
		else
			*value = *value * 10 + digit;
	}
	return *p != start;
}

/* "-n": the last n bytes. An empty file has no last bytes: all of it. */
static int suffix_range(const char *p, struct response *resp)
{
	uint64_t n;

	if (!number(&p, &n) || *p)
		return 200;
	if (n == 0)
		return 416;
	if (resp->size == 0)
		return 200;
	resp->len = n < resp->size ? n : resp->size;
	resp->off = resp->size - resp->len;
	return 206;
}

/*
 * 206: the range is in off and len; 416: nothing of it exists; 200: not a
 * single valid range, which is answered by the whole file.
 */
static int parse_range(const char *p, struct response *resp)
{
	uint64_t first, last = UINT64_MAX;

	if (strncasecmp(p, "bytes=", 6) != 0)
		return 200;
	p += 6;
	if (*p == '-')
		return suffix_range(p + 1, resp);
	if (!number(&p, &first) || *p++ != '-')
		return 200;
	if (*p && (!number(&p, &last) || *p))
		return 200;
	if (last < first)
		return 200;
	if (first >= resp->size)
		return 416;
	if (last > resp->size - 1)
		last = resp->size - 1;
	resp->off = first;
	resp->len = last - first + 1;
	return 206;
}

/* We send no validators, so an If-Range can never match: no range. */
static int apply_range(const struct request *r, struct response *resp)
{
	char text[sizeof(r->range) + 1];
	size_t len = r->range_len;

	if (r->ranges != 1 || r->if_range || len > sizeof(r->range) ||
	    r->parser.method != HTTP_GET)
		return 200;
	memcpy(text, r->range, len);
	while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	text[len] = '\0';
	return parse_range(text, resp);
}

/* ---- answers ---- */

static const struct {
	int status;
	const char *text;	/* also the body when it is an error */
} texts[] = {
	{ 200, "200 OK\n" },
	{ 206, "206 Partial Content\n" },
	{ 400, "400 Bad Request\n" },
	{ 404, "404 Not Found\n" },
	{ 405, "405 Method Not Allowed\n" },
	{ 408, "408 Request Timeout\n" },
	{ 414, "414 URI Too Long\n" },
	{ 416, "416 Range Not Satisfiable\n" },
	{ 431, "431 Request Header Fields Too Large\n" },
	{ 503, "503 Service Unavailable\n" },
	{ 505, "505 HTTP Version Not Supported\n" },
};

static const char *status_text(int status)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "500 Internal Server Error\n";
}

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{ ".html", "text/html; charset=utf-8" },
		{ ".txt", "text/plain; charset=utf-8" },
		{ ".css", "text/css" },
		{ ".js", "text/javascript" },
		{ ".json", "application/json" },
		{ ".png", "image/png" },
		{ ".jpg", "image/jpeg" },
		{ ".svg", "image/svg+xml" },
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcasecmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

void response_error(struct response *resp, int status)
{
	resp->status = status;
	resp->fd = -1;
	resp->off = resp->len = 0;
	resp->type = "text/plain; charset=utf-8";
	resp->text = status_text(status);
	/* after these we do not know where the next request begins */
	if (status == 400 || status == 408 || status == 414 ||
	    status == 431 || status == 505)
		resp->close = true;
}

void response_release(struct response *resp)
{
	if (resp->fd >= 0)
		close(resp->fd);
	memset(resp, 0, sizeof(*resp));
	resp->fd = -1;
}

/* 0, or the status of an error found before any file is looked at. */
static int check_request(const struct request *r)
{
	if (r->parser.http_major != 1)
		return 505;
	if (r->hosts > 1 || (r->parser.http_minor > 0 && r->hosts == 0))
		return 400;
	if (r->parser.method != HTTP_GET && r->parser.method != HTTP_HEAD)
		return 405;
	return 0;
}

static int open_status(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM ? 503 : 404;
}

void response_make(struct response *resp, const struct request *r, int root)
{
	char path[PATH_MAX_BYTES];
	int status = check_request(r);
	int fd;

	resp->head_only = r->parser.method == HTTP_HEAD;
	resp->close = !r->keep_alive;
	if (status == 0)
		status = request_path(r, path, sizeof(path));
	if (status) {
		response_error(resp, status);
		return;
	}
	fd = file_open(root, path, &resp->size);
	if (fd < 0) {
		response_error(resp, open_status(fd));
		return;
	}
	resp->fd = fd;
	resp->off = 0;
	resp->len = resp->size;
	resp->text = NULL;
	resp->type = type_of(path);
	resp->status = apply_range(r, resp);
	if (resp->status == 416) {
		close(fd);
		response_error(resp, 416);
	}
}

/* The header lines that only some answers have. */
static void extra_lines(const struct response *resp, char *buf, size_t cap)
{
	const char *accept = resp->text ? "" : "Accept-Ranges: bytes\r\n";

	if (resp->status == 206)
		snprintf(buf, cap, "%sContent-Range: bytes %" PRIu64 "-%" PRIu64
			 "/%" PRIu64 "\r\n", accept, resp->off,
			 resp->off + resp->len - 1, resp->size);
	else if (resp->status == 416)
		snprintf(buf, cap, "Content-Range: bytes */%" PRIu64 "\r\n",
			 resp->size);
	else if (resp->status == 405)
		snprintf(buf, cap, "Allow: GET, HEAD\r\n");
	else
		snprintf(buf, cap, "%s", accept);
}

size_t response_head(const struct response *resp, char *buf, size_t cap)
{
	const char *line = status_text(resp->status);
	uint64_t len = resp->text ? strlen(resp->text) : resp->len;
	char extra[128], date[40];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	extra_lines(resp, extra, sizeof(extra));
	n = snprintf(buf, cap, "HTTP/1.1 %.*s\r\nServer: tlssf-httpd\r\n"
		     "Date: %s\r\nContent-Type: %s\r\n"
		     "Content-Length: %" PRIu64 "\r\n%sConnection: %s\r\n\r\n",
		     (int)strcspn(line, "\n"), line, date, resp->type, len,
		     extra, resp->close ? "close" : "keep-alive");
	/* every part has a known limit far below HEAD_MAX */
	return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}
