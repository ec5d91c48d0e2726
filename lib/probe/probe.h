/* SPDX-License-Identifier: MIT */
/*
 * Layer probe/: what the running kernel can do, found out by doing it on a
 * loopback connection. Nothing here knows a connection of the application's.
 */
#ifndef TLSSF_PROBE_H
#define TLSSF_PROBE_H

#include "record.h"

/*
 * The cached answer; runs the probe when there is none. The result belongs to
 * the calling thread until its next call.
 */
const struct tlssf_cap *tlssf_probe_cap(int version, int cipher);
int tlssf_probe_ulp(void);	/* enum tlssf_ulp */
bool tlssf_probe_rekey(void);	/* the kernel can rekey TLS 1.3 */
/* The cached answers, without a probe. */
void tlssf_probe_peek(int version, int cipher, int *ulp, int *tx);

#endif
