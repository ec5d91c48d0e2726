/* SPDX-License-Identifier: MIT */
#include "tls_pair.h"
#include "util.h"

#include <errno.h>
#include <openssl/bio.h>
#include <string.h>

#define CTRL_GET_KTLS_SEND	73	/* reserved in bio.h, 3.0 to 4.0 */

#define LAST_ERRNO		133
#define RESTARTSYS		512

void for_each_errno(void (*test)(int err))
{
	for (int err = 1; err <= LAST_ERRNO; err++)
		test(err);
	test(RESTARTSYS);
}

const struct suite_row rows[N_ROWS] = {
	{ TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256" },
	{ TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305" },
	{ TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384" },
	/* CBC, so that records are padded */
	{ TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA" },
};

/* ---- the BIO below our end ---- */

ssize_t pair_send(struct pair *p, const void *buf, size_t len)
{
	struct wire *w = &p->wire;
	size_t n = len;

	w->last = len;
	if (n > w->room)
		n = w->room;
	if (n > w->chunk)
		n = w->chunk;
	if (!n)
		return -w->err;
	if (p->watch)
		p->watch(buf, n);
	ck_assert_int_eq(BIO_write(p->to_peer, buf, (int)n), (int)n);
	if (w->room != UNLIMITED)
		w->room -= n;
	w->taken += n;
	return (ssize_t)n;
}

static int fake_write(BIO *bio, const char *in, int len)
{
	struct pair *p = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	p->wire.writes++;
	n = pair_send(p, in, (size_t)len);
	if (n > 0)
		return (int)n;
	if (n == -EAGAIN)
		BIO_set_retry_write(bio);
	errno = (int)-n;
	return -1;
}

static long fake_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	struct pair *p = BIO_get_data(bio);

	(void)num;
	switch (cmd) {
	case BIO_CTRL_FLUSH:
	case BIO_CTRL_PUSH:
	case BIO_CTRL_POP:
		return 1;
	case BIO_C_GET_FD:
		if (ptr)
			*(int *)ptr = p->fd;
		return p->fd;
	case CTRL_GET_KTLS_SEND:
		return p->kernel;
	}
	return 0;
}

static BIO *fake_bio(struct pair *p)
{
	static BIO_METHOD *methods[2];
	bool socket = p->fd != NO_SOCKET;
	BIO_METHOD **m = &methods[socket];
	BIO *bio;

	if (!*m) {
		*m = BIO_meth_new(socket ? BIO_TYPE_SOCKET :
				  BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				  "fake");
		BIO_meth_set_write(*m, fake_write);
		BIO_meth_set_ctrl(*m, fake_ctrl);
	}
	bio = BIO_new(*m);
	ck_assert_ptr_nonnull(bio);
	BIO_set_data(bio, p);
	BIO_set_init(bio, 1);
	return bio;
}

/* ---- the connection ---- */

static SSL *new_end(SSL_CTX *ctx, BIO *in, BIO *out)
{
	SSL *ssl = SSL_new(ctx);

	ck_assert_ptr_nonnull(ssl);
	BIO_up_ref(in);
	BIO_up_ref(out);
	SSL_set_bio(ssl, in, out);
	return ssl;
}

static void choose(SSL *ssl, const struct suite_row *row)
{
	ck_assert_int_eq(SSL_set_min_proto_version(ssl, row->version), 1);
	ck_assert_int_eq(SSL_set_max_proto_version(ssl, row->version), 1);
	if (row->version == TLS1_3_VERSION)
		ck_assert_int_eq(SSL_set_ciphersuites(ssl, row->cipher), 1);
	else
		ck_assert_int_eq(SSL_set_cipher_list(ssl, row->cipher), 1);
}

static void shake_hands(struct pair *p)
{
	SSL_set_connect_state(p->peer);
	SSL_set_accept_state(p->ssl);
	for (int i = 0; i < 10; i++) {
		int theirs = SSL_do_handshake(p->peer);

		if (SSL_do_handshake(p->ssl) == 1 && theirs == 1)
			return;
	}
	ck_abort_msg("the handshake does not complete");
}

void pair_open(struct pair *p, SSL_CTX *ctx, const struct suite_row *row,
	       int fd, bool kernel)
{
	SSL_CTX *client = plain_ctx(false);
	SSL_CTX *server = ctx ? ctx : plain_ctx(true);
	BIO *to_us = BIO_new(BIO_s_mem());

	memset(p, 0, sizeof(*p));
	p->fd = fd;
	p->kernel = kernel;
	p->wire = (struct wire){ UNLIMITED, UNLIMITED, EAGAIN, 0, 0, 0 };
	p->to_peer = BIO_new(BIO_s_mem());
	SSL_CTX_set_num_tickets(server, 0);
	p->peer = new_end(client, p->to_peer, to_us);
	p->ssl = new_end(server, to_us, p->to_peer);
	choose(p->peer, row);
	shake_hands(p);
	SSL_set0_wbio(p->ssl, fake_bio(p));
	BIO_free(to_us);
	SSL_CTX_free(client);
	if (!ctx)
		SSL_CTX_free(server);
}

void pair_restart(struct pair *p, const struct suite_row *row, int tickets)
{
	SSL_CTX *client = plain_ctx(false);
	BIO *to_us = SSL_get_rbio(p->ssl);

	ck_assert_int_eq(SSL_clear(p->ssl), 1);
	SSL_set_num_tickets(p->ssl, (size_t)tickets);
	ck_assert_int_eq(BIO_reset(to_us), 1);
	ck_assert_int_eq(BIO_reset(p->to_peer), 1);
	SSL_free(p->peer);
	p->peer = new_end(client, p->to_peer, to_us);
	SSL_CTX_free(client);
	choose(p->peer, row);
	SSL_set_connect_state(p->peer);
	SSL_set_accept_state(p->ssl);
	ck_assert_int_eq(SSL_do_handshake(p->peer), -1); /* ClientHello */
	ck_assert_int_eq(SSL_do_handshake(p->ssl), -1);
	ck_assert_int_eq(SSL_do_handshake(p->peer), 1);		/* Finished */
}

void pair_close(struct pair *p)
{
	SSL_free(p->ssl);
	SSL_free(p->peer);
	BIO_free(p->to_peer);
	memset(p, 0, sizeof(*p));
}

size_t pair_read(struct pair *p, void *buf, size_t cap)
{
	size_t n = 0;
	int r = 1, err;

	while (n < cap && r > 0) {
		r = SSL_read(p->peer, (char *)buf + n, (int)(cap - n));
		if (r > 0)
			n += (size_t)r;
	}
	if (n == cap)
		return n;
	err = SSL_get_error(p->peer, r);
	ck_assert_msg(err == SSL_ERROR_WANT_READ ||
		      err == SSL_ERROR_ZERO_RETURN,
		      "the peer cannot decrypt: SSL error %d", err);
	return n;
}

bool pair_closed(struct pair *p)
{
	return SSL_get_shutdown(p->peer) & SSL_RECEIVED_SHUTDOWN;
}
