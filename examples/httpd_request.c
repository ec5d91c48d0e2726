/* SPDX-License-Identifier: MIT */
/*
 * Parses requests. http-parser does the syntax; this file adds the checks that
 * RFC 9112 requires beyond that, and turns the target into a path.
 */
#include "httpd.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

/* ---- slices ---- */

/*
 * Extend the slice by `len` bytes at `at`. Returns false if these bytes do not
 * directly follow the slice in the buffer.
 */
static bool slice_append(struct slice *s, const char *at, size_t len)
{
	if (!s->at)
		s->at = at;
	if (s->at + s->len != at)
		return false;
	s->len += len;
	return true;
}

static bool slice_is(struct slice s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
	while (s.len && is_blank(*s.at)) {
		s.at++;
		s.len--;
	}
	while (s.len && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

/* Skips empty elements; a comma within quotes does not separate elements. */
bool list_next(struct slice *list, struct slice *element)
{
	do {
		bool quoted = false;
		size_t n;

		if (!list->len)
			return false;
		for (n = 0; n < list->len; n++) {
			if (list->at[n] == '"')
				quoted = !quoted;
			if (list->at[n] == ',' && !quoted)
				break;
		}
		*element = trim((struct slice) { list->at, n });
		if (n < list->len)
			n++;
		list->at += n;
		list->len -= n;
	} while (!element->len);
	return true;
}

/* ---- parsing ---- */

static int on_url(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	return !slice_append(&r->url, at, len);
}

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	if (r->in_value)
		r->name = (struct slice) { NULL, 0 };
	r->in_value = false;
	/* not allowed (9112, 5.1), but some builds of http-parser accept it */
	if (memchr(at, ' ', len))
		return 1;
	return !slice_append(&r->name, at, len);
}

static enum header header_by_name(struct slice name)
{
	static const char *const names[HEADER_OTHER] = {
		[HEADER_HOST] = "host",
		[HEADER_TRANSFER_ENCODING] = "transfer-encoding",
		[HEADER_RANGE] = "range",
		[HEADER_IF_RANGE] = "if-range",
		[HEADER_IF_MATCH] = "if-match",
		[HEADER_IF_NONE_MATCH] = "if-none-match",
		[HEADER_IF_MODIFIED] = "if-modified-since",
		[HEADER_IF_UNMODIFIED] = "if-unmodified-since",
	};

	for (int h = 0; h < HEADER_OTHER; h++)
		if (slice_is(name, names[h]))
			return h;
	return HEADER_OTHER;
}

/*
 * A value that is folded over several lines arrives in pieces that are not
 * adjacent; slice_append() then fails and the request is refused (9112, 5.2).
 */
static int on_value(http_parser *p, const char *at, size_t len)
{
	struct request *r = p->data;

	if (!r->in_value) {
		r->in_value = true;
		r->header = header_by_name(r->name);
		r->counts[r->header]++;
		r->values[r->header] = (struct slice) { NULL, 0 };
	}
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)at[i] < ' ' && at[i] != '\t') ||
		    at[i] == 0x7f)
			return 1;
	return !slice_append(&r->values[r->header], at, len);
}

/*
 * Request bodies are not parsed: the response is sent at once, then the
 * connection is closed, and the state LINGER discards the body.
 */
static int on_headers(http_parser *p)
{
	struct request *r = p->data;
	bool body = r->counts[HEADER_TRANSFER_ENCODING] ||
		    (p->content_length && p->content_length != ULLONG_MAX);

	r->keep_alive = http_should_keep_alive(p) && !body;
	return 1;		/* skip the body */
}

