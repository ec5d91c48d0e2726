/* SPDX-License-Identifier: MIT */
/* The access log: one line for each response. */
#include "httpd.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define LOG_REQUEST_MAX	256	/* bytes of a request line in the log */

/* Copy the request line; bytes that are unsafe in a log become "\xNN". */
static void escape_request_line(const struct conn *c, char *out)
{
	const char *in = c->in, *end = c->in + c->in_len;

	while (in < end && (*in == '\r' || *in == '\n'))
		in++;
	if (end - in > LOG_REQUEST_MAX)
		end = in + LOG_REQUEST_MAX;
	for (; in < end && *in != '\r' && *in != '\n'; in++) {
		unsigned char b = (unsigned char)*in;

		if (b < 0x20 || b > 0x7e || b == '"' || b == '\\')
			out += sprintf(out, "\\x%02x", b);
		else
			*out++ = (char)b;
	}
	*out = '\0';
}

void log_response(const struct conn *c, const char *error)
{
	struct tlssf_status st = { .size = sizeof(st) };
	char line[LOG_REQUEST_MAX * 4 + 1], date[32];
	uint64_t bytes = c->sent_before_job + c->job.done;
	time_t now = time(NULL);
	struct tm tm;

	bytes -= bytes < c->response.head_len ? bytes : c->response.head_len;
	escape_request_line(c, line);
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	tlssf_status(c->ssl, &st);
	printf("%s %s \"%s\" %d %" PRIu64 " method=%s reason=%s tls=%s "
	       "cipher=%s%s%s\n", c->peer, date, line, c->response.status, bytes,
	       tlssf_method_name(st.method), tlssf_reason_name(st.reason),
	       SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl),
	       error ? " error=" : "", error ? error : "");
}
