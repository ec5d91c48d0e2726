/* SPDX-License-Identifier: MIT */
/*
 * usage: memory CERT KEY FILE
 *
 * Prints the bytes of heap per connection of a server, with OpenSSL alone and
 * with libtlssf, in several states. Sums up malloc_usable_size() of all
 * allocations, so the result is the same in each run; mallinfo() would include
 * freed memory that malloc keeps.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <tlssf/tlssf.h>
#include <unistd.h>

#define CONNECTIONS	200
#define SMALL		1000u
#define BULK		(1u << 20)
#define BLOCK		16384u
#define SNDBUF		65536

static const char *cert, *key;
static int file, listener;
static unsigned char block[BLOCK];

/* ---- malloc replaced, for this program and its libraries ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);

static size_t heap_bytes;	/* no lock: the program has one thread */

static void *count_allocation(void *p)
{
	heap_bytes += malloc_usable_size(p);
	return p;
}

void *malloc(size_t size)
{
	return count_allocation(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return count_allocation(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
	size_t before = malloc_usable_size(p);
	void *now = __libc_realloc(p, size);

	if (now || !size)
		heap_bytes -= before;
	return count_allocation(now);
}

void free(void *p)
{
	heap_bytes -= malloc_usable_size(p);
	__libc_free(p);
}

/* ---- connections; the client's SSL is freed after the handshake ---- */

static SSL_CTX *server_ctx(bool with_tlssf)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		errx(1, "cannot use %s and %s", cert, key);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	if (with_tlssf && tlssf_ctx_init(ctx, NULL) != 0)
		err(1, "tlssf_ctx_init");
	return ctx;
}

static void listen_on_loopback(void)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 ||
	    bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(listener, 8) < 0)
		err(1, "listen");
}

static void socket_pair(int fds[2])
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int size = SNDBUF;

	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (getsockname(listener, (struct sockaddr *)&a, &len) < 0 ||
	    connect(fds[1], (struct sockaddr *)&a, len) < 0)
		err(1, "connect");
	fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	if (fds[0] < 0 || fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0 ||
	    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		err(1, "accept");
}

static SSL *new_connection(SSL_CTX *ctx, SSL_CTX *client_ctx, int *client)
{
	SSL *ssl = SSL_new(ctx), *peer = SSL_new(client_ctx);
	int fds[2];

	socket_pair(fds);
	if (!ssl || !peer || SSL_set_fd(ssl, fds[0]) != 1 ||
	    SSL_set_fd(peer, fds[1]) != 1)
		errx(1, "no memory");
	SSL_set_accept_state(ssl);
	SSL_set_connect_state(peer);
	for (int turn = 0; turn < 1000; turn++) {
		SSL_do_handshake(peer);
		if (SSL_do_handshake(ssl) == 1 && SSL_is_init_finished(peer))
			break;
	}
	if (!SSL_is_init_finished(ssl))
		errx(1, "no handshake");
	SSL_set_quiet_shutdown(peer, 1);
	SSL_free(peer);
	*client = fds[1];
	return ssl;
}

/* ---- sending ---- */

static void read_all(int client)
{
	static unsigned char into[1 << 16];

	while (recv(client, into, sizeof(into), 0) > 0)
		;
}

/* Send up to `len` bytes from offset `at` on. Returns 0 if it has to wait. */
static size_t send_by_ssl_write(SSL *ssl, size_t at, size_t len)
{
	int n;

	if (len > BLOCK)
		len = BLOCK;
	if (pread(file, block, len, (off_t)at) != (ssize_t)len)
		err(1, "pread");
	n = SSL_write(ssl, block, (int)len);
	return n > 0 ? (size_t)n : 0;
}

static size_t send_by_tlssf(SSL *ssl, size_t at, size_t len)
{
	ssize_t n = tlssf_send(ssl, file, (off_t)at, len);

	if (n == TLSSF_ERROR)
		errx(1, "tlssf_send: %s", tlssf_strerror(ssl));
	return n > 0 ? (size_t)n : 0;
}

static void send_bytes(SSL *ssl, bool with_tlssf, size_t len, int client)
{
	size_t done = 0, n;

	while (done < len) {
		n = with_tlssf ? send_by_tlssf(ssl, done, len - done)
			       : send_by_ssl_write(ssl, done, len - done);
		done += n;
		if (!n && client < 0)
			return;		/* the client does not read: stalled */
		if (!n)
			read_all(client);
	}
	read_all(client);
}

/* ---- measurement ---- */

static const struct state {
	const char *name;
	size_t len;
	bool stalled;
} states[] = {
	{ "after the handshake", 0, false },
	{ "1 response of 1000 bytes", SMALL, false },
	{ "1 response of 1 MiB", BULK, false },
	{ "1 MiB, the client reads nothing", BULK, true },
};

static size_t measure(bool with_tlssf, const struct state *s)
{
	SSL_CTX *ctx = server_ctx(with_tlssf), *client_ctx;
	static SSL *ssl[CONNECTIONS + 1];
	static int client[CONNECTIONS + 1];
	size_t before = 0;

	client_ctx = SSL_CTX_new(TLS_client_method());
	/* the first connection allocates what all connections share */
	for (int i = 0; i <= CONNECTIONS; i++) {
		if (i == 1)
			before = heap_bytes;
		ssl[i] = new_connection(ctx, client_ctx, &client[i]);
		send_bytes(ssl[i], with_tlssf, s->len,
			   s->stalled ? -1 : client[i]);
	}
	before = (heap_bytes - before) / CONNECTIONS;
	for (int i = 0; i <= CONNECTIONS; i++) {
		close(SSL_get_fd(ssl[i]));
		close(client[i]);
		SSL_free(ssl[i]);
	}
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(ctx);
	return before;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: memory CERT KEY FILE");
	signal(SIGPIPE, SIG_IGN);
	cert = argv[1];
	key = argv[2];
	file = open(argv[3], O_RDONLY);
	if (file < 0)
		err(1, "%s", argv[3]);
	listen_on_loopback();
	printf("| heap of a connection, bytes | %s | with libtlssf | more |\n"
	       "|---|---|---|---|\n", "OpenSSL alone");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		size_t bare = measure(false, &states[i]);
		size_t ours = measure(true, &states[i]);

		printf("| %s | %zu | %zu | %td |\n", states[i].name, bare,
		       ours, (ptrdiff_t)(ours - bare));
	}
	return 0;
}
