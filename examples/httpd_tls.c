/* SPDX-License-Identifier: MIT */
/* The TLS context, with libtlssf set up for it, and the certificate. */
#include "httpd.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CERT_DAYS	30

/* ---- a self-signed certificate ---- */

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* The names of this machine, and the address that the server listens on. */
static void subject_alt_names(char *out, size_t cap, const char *addr)
{
	static const char local[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
	char host[65] = "";
	struct in6_addr any;

	gethostname(host, sizeof(host) - 1);
	if (!*host || host[strspn(host, "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")])
		strcpy(host, "localhost");
	/*
	 * A certificate cannot contain an address with a scope. An invalid
	 * address is reported by listener_open().
	 */
	if (inet_pton(AF_INET, addr, &any) != 1 &&
	    inet_pton(AF_INET6, addr, &any) != 1)
		addr = "127.0.0.1";
	snprintf(out, cap, "%s,DNS:%s,IP:%s", local, host, addr);
}

static bool fill_certificate(X509 *cert, EVP_PKEY *key, const char *names)
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) &&
	       ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -86400) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), CERT_DAYS * 86400L) &&
	       X509_set_pubkey(cert, key) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)"localhost",
					  -1, -1, 0) &&
	       X509_set_issuer_name(cert, name) &&
	       add_extension(cert, NID_basic_constraints, "CA:FALSE") &&
	       add_extension(cert, NID_subject_alt_name, names) &&
	       X509_sign(cert, key, EVP_sha256());
}

/* RSA, so that TLS 1.2 cipher suites without (EC)DHE work, too. */
static EVP_PKEY *make_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_keygen_init(ctx) > 0 &&
	    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) > 0 &&
	    EVP_PKEY_keygen(ctx, &key) <= 0)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* The user can compare it with the fingerprint that the browser shows. */
static void print_fingerprint(const X509 *cert)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	X509_digest(cert, EVP_sha256(), md, &n);
	printf("certificate: self-signed, SHA-256 ");
	for (unsigned int i = 0; i < n; i++)
		printf("%s%02X", i ? ":" : "", md[i]);
	printf("\n");
}

static bool use_self_signed(SSL_CTX *ctx, const struct config *conf)
{
	EVP_PKEY *key = make_key();
	X509 *cert = X509_new();
	char names[256];
	bool ok;

	subject_alt_names(names, sizeof(names), conf->listen);
	ok = key && cert && fill_certificate(cert, key, names) &&
	     SSL_CTX_use_certificate(ctx, cert) == 1 &&
	     SSL_CTX_use_PrivateKey(ctx, key) == 1;
	if (ok)
		print_fingerprint(cert);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static bool use_certificate_files(SSL_CTX *ctx, const struct config *conf)
{
	return SSL_CTX_use_certificate_chain_file(ctx, conf->cert) == 1 &&
	       SSL_CTX_use_PrivateKey_file(ctx, conf->key,
					   SSL_FILETYPE_PEM) == 1 &&
	       SSL_CTX_check_private_key(ctx) == 1;
}

/* ---- the context ---- */

/* A client that offers no HTTP/1 in ALPN, only HTTP/2, gets a fatal alert. */
static int select_protocol(SSL *ssl, const unsigned char **out,
			   unsigned char *out_len, const unsigned char *in,
			   unsigned int in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
	unsigned char *found;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&found, out_len, ours, sizeof(ours) - 1, in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *tls_context(const struct config *conf)
{
	const struct tlssf_options options = {
		.size = sizeof(options),
		.method = conf->method,
	};
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
	    !(conf->cert ? use_certificate_files(ctx, conf) :
			   use_self_signed(ctx, conf))) {
		ERR_print_errors_fp(stderr);
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
	/* free the record buffers of idle connections */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	/* session tickets are enough for resumption, without memory here */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (tlssf_ctx_init(ctx, &options) < 0) {
		perror("tlssf_ctx_init");
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

