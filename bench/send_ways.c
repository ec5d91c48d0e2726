/* SPDX-License-Identifier: MIT */
/* The variants: functions that send a response in different ways. */
#include "send.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <tlssf/tlssf.h>

#define READ_SIZE	16384	/* per pread() and SSL_write() */
#define ONE_SEND	(1u << 20)

static unsigned char buf[ONE_SEND + 65536];

/* ---- OpenSSL alone, with or without kernel TLS ---- */

static void write_all(SSL *ssl, const void *data, size_t len)
{
	must(SSL_write(ssl, data, (int)len) == (int)len, "SSL_write");
}

static size_t read_file(void *to, size_t cap, uint64_t off)
{
	size_t len = conf.size - off < cap ? (size_t)(conf.size - off) : cap;

	must(pread(server.file, to, len, (off_t)off) == (ssize_t)len, "pread");
	return len;
}

static void pread_write(struct connection *l)
{
	uint64_t off = 0;
	size_t n;

	if (conf.header)
		write_all(l->ssl, server.header, (size_t)conf.header);
	for (; off < conf.size; off += n) {
		n = read_file(buf, READ_SIZE, off);
		write_all(l->ssl, buf, n);
	}
}

/* Send header and file from one buffer, up to ONE_SEND per SSL_write(). */
static void one_write(struct connection *l)
{
	size_t used = (size_t)conf.header, n;
	uint64_t off = 0;

	memcpy(buf, server.header, used);
	do {
		n = read_file(buf + used, ONE_SEND, off);
		write_all(l->ssl, buf, used + n);
		off += n;
		used = 0;
	} while (off < conf.size);
}

#ifdef OPENSSL_IS_BORINGSSL
#define ossl_ssize_t ssize_t

static ssize_t SSL_sendfile(SSL *ssl, int fd, off_t off, size_t len, int flags)
{
	(void)ssl, (void)fd, (void)off, (void)len, (void)flags;
	die("BoringSSL has no SSL_sendfile");
}

/*
 * BoringSSL has this cipher as an EVP_AEAD only, which encrypt_record() cannot
 * use.
 */
static const EVP_CIPHER *EVP_chacha20_poly1305(void)
{
	die("BoringSSL has no EVP_chacha20_poly1305");
}
#endif

static void ssl_sendfile_rest(struct connection *l)
{
	uint64_t off = 0;

	while (off < conf.size) {
		ossl_ssize_t n = SSL_sendfile(l->ssl, server.file, (off_t)off,
					      (size_t)(conf.size - off), 0);

		must(n > 0, "SSL_sendfile");
		off += (uint64_t)n;
	}
}

static void write_ssl_sendfile(struct connection *l)
{
	if (conf.header)
		write_all(l->ssl, server.header, (size_t)conf.header);
	ssl_sendfile_rest(l);
}

/* MSG_MORE keeps the record open, so header and file share a record. */
static void msg_more_sendfile(struct connection *l)
{
	if (conf.header)
		must(send(l->sock, server.header, (size_t)conf.header,
			  MSG_MORE) == conf.header, "send");
	ssl_sendfile_rest(l);
}

/* ---- encryption alone ---- */

static EVP_CIPHER_CTX *new_cipher(void)
{
	static const unsigned char key[32];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher = EVP_aes_128_gcm();

	if (strcmp(conf.suite->name, "aes256gcm") == 0)
		cipher = EVP_aes_256_gcm();
	else if (strcmp(conf.suite->name, "chacha20") == 0)
		cipher = EVP_chacha20_poly1305();
	must(ctx && EVP_EncryptInit_ex(ctx, cipher, NULL, key, NULL) == 1,
	     "cipher");
	return ctx;
}

static void encrypt_record(EVP_CIPHER_CTX *ctx, unsigned char *data, size_t len)
{
	static const unsigned char aad[5];
	static unsigned char nonce[12];
	int n;

	nonce[11]++;
	must(EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &n, aad, sizeof(aad)) == 1 &&
	     EVP_EncryptUpdate(ctx, data, &n, data, (int)len) == 1 &&
	     EVP_EncryptFinal_ex(ctx, data + len, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16,
				 data + len) == 1, "sealing");
}

/* ---- no TLS: the cost of TCP and the page cache ---- */

static void tcp_sendfile(struct connection *l)
{
	off_t off = 0;

	if (conf.header)
		must(send(l->sock, server.header, (size_t)conf.header,
			  MSG_MORE) == conf.header, "send");
	while ((uint64_t)off < conf.size)
		must(sendfile(l->sock, server.file, &off,
			      (size_t)(conf.size - (uint64_t)off)) > 0,
		     "sendfile");
}

#define RECORD		(5 + 16384 + 17)
#define RECORDS		32

