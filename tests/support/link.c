/* SPDX-License-Identifier: MIT */
/* A connection with a peer, and the loops that a correct application has. */
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
/*
 * with loopback's 64 KiB segments the effects of small segments would not be
 * seen
 */
#define SEGMENT		1460
#define MAX_TURNS	1000000u

const struct way ways[N_WAYS] = {
	{ TLSSF_METHOD_USERSPACE, TLS1_2_VERSION, "userspace tls12" },
	{ TLSSF_METHOD_USERSPACE, TLS1_3_VERSION, "userspace tls13" },
#ifndef OPENSSL_IS_BORINGSSL
	{ TLSSF_METHOD_SSL_SENDFILE, TLS1_2_VERSION, "ssl_sendfile tls12" },
	{ TLSSF_METHOD_SSL_SENDFILE, TLS1_3_VERSION, "ssl_sendfile tls13" },
#endif
	{ TLSSF_METHOD_KTLS, TLS1_2_VERSION, "ktls tls12" },
	{ TLSSF_METHOD_KTLS, TLS1_3_VERSION, "ktls tls13" },
	{ TLSSF_METHOD_AUTO, TLS1_2_VERSION, "auto tls12" },
	{ TLSSF_METHOD_AUTO, TLS1_3_VERSION, "auto tls13" },
};

SSL_CTX *test_ctx(const struct link_conf *conf)
{
	struct tlssf_options o = { .size = sizeof(o),
		.method = conf->method, .max_per_call = conf->max_per_call,
		.max_buffered = conf->max_buffered,
		.key_update = conf->key_update,
		.drop_padding = conf->drop_padding,
		.attach_late = conf->attach_late,
		.key_records = conf->key_records,
		.takeover_from = conf->takeover_from,
		.max_payload_len = conf->max_payload_len,
		.zerocopy = conf->zerocopy };
	SSL_CTX *ctx = plain_ctx(!conf->client);

	SSL_CTX_set_options(ctx, conf->options);
	if (conf->tickets)
		SSL_CTX_set_num_tickets(ctx, (size_t)conf->tickets - 1);
	if (!conf->no_init)
		ck_assert_int_eq(tlssf_ctx_init(ctx, &o), 0);
	return ctx;
}

