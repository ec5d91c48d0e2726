/* SPDX-License-Identifier: MIT */
/* Header, file range and trailer as one stream of bytes. */
#include "internal.h"

struct part tlssf_stream_part(const struct stream *s, uint64_t pos)
{
	if (pos < s->header_len)
		return (struct part){
			.data = (const unsigned char *)s->header + pos,
			.len = s->header_len - pos };
	pos -= s->header_len;
	if (pos < s->file_len)
		return (struct part){ .off = s->off + pos,
				      .len = s->file_len - pos };
	pos -= s->file_len;
	return (struct part){ .data = (const unsigned char *)s->trailer + pos,
			      .len = s->trailer_len - pos };
}
