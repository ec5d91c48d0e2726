/* SPDX-License-Identifier: MIT */
/* Accept one TLS connection on ADDR:PORT and send a file on it. */
#include <err.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timeval limit = { .tv_sec = 30 };
	struct tlssf_status st = { .size = sizeof(st) };
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	BIO *listener, *conn;
	SSL *ssl = NULL;
	char rest[4096];
	off_t off = 0;
	ssize_t n;
	int fd, s;

	if (argc != 5)
		errx(2, "usage: blocking_send CERT KEY ADDR:PORT FILE");
	signal(SIGPIPE, SIG_IGN);
	fd = open(argv[4], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", argv[4]);
	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1 ||
	    tlssf_ctx_init(ctx, NULL) < 0 || !(ssl = SSL_new(ctx)))
		errx(1, "cannot set TLS up with %s and %s", argv[1], argv[2]);
	listener = BIO_new_accept(argv[3]);
	if (!listener ||
	    BIO_set_bind_mode(listener, BIO_BIND_REUSEADDR) != 1 ||
	    BIO_do_accept(listener) != 1 ||	/* binds and listens */
	    BIO_do_accept(listener) != 1)	/* accepts */
		errx(1, "cannot accept at %s", argv[3]);
	conn = BIO_pop(listener);
	BIO_free(listener);
	SSL_set_bio(ssl, conn, conn);
	s = SSL_get_fd(ssl);
	if (setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		err(1, "setsockopt");
	if (SSL_accept(ssl) != 1)
		errx(1, "handshake failed");

	while ((n = tlssf_send(ssl, fd, off, SIZE_MAX)) > 0)
		off += n;
	if (n == 0)
		n = tlssf_shutdown(ssl);
	if (n != 0)	/* TLSSF_WANT_WRITE: SO_SNDTIMEO has expired */
		errx(1, "after %lld bytes: %s", (long long)off,
		     n == TLSSF_ERROR ? tlssf_strerror(ssl) : "peer too slow");
	while (SSL_read(ssl, rest, sizeof(rest)) > 0)
		;	/* with unread input, close() would send a reset */

	if (tlssf_status(ssl, &st) < 0)
		err(1, "tlssf_status");
	printf("%lld bytes, method=%s reason=%s\n", (long long)off,
	       tlssf_method_name(st.method), tlssf_reason_name(st.reason));
	SSL_free(ssl);		/* closes the socket too */
	SSL_CTX_free(ctx);
	close(fd);
	return 0;
}
