/* SPDX-License-Identifier: MIT */
/*
 * tlssf_ctx_init(): checks the options, probes the kernel, switches the kernel
 * TLS of the TLS library on or off, and installs our key log callback.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"

#define KEY_RECORDS_MIN		16u	/* data uses all but KEY_RESERVE */
#define PAYLOAD_MIN		64u	/* minimum of the kernel with TLS 1.2 */

/* The smallest struct: up to the member `method`. */
#define OPTIONS_LEAST	(offsetof(struct tlssf_options, method) + sizeof(int))

/* Copy and check the caller's options, or set the defaults: 0, -EINVAL. */
static int import_options(struct tlssf_options *to,
			  const struct tlssf_options *from)
{
	memset(to, 0, sizeof(*to));
	if (from && tlssf_abi_check(from, OPTIONS_LEAST, sizeof(*from)))
		return -EINVAL;
	if (from)
		tlssf_abi_import(to, from, sizeof(*to));
	if (!to->max_per_call)
		to->max_per_call = DEFAULT_PER_CALL;
	return to->method < TLSSF_METHOD_AUTO ||
	       to->method >= TLSSF_METHOD_COUNT ||
	       to->key_update < TLSSF_KEY_UPDATE_END ||
	       to->key_update >= TLSSF_KEY_UPDATE_COUNT ||
	       (to->key_records && to->key_records < KEY_RECORDS_MIN) ||
	       (to->max_payload_len && to->max_payload_len < PAYLOAD_MIN) ||
	       to->max_payload_len > RECORD_MAX ?
	       -EINVAL : 0;
}

/*
 * With the method auto, TLS 1.3 uses the kernel TLS of the TLS library only if
 * both that library and the kernel can rekey. There are two exceptions: the
 * options name ssl_sendfile, or the application has set SSL_OP_ENABLE_KTLS
 * itself. Then our filter BIO detects a KeyUpdate. The option
 * TLSSF_KEY_UPDATE_USERSPACE rules the exceptions out.
 */
static void set_up_ktls(struct ssl_ctx_st *ctx, struct ctx_conf *conf)
{
	int method = conf->options.method;
	bool on = conf->app_ktls, can_rekey;

	conf->kernel_rekeys = tlssf_probe_rekey();
	can_rekey = tl_library_rekey() && conf->kernel_rekeys;
	conf->drop_ktls13 = !can_rekey && conf->options.key_update ==
						  TLSSF_KEY_UPDATE_USERSPACE;
	if (method != TLSSF_METHOD_AUTO) {
		on = method == TLSSF_METHOD_SSL_SENDFILE;
	} else if (!on && tlssf_probe_ulp() == TLSSF_ULP_LOADED) {
		conf->drop_ktls13 = !can_rekey;
		on = true;
	}
	tl_ctx_set_ktls(ctx, on);
}

/*
 * Probe only the ciphers that a TLS library can offload. A trial of another
 * cipher makes the kernel search for a module, which takes long.
 */
static void probe_library_ciphers(void)
{
	int cipher;

	for (cipher = 0; cipher <= TLSSF_CHACHA20_POLY1305; cipher++) {
		tlssf_probe_cap(TLS12, cipher);
		tlssf_probe_cap(TLS13, cipher);
	}
}

/* Called by our key log callback, during the handshake. */
static void store_secret(struct ssl_st *ssl, const unsigned char *secret,
			size_t len)
{
	struct conn *c = tl_conn(ssl);

	if (!c || len > sizeof(c->secret))
		return;
	memcpy(c->secret, secret, len);
	c->secret_len = len;
}

static struct ctx_conf *create_conf(struct ssl_ctx_st *ctx)
{
	struct ctx_conf *conf = calloc(1, sizeof(*conf));

	if (!conf || tl_ctx_set_conf(ctx, conf)) {
		free(conf);
		return NULL;
	}
	conf->app_ktls = tl_ctx_ktls(ctx);
	conf->on_handshake = tlssf_conn_attach_early;
	conf->on_write_secret = store_secret;
	probe_library_ciphers();
	return conf;
}

/*
 * A key log callback makes a handshake of OpenSSL a tenth slower. The callback
 * is not needed if the keys are never taken over and our filter BIO is attached
 * at the first send.
 */
static void ensure_keylog(struct ssl_ctx_st *ctx, struct ctx_conf *conf)
{
	const struct tlssf_options *o = &conf->options;

	if (conf->keylog ||
	    (o->method == TLSSF_METHOD_USERSPACE && o->attach_late))
		return;
	tl_ctx_install_keylog(ctx, conf);
	conf->keylog = true;
}

static int init_ctx(struct ssl_ctx_st *ctx,
		    const struct tlssf_options *options)
{
	struct tlssf_options imported;
	struct ctx_conf *conf;
	int r = ctx ? import_options(&imported, options) : -EINVAL;

	if (!r)
		r = tl_ctx_check(ctx);
	if (r)
		return r;
	conf = tl_ctx_conf(ctx);
	if (!conf)
		conf = create_conf(ctx);
	if (!conf)
		return -ENOMEM;
	conf->options = imported;
	ensure_keylog(ctx, conf);
	set_up_ktls(ctx, conf);
	return 0;
}

int tlssf_ctx_init(struct ssl_ctx_st *ctx, const struct tlssf_options *options)
{
	int r;

	tl_clear_errors();
	r = init_ctx(ctx, options);
	tl_clear_errors();
	if (!r)
		return 0;
	errno = -r;
	return TLSSF_ERROR;
}
