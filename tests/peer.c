/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER		5	/* of a TLS record */
#define NONCE		8	/* explicit part, TLS 1.2 AES-GCM */
#define MAX_RANGES	64
#define READ_MAX	16384
#define SEGMENT		1460	/* loopback's own 64 KiB hides effects */
#define LIFETIME	1200	/* s: no child outlives a hung test */
#define HEAR_MS		120000
#define MAX_FDS		256

/* Explicit nonces seen, as ranges of consecutive numbers. */
struct nonces {
	uint64_t first[MAX_RANGES], last[MAX_RANGES];
	unsigned int count;
};

struct client {
	SSL *ssl;
	int fd;
	int control;
	bool explicit_nonce;	/* the cipher suite writes one */
	bool sealed;		/* TLS 1.2: ChangeCipherSpec has come */
	bool connected;
	EVP_MD_CTX *sha;
	uint64_t next_update;
	/* the record now passing by on the wire */
	unsigned char head[HEADER + NONCE];
	size_t have, left;
	unsigned char tail[MARKER_LEN - 1];
	size_t tail_len;
	struct nonces nonces;
	struct peer_report report;
};

static bool nonce_known(const struct nonces *n, uint64_t nonce)
{
	for (unsigned int i = 0; i < n->count; i++)
		if (nonce >= n->first[i] && nonce <= n->last[i])
			return true;
	return false;
}

static void nonce_seen(struct client *c, const unsigned char *p)
{
	struct nonces *n = &c->nonces;
	uint64_t nonce = 0;

	for (int i = 0; i < NONCE; i++)
		nonce = nonce << 8 | p[i];
	if (nonce_known(n, nonce))
		c->report.nonce_repeats++;
	else if (n->count && nonce == n->last[n->count - 1] + 1)
		n->last[n->count - 1]++;
	else if (n->count < MAX_RANGES)
		n->first[n->count] = n->last[n->count] = nonce, n->count++;
}

/* The head of a record is complete (with the nonce, where it has one). */
static void record_seen(struct client *c)
{
	size_t body = (size_t)c->head[3] << 8 | c->head[4];

	if (body > c->report.max_record)
		c->report.max_record = body;
	if (c->explicit_nonce && c->sealed)
		nonce_seen(c, c->head + HEADER);
	if (c->head[0] == SSL3_RT_CHANGE_CIPHER_SPEC)
		c->sealed = true;
}

static size_t head_size(const struct client *c)
{
	size_t body;

	if (c->have < HEADER)
		return HEADER;
	body = (size_t)c->head[3] << 8 | c->head[4];
	return HEADER + (body < NONCE ? body : NONCE);
}

static void follow_records(struct client *c, const unsigned char *p, size_t n)
{
	size_t take;

	while (n) {
		if (c->left) {
			take = n < c->left ? n : c->left;
			c->left -= take;
		} else {
			take = head_size(c) - c->have;
			take = n < take ? n : take;
			memcpy(c->head + c->have, p, take);
			c->have += take;
			if (c->have > HEADER && c->have == head_size(c)) {
				record_seen(c);
				c->left = ((size_t)c->head[3] << 8 |
					   c->head[4]) + HEADER - c->have;
				c->have = 0;
			}
		}
		p += take;
		n -= take;
	}
}

static void count_markers(struct client *c, const unsigned char *p, size_t n)
{
	const unsigned char *end = p + n;

	while ((p = memmem(p, (size_t)(end - p), MARKER, MARKER_LEN))) {
		c->report.markers++;
		p += MARKER_LEN;
	}
}

/* Also find a MARKER that two reads cut in two. */
static void find_markers(struct client *c, const unsigned char *p, size_t n)
{
	unsigned char seam[2 * (MARKER_LEN - 1)];
	size_t head = n < MARKER_LEN - 1 ? n : MARKER_LEN - 1, len, keep;

	memcpy(seam, c->tail, c->tail_len);
	memcpy(seam + c->tail_len, p, head);
	len = c->tail_len + head;
	count_markers(c, seam, len);
	count_markers(c, p, n);
	if (n >= MARKER_LEN - 1) {
		memcpy(c->tail, p + n - (MARKER_LEN - 1), MARKER_LEN - 1);
		c->tail_len = MARKER_LEN - 1;
		return;
	}
	keep = len < MARKER_LEN - 1 ? len : MARKER_LEN - 1;
	memcpy(c->tail, seam + len - keep, keep);
	c->tail_len = keep;
}

static long tap(BIO *bio, int oper, const char *data, size_t len, int i,
		long l, int ret, size_t *done)
{
	struct client *c = (struct client *)BIO_get_callback_arg(bio);

	(void)len, (void)i, (void)l;
	if (oper == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0) {
		find_markers(c, (const unsigned char *)data, *done);
		follow_records(c, (const unsigned char *)data, *done);
	}
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
	if (type == SSL3_RT_HEADER)
		c->report.records++;
	if (v13 ? type == SSL3_RT_INNER_CONTENT_TYPE &&
		  p[0] == SSL3_RT_APPLICATION_DATA
		: type == SSL3_RT_HEADER && p[0] == SSL3_RT_APPLICATION_DATA)
		c->report.data_records++;
	if (type == SSL3_RT_HANDSHAKE && p[0] == SSL3_MT_KEY_UPDATE)
		c->report.updates++;
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct client *c = SSL_get_app_data(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
		c->report.alert_in = value & 0xff;
	if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT)
		c->report.alert_out = value & 0xff;
}

