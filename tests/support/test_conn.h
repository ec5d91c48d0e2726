/* SPDX-License-Identifier: MIT */
/*
 * A connection without an SSL, for unit tests of single functions. Its states
 * are reached by the steps that the library itself takes: the library's setters
 * end the process at a step that is not legal. No test writes these members of
 * struct conn itself.
 */
#ifndef TLSSF_TEST_CONN_H
#define TLSSF_TEST_CONN_H

#include "takeover.h"

#include <stdlib.h>

/* Step to this sealer, by way of the sealers that must precede it. */
static inline void test_conn_set_sealer(struct conn *c, enum sealer to)
{
	if (to == SEALER_NOBODY)
		test_conn_set_sealer(c, SEALER_OURSELVES);
	if (to == SEALER_KERNEL || to == SEALER_OURSELVES)
		tlssf_set_sealer(c, SEALER_LIBRARY);
	tlssf_set_sealer(c, to);
}

static inline void test_conn_set_sample(struct conn *c, enum sample_step to)
{
	if (to == SAMPLE_TAKEN || to == SAMPLE_REFUSED)
		tlssf_set_sample(c, SAMPLE_NEXT, TLSSF_REASON_NONE);
	tlssf_set_sample(c, to, to == SAMPLE_REFUSED ? TLSSF_REASON_PADDING
						     : TLSSF_REASON_NONE);
}

/* Free what test_conn_new() and the test have attached to the connection. */
static inline void test_conn_reset(struct conn *c)
{
	free(c->tx);
	tlssf_keys_wipe(c);
	*c = (struct conn){ .fd = -1 };
}

/*
 * A usable connection on socket `fd` (-1: none) with this sealer. There is one
 * at a time: a second call resets it. Only a test that attaches a bridge or a
 * takeover to it has the library's complete view of that sealer.
 */
static inline struct conn *test_conn_new(int fd, enum sealer sealer)
{
	static struct conn c;

	test_conn_reset(&c);
	c.fd = fd;
	test_conn_set_sealer(&c, sealer);
	return &c;
}

/* Set what a handshake sets: version (TLS12 ...) and enum tlssf_cipher. */
static inline void test_conn_describe(struct conn *c, int version, int cipher)
{
	c->info.version = (uint16_t)version;
	c->info.kernel_cipher = cipher;
}

/* Set the options as if tlssf_ctx_init() had prepared the SSL_CTX with them. */
static inline void test_conn_configure(struct conn *c,
				       const struct ctx_conf *conf)
{
	c->conf = conf;
}

/*
 * Attach the keys of a takeover whose reseal step is `step`. The keys are
 * empty: no test encrypts with them.
 */
static inline void test_conn_attach_keys(struct conn *c, enum reseal_step step)
{
	c->takeover = calloc(1, sizeof(*c->takeover));
	if (c->takeover)
		c->takeover->reseal.step = step;
}

#endif
