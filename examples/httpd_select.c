/* SPDX-License-Identifier: MIT */
/* Conditional requests and range requests: RFC 9110, sections 13 and 14. */
#include "httpd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SETTLED_S	2	/* see make_validators() */

/* ---- validators ---- */

/*
 * Two changes of a file within one tick of the file system's clock have the
 * same mtime. A client that fetched the file between the two would get 304 for
 * its old copy for ever. So a recently changed file gets no validators.
 */
static void make_validators(struct response *resp, const struct stat *st)
{
	resp->mtime = st->st_mtim.tv_sec;
	resp->etag[0] = '\0';
	if (st->st_mtim.tv_sec > time(NULL) - SETTLED_S)
		return;
	snprintf(resp->etag, sizeof(resp->etag),
		 "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"",
		 (uint64_t)st->st_ino, (uint64_t)st->st_size,
		 (uint64_t)st->st_mtim.tv_sec * 1000000000 +
		 (uint64_t)st->st_mtim.tv_nsec);
}

/* Does this file's entity tag match the list, or is the list "*"? */
static bool etag_listed(struct slice list, const struct response *resp,
			bool weak_too)
{
	struct slice tag;
	size_t len = strlen(resp->etag);

	if (list.len == 1 && *list.at == '*')
		return true;
	while (list_next(&list, &tag)) {
		if (weak_too && tag.len > 2 && memcmp(tag.at, "W/", 2) == 0) {
			tag.at += 2;
			tag.len -= 2;
		}
		if (len && tag.len == len &&
		    memcmp(tag.at, resp->etag, len) == 0)
			return true;
	}
	return false;
}

/* Parse any of the three date formats of RFC 9110, 5.6.7. */
static bool parse_date(struct slice s, time_t *value)
{
	static const char *const forms[] = {
		HTTP_DATE, "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y",
	};
	char text[64];

	if (!s.at || s.len >= sizeof(text))
		return false;
	memcpy(text, s.at, s.len);
	text[s.len] = '\0';
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, forms[i], &tm);

		if (end && !*end) {
			*value = timegm(&tm);
			return true;
		}
	}
	return false;
}

/* ---- conditions ---- */

/* Returns 0, 304 or 412; in the order of RFC 9110, 13.2.2. */
static int check_conditions(const struct response *resp,
			    const struct request *r)
{
	struct slice match = request_value(r, HEADER_IF_MATCH);
	struct slice none_match = request_value(r, HEADER_IF_NONE_MATCH);
	time_t date;

	/* two lines are not supported, and must not be ignored: 412 */
	if (r->counts[HEADER_IF_MATCH]) {
		if (!match.at || !etag_listed(match, resp, false))
			return 412;
	} else if (parse_date(request_value(r, HEADER_IF_UNMODIFIED), &date)) {
		if (resp->mtime > date)
			return 412;
	}
	if (none_match.at)
		return etag_listed(none_match, resp, true) ? 304 : 0;
	if (r->counts[HEADER_IF_NONE_MATCH] == 0 && *resp->etag &&
	    parse_date(request_value(r, HEADER_IF_MODIFIED), &date) &&
	    resp->mtime <= date)
		return 304;
	return 0;
}

/* If-Range: does the client's partial copy belong to this version? */
static bool range_applies(const struct response *resp, const struct request *r)
{
	struct slice value = request_value(r, HEADER_IF_RANGE);
	time_t date;

	if (r->counts[HEADER_IF_RANGE] == 0)
		return true;
	if (!value.at || !*resp->etag)
		return false;
	if (parse_date(value, &date))
		return date == resp->mtime;
	return value.len == strlen(resp->etag) &&
	       memcmp(value.at, resp->etag, value.len) == 0;
}

/* ---- ranges ---- */

/*
 * Parse a decimal number and remove it from *s. A number that is too large
 * becomes UINT64_MAX. Returns false if there are no digits.
 */
static bool parse_number(struct slice *s, uint64_t *value)
{
	size_t len = s->len;

	for (*value = 0; s->len && *s->at >= '0' && *s->at <= '9';
	     s->at++, s->len--) {
		unsigned int digit = (unsigned int)(*s->at - '0');

		if (*value > (UINT64_MAX - digit) / 10)
			*value = UINT64_MAX;
		else
			*value = *value * 10 + digit;
	}
	return s->len != len;
}

/*
 * Parse "FIRST-LAST", "FIRST-" or "-LENGTH" into [*first, *end). Returns false
 * if it is none of these.
 */
static bool parse_spec(struct slice s, uint64_t size, uint64_t *first,
		       uint64_t *end)
{
	bool has_first = parse_number(&s, first), has_last;
	uint64_t last;

	if (!s.len || *s.at != '-')
		return false;
	s.at++;
	s.len--;
	has_last = parse_number(&s, &last);
	if (s.len || (!has_first && !has_last))
		return false;
	if (!has_last)
		last = UINT64_MAX;
	if (!has_first) {	/* the last bytes of the file */
		*first = last < size ? size - last : 0;
		*end = last ? size : 0;
		return size || !last;
	}
	*end = last < size ? last + 1 : size;
	return last >= *first;
}

/*
 * Parse a Range header. Returns 206: resp->ranges is set; 416: all ranges are
 * beyond the end of the file; 200: ignore the header, because it is invalid or
 * because the ranges add up to more than the file (RFC 9110, 14.2 and 17.15).
 */
static int parse_ranges(struct slice set, struct response *resp)
{
	uint64_t first, end, sum = 0;
	unsigned int specs = 0, n = 0;
	struct slice spec;

	if (set.len < 6 || strncasecmp(set.at, "bytes=", 6) != 0)
		return 200;
	set.at += 6;
	set.len -= 6;
	for (; list_next(&set, &spec); specs++) {
		if (!parse_spec(spec, resp->size, &first, &end) ||
		    specs == RANGES_MAX)
			return 200;
		if (first >= end)
			continue;
		resp->ranges[n++] = (struct range) { first, end - first };
		sum += end - first;
		if (sum > resp->size)
			return 200;
	}
	if (specs == 0)
		return 200;
	resp->nranges = n;
	return n ? 206 : 416;
}

int select_content(struct response *resp, const struct request *r,
		   const struct stat *st)
{
	struct slice range = request_value(r, HEADER_RANGE);
	int status;

	make_validators(resp, st);
	status = check_conditions(resp, r);
	if (status == 0 && range.at && r->parser.method == HTTP_GET &&
	    range_applies(resp, r))
		status = parse_ranges(range, resp);
	if (status == 0 || status == 200) {
		resp->ranges[0] = (struct range) { 0, resp->size };
		resp->nranges = 1;
		status = 200;
	}
	return status;
}
