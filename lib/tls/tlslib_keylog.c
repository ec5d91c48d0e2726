/* SPDX-License-Identifier: MIT */
/*
 * Our key log callback, which the TLS library calls in every handshake. The
 * callback reports two things: the handshake, so that our filter BIO is
 * attached before the application can write, and our first write secret of TLS
 * 1.3. In a takeover, which takes the write keys over from the TLS library, the
 * keys are derived from that secret.
 */
#include <string.h>

#include <openssl/ssl.h>

#include "tls.h"

static bool starts_with(const char *line, const char *label)
{
	return !strncmp(line, label, strlen(label));
}

/* The label of our side's first application traffic secret. */
static const char *write_secret_label(const SSL *ssl)
{
	return SSL_is_server(ssl) ? "SERVER_TRAFFIC_SECRET_0 "
				  : "CLIENT_TRAFFIC_SECRET_0 ";
}

static void pass_secret(SSL *ssl, const struct ctx_conf *conf, const char *line)
{
	unsigned char secret[SECRET_MAX];
	size_t len = tl_secret_of_line(line, secret);

	if (len)
		conf->on_write_secret(ssl, secret, len);
	explicit_bzero(secret, sizeof(secret));
}

/*
 * Every TLS 1.3 handshake logs SERVER_HANDSHAKE_TRAFFIC_SECRET before the TLS
 * library installs the application traffic keys. SSL_OP_ENABLE_KTLS is cleared
 * at that line, to keep these keys out of the kernel where kernel TLS could not
 * rekey. Every TLS 1.2 handshake logs CLIENT_RANDOM.
 */
static void on_keylog_line(SSL *ssl, const struct ctx_conf *conf,
			   const char *line)
{
	bool tls13 = starts_with(line, "SERVER_HANDSHAKE_TRAFFIC_SECRET ");

	if (tls13 && conf->drop_ktls13)
		tl_clear_option_ktls(ssl);
	if (tls13 || starts_with(line, "CLIENT_RANDOM "))
		conf->on_handshake(ssl);
	if (starts_with(line, write_secret_label(ssl)))
		pass_secret(ssl, conf, line);
}

/*
 * DTLS and QUIC connections are ignored: a filter BIO does not suit datagrams,
 * and OpenSSL holds the lock of a QUIC connection here, so that most calls on
 * its SSL would deadlock.
 */
static void keylog(const SSL *const_ssl, const char *line)
{
	const struct ctx_conf *conf = tl_conf(const_ssl);
	SSL *ssl = (SSL *)(uintptr_t)const_ssl;

	if (!conf)
		return;
	if (!tl_stream_kind(ssl))
		on_keylog_line(ssl, conf, line);
	if (conf->next_keylog)
		conf->next_keylog(const_ssl, line);
}

bool tl_keylog_ours(const SSL *ssl)
{
	return SSL_CTX_get_keylog_callback(SSL_get_SSL_CTX(ssl)) == keylog;
}

void tl_ctx_install_keylog(SSL_CTX *ctx, struct ctx_conf *conf)
{
	void (*installed)(const SSL *, const char *) =
		SSL_CTX_get_keylog_callback(ctx);

	if (installed == keylog)	/* else ours would call itself */
		return;
	conf->next_keylog = installed;
	SSL_CTX_set_keylog_callback(ctx, keylog);
}
