/* SPDX-License-Identifier: MIT */
/*
 * A client for what curl and openssl s_client cannot do. It uses plain OpenSSL.
 * tests/http/run compiles it.
 *
 *	client random PORT COUNT SEED MAX
 *	client rekey PORT TARGET FILE COUNT
 *	client linger PORT TARGET
 *	client hold PORT KIND COUNT
 *
 * Exits with 0, or with 1 after a message.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HANG_S 600	/* only what hangs takes so long */

static SSL_CTX *ctx;
static const char *port;

/* ---- connections ---- */

/* rcvbuf: 0, or the size of the receive buffer */
static int tcp_connect(int rcvbuf)
{
	const struct timeval hang = { .tv_sec = HANG_S };
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)atoi(port)),
	};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &hang, sizeof(hang)) < 0 ||
	    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &hang, sizeof(hang)) < 0 ||
	    (rcvbuf && setsockopt(s, SOL_SOCKET, SO_RCVBUF, &rcvbuf,
				  sizeof(rcvbuf)) < 0) ||
	    connect(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		err(1, "socket");
	return s;
}

static SSL *tls_connect(int rcvbuf)
{
	int s = tcp_connect(rcvbuf);
	SSL *ssl = SSL_new(ctx);

	if (!ssl || SSL_set_fd(ssl, s) != 1)
		errx(1, "SSL_new");
	if (SSL_connect(ssl) != 1)
		errx(1, "handshake: %s",
		     ERR_reason_error_string(ERR_peek_error()));
	return ssl;
}

static void tls_close(SSL *ssl)
{
	int s = SSL_get_fd(ssl);

	SSL_free(ssl);
	close(s);
}

/* A failure is no verdict: the server may have responded and closed. */
static void send_all(SSL *ssl, const char *data, size_t len)
{
	if (len && SSL_write(ssl, data, (int)len) <= 0)
		ERR_clear_error();
}

static void request(SSL *ssl, const char *target)
{
	char text[4096];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n"
		 "Connection: close\r\n\r\n", target);
	send_all(ssl, text, strlen(text));
}

/* ---- random: requests of random bytes ---- */

static uint64_t random_state;

/* xorshift64*: the same seed makes the same requests on any machine */
static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 2685821657736338717u) >> 33) % n;
}

static size_t add_random_bytes(char *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)random_below(256);
	return len;
}

/* What a path can consist of, and between these random bytes. */
static size_t add_random_path(char *to, size_t len)
{
	static const char *const parts[] = {
		"./", "../", "/", "//", ".", "..", "%2e", "%2E%2e/", "%2f",
		"%", "%00", "dir/", "dir", "loop/", "loop/", "one", "none/",
		"?", "#", "\\", ":", "%ff", "~", "....", ";",
	};
	const size_t kinds = sizeof(parts) / sizeof(parts[0]);
	/* a path has few kinds of parts, so that some paths are long and valid */
	size_t first = random_below((uint32_t)kinds - 3);
	size_t n = 1 + random_below(4), used = 0;
	unsigned int wild = random_below(4) ? 0 : 1 + random_below(50);

	while (used + 8 < len) {
		const char *part = parts[first + random_below((uint32_t)n)];

		if (wild && random_below(wild) == 0) {
			used += add_random_bytes(to + used, 1);
		} else {
			memcpy(to + used, part, strlen(part));
			used += strlen(part);
		}
	}
	return used;
}

static size_t random_request(char *to, size_t cap)
{
	static const char end[] = " HTTP/1.1\r\nHost: x\r\n"
				  "Connection: close\r\n\r\n";
	size_t len = random_below(random_below(2) ? 100 : (uint32_t)cap - 100);

	if (random_below(4) == 0)
		return add_random_bytes(to, len);
	memcpy(to, "GET /", 5);
	len = 5 + add_random_path(to + 5, len);
	memcpy(to + len, end, sizeof(end) - 1);
	len += sizeof(end) - 1;
	if (random_below(4) == 0)	/* one byte is another one */
		add_random_bytes(to + random_below((uint32_t)len), 1);
	return len;
}

static size_t answer_size(SSL *ssl)
{
	char buf[16384];
	size_t sum = 0;
	int n;

	while ((n = SSL_read(ssl, buf, sizeof(buf))) > 0)
		sum += (size_t)n;
	ERR_clear_error();
	return sum;
}

/* Prints the size of the largest answer. MAX: of bytes in an answer. */
static int cmd_random(char **arg)
{
	unsigned long count = strtoul(arg[0], NULL, 10);
	size_t max = strtoul(arg[2], NULL, 10), most = 0;
	char text[8192];

	random_state = strtoul(arg[1], NULL, 10) + 1;
	for (unsigned long i = 0; i < count; i++) {
		size_t len = random_request(text, sizeof(text)), n;
		SSL *ssl = tls_connect(0);

		send_all(ssl, text, len);
		SSL_shutdown(ssl);	/* no second request will come */
		n = answer_size(ssl);
		tls_close(ssl);
		if (n > most)
			most = n;
		if (n <= max)
			continue;
		fwrite(text, 1, len, stderr);
		errx(1, "request %lu of %zu bytes: answer of %zu", i, len, n);
	}
	printf("%zu\n", most);
	return 0;
}

/* ---- rekey: KeyUpdates around the end of a response ---- */

/* A failure is no verdict: only what arrives counts. */
static void ask_for_keys(SSL *ssl)
{
	if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
		SSL_do_handshake(ssl);
	ERR_clear_error();
}

