/* SPDX-License-Identifier: MIT */
/* What to do about each "no" of a report. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

/* The kernel module that brings the cipher. */
static const char *const module[] = {
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

static void absent(struct report *r)
{
	if (r->module_list)
		advise(&r->remedies, "tls module", "%s.",
		       tlssf_reason_text(TLSSF_REASON_ULP_ABSENT));
	else
		advise(&r->remedies, "tls module", "The kernel has none at "
		       "hand, and no /lib/modules/%s is here to tell whether "
		       "it could be loaded. In a container: run 'modprobe "
		       "tls' as root on the host. If that finds none: %s.",
		       r->release,
		       tlssf_reason_text(TLSSF_REASON_ULP_ABSENT));
}

static void not_loaded(struct report *r)
{
	static const char stay[] = "To load it at each boot: 'echo tls "
				   ">/etc/modules-load.d/tls.conf'.";

	if (geteuid() != 0)
		advise(&r->remedies, "tls module", "It is there, but not "
		       "loaded, and only root's programs load it by need: run "
		       "'modprobe tls' as root. %s", stay);
	else
		advise(&r->remedies, "tls module", "It is there, but did not "
		       "load: run 'modprobe tls' and read what that and "
		       "'dmesg' say (a deny list in /etc/modprobe.d? a "
		       "container without CAP_NET_ADMIN?). %s", stay);
}

static void advise_ulp(struct report *r)
{
	switch (r->caps.ulp) {
	case TLSSF_ULP_ABSENT:
		absent(r);
		break;
	case TLSSF_ULP_NOT_LOADED:
		not_loaded(r);
		break;
	default:
		advise(&r->remedies, "tls module", "It could not be tried "
		       "(%s): bring the loopback interface up ('ip link set "
		       "lo up') and allow connections to 127.0.0.1 or ::1.",
		       strerror(r->caps.tls12[0].error));
	}
	advise(&r->remedies, "all else about the kernel",
	       "Depends on the tls module; run this again when it is loaded.");
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
		advise(r, about, "Accepted, but the TLS library lacks the "
		       "cipher and could not check a record; nothing to do.");
	else if (cap->error == ENOENT)
		advise(r, about, "The kernel found no module for it: 'modprobe "
		       "%s' as root, or prefer another cipher.", module[c]);
	else if (cap->error == EINVAL)
		advise(r, about, "This kernel does not know the pair: use a "
		       "newer one, or prefer another cipher.");
	else if (cap->error == EBADMSG)
		advise(r, about, "The kernel sends wrong records: update it.");
	else
		advise(r, about, "It failed (%s): try again, then look at the "
		       "kernel log ('dmesg').", strerror(cap->error));
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

static void advise_order(struct remedies *r)
{
	advise(r, "cipher order", "A server chooses: set "
	       "SSL_OP_CIPHER_SERVER_PREFERENCE, put AES-GCM first by "
	       "SSL_CTX_set_cipher_list() (TLS 1.2) and "
	       "SSL_CTX_set_ciphersuites() (TLS 1.3), and leave "
	       "SSL_OP_PRIORITIZE_CHACHA off.");
}

/* ChaCha20 is what clients without AES instructions ask for first. */
static void advise_ciphers(struct report *r)
{
	const struct tlssf_caps *c = &r->caps;

	for (int i = 0; i < TLSSF_CIPHER_COUNT; i++)
		advise_cipher(r, i);
	if (r->usable && (c->tls12[TLSSF_CHACHA20_POLY1305].tx != TLSSF_YES ||
			  c->tls13[TLSSF_CHACHA20_POLY1305].tx != TLSSF_YES))
		advise_order(&r->remedies);
}

/* ---- the rest ---- */

static void advise_extras(struct report *r)
{
	const struct tlssf_caps *caps = &r->caps;

	if (caps->rekey != TLSSF_YES)
		advise(&r->remedies, "rekey", "Use Linux 6.14 or later. Until "
		       "then a KeyUpdate ends a TLS 1.3 connection whose keys "
		       "the kernel has; the option key_update leaves such "
		       "connections to user space.");
	if (caps->zerocopy_ro != TLSSF_YES)
		advise(&r->remedies, "zero-copy sendfile option", "Use Linux "
		       "5.19 or later; it matters only to network cards that "
		       "encrypt.");
	if (caps->max_payload_len != TLSSF_YES)
		advise(&r->remedies, "record size option", "Use Linux 6.19 or "
		       "later; until then a connection with "
		       "max_fragment_length goes by user space.");
}

static void advise_library(struct report *r)
{
	if (r->caps.library_ktls != TLSSF_YES)
		advise(&r->remedies, "TLS library", "%s. Not needed for the "
		       "method ktls.",
		       tlssf_reason_text(TLSSF_REASON_LIBRARY_NO_KTLS));
	if (r->caps.library_rekey != TLSSF_YES)
		advise(&r->remedies, "TLS library, KeyUpdate", "Nothing to do: "
		       "TLS 1.3 goes by the method ktls instead. For "
		       "ssl_sendfile use OpenSSL 3.2 or later, or TLS 1.2.");
}

/* The machine's own remedies have been given before. */
static void advise_connection(struct report *r)
{
	const struct connection *conn = &r->conn;
	int last = TLSSF_REASON_NONE;
	bool order = false;

	if (!conn->target || conn->error[0] != '\0')
		return;
	for (int m = TLSSF_METHOD_SSL_SENDFILE; m < TLSSF_METHOD_COUNT; m++) {
		int why = conn->status.why_not[m];

		if (m == conn->method || why == last ||
		    why == TLSSF_REASON_NOT_ASKED)
			continue;
		advise(&r->remedies, tlssf_reason_name(why), "%s.",
		       tlssf_reason_text(why));
		order |= why == TLSSF_REASON_CIPHER ||
			 why == TLSSF_REASON_KERNEL_CIPHER;
		last = why;
	}
	if (order)
		advise_order(&r->remedies);
}

void probe_remedies(struct report *r)
{
	if (r->caps.ulp == TLSSF_ULP_LOADED) {
		advise_ciphers(r);
		advise_extras(r);
	} else {
		advise_ulp(r);
	}
	advise_library(r);
	advise_connection(r);
}
