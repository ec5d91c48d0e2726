/* SPDX-License-Identifier: MIT */
/*
 * usage: get PORT 1.2|1.3 FILE WARM COUNT [PID [FIRST]]
 *
 * An HTTPS client for bench/nginx-count. It requests FILE, by its base name,
 * from 127.0.0.1 and compares every byte: WARM times and then COUNT times, on
 * one connection. With FIRST, it requests that larger file before these. It
 * prints the average over the COUNT responses: records, and nanoseconds of CPU
 * time of the process PID (instructions, if the clocks count instructions).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static unsigned long long records;

struct file {
	const char *name;
	const unsigned char *content;
	size_t size;
};

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("get: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static struct file open_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct file f = { .name = slash ? slash + 1 : path };
	int fd = open(path, O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	f.size = (size_t)st.st_size;
	f.content = mmap(NULL, f.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f.content == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return f;
}

/* A message callback, which OpenSSL calls for the header of each record. */
static void count_record(int out, int version, int type, const void *data,
			 size_t len, SSL *ssl, void *arg)
{
	(void)version, (void)ssl, (void)arg;
	if (!out && type == SSL3_RT_HEADER && len == 5 &&
	    *(const unsigned char *)data == SSL3_RT_APPLICATION_DATA)
		records++;
}

static SSL *connect_to(int port, int version)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int sock = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	SSL *ssl;

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
	SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256");
	SSL_CTX_set_msg_callback(ctx, count_record);
	ssl = SSL_new(ctx);
	if (sock < 0 || !ssl || !SSL_set_fd(ssl, sock) ||
	    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(sock, (const void *)&to, sizeof(to)))
		die("cannot connect: %s", strerror(errno));
	if (SSL_connect(ssl) != 1)
		die("the TLS handshake failed");
	return ssl;
}

static size_t receive(SSL *ssl, unsigned char *to, size_t room)
{
	int n = SSL_read(ssl, to, (int)room);

	if (n <= 0)
		die("the server has closed the connection");
	return (size_t)n;
}

/*
 * Read the header. Returns the number of bytes of the body that arrived with
 * it, and moves them to the start of buf.
 */
static size_t read_header(SSL *ssl, const struct file *f, unsigned char *buf,
			  size_t room)
{
	char expected[64];
	size_t have = 0;
	char *end;

	do {
		if (have + 1 >= room)
			die("the header is too long");
		have += receive(ssl, buf + have, room - 1 - have);
		buf[have] = 0;
		end = strstr((char *)buf, "\r\n\r\n");
	} while (!end);
	snprintf(expected, sizeof(expected), "\r\nContent-Length: %zu\r\n",
		 f->size);
	if (strncmp((char *)buf, "HTTP/1.1 200 ", 13) != 0 ||
	    !strstr((char *)buf, expected))
		die("unexpected response: %.*s", (int)(end - (char *)buf), buf);
	end += 4;
	have -= (size_t)(end - (char *)buf);
	memmove(buf, end, have);
	return have;
}

static void get_file(SSL *ssl, const struct file *f)
{
	static unsigned char buf[32768];
	size_t at = 0, n;
	int len = snprintf((char *)buf, sizeof(buf), "GET /%s HTTP/1.1\r\n"
			   "Host: localhost\r\nUser-Agent: get\r\n\r\n",
			   f->name);

	if (SSL_write(ssl, buf, len) != len)
		die("cannot send the request");
	n = read_header(ssl, f, buf, sizeof(buf));
	for (;; n = receive(ssl, buf, sizeof(buf))) {
		if (n > f->size - at || memcmp(buf, f->content + at, n) != 0)
			die("%s: wrong bytes after %zu", f->name, at);
		at += n;
		if (at == f->size)
			return;
	}
}

/* Give the server time to become idle. Returns its CPU time so far. */
static unsigned long long server_cpu_ns(int pid)
{
	struct timespec idle = { .tv_nsec = 50000000 };
	unsigned long long ns;
	char path[64];
	FILE *in;

	if (!pid)
		return 0;
	nanosleep(&idle, NULL);
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	in = fopen(path, "r");
	if (!in || fscanf(in, "%llu", &ns) != 1)
		die("%s: cannot read it", path);
	fclose(in);
	return ns;
}

int main(int argc, char **argv)
{
	int count, warm, pid = argc > 6 ? atoi(argv[6]) : 0;
	unsigned long long before, used;
	struct file f;
	SSL *ssl;

	if (argc < 6 || argc > 8)
		die("usage: get PORT 1.2|1.3 FILE WARM COUNT [PID [FIRST]]");
	f = open_file(argv[3]);
	warm = atoi(argv[4]);
	count = atoi(argv[5]);
	ssl = connect_to(atoi(argv[1]), strcmp(argv[2], "1.2") == 0 ?
			 TLS1_2_VERSION : TLS1_3_VERSION);
	if (argc > 7) {
		struct file first = open_file(argv[7]);

		get_file(ssl, &first);
	}
	while (warm-- > 0)
		get_file(ssl, &f);
	before = server_cpu_ns(pid);
	records = 0;
	for (int i = 0; i < count; i++)
		get_file(ssl, &f);
	used = server_cpu_ns(pid) - before;
	printf("%.2f %llu\n", (double)records / count,
	       used / (unsigned int)count);
	return 0;
}
