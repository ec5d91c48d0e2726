/* SPDX-License-Identifier: MIT */
/* The peer's TLS: contexts, sessions, and the settings of a connection. */
#ifndef TLSSF_TEST_PEER_TLS_H
#define TLSSF_TEST_PEER_TLS_H

#include "peer.h"

#include <openssl/ssl.h>

#define EARLY_MAX	16384

/* Made at the first call, with its keys, for all processes forked later. */
SSL_CTX *tls_context(bool server);
SSL *tls_new(const struct peer_conf *conf, int fd);	/* or NULL */
/* Handshake, with early data if there is any; returns as SSL_do_handshake(). */
int tls_handshake(SSL *ssl, const struct peer_conf *conf);

#endif
