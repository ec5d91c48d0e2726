/* SPDX-License-Identifier: MIT */
/* tlssf_ctx_init(): an SSL_CTX, its options, and what the TLS library may do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"

#define KEY_RECORDS_MIN		16u	/* less leaves no room for the rest */
#define PAYLOAD_MIN		64u	/* of the kernel, with TLS 1.2 */

/* What a caller's options must have at least. */
#define OPTIONS_LEAST	(offsetof(struct tlssf_options, method) + sizeof(int))

/* The caller's options, or the defaults: 0, -EINVAL. */
static int take_options(struct tlssf_options *to,
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
 * AUTO gives TLS 1.3 to the kernel only where library and kernel follow a
 * KeyUpdate. Where the method is named, or the application has set the option
 * itself, the kernel gets it all the same; the bridge, put in during the
 * handshake, watches for a KeyUpdate.
 */
static void set_up_ktls(struct ssl_ctx_st *ctx, struct ctx_conf *conf)
{
	int method = conf->options.method;
	bool on = conf->app_ktls, safe13;

	conf->kernel_rekeys = tlssf_probe_rekey();
	safe13 = tl_library_rekey() && conf->kernel_rekeys;
	/* who asks for that guarantee has it whoever set the option */
	conf->drop_ktls13 = !safe13 && conf->options.key_update ==
					       TLSSF_KEY_UPDATE_USERSPACE;
	if (method != TLSSF_METHOD_AUTO) {
		on = method == TLSSF_METHOD_SSL_SENDFILE;
	} else if (!on && tlssf_probe_ulp() == TLSSF_ULP_LOADED) {
		conf->drop_ktls13 = !safe13;
		on = true;
	}
	tl_ctx_set_ktls(ctx, on);
}

/*
 * Only the ciphers that a TLS library gives to a kernel, once they are known
 * to work: asking for others makes the kernel look for modules, slowly.
 */
static void probe_what_matters(void)
{
	int cipher;

	for (cipher = 0; cipher <= TLSSF_CHACHA20_POLY1305; cipher++) {
		tlssf_probe_cap(TLS12, cipher);
		tlssf_probe_cap(TLS13, cipher);
	}
}

/* From the key log, during the handshake. */
static void keep_secret(struct ssl_st *ssl, const unsigned char *secret,
			size_t len)
{
	struct conn *c = tl_conn(ssl);

	if (!c || len > sizeof(c->secret))
		return;
	memcpy(c->secret, secret, len);
	c->secret_len = len;
}

static struct ctx_conf *new_conf(struct ssl_ctx_st *ctx)
{
	struct ctx_conf *conf = calloc(1, sizeof(*conf));

	if (!conf || tl_ctx_set_conf(ctx, conf)) {
		free(conf);
		return NULL;
	}
	conf->app_ktls = tl_ctx_ktls(ctx);
	conf->early = tlssf_conn_attach_early;
	conf->secret = keep_secret;
	probe_what_matters();
	return conf;
}

/*
 * To write its key log costs OpenSSL a tenth of a handshake. Nobody reads it
 * where keys are never taken over and no bridge is put in before the first call.
 */
static void use_keylog(struct ssl_ctx_st *ctx, struct ctx_conf *conf)
{
	const struct tlssf_options *o = &conf->options;

	if (conf->keylog ||
	    (o->method == TLSSF_METHOD_USERSPACE && o->attach_late))
		return;
	tl_ctx_install_keylog(ctx, conf);
	conf->keylog = true;
}

static int prepare(struct ssl_ctx_st *ctx, const struct tlssf_options *options)
{
	struct tlssf_options all;
	struct ctx_conf *conf;
	int r = ctx ? take_options(&all, options) : -EINVAL;

	if (!r)
		r = tl_ctx_check(ctx);
	if (r)
		return r;
	conf = tl_ctx_conf(ctx);
	if (!conf)
		conf = new_conf(ctx);
	if (!conf)
		return -ENOMEM;
	conf->options = all;
	use_keylog(ctx, conf);
	set_up_ktls(ctx, conf);
	return 0;
}

int tlssf_ctx_init(struct ssl_ctx_st *ctx, const struct tlssf_options *options)
{
	int r;

	tl_clear_errors();
	r = prepare(ctx, options);
	tl_clear_errors();
	if (!r)
		return 0;
	errno = -r;
	return TLSSF_ERROR;
}
