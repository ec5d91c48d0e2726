/* SPDX-License-Identifier: MIT */
/*
 * Layer probe/: which features of kernel TLS the running kernel supports. The
 * probe tries each feature on a TCP connection over loopback, and never on a
 * connection of the application.
 */
#ifndef TLSSF_PROBE_H
#define TLSSF_PROBE_H

#include "record.h"

/*
 * Does the kernel support this cipher? The probe runs if the cache has no
 * result. The struct is valid until the thread's next call.
 */
const struct tlssf_cap *tlssf_probe_cap(int version, int cipher);
int tlssf_probe_ulp(void);	/* enum tlssf_ulp */
bool tlssf_probe_rekey(void);	/* can the kernel rekey TLS 1.3? */
/* Return the cached results without a probe; *tx is an enum tlssf_tristate. */
void tlssf_probe_peek(int version, int cipher, int *ulp, int *tx);

/* ---- tls_module.c ---- */

/* Is the tls module of the running kernel installed, or built in? */
bool tlssf_tls_module_installed(void);

#endif