static int on_complete(http_parser *p)
{
	struct request *r = p->data;

	r->complete = true;
	/* stop here: the next bytes are another, pipelined request */
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

enum request_result request_parse(struct request *r, const char *data,
				  size_t len, size_t *used)
{
	*used = 0;
	if (len == 0)		/* http_parser_execute(): the end of input */
		return REQUEST_MORE;
	slice_append(&r->received, data, len);
	*used = http_parser_execute(&r->parser, &settings, data, len);
	if (r->complete)
		return REQUEST_DONE;
	if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		return REQUEST_BAD;
	return REQUEST_MORE;
}

/* ---- checks ---- */

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" \
		     "0123456789"

/* Like strspn(). */
static size_t slice_span(struct slice s, const char *chars)
{
	size_t n = 0;

	while (n < s.len && s.at[n] && strchr(chars, s.at[n]))
		n++;
	return n;
}

/* 501: a valid request line with an unknown method; 400: invalid syntax. */
int request_error_status(const struct request *r)
{
	struct slice s = r->received;
	size_t n;

	if (HTTP_PARSER_ERRNO(&r->parser) != HPE_INVALID_METHOD)
		return 400;
	n = slice_span(s, "\r\n");
	s.at += n;
	s.len -= n;
	n = slice_span(s, ALPHANUMERIC "!#$%&'*+-.^_`|~");
	return n && n < s.len && s.at[n] == ' ' ? 501 : 400;
}

/* Only the syntax is checked: the server has one site for all host names. */
static bool host_ok(struct slice host)
{
	host = trim(host);
	return slice_span(host, ALPHANUMERIC "-._~!$&'()*+,;=%:[]") == host.len;
}

/*
 * The server accepts no request bodies: 411, or 501 for several transfer
 * codings. If the length of the body is ambiguous, a proxy in front of this
 * server might find another request in it (request smuggling): 400 (9112, 6.1).
 */
static int check_transfer_encoding(const struct request *r)
{
	struct slice list = r->values[HEADER_TRANSFER_ENCODING];
	struct slice coding, last = { "", 0 };
	unsigned int n = 0;

	if (!r->counts[HEADER_TRANSFER_ENCODING])
		return 0;
	if (r->counts[HEADER_TRANSFER_ENCODING] > 1 ||
	    r->parser.http_minor == 0 || r->parser.flags & F_CONTENTLENGTH)
		return 400;
	for (; list_next(&list, &coding); n++)
		last = coding;
	if (!slice_is(last, "chunked"))
		return 400;
	return n > 1 ? 501 : 411;
}

int request_check(const struct request *r)
{
	unsigned int hosts = r->counts[HEADER_HOST];
	int status;

	if (r->parser.http_major != 1)
		return 505;
	if (hosts > 1 || (r->parser.http_minor > 0 && hosts == 0) ||
	    !host_ok(r->values[HEADER_HOST]))
		return 400;
	status = check_transfer_encoding(r);
	if (status)
		return status;
	if (r->parser.method != HTTP_GET && r->parser.method != HTTP_HEAD)
		return 405;
	return 0;
}

struct slice request_value(const struct request *r, enum header header)
{
	if (r->counts[header] != 1)
		return (struct slice) { NULL, 0 };
	return trim(r->values[header]);
}

/* ---- target ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Returns 0 or the status code of an error. */
static int percent_decode(struct slice in, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		int c = (unsigned char)in.at[i];

		if (c == '%') {
			int hi = i + 2 < in.len ? hex_digit(in.at[i + 1]) : -1;
			int lo = hi >= 0 ? hex_digit(in.at[i + 2]) : -1;

			if (lo < 0)
				return 400;
			c = hi * 16 + lo;
			i += 2;
			/* encoded, they belong to a name: no file has it */
			if (c == '/' || c == '\0')
				return 404;
		}
		if (n + 1 >= cap)
			return 404;	/* longer than any path */
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return 0;
}

/* Drop the last segment: "a/b/" becomes "a/". Returns the new length. */
static size_t drop_segment(const char *path, size_t len)
{
	if (len)
		len--;		/* the slash that ends the segment */
	while (len && path[len - 1] != '/')
		len--;
	return len;
}

/*
 * Remove the segments "." and ".." (RFC 3986, 5.2.4). A ".." at the root is
 * dropped, so the path never leaves the root.
 */
static void remove_dot_segments(char *path)
{
	const char *in = path;
	size_t len = 0;

	while (*in) {
		size_t n = strcspn(in, "/");
		bool slash = in[n] == '/';

		if (n == 2 && memcmp(in, "..", 2) == 0) {
			len = drop_segment(path, len);
		} else if (n != 1 || *in != '.') {
			memmove(path + len, in, n + slash);
			len += n + slash;
		}
		in += n + slash;
	}
	path[len] = '\0';
}

/* To the file system, "a//b" and "a/b" are the same. */
static void merge_slashes(char *path)
{
	char *out = path;

	for (const char *in = path; *in; in++)
		if (*in != '/' || (out > path && out[-1] != '/'))
			*out++ = *in;
	*out = '\0';
}

/*
 * Find the path in "/path" or "https://host/path" (9112, 3.2). Returns false
 * for any other form, such as "*".
 */
static bool target_path(struct slice url, struct slice *path)
{
	struct http_parser_url u;

	http_parser_url_init(&u);
	if (http_parser_parse_url(url.at, url.len, 0, &u) != 0)
		return false;
	if (u.field_set & (1 << UF_SCHEMA)) {
		struct slice scheme = { url.at + u.field_data[UF_SCHEMA].off,
					u.field_data[UF_SCHEMA].len };

		if (!slice_is(scheme, "https") && !slice_is(scheme, "http"))
			return false;
	}
	*path = (struct slice) { "/", 1 };
	if (u.field_set & (1 << UF_PATH))
		*path = (struct slice) { url.at + u.field_data[UF_PATH].off,
					 u.field_data[UF_PATH].len };
	return *path->at == '/';
}

int request_path(const struct request *r, char *out, size_t cap)
{
	struct slice path;
	int status;

	if (!target_path(r->url, &path))
		return 400;
	path.at++;		/* the path below the root has no leading slash */
	path.len--;
	status = percent_decode(path, out, cap);
	if (status)
		return status;
	/* after decoding: "%2e" is a dot (RFC 3986, 6.2.2.2) */
	remove_dot_segments(out);
	merge_slashes(out);
	if (!*out)
		strcpy(out, "./");
	return 0;
}
