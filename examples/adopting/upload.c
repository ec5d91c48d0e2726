/* SPDX-License-Identifier: MIT */
/* A client that uploads a file over TLS, on a blocking socket. */
#include <err.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

static SSL_CTX *make_ctx(const char *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1)
		errx(1, "cannot use %s", ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (tlssf_ctx_init(ctx, NULL) < 0)	/* before the first SSL_new() */
		err(1, "tlssf_ctx_init");
	return ctx;
}

/* The time-outs are limits for a server that accepts or sends nothing. */
static int connect_to(const char *host, const char *port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	const struct timeval limit = { .tv_sec = 30 };
	struct addrinfo *list, *a;
	int r = getaddrinfo(host, port, &hints, &list), s = -1;

	if (r != 0)
		errx(1, "%s: %s", host, gai_strerror(r));
	for (a = list; a && s < 0; a = a->ai_next) {
		s = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen) < 0) {
			close(s);
			s = -1;
		}
	}
	freeaddrinfo(list);
	if (s < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		err(1, "%s port %s", host, port);
	return s;
}

static SSL *handshake(SSL_CTX *ctx, int s, const char *host)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl || SSL_set_fd(ssl, s) != 1 || SSL_set1_host(ssl, host) != 1 ||
	    SSL_set_tlsext_host_name(ssl, host) != 1)
		errx(1, "cannot set TLS up");
	if (SSL_connect(ssl) != 1)
		errx(1, "handshake failed: %s",
		     ERR_reason_error_string(ERR_peek_error()));
	return ssl;
}

/*
 * Read until the server's close_notify, or until it closes. A server of TLS 1.3
 * sends session tickets after the handshake, and a client that only uploads has
 * not read them. With unread input, close() sends a reset and discards the end
 * of the file, even after tlssf_shutdown() has returned 0.
 */
static int read_to_end(SSL *ssl)
{
	char rest[4096];
	int n, reason;

	ERR_clear_error();
	while ((n = SSL_read(ssl, rest, sizeof(rest))) > 0)
		;
	if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
		return 0;
	reason = ERR_GET_REASON(ERR_peek_error());
	return reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ? 0 : -1;
}

static off_t upload(SSL *ssl, int fd)
{
	off_t off = 0;
	ssize_t n;

	while ((n = tlssf_send(ssl, fd, off, SIZE_MAX)) > 0)
		off += n;
	if (n == 0)
		n = tlssf_shutdown(ssl);
	if (n != 0)	/* TLSSF_WANT_WRITE: SO_SNDTIMEO has expired */
		errx(1, "after %lld bytes: %s", (long long)off,
		     n == TLSSF_ERROR ? tlssf_strerror(ssl) : "too slow");
	if (read_to_end(ssl) < 0)
		errx(1, "the server may not have received the end");
	return off;
}

int main(int argc, char **argv)
{
	struct tlssf_status st = { .size = sizeof(st) };
	SSL_CTX *ctx;
	SSL *ssl;
	off_t sent;
	int fd, s;

	if (argc != 5)
		errx(2, "usage: upload CA HOST PORT FILE");
	signal(SIGPIPE, SIG_IGN);	/* raised by sendfile(), too */
	fd = open(argv[4], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[4]);
	ctx = make_ctx(argv[1]);
	s = connect_to(argv[2], argv[3]);
	ssl = handshake(ctx, s, argv[2]);
	sent = upload(ssl, fd);
	if (tlssf_status(ssl, &st) < 0)
		err(1, "tlssf_status");
	printf("%lld bytes, method=%s reason=%s\n", (long long)sent,
	       tlssf_method_name(st.method), tlssf_reason_name(st.reason));
	SSL_free(ssl);
	close(s);
	SSL_CTX_free(ctx);
	close(fd);
	return 0;
}
