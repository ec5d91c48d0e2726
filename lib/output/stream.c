/* SPDX-License-Identifier: MIT */
/* Reads the header, the file range and the trailer of a send as one stream. */
#include <errno.h>
#include <string.h>

#include "output.h"

bool tlssf_stream_nonblocking(struct stream *s, int fd)
{
	if (s->nonblocking == TLSSF_UNKNOWN)
		s->nonblocking = fd >= 0 && tlssf_sys.nonblocking(fd) == 0 ?
				 TLSSF_NO : TLSSF_YES;
	return s->nonblocking == TLSSF_YES;
}

struct stream_part tlssf_stream_part(const struct stream *s, uint64_t pos)
{
	const unsigned char *header = s->header, *trailer = s->trailer;

	if (pos < s->header_len)
		return (struct stream_part){ .data = header + pos,
					     .len = s->header_len - pos };
	pos -= s->header_len;
	if (pos < s->file_len)
		return (struct stream_part){ .off = s->off + pos,
					     .len = s->file_len - pos };
	pos -= s->file_len;
	return (struct stream_part){ .data = trailer + pos,
				     .len = s->trailer_len - pos };
}

ssize_t tlssf_stream_read(struct stream *s, uint64_t pos, unsigned char *buf,
			  size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		struct stream_part part = tlssf_stream_part(s, pos + n);
		size_t len = cap - n;
		ssize_t got;

		if (len > part.len)
			len = (size_t)part.len;
		if (part.data) {
			memcpy(buf + n, part.data, len);
			n += len;
			continue;
		}
		got = tlssf_sys.pread(s->fd, buf + n, len, part.off);
		if (got == -EINTR)
			continue;
		if (got < 0)
			return n ? (ssize_t)n : got;
		if (got == 0) {
			s->short_file = true;
			break;
		}
		n += (size_t)got;
	}
	return (ssize_t)n;
}
