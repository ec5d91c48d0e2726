/* SPDX-License-Identifier: MIT */
/* The variant gnutls_record_send_file: a server with GnuTLS. */
#include "send.h"

#ifdef BENCH_GNUTLS

#include <gnutls/gnutls.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

static gnutls_certificate_credentials_t credentials;

static void good(int r, const char *what)
{
	if (r < 0)
		die("%s: %s", what, gnutls_strerror(r));
}

static gnutls_datum_t content_of(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	return (gnutls_datum_t){ (unsigned char *)data, (unsigned int)len };
}

/* Use the certificate of the other variants. */
static void make_credentials(void)
{
	SSL_CTX *ctx = server.ctx[OPENSSL];
	BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
	gnutls_datum_t c, k;

	must(cert && key &&
	     PEM_write_bio_X509(cert, SSL_CTX_get0_certificate(ctx)) &&
	     PEM_write_bio_PrivateKey(key, SSL_CTX_get0_privatekey(ctx), NULL,
				      NULL, 0, NULL, NULL), "PEM");
	c = content_of(cert);
	k = content_of(key);
	good(gnutls_certificate_allocate_credentials(&credentials), "GnuTLS");
	good(gnutls_certificate_set_x509_key_mem(credentials, &c, &k,
						 GNUTLS_X509_FMT_PEM),
	     "certificate for GnuTLS");
	BIO_free(cert);
	BIO_free(key);
}

static const char *cipher(void)
{
	if (strcmp(conf.suite->name, "aes128gcm") == 0)
		return "AES-128-GCM";
	if (strcmp(conf.suite->name, "aes256gcm") == 0)
		return "AES-256-GCM";
	return "CHACHA20-POLY1305";
}

void gnutls_open(struct connection *l)
{
	gnutls_session_t session;
	char priority[100];

	if (!credentials)
		make_credentials();
	snprintf(priority, sizeof(priority),
		 "NORMAL:-VERS-ALL:+VERS-TLS%s:-CIPHER-ALL:+%s",
		 conf.version == TLS1_3_VERSION ? "1.3" : "1.2", cipher());
	good(gnutls_init(&session, GNUTLS_SERVER), "gnutls_init");
	good(gnutls_priority_set_direct(session, priority, NULL), priority);
	good(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
				    credentials), "credentials");
	gnutls_transport_set_int(session, l->sock);
	good(gnutls_handshake(session), "handshake of GnuTLS");
	l->gnutls = session;
}

void gnutls_request(struct connection *l)
{
	char request;

	must(gnutls_record_recv(l->gnutls, &request, 1) == 1, "request");
}

void gnutls_respond(struct connection *l)
{
	off_t off = 0;
	ssize_t n;

	/* in GnuTLS 3.7 the offset argument is relative to the position */
	must(lseek(server.file, 0, SEEK_SET) == 0, "lseek");
	if (conf.header)
		must(gnutls_record_send(l->gnutls, server.header,
					(size_t)conf.header) == conf.header,
		     "gnutls_record_send");
	while ((uint64_t)off < conf.size) {
		n = gnutls_record_send_file(l->gnutls, server.file, NULL,
					    (size_t)conf.size - (size_t)off);
		must(n > 0, "gnutls_record_send_file");
		off += n;
	}
}

void gnutls_close(struct connection *l)
{
	gnutls_deinit(l->gnutls);
}

#else

void gnutls_open(struct connection *l)
{
	(void)l;
	die("built without GnuTLS");
}

void gnutls_request(struct connection *l)
{
	gnutls_open(l);
}

void gnutls_respond(struct connection *l)
{
	gnutls_open(l);
}

void gnutls_close(struct connection *l)
{
	gnutls_open(l);
}

#endif