static int listen_on_loopback(int sndbuf, unsigned short *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int segment = SEGMENT, fd;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	if (sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

void set_nonblocking(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
}

static void start_peer(struct link *l, const struct link_conf *conf,
		       const struct cipher *cipher)
{
	struct peer_conf pc = conf->peer;
	int version = conf->version ? conf->version : TLS1_3_VERSION;
	int one = 1, listener = listen_on_loopback(conf->sndbuf, &pc.port);

	pc.version = version;
	pc.cipher = conf->cipher_name ? conf->cipher_name
		: version == TLS1_3_VERSION ? cipher->v13 : cipher->v12;
	pc.server = conf->client;
	ck_assert_int_eq(peer_start(&l->peer, &pc), 0);
	l->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(l->fd, 0);
	close(listener);
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void link_open(struct link *l, const struct link_conf *conf)
{
	SSL_CTX *ctx = conf->ctx ? conf->ctx : test_ctx(conf);

	memset(l, 0, sizeof(*l));
	start_peer(l, conf, conf->cipher ? conf->cipher : &ciphers[0]);
	l->ssl = SSL_new(ctx);
	ck_assert_ptr_nonnull(l->ssl);
	if (!conf->ctx)
		SSL_CTX_free(ctx);
	ck_assert_int_eq(SSL_set_fd(l->ssl, l->fd), 1);
	l->sha = EVP_MD_CTX_new();
	EVP_DigestInit_ex(l->sha, EVP_sha256(), NULL);
	if (conf->client)
		SSL_set_connect_state(l->ssl);
	else
		SSL_set_accept_state(l->ssl);
	if (!conf->no_handshake)
		link_handshake(l);
	set_nonblocking(l->fd, conf->nonblocking);
}

void link_handshake(struct link *l)
{
	int r = SSL_do_handshake(l->ssl);

	ck_assert_msg(r == 1, "handshake: %s",
		      ERR_reason_error_string(ERR_peek_last_error()));
	ck_assert_int_eq(get_report(l)->result, 0);
}

int first_way(void)
{
	return in_guest() ? KERNEL_WAYS : 0;
}

int end_of_ways(void)
{
	return in_guest() ? AUTO_WAY : N_WAYS;
}

/*
 * Returns whether this way can be used. With ktls nothing is in force yet,
 * since the keys are taken over at the first send.
 */
static bool way_is_open(const struct link *l, const struct link_conf *conf)
{
	uint64_t seq;

	switch (conf->method) {
	case TLSSF_METHOD_SSL_SENDFILE:
		return kernel_seq(l, &seq);
	case TLSSF_METHOD_KTLS:
		return kernel_can(conf->version, &ciphers[0]);
	}
	return true;
}

bool link_open_way(struct link *l, int way, struct link_conf *conf,
		   const char *test)
{
	conf->method = ways[way].method;
	conf->version = ways[way].version;
	link_open(l, conf);
	if (way_is_open(l, conf))
		return true;
	ck_assert_msg(expected_cipher(conf->version, &ciphers[0]) != 1,
		      "%s %s: in TLSSF_EXPECT, but not in force",
		      ways[way].name,
		      ciphers[0].word);
	/* __func__ ends in "_fn", which Check appends */
	skip_test("%.*s, %s: kernel TLS is not in force",
		  (int)strlen(test) - 3, test,
		  ways[way].name);
	link_close(l);
	return false;
}

void link_close(struct link *l)
{
	SSL_free(l->ssl);
	l->ssl = NULL;
	if (l->fd > 0)
		close(l->fd);
	l->fd = 0;
	EVP_MD_CTX_free(l->sha);
	l->sha = NULL;
	peer_stop(&l->peer);
}

void peer_do(struct link *l, int op, uint64_t n)
{
	struct peer_command c = { .op = op, .n = n };

	ck_assert_int_eq(peer_send(&l->peer, &c), 0);
}

void peer_do_read(struct link *l, uint64_t n, size_t chunk, unsigned int pause)
{
	struct peer_command c = { .op = PEER_READ, .n = n, .chunk = chunk,
				  .pause_us = pause };

	ck_assert_int_eq(peer_send(&l->peer, &c), 0);
}

const struct peer_report *get_report(struct link *l)
{
	ck_assert_int_eq(peer_receive(&l->peer, &l->report), 0);
	return &l->report;
}

void expect_bytes(struct link *l, const void *buf, size_t len)
{
	EVP_DigestUpdate(l->sha, buf, len);
	l->bytes += len;
	l->total += len;
}

void expect_file(struct link *l, const struct file *f, uint64_t off, size_t len)
{
	ck_assert_uint_le(off + len, f->size);
	if (len)
		expect_bytes(l, f->map + off, len);
}

void expect_pattern(struct link *l, uint64_t off, uint64_t len)
{
	unsigned char buf[4096];
	size_t n;

	while (len) {
		n = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		fill(buf, off, n);
		expect_bytes(l, buf, n);
		off += n;
		len -= n;
	}
}

void compare(struct link *l)
{
	const struct peer_report *r = get_report(l);
	unsigned char sha[32];

	EVP_DigestFinal_ex(l->sha, sha, NULL);
	EVP_DigestInit_ex(l->sha, EVP_sha256(), NULL);
	ck_assert_msg(r->bytes == l->bytes,
		      "%llu bytes of %llu arrived, end %d, alerts %d/%d",
		      (unsigned long long)r->bytes,
		      (unsigned long long)l->bytes, r->end, r->alert_in,
		      r->alert_out);
	ck_assert_mem_eq(r->sha, sha, sizeof(sha));
	ck_assert_uint_eq(r->markers, 0);
	ck_assert_uint_eq(r->nonce_repeats, 0);
	ck_assert_uint_eq(r->records_in_data, 0);
	l->bytes = 0;
	count_comparison();
}

void sync_peer(struct link *l)
{
	peer_do(l, PEER_READ, l->bytes);
	compare(l);
}

void expect_end(struct link *l, enum peer_end end)
{
	peer_do(l, PEER_READ, PEER_ALL);
	compare(l);
	ck_assert_int_eq(l->report.end, end);
}

/* ---- loops as an application writes them ---- */

/* The socket never became writable: report whether the peer has ended. */
static _Noreturn void stuck(struct link *l)
{
	struct pollfd pfd = { .fd = l->peer.control, .events = POLLIN };
	int queued = -1;

	ioctl(l->fd, SIOCOUTQ, &queued);
	if (poll(&pfd, 1, 0) == 1)
		get_report(l);
	ck_abort_msg("no event after WANT_WRITE, retry_ms 0; %d bytes queued, "
		     "peer: %llu bytes, end %d, alerts %d/%d", queued,
		     (unsigned long long)l->report.bytes, l->report.end,
		     l->report.alert_in, l->report.alert_out);
}

void wait_writable(struct link *l)
{
	struct pollfd pfd = { .fd = l->fd, .events = POLLOUT };
	struct tlssf_status st;

	get_status(l, &st);
	l->waits++;
	ck_assert_uint_lt(l->turns++, MAX_TURNS);
	if (st.retry_ms)
		usleep(st.retry_ms * 1000);
	else if (poll(&pfd, 1, HANG_MS) != 1)
		stuck(l);
}

static void check_result(struct link *l, const char *call, ssize_t n)
{
	ck_assert_msg(n != TLSSF_ERROR, "%s: %s (%s)", call,
		      tlssf_strerror(l->ssl), strerror(errno));
	ck_assert_msg(n >= 0 || n == TLSSF_WANT_WRITE, "%s: %zd", call, n);
	ck_assert_uint_lt(l->turns++, MAX_TURNS);
}

void send_all(struct link *l, const struct file *f, uint64_t off, size_t len)
{
	ssize_t n;

	expect_file(l, f, off, len);
	while (len) {
		n = tlssf_send(l->ssl, f->fd, (off_t)off, len);
		check_result(l, "tlssf_send", n);
		if (n == TLSSF_WANT_WRITE) {
			wait_writable(l);
			continue;
		}
		ck_assert_int_gt(n, 0);
		ck_assert_uint_le((size_t)n, len);
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

void deliver(struct link *l, const struct file *f, uint64_t off, size_t len)
{
	peer_do_read(l, l->bytes + len, 0, 0);
	send_all(l, f, off, len);
	compare(l);
}

void job_all(struct link *l, struct tlssf_job *job)
{
	uint64_t all = job->header_len + job->file_len + job->trailer_len;
	uint64_t before;
	int n;

	do {
		before = job->done;
		n = tlssf_send_job(l->ssl, job);
		check_result(l, "tlssf_send_job", n);
		ck_assert_uint_ge(job->done, before);
		ck_assert_uint_le(job->done, all);
		if (n)
			wait_writable(l);
	} while (n);
	ck_assert_uint_eq(job->done, all);
}

void write_all(struct link *l, const void *data, size_t len)
{
	struct pollfd pfd = { .fd = l->fd, .events = POLLOUT };
	const char *buf = data;
	int n, error;

	expect_bytes(l, buf, len);
	while (len) {
		ERR_clear_error();
		n = SSL_write(l->ssl, buf, (int)len);
		if (n > 0) {
			ck_assert_uint_le((size_t)n, len);
			buf += n;
			len -= (size_t)n;
			continue;
		}
		error = SSL_get_error(l->ssl, n);
		ck_assert_int_eq(error, SSL_ERROR_WANT_WRITE);
		ck_assert_uint_lt(l->turns++, MAX_TURNS);
		if (poll(&pfd, 1, HANG_MS) != 1)
			stuck(l);
	}
}

static void repeat(struct link *l, const char *name, int (*call)(SSL *))
{
	int n;

	while ((n = call(l->ssl))) {
		check_result(l, name, n);
		wait_writable(l);
	}
}

void flush_all(struct link *l)
{
	repeat(l, "tlssf_flush", tlssf_flush);
}

void shutdown_all(struct link *l)
{
	repeat(l, "tlssf_shutdown", tlssf_shutdown);
}

/* ---- what is in force ---- */

void get_status(struct link *l, struct tlssf_status *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	ck_assert_int_eq(tlssf_status(l->ssl, st), 0);
}

static uint64_t big_endian(const unsigned char *p)
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | p[i];
	return n;
}

bool kernel_seq(const struct link *l, uint64_t *seq)
{
	union {
		struct tls_crypto_info info;
		struct tls12_crypto_info_aes_gcm_128 aes128;
		struct tls12_crypto_info_aes_gcm_256 aes256;
		struct tls12_crypto_info_chacha20_poly1305 chacha;
	} u;
	socklen_t len = sizeof(u.info);
	const unsigned char *at;

	if (getsockopt(l->fd, SOL_TLS, TLS_TX, &u, &len))
		return false;
	at = u.info.cipher_type == TLS_CIPHER_AES_GCM_128 ? u.aes128.rec_seq
		: u.info.cipher_type == TLS_CIPHER_AES_GCM_256
		? u.aes256.rec_seq : u.chacha.rec_seq;
	len = u.info.cipher_type == TLS_CIPHER_AES_GCM_128 ? sizeof(u.aes128)
		: u.info.cipher_type == TLS_CIPHER_AES_GCM_256
		? sizeof(u.aes256) : sizeof(u.chacha);
	ck_assert_int_eq(getsockopt(l->fd, SOL_TLS, TLS_TX, &u, &len), 0);
	*seq = big_endian(at);
	return true;
}

void assert_failed(struct link *l, ssize_t got, int err, int reason, bool dead)
{
	int seen = errno;
	struct tlssf_status st;

	ck_assert_int_eq(got, TLSSF_ERROR);
	get_status(l, &st);
	ck_assert_msg(seen == err, "errno %s, not %s (%s)", strerror(seen),
		      strerror(err), tlssf_strerror(l->ssl));
	ck_assert_msg(st.error == reason, "reason %s, not %s",
		      tlssf_reason_name(st.error), tlssf_reason_name(reason));
	ck_assert_int_eq(st.dead, dead);
	ck_assert(*tlssf_strerror(l->ssl));
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
