/* SPDX-License-Identifier: MIT */
/*
 * usage: peer SOCKET
 *
 * The program at the other end of every e2e test: plain OpenSSL. It waits for
 * requests, and forks a process for each; each process serves one connection.
 * So what takes time at the start is done only once.
 */
#include "peer_tls.h"
#include "peer_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define READ_MAX	16384
/*
 * with loopback's 64 KiB segments the effects of small segments would not be
 * seen
 */
#define SEGMENT		1460
/* In seconds: the process of a connection ends then, even if its test hangs. */
#define LIFETIME	2400

struct client {
	SSL *ssl;
	int fd;
	int control;
	bool connected;
	EVP_MD_CTX *sha;
	uint64_t next_update;
	struct wire_watch wire;
	struct peer_report report;
};

/* ---- callbacks of OpenSSL ---- */

static long tap(BIO *bio, int oper, const char *data, size_t len, int i,
		long l, int ret, size_t *done)
{
	struct client *c = (struct client *)BIO_get_callback_arg(bio);

	(void)len, (void)i, (void)l;
	if (oper == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0)
		wire_seen(&c->wire, (const unsigned char *)data, *done);
	return ret;
}

static void on_message(int write_p, int version, int type, const void *buf,
		       size_t len, SSL *ssl, void *arg)
{
	struct client *c = arg;
	const unsigned char *p = buf;
	bool v13 = SSL_version(ssl) == TLS1_3_VERSION;

	(void)version;
	if (write_p || !c->connected || !len)
		return;
	if (type == SSL3_RT_HEADER) {
		c->report.records++;
		c->report.key_records++;
	}
	if (v13 ? type == SSL3_RT_INNER_CONTENT_TYPE &&
		  p[0] == SSL3_RT_APPLICATION_DATA
		: type == SSL3_RT_HEADER && p[0] == SSL3_RT_APPLICATION_DATA)
		c->report.data_records++;
	if (type == SSL3_RT_HANDSHAKE && p[0] == SSL3_MT_KEY_UPDATE) {
		c->report.updates++;
		c->report.key_records = 0;
	}
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct client *c = SSL_get_app_data(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
		c->report.alert_in = value & 0xff;
	if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT)
		c->report.alert_out = value & 0xff;
}

/* ---- commands ---- */

/* The end that a failed SSL_read() means. */
static enum peer_end end_of(struct client *c, int error, int err)
{
	unsigned long top = ERR_peek_last_error();
	bool alerted = c->report.alert_in > 0;

	switch (error) {
	case SSL_ERROR_ZERO_RETURN:
		return END_NOTIFY;
	case SSL_ERROR_WANT_READ:	/* SO_RCVTIMEO */
		return END_TIMEOUT;
	case SSL_ERROR_SYSCALL:
		return err == ECONNRESET || err == EPIPE ? END_RESET : END_EOF;
	case SSL_ERROR_SSL:
		if (ERR_GET_REASON(top) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return END_EOF;
		return alerted ? END_ALERT : END_BROKEN;
	default:
		return END_FAILED;
	}
}

static int request_update(struct client *c, int type)
{
	if (SSL_key_update(c->ssl, type) != 1)
		return -1;
	return SSL_do_handshake(c->ssl) == 1 ? 0 : -1;
}

/* Check the first `n` bytes of a record for a record inside it. */
static void check_for_record(struct client *c, const unsigned char *buf, int n)
{
	size_t rest = (size_t)SSL_pending(c->ssl), have = (size_t)n;
	unsigned char head[WIRE_HEADER];
	int more;

	if (have < sizeof(head) && rest) {
		memcpy(head, buf, have);
		more = SSL_peek(c->ssl, head + have,
				(int)(sizeof(head) - have));
		buf = head;
		have += more > 0 ? (size_t)more : 0;
	}
	if (wire_record_in_data(buf, have, (size_t)n + rest))
		c->report.records_in_data++;
}

static int read_some(struct client *c, size_t max)
{
	bool first = SSL_pending(c->ssl) == 0;
	unsigned char buf[READ_MAX];
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_read(c->ssl, buf, (int)max);
	if (n <= 0) {
		c->report.end = end_of(c, SSL_get_error(c->ssl, n), errno);
		return -1;
	}
	if (first)
		check_for_record(c, buf, n);
	EVP_DigestUpdate(c->sha, buf, (size_t)n);
	c->report.bytes += (uint64_t)n;
	c->report.total += (uint64_t)n;
	return n;
}

static int do_read(struct client *c, const struct peer_command *cmd)
{
	size_t chunk = cmd->chunk ? cmd->chunk : READ_MAX, max;
	uint64_t left = cmd->n;

	if (cmd->stall_us)
		usleep(cmd->stall_us);
	while (left) {
		if (cmd->update_every && c->report.total >= c->next_update) {
			/* If this fails, the next SSL_read() reports why. */
			request_update(c, SSL_KEY_UPDATE_REQUESTED);
			c->next_update = c->report.total + cmd->update_every;
		}
		max = chunk < READ_MAX ? chunk : READ_MAX;
		int n = read_some(c, left < max ? (size_t)left : max);

		if (n < 0)
			return cmd->n == PEER_ALL ? 0 : -1;
		if (cmd->n != PEER_ALL)
			left -= (uint64_t)n;
		if (cmd->pause_us)
			usleep(cmd->pause_us);
	}
	return 0;
}

static int do_write(struct client *c, uint64_t n)
{
	static const char buf[READ_MAX];

	while (n) {
		int len = n < sizeof(buf) ? (int)n : (int)sizeof(buf);

		if (SSL_write(c->ssl, buf, len) != len)
			return -1;
		n -= (uint64_t)len;
	}
	return 0;
}

static int do_close(struct client *c, bool reset)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return close(c->fd);
}

