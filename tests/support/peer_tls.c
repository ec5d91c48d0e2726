/* SPDX-License-Identifier: MIT */
/* The peer's TLS: contexts, sessions, and the settings of a connection. */
#include "peer_tls.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SESSION_MAX	16384

/* The newest session, in memory that all connections share. */
struct session {
	int len;
	unsigned char der[SESSION_MAX];
};
static struct session *newest;

/* ---- sessions ---- */

static int on_session(SSL *ssl, SSL_SESSION *s)
{
	unsigned char *p = newest->der;
	int len = i2d_SSL_SESSION(s, NULL);

	(void)ssl;
	if (len > 0 && len <= SESSION_MAX)
		newest->len = i2d_SSL_SESSION(s, &p);
	return 0;
}

static SSL_CTX *client_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	newest = mmap(NULL, sizeof(*newest), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!ctx || newest == MAP_FAILED)
		exit(1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT |
				       SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return ctx;
}

static bool resume(SSL *ssl)
{
	const unsigned char *p = newest->der;
	SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, newest->len);
	bool ok = s && SSL_set_session(ssl, s);

	SSL_SESSION_free(s);
	return ok;
}

/* ---- contexts ---- */

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)"localhost", -1, -1,
				   0);
	X509_set_issuer_name(cert, name);
	return X509_sign(cert, key, EVP_sha256()) ? cert : NULL;
}

static SSL_CTX *server_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *cert = key ? make_certificate(key) : NULL;

	if (!ctx || !cert || SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1)
		exit(1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

SSL_CTX *tls_context(bool server)
{
	static SSL_CTX *ctx[2];

	if (!ctx[server])
		ctx[server] = server ? server_ctx() : client_ctx();
	return ctx[server];
}

/* ---- one connection ---- */

static bool choose_cipher(SSL *ssl, const struct peer_conf *conf)
{
	if (!conf->cipher)
		return true;
	return conf->version == TLS1_3_VERSION
		? SSL_set_ciphersuites(ssl, conf->cipher)
		: SSL_set_cipher_list(ssl, conf->cipher);
}

static bool choose_more(SSL *ssl, const struct peer_conf *conf)
{
	bool ok = true;

	if (conf->max_fragment)
		ok = SSL_set_tlsext_max_fragment_length(ssl,
				(uint8_t)conf->max_fragment);
	if (ok && conf->name)
		ok = SSL_set_tlsext_host_name(ssl, conf->name) == 1;
	if (ok && conf->tickets)
		ok = SSL_set_num_tickets(ssl, (size_t)conf->tickets - 1);
	if (ok && conf->resume)
		ok = resume(ssl);
	return ok;
}

SSL *tls_new(const struct peer_conf *conf, int fd)
{
	SSL *ssl = SSL_new(tls_context(conf->server));
	int v = conf->version;
	bool ok = ssl && SSL_set_fd(ssl, fd);

	if (ok && v)
		ok = SSL_set_min_proto_version(ssl, v) &&
		     SSL_set_max_proto_version(ssl, v);
	if (!ok || !choose_cipher(ssl, conf) || !choose_more(ssl, conf))
		return NULL;
	return ssl;
}

int tls_handshake(SSL *ssl, const struct peer_conf *conf)
{
	static const char early[EARLY_MAX];
	size_t n;

	if (conf->server)
		return SSL_accept(ssl);
	if (conf->early && (conf->early > EARLY_MAX ||
	    SSL_write_early_data(ssl, early, conf->early, &n) != 1))
		return -1;
	return SSL_connect(ssl);
}