/* How far apart the requests for new keys are, `left` bytes before the end. */
static size_t key_interval(int way, size_t left)
{
	switch (way % 4) {
	case 0:
		return 1 << 20;
	case 1:
		return left < 4 << 20 ? 1 << 16 : SIZE_MAX;
	case 2:
		return left < 1 << 20 ? 1 << 14 : 1 << 22;
	default:
		return SIZE_MAX;	/* only after the end */
	}
}

static size_t skip_header(SSL *ssl, char *buf, size_t cap)
{
	size_t len = 0;

	for (;;) {
		int n = SSL_read(ssl, buf + len, (int)(cap - 1 - len));
		char *end;

		if (n <= 0)
			errx(1, "no header");
		len += (size_t)n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (!end)
			continue;
		end += 4;
		len -= (size_t)(end - buf);
		memmove(buf, end, len);
		return len;
	}
}

/* What has arrived is what the file has there. */
static void compare(FILE *f, const char *data, size_t len)
{
	static char wanted[16384];

	if (fread(wanted, 1, len, f) != len || memcmp(wanted, data, len) != 0)
		errx(1, "the data differ before %ld", ftell(f));
}

static void rekey_once(FILE *f, size_t size, const char *target, int way)
{
	SSL *ssl = tls_connect(0);
	static char buf[16384];
	size_t got, asked = 0;
	int n;

	request(ssl, target);
	ask_for_keys(ssl);
	rewind(f);
	got = skip_header(ssl, buf, sizeof(buf));
	compare(f, buf, got);
	while (got < size) {
		n = SSL_read(ssl, buf, sizeof(buf));
		if (n <= 0)
			errx(1, "way %d: %zu of %zu bytes arrived", way, got,
			     size);
		compare(f, buf, (size_t)n);
		got += (size_t)n;
		if (got - asked < key_interval(way, size - got))
			continue;
		asked = got;
		ask_for_keys(ssl);
	}
	for (int i = 0; i < way % 8; i++)
		ask_for_keys(ssl);
	n = SSL_read(ssl, buf, sizeof(buf));
	if (n > 0 || SSL_get_error(ssl, n) != SSL_ERROR_ZERO_RETURN)
		errx(1, "way %d: no close_notify after all bytes", way);
	for (int i = 0; i < way % 3; i++)
		ask_for_keys(ssl);
	tls_close(ssl);
}

static int cmd_rekey(char **arg)
{
	FILE *f = fopen(arg[1], "rb");
	int count = atoi(arg[2]);
	long size;

	if (!f || fseek(f, 0, SEEK_END) < 0 || (size = ftell(f)) < 0)
		err(1, "%s", arg[1]);
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	for (int way = 0; way < count; way++)
		rekey_once(f, (size_t)size, arg[0], way);
	fclose(f);
	return 0;
}

/* ---- linger: a client that does not close ---- */

/*
 * Read the whole response and close_notify, but do not close: the server must
 * close its socket nevertheless. A write to a closed socket fails.
 */
static int cmd_linger(char **arg)
{
	/* small, so that the response is in TCP's queue when the server ends */
	SSL *ssl = tls_connect(4096);

	request(ssl, arg[0]);
	if (answer_size(ssl) == 0)
		errx(1, "no response");
	for (int i = 0; i < HANG_S * 10; i++) {
		if (SSL_write(ssl, "x", 1) <= 0) {
			tls_close(ssl);
			return 0;
		}
		poll(NULL, 0, 100);
	}
	errx(1, "the server did not close");
}

/* ---- hold: connections that stay open ---- */

static void raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

static void hold_one(const char *kind)
{
	static const char keep[] = "GET /f1 HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[4096];
	SSL *ssl;

	if (strcmp(kind, "silent") == 0) {
		tcp_connect(0);
	} else if (strcmp(kind, "handshake") == 0) {
		/* the start of a ClientHello */
		if (send(tcp_connect(0), "\x16\x03\x01\x02\x00\x01", 6, 0) < 0)
			err(1, "send");
	} else {
		ssl = tls_connect(0);
		if (strcmp(kind, "half") == 0)	/* of a request */
			send_all(ssl, "GET / HTTP/1.1\r\nHos", 19);
		if (strcmp(kind, "linger") == 0) {
			request(ssl, "/f1");
			if (answer_size(ssl) == 0)
				errx(1, "no response");
		}
		if (strcmp(kind, "keep") == 0) {
			send_all(ssl, keep, sizeof(keep) - 1);
			if (SSL_read(ssl, buf, sizeof(buf)) <= 0)
				errx(1, "no response");
		}
	}
}

/*
 * KIND: silent, handshake (unfinished), idle (no request), half (a request),
 * keep (one response, then idle), linger (the last response, then not closed).
 */
static int cmd_hold(char **arg)
{
	int count = atoi(arg[1]);

	raise_fd_limit();
	for (int i = 0; i < count; i++)
		hold_one(arg[0]);
	printf("holding %d\n", count);
	fflush(stdout);
	alarm(HANG_S * 2);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **arg);
	} cmds[] = {
		{ "random", 4, cmd_random }, { "rekey", 4, cmd_rekey },
		{ "linger", 2, cmd_linger }, { "hold", 3, cmd_hold },
	};

	signal(SIGPIPE, SIG_IGN);
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		errx(1, "SSL_CTX_new");
	for (size_t i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++) {
		if (argc - 2 != cmds[i].args || strcmp(argv[1], cmds[i].name))
			continue;
		port = argv[2];
		return cmds[i].run(argv + 3);
	}
	errx(1, "usage: client random|rekey|linger|hold ARGUMENT...");
}
