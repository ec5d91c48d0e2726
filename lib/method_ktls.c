/* SPDX-License-Identifier: MIT */
/*
 * Method `ktls`: taking over an established connection by hand. Not built in
 * yet: it says so, and is never chosen.
 */
#include <errno.h>

#include "internal.h"

static int why_not(const struct conn *c)
{
	(void)c;
	return TLSSF_REASON_NOT_BUILT;
}

static int send_stream(struct conn *c, struct stream *s, uint64_t limit)
{
	(void)s, (void)limit;
	return tlssf_conn_fail(c, TLSSF_REASON_NOT_BUILT, EOPNOTSUPP);
}

static int drain(struct conn *c)
{
	return tlssf_conn_fail(c, TLSSF_REASON_NOT_BUILT, EOPNOTSUPP);
}

static uint64_t records(struct conn *c)
{
	(void)c;
	return 0;
}

const struct method tlssf_method_ktls = {
	.id = TLSSF_METHOD_KTLS,
	.why_not = why_not,
	.send = send_stream,
	.drain = drain,
	.records = records,
};
