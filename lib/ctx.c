/* SPDX-License-Identifier: MIT */
/* tlssf_ctx_init(): an SSL_CTX, its options, and what the TLS library may do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define KEY_RECORDS_MIN		16u	/* less leaves no room for the rest */
#define PAYLOAD_MIN		64u	/* of the kernel, with TLS 1.2 */

static int check_options(const struct tlssf_options *o)
{
	struct tlssf_options all = { 0 };

	if (!o)
		return 0;
	if (o->size < sizeof(o->size) + sizeof(o->method) ||
	    o->size > sizeof(*o))
		return -EINVAL;
	memcpy(&all, o, o->size);
	return all.method < TLSSF_METHOD_AUTO ||
	       all.method >= TLSSF_METHOD_COUNT ||
	       all.key_update < TLSSF_KEY_UPDATE_END ||
	       all.key_update >= TLSSF_KEY_UPDATE_COUNT ||
	       (all.key_records && all.key_records < KEY_RECORDS_MIN) ||
	       (all.max_payload_len && all.max_payload_len < PAYLOAD_MIN) ||
	       all.max_payload_len > RECORD_MAX ?
	       -EINVAL : 0;
}

static void copy_options(struct ctx_conf *conf, const struct tlssf_options *o)
{
	memset(&conf->options, 0, sizeof(conf->options));
	if (o)
		memcpy(&conf->options, o, o->size);
	if (!conf->options.max_per_call)
		conf->options.max_per_call = DEFAULT_PER_CALL;
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

static struct ctx_conf *new_conf(struct ssl_ctx_st *ctx)
{
	struct ctx_conf *conf = calloc(1, sizeof(*conf));

	if (!conf || tl_ctx_set_conf(ctx, conf)) {
		free(conf);
		return NULL;
	}
	conf->app_ktls = tl_ctx_ktls(ctx);
	conf->early = tlssf_conn_watch;
	conf->secret = tlssf_conn_secret;
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
	tl_ctx_keylog(ctx, conf);
	conf->keylog = true;
}

static int prepare(struct ssl_ctx_st *ctx, const struct tlssf_options *options)
{
	struct ctx_conf *conf;
	int r = ctx ? check_options(options) : -EINVAL;

	if (!r)
		r = tl_ctx_check(ctx);
	if (r)
		return r;
	conf = tl_ctx_conf(ctx);
	if (!conf)
		conf = new_conf(ctx);
	if (!conf)
		return -ENOMEM;
	copy_options(conf, options);
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
