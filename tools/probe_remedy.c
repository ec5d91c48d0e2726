/* SPDX-License-Identifier: MIT */
/* Advice about each feature that does not work. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

/* The kernel module that implements the cipher. */
static const char *const module_names[] = {
	[TLSSF_AES_128_GCM] = "gcm", [TLSSF_AES_256_GCM] = "gcm",
	[TLSSF_AES_128_CCM] = "ccm",
	[TLSSF_CHACHA20_POLY1305] = "chacha20poly1305",
	[TLSSF_SM4_GCM] = "sm4_generic", [TLSSF_SM4_CCM] = "sm4_generic",
	[TLSSF_ARIA_128_GCM] = "aria_generic",
	[TLSSF_ARIA_256_GCM] = "aria_generic",
};

static void advise(struct remedies *r, const char *about, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void advise(struct remedies *r, const char *about, const char *fmt, ...)
{
	struct remedy *one = &r->list[r->n];
	va_list args;

	if (r->n == sizeof(r->list) / sizeof(r->list[0]))
		return;
	r->n++;
	snprintf(one->about, sizeof(one->about), "%s", about);
	va_start(args, fmt);
	vsnprintf(one->text, sizeof(one->text), fmt, args);
	va_end(args);
}

/* ---- the tls module ---- */

static void advise_absent(struct report *r)
{
	if (r->module_list)
		advise(&r->remedies, "tls module", "%s.",
		       tlssf_reason_text(TLSSF_REASON_ULP_ABSENT));
	else
		advise(&r->remedies, "tls module", "It is not loaded, and "
		       "without /lib/modules/%s it is unknown whether it "
		       "exists. In a container: run 'modprobe tls' as root on "
		       "the host. If modprobe finds no module: %s.",
		       r->release,
		       tlssf_reason_text(TLSSF_REASON_ULP_ABSENT));
}

static void advise_not_loaded(struct report *r)
{
	static const char at_boot[] = "To load it at each boot: 'echo tls "
				      ">/etc/modules-load.d/tls.conf'.";

	if (geteuid() != 0)
		advise(&r->remedies, "tls module", "It exists, but is not "
		       "loaded, and the kernel loads it on demand only for "
		       "root: run 'modprobe tls' as root. %s", at_boot);
	else
		advise(&r->remedies, "tls module", "It exists, but did not "
		       "load: run 'modprobe tls' and read its error and the "
		       "kernel log ('dmesg'). Possible causes: a deny list in "
		       "/etc/modprobe.d, a container without CAP_NET_ADMIN. "
		       "%s", at_boot);
}

static void advise_ulp(struct report *r)
{
	switch (r->caps.ulp) {
	case TLSSF_ULP_ABSENT:
		advise_absent(r);
		break;
	case TLSSF_ULP_NOT_LOADED:
		advise_not_loaded(r);
		break;
	default:
		advise(&r->remedies, "tls module", "It could not be tested "
		       "(%s): bring the loopback interface up ('ip link set "
		       "lo up') and allow connections to 127.0.0.1 or ::1.",
		       strerror(r->caps.tls12[0].error));
	}
	advise(&r->remedies, "other kernel features", "They depend on the tls "
	       "module: run tlssf-probe again when the module is loaded.");
}

/* ---- ciphers ---- */

static void advise_cap(struct remedies *r, int c, const char *version,
		       const struct tlssf_cap *cap)
{
	char about[sizeof(r->list[0].about)];

	if (cap->tx == TLSSF_YES && cap->verified)
		return;
	snprintf(about, sizeof(about), "%s, TLS %s", tlssf_cipher_name(c),
		 version);
	if (cap->tx == TLSSF_YES)
		advise(r, about, "The kernel accepts the keys, but the TLS "
		       "library lacks the cipher and could not decrypt a "
		       "record to verify it; nothing to do.");
	else if (cap->error == ENOENT)
		advise(r, about, "The kernel found no module for the cipher: "
		       "run 'modprobe %s' as root, or prefer another cipher.",
		       module_names[c]);
	else if (cap->error == EINVAL)
		advise(r, about, "This kernel does not support the cipher with "
		       "this TLS version: use a newer kernel, or prefer "
		       "another cipher.");
	else if (cap->error == EBADMSG)
		advise(r, about, "The kernel sends wrong records: update the "
		       "kernel.");
	else
		advise(r, about, "The test failed (%s): try again, then read "
		       "the kernel log ('dmesg').", strerror(cap->error));
}

static void advise_cipher(struct report *r, int c)
{
	const struct tlssf_cap *v12 = &r->caps.tls12[c];
	const struct tlssf_cap *v13 = &r->caps.tls13[c];

	if (v12->tx == v13->tx && v12->error == v13->error &&
	    v12->verified == v13->verified) {
		advise_cap(&r->remedies, c, "1.2 and 1.3", v12);
		return;
	}
	advise_cap(&r->remedies, c, "1.2", v12);
	advise_cap(&r->remedies, c, "1.3", v13);
}

static void advise_cipher_order(struct remedies *r)
{
	advise(r, "cipher order", "To choose the cipher in the server, "
	       "set SSL_OP_CIPHER_SERVER_PREFERENCE, put AES-GCM first with "
	       "SSL_CTX_set_cipher_list() (TLS 1.2) and "
	       "SSL_CTX_set_ciphersuites() (TLS 1.3), and leave "
	       "SSL_OP_PRIORITIZE_CHACHA off.");
}

/*
 * Clients without AES instructions prefer ChaCha20. If the kernel does not
 * support ChaCha20, a server has to prefer another cipher to use kernel TLS.
 */
static void advise_ciphers(struct report *r)
{
	const struct tlssf_caps *c = &r->caps;

	for (int i = 0; i < TLSSF_CIPHER_COUNT; i++)
		advise_cipher(r, i);
	if (r->usable && (c->tls12[TLSSF_CHACHA20_POLY1305].tx != TLSSF_YES ||
			  c->tls13[TLSSF_CHACHA20_POLY1305].tx != TLSSF_YES))
		advise_cipher_order(&r->remedies);
}

/* ---- the rest ---- */

static void advise_kernel_features(struct report *r)
{
	const struct tlssf_caps *caps = &r->caps;

	if (caps->rekey != TLSSF_YES)
		advise(&r->remedies, "rekey", "Use Linux 6.14 or later. On "
		       "older kernels a KeyUpdate ends a TLS 1.3 connection "
		       "that the kernel encrypts; the option key_update can "
		       "keep such connections in user space.");
	if (caps->zerocopy_ro != TLSSF_YES)
		advise(&r->remedies, "zero-copy sendfile option", "Use Linux "
		       "5.19 or later; the option matters only with network "
		       "cards that encrypt.");
	if (caps->max_payload_len != TLSSF_YES)
		advise(&r->remedies, "record size option", "Use Linux 6.19 or "
		       "later; on older kernels a connection with "
		       "max_fragment_length is encrypted in user space.");
}

static void advise_library(struct report *r)
{
	if (r->caps.library_ktls != TLSSF_YES)
		advise(&r->remedies, "TLS library", "%s. The method ktls does "
		       "not need it.",
		       tlssf_reason_text(TLSSF_REASON_LIBRARY_NO_KTLS));
	if (r->caps.library_rekey != TLSSF_YES)
		advise(&r->remedies, "TLS library, KeyUpdate", "Nothing to do: "
		       "TLS 1.3 uses the method ktls instead. For "
		       "ssl_sendfile use OpenSSL 3.2 or later, or TLS 1.2.");
}

/* Advice about this connection, in addition to that about the machine. */
static void advise_connection(struct report *r)
{
	const struct connection *conn = &r->conn;
	int last = TLSSF_REASON_NONE;
	bool cipher_refused = false;

	if (!conn->target || conn->error[0] != '\0')
		return;
	for (int m = TLSSF_METHOD_SSL_SENDFILE; m < TLSSF_METHOD_COUNT; m++) {
		int why = conn->status.why_not[m];

		if (m == conn->method || why == last ||
		    why == TLSSF_REASON_NOT_ASKED)
			continue;
		advise(&r->remedies, tlssf_reason_name(why), "%s.",
		       tlssf_reason_text(why));
		cipher_refused |= why == TLSSF_REASON_CIPHER ||
				  why == TLSSF_REASON_KERNEL_CIPHER;
		last = why;
	}
	if (cipher_refused)
		advise_cipher_order(&r->remedies);
}

void probe_remedies(struct report *r)
{
	if (r->caps.ulp == TLSSF_ULP_LOADED) {
		advise_ciphers(r);
		advise_kernel_features(r);
	} else {
		advise_ulp(r);
	}
	advise_library(r);
	advise_connection(r);
}