/* What the failed SSL_read says. */
static enum peer_end end_of(struct client *c, int error, int err)
{
	unsigned long top = ERR_peek_last_error();
	bool told = c->report.alert_in > 0;

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
		return told ? END_ALERT : END_BROKEN;
	default:
		return END_FAILED;
	}
}

static int ask_update(struct client *c, int type)
{
	if (SSL_key_update(c->ssl, type) != 1)
		return -1;
	return SSL_do_handshake(c->ssl) == 1 ? 0 : -1;
}

static int read_some(struct client *c, size_t max)
{
	unsigned char buf[READ_MAX];
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_read(c->ssl, buf, (int)max);
	if (n <= 0) {
		c->report.end = end_of(c, SSL_get_error(c->ssl, n), errno);
		return -1;
	}
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
			/* Should that fail, the reason is still to be read. */
			ask_update(c, SSL_KEY_UPDATE_REQUESTED);
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

static int obey(struct client *c, const struct peer_command *cmd)
{
	switch (cmd->op) {
	case PEER_READ:
		return do_read(c, cmd);
	case PEER_WRITE:
		return do_write(c, cmd->n);
	case PEER_KEY_UPDATE:
		return ask_update(c, (int)cmd->n);
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

static void say(struct client *c)
{
	EVP_DigestFinal_ex(c->sha, c->report.sha, NULL);
	EVP_DigestInit_ex(c->sha, EVP_sha256(), NULL);
	if (send(c->control, &c->report, sizeof(c->report), MSG_NOSIGNAL) < 0)
		_exit(1);
	c->report.bytes = 0;
}

static int dial(const struct peer_conf *conf)
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

static bool set_up(struct client *c, const struct peer_conf *conf)
{
	SSL_CTX *ctx = conf->server ? conf->server
				    : SSL_CTX_new(TLS_client_method());
	int v = conf->version;
	bool ok;

	c->ssl = SSL_new(ctx);
	ok = c->ssl && SSL_set_fd(c->ssl, c->fd);
	if (ok && v)
		ok = SSL_set_min_proto_version(c->ssl, v) &&
		     SSL_set_max_proto_version(c->ssl, v);
	if (ok && conf->cipher)
		ok = v == TLS1_3_VERSION
			? SSL_set_ciphersuites(c->ssl, conf->cipher)
			: SSL_set_cipher_list(c->ssl, conf->cipher);
	if (ok && conf->max_fragment)
		ok = SSL_set_tlsext_max_fragment_length(c->ssl,
				(uint8_t)conf->max_fragment);
	if (ok && conf->name)
		ok = SSL_set_tlsext_host_name(c->ssl, conf->name) == 1;
	return ok;
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
	if ((conf->server ? SSL_accept(c->ssl) : SSL_connect(c->ssl)) != 1) {
		c->report.end = END_FAILED;
		c->report.result = -1;
	}
	name = SSL_get_cipher_name(c->ssl);
	c->explicit_nonce = SSL_version(c->ssl) == TLS1_2_VERSION &&
			    name && strstr(name, "GCM");
	if (!c->explicit_nonce)		/* what was taken for one was none */
		c->report.nonce_repeats = 0;
	c->connected = true;
}

static _Noreturn void live(int control, const struct peer_conf *conf)
{
	static struct client c;
	struct peer_command cmd;

	alarm(LIFETIME);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_DFL);
	/* Another connection's socket kept open here would never close. */
	for (int fd = 3; fd < MAX_FDS; fd++)
		if (fd != control)
			close(fd);
	c.control = control;
	c.fd = dial(conf);
	c.explicit_nonce = true;	/* the Finished counts too */
	c.report.alert_in = c.report.alert_out = -1;
	c.sha = EVP_MD_CTX_new();
	EVP_DigestInit_ex(c.sha, EVP_sha256(), NULL);
	if (!set_up(&c, conf))
		_exit(1);
	shake_hands(&c, conf);
	say(&c);
	while (recv(control, &cmd, sizeof(cmd), 0) == sizeof(cmd)) {
		c.report.result = obey(&c, &cmd);
		say(&c);
	}
	_exit(0);
}

int peer_start(struct peer *p, const struct peer_conf *conf)
{
	pid_t parent = getpid();
	int pair[2];

	p->pid = -1;
	p->control = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	p->pid = fork();
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(pair[0]);
		live(pair[1], conf);
	}
	close(pair[1]);
	p->control = pair[0];
	return p->pid < 0 ? -errno : 0;
}

int peer_tell(struct peer *p, const struct peer_command *command)
{
	return send(p->control, command, sizeof(*command), MSG_NOSIGNAL) < 0
		? -errno : 0;
}

int peer_hear(struct peer *p, struct peer_report *report)
{
	struct pollfd pfd = { .fd = p->control, .events = POLLIN };
	int n;

	do
		n = poll(&pfd, 1, HEAR_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0)
		return -errno;
	return recv(p->control, report, sizeof(*report), 0) == sizeof(*report)
		? 0 : -EPIPE;
}

void peer_stop(struct peer *p)
{
	int status;

	if (p->control >= 0)
		close(p->control);
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	p->pid = -1;
	p->control = -1;
}
