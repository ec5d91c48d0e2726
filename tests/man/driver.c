/* SPDX-License-Identifier: MIT */
/*
 * driver CERT KEY HOW FILE: a server for one connection, made of the examples
 * in the manual pages. HOW: blocking or poll. Prints its port first.
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

#define SECONDS		600 /* for the whole run: only a hang takes longer */
#define STRANGERS	4

/* functions from the manual pages */
SSL_CTX *server_ctx(const char *cert, const char *key);
int kernel_sends_aes(void);
int serve(SSL *ssl, int fd);
int respond(SSL *ssl, const char *header, int fd, uint64_t size);
void log_connection(SSL *ssl, FILE *log);
void log_decisions(FILE *log);

static int listen_here(void)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr *sa = (struct sockaddr *)&a;
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	if (l < 0 || bind(l, sa, len) < 0 || listen(l, STRANGERS) < 0 ||
	    getsockname(l, sa, &len) < 0)
		err(1, "listen");
	printf("port %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return l;
}

static SSL *shake_hands(SSL_CTX *ctx, int s)
{
	const struct timeval limit = { .tv_sec = SECONDS / 2 };
	SSL *ssl = SSL_new(ctx);

	if (s < 0 || !ssl ||
	    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		err(1, "accept");
	if (SSL_set_fd(ssl, s) == 1 && SSL_accept(ssl) == 1)
		return ssl;
	SSL_free(ssl);
	close(s);
	return NULL;
}

/*
 * Other programs may scan for open ports: accept only a client that speaks TLS.
 */
static SSL *accept_ours(SSL_CTX *ctx, int listener)
{
	SSL *ssl = NULL;

	for (int i = 0; i < STRANGERS && !ssl; i++)
		ssl = shake_hands(ctx, accept(listener, NULL, NULL));
	if (!ssl)
		errx(1, "no handshake");
	return ssl;
}

int main(int argc, char **argv)
{
	struct stat st;
	SSL_CTX *ctx;
	SSL *ssl;
	int fd, listener, s, r;

	if (argc != 5)
		errx(2, "usage: driver CERT KEY blocking|poll FILE");
	signal(SIGPIPE, SIG_IGN);
	alarm(SECONDS);
	log_decisions(stderr);
	printf("kernel_sends_aes %d\n", kernel_sends_aes());
	fd = open(argv[4], O_RDONLY);
	ctx = server_ctx(argv[1], argv[2]);
	if (fd < 0 || fstat(fd, &st) < 0 || !ctx)
		errx(1, "cannot set up");
	listener = listen_here();
	ssl = accept_ours(ctx, listener);
	s = SSL_get_fd(ssl);
	if (strcmp(argv[3], "poll") == 0) {
		fcntl(s, F_SETFL, O_NONBLOCK);
		r = respond(ssl, "header\n", fd, (uint64_t)st.st_size);
	} else {
		r = serve(ssl, fd);
	}
	log_connection(ssl, stdout);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(s);
	close(listener);
	close(fd);
	return r ? 1 : 0;
}