/*
 * A lower limit for the cost of any design that reads, encrypts and sends a
 * file. This reads and sends 32 records at a time, without a TLS library, and
 * encrypts as many bytes, which are always in the CPU cache. The client cannot
 * decrypt what this sends.
 */
static void minimal_cost(struct connection *l)
{
	static unsigned char batch[RECORDS * RECORD], hot[16384 + 16];
	static EVP_CIPHER_CTX *cipher;
	uint64_t off = 0;

	if (!cipher)
		cipher = new_cipher();
	while (off < conf.size) {
		struct iovec v[RECORDS];
		ssize_t n;
		size_t sent = 0;

		for (int i = 0; i < RECORDS; i++)
			v[i] = (struct iovec){ batch + i * RECORD + 5, 16384 };
		n = preadv(server.file, v, RECORDS, (off_t)off);
		must(n > 0, "preadv");
		off += (uint64_t)n;
		for (ssize_t left = n; left > 0; left -= 16384) {
			size_t len = left < 16384 ? (size_t)left : 16384;

			encrypt_record(cipher, hot, len);
			sent += len + RECORD - 16384;
		}
		must(send(l->sock, batch, sent, 0) == (ssize_t)sent, "send");
	}
}

/* ---- tlssf ---- */

static void wait_writable(struct connection *l)
{
	struct tlssf_status st = { .size = sizeof(st) };
	struct pollfd p = { .fd = l->sock, .events = POLLOUT };

	must(tlssf_status(l->ssl, &st) == 0, "tlssf_status");
	if (st.retry_ms)
		must(poll(NULL, 0, (int)st.retry_ms) == 0, "poll");
	else
		must(poll(&p, 1, poll_limit_ms()) == 1, "waiting for POLLOUT");
}

static void tlssf_file(struct connection *l)
{
	uint64_t off = 0;

	while (off < conf.size) {
		ssize_t n = tlssf_send(l->ssl, server.file, (off_t)off,
				       (size_t)(conf.size - off));

		if (n > 0)
			off += (uint64_t)n;
		else if (n == TLSSF_WANT_WRITE)
			wait_writable(l);
		else
			die("tlssf_send: %zd, %s", n, tlssf_strerror(l->ssl));
	}
}

static void tlssf(struct connection *l)
{
	struct tlssf_job job = {
		.size = sizeof(job),
		.header = server.header,
		.header_len = (size_t)conf.header,
		.fd = server.file,
		.file_len = conf.size,
		/* like the other variants, do not call fstat() */
		.file_known = 1,
	};
	int r;

	if (!conf.header) {
		tlssf_file(l);
		return;
	}
	while ((r = tlssf_send_job(l->ssl, &job)) == TLSSF_WANT_WRITE)
		wait_writable(l);
	if (r)
		die("tlssf_send_job: %s", tlssf_strerror(l->ssl));
}

#define ANY	TLSSF_METHOD_COUNT
#define NONE	(-1)	/* libtlssf is not used */

const struct variant variants[MAX_VARIANTS] = {
	{ "pread+SSL_write", pread_write, OPENSSL, NONE, false, true },
	/* the same as the first variant, so its ratio shows the noise */
	{ "the-same-again", pread_write, OPENSSL, NONE, false, true },
	{ "one-SSL_write", one_write, OPENSSL, NONE, false, true },
	{ "SSL_sendfile", write_ssl_sendfile, OPENSSL_KTLS, NONE, false, true },
	{ "ktls-again", write_ssl_sendfile, OPENSSL_KTLS, NONE, false, true },
	{ "ktls-pread+SSL_write", pread_write, OPENSSL_KTLS, NONE, false,
	  true },
	{ "ktls-one-SSL_write", one_write, OPENSSL_KTLS, NONE, false, true },
	{ "ktls-MSG_MORE", msg_more_sendfile, OPENSSL_KTLS, NONE, false, true },
	{ "gnutls_record_send_file", gnutls_respond, GNUTLS, NONE, false,
	  true },
	{ "floor", minimal_cost, OPENSSL, NONE, false, false },
	{ "tcp-sendfile", tcp_sendfile, OPENSSL, NONE, false, false },
	{ "tlssf", tlssf, AUTO, ANY, false, true },
	{ "tlssf-nonblocking", tlssf, AUTO, ANY, true, true },
	{ "tlssf-ssl_sendfile", tlssf, NAMED_SSL_SENDFILE,
	  TLSSF_METHOD_SSL_SENDFILE, false, true },
	{ "tlssf-ktls", tlssf, NAMED_KTLS, TLSSF_METHOD_KTLS, false, true },
	{ "tlssf-userspace", tlssf, NAMED_USERSPACE, TLSSF_METHOD_USERSPACE,
	  false, true },
};