static int run_command(struct client *c, const struct peer_command *cmd)
{
	switch (cmd->op) {
	case PEER_READ:
		return do_read(c, cmd);
	case PEER_WRITE:
		return do_write(c, cmd->n);
	case PEER_KEY_UPDATE:
		return request_update(c, (int)cmd->n);
	case PEER_NOTIFY:
		return SSL_shutdown(c->ssl) < 0 ? -1 : 0;
	case PEER_FIN:
		return shutdown(c->fd, SHUT_WR);
	case PEER_CLOSE:
		return do_close(c, false);
	case PEER_RESET:
		return do_close(c, true);
	case PEER_RENEGOTIATE:
		if (SSL_renegotiate(c->ssl) != 1)
			return -1;
		return SSL_do_handshake(c->ssl) == 1 ? 0 : -1;
	default:
		return -1;
	}
}

/* ---- the connection ---- */

static void send_report(struct client *c)
{
	c->report.max_record = c->wire.max_record;
	c->report.markers = c->wire.markers;
	c->report.nonce_repeats = c->wire.nonce_repeats;
	EVP_DigestFinal_ex(c->sha, c->report.sha, NULL);
	EVP_DigestInit_ex(c->sha, EVP_sha256(), NULL);
	if (send(c->control, &c->report, sizeof(c->report), MSG_NOSIGNAL) < 0)
		_exit(1);
	c->report.bytes = 0;
}

static int open_socket(const struct peer_conf *conf)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_port = htons(conf->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = PEER_PATIENCE };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1, segment = SEGMENT;

	if (conf->rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &conf->rcvbuf,
			   sizeof(conf->rcvbuf));
	setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		_exit(1);
	return fd;
}

static void shake_hands(struct client *c, const struct peer_conf *conf)
{
	BIO *bio = SSL_get_rbio(c->ssl);
	const char *name;

	SSL_set_app_data(c->ssl, c);
	SSL_set_info_callback(c->ssl, on_info);
	SSL_set_msg_callback(c->ssl, on_message);
	SSL_set_msg_callback_arg(c->ssl, c);
	BIO_set_callback_ex(bio, tap);
	BIO_set_callback_arg(bio, (char *)c);
	if (tls_handshake(c->ssl, conf) != 1) {
		c->report.end = END_FAILED;
		c->report.result = -1;
	}
	c->report.resumed = SSL_session_reused(c->ssl);
	c->report.early = SSL_get_early_data_status(c->ssl) ==
			  SSL_EARLY_DATA_ACCEPTED;
	name = SSL_get_cipher_name(c->ssl);
	c->wire.explicit_nonce = SSL_version(c->ssl) == TLS1_2_VERSION &&
				 name && strstr(name, "GCM");
	if (!c->wire.explicit_nonce)	/* the bytes counted were no nonces */
		c->wire.nonce_repeats = 0;
	c->connected = true;
}

static _Noreturn void serve(int control, const struct peer_conf *conf)
{
	static struct client c;
	struct peer_command cmd;

	c.control = control;
	c.fd = open_socket(conf);
	c.wire.explicit_nonce = true;	/* so that the Finished counts */
	c.report.alert_in = c.report.alert_out = -1;
	c.sha = EVP_MD_CTX_new();
	EVP_DigestInit_ex(c.sha, EVP_sha256(), NULL);
	c.ssl = tls_new(conf, c.fd);
	if (!c.ssl)
		_exit(1);
	shake_hands(&c, conf);
	send_report(&c);
	while (recv(control, &cmd, sizeof(cmd), 0) == sizeof(cmd)) {
		c.report.result = run_command(&c, &cmd);
		send_report(&c);
	}
	_exit(0);
}

/* ---- the program ---- */

/* Room for one descriptor that comes along with a message. */
union ancillary {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

/* Returns false at the end of the test program. */
static bool next_request(int sock, struct peer_request *r, int *control)
{
	union ancillary a;
	struct iovec iov = { r, sizeof(*r) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &a, .msg_controllen = sizeof(a.room) };
	struct cmsghdr *c;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != sizeof(*r))
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return false;
	memcpy(control, CMSG_DATA(c), sizeof(*control));
	r->conf.cipher = *r->cipher ? r->cipher : NULL;
	r->conf.name = *r->name ? r->name : NULL;
	return true;
}

static void greet(int control)
{
	struct peer_hello hello = { .pid = getpid() };
	int self = (int)syscall(SYS_pidfd_open, hello.pid, 0);
	union ancillary a = { .head = { .cmsg_len = CMSG_LEN(sizeof(self)),
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &a, .msg_controllen = sizeof(a.room) };

	memcpy(CMSG_DATA(&a.head), &self, sizeof(self));
	if (self < 0 || sendmsg(control, &msg, MSG_NOSIGNAL) < 0)
		_exit(1);
	close(self);
}

static void start(int sock, const struct peer_request *r, int control,
		  pid_t parent)
{
	tls_context(r->conf.server);
	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close(sock);
	alarm(LIFETIME);
	greet(control);
	serve(control, &r->conf);
}

int main(int argc, char **argv)
{
	int sock = argc == 2 ? atoi(argv[1]) : -1, control;
	pid_t self = getpid();
	static struct peer_request r;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_DFL);
	signal(SIGCHLD, SIG_IGN);	/* children then need no wait() */
	tls_context(false);
	while (next_request(sock, &r, &control)) {
		start(sock, &r, control, self);
		close(control);
	}
	SSL_CTX_free(tls_context(false));
	return 0;
}
