/* SPDX-License-Identifier: MIT */
/*
 * An SSL_CTX prepared by tlssf_ctx_init() may serve DTLS or QUIC as well.
 * libtlssf must not touch these connections: no bridge, no change.
 */
#include "util.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS		1000

/*
 * Returns an SSL_CTX prepared by tlssf_ctx_init(), with the certificate that
 * all servers of this file use.
 */
static SSL_CTX *prepared(const SSL_METHOD *method)
{
	SSL_CTX *from = plain_ctx(true), *ctx = SSL_CTX_new(method);

	ck_assert_ptr_nonnull(ctx);
	ck_assert_int_eq(SSL_CTX_use_certificate(ctx,
				SSL_CTX_get0_certificate(from)), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx,
				SSL_CTX_get0_privatekey(from)), 1);
	SSL_CTX_free(from);
	ck_assert_int_eq(tlssf_ctx_init(ctx, NULL), 0);
	return ctx;
}

/* ---- DTLS ---- */

static SSL *dtls_end(BIO *in, BIO *out)
{
	SSL_CTX *ctx = prepared(DTLS_method());
	SSL *ssl = SSL_new(ctx);

	SSL_CTX_free(ctx);
	ck_assert_int_eq(BIO_up_ref(in) && BIO_up_ref(out), 1);
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
	SSL_set_mtu(ssl, 1400);
	return ssl;
}

START_TEST(dtls)
{
	BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
	SSL *server = dtls_end(a, b), *client = dtls_end(b, a);
	int r = 0;

	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < TURNS && r != 2; i++) {
		r = SSL_do_handshake(client) == 1;
		r += SSL_do_handshake(server) == 1;
	}
	ck_assert_int_eq(r, 2);
	ck_assert_ptr_eq(SSL_get_wbio(server), b);
	ck_assert_ptr_eq(SSL_get_wbio(client), a);
	SSL_free(server);
	SSL_free(client);
	BIO_free(a);
	BIO_free(b);
}
END_TEST

/* ---- QUIC ---- */

#ifndef OPENSSL_IS_BORINGSSL
/* Functions of OpenSSL 3.5; the headers may be older. */
static struct {
	const SSL_METHOD *(*server_method)(void), *(*client_method)(void);
	SSL *(*new_listener)(SSL_CTX *ctx, uint64_t flags);
	int (*listen)(SSL *ssl);
	SSL *(*accept_connection)(SSL *ssl, uint64_t flags);
	int (*set_blocking_mode)(SSL *ssl, int blocking);
	int (*handle_events)(SSL *ssl);
	int (*set1_initial_peer_addr)(SSL *ssl, const BIO_ADDR *addr);
} q;

static bool find_quic(void)
{
#define FIND(member, name) \
	(*(void **)&q.member = dlsym(RTLD_DEFAULT, name))

	return FIND(server_method, "OSSL_QUIC_server_method") &&
	       FIND(client_method, "OSSL_QUIC_client_method") &&
	       FIND(new_listener, "SSL_new_listener") &&
	       FIND(listen, "SSL_listen") &&
	       FIND(accept_connection, "SSL_accept_connection") &&
	       FIND(set_blocking_mode, "SSL_set_blocking_mode") &&
	       FIND(handle_events, "SSL_handle_events") &&
	       FIND(set1_initial_peer_addr, "SSL_set1_initial_peer_addr");
}

static int udp_socket(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*at);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)at, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
		       const unsigned char *in, unsigned int in_len, void *arg)
{
	(void)ssl, (void)in_len, (void)arg;
	*out = in + 1;
	*len = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static SSL *listener(struct sockaddr_in *at)
{
	SSL_CTX *ctx = prepared(q.server_method());
	SSL *ssl;

	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	ssl = q.new_listener(ctx, 0);
	SSL_CTX_free(ctx);
	ck_assert_ptr_nonnull(ssl);
	ck_assert_int_eq(SSL_set_fd(ssl, udp_socket(at)), 1);
	ck_assert_int_eq(q.set_blocking_mode(ssl, 0), 1);
	ck_assert_int_eq(q.listen(ssl), 1);
	return ssl;
}

static SSL *quic_client(const struct sockaddr_in *to)
{
	SSL_CTX *ctx = prepared(q.client_method());
	BIO_ADDR *addr = BIO_ADDR_new();
	struct sockaddr_in own;
	SSL *ssl = SSL_new(ctx);

	SSL_CTX_free(ctx);
	ck_assert_ptr_nonnull(ssl);
	ck_assert_int_eq(SSL_set_fd(ssl, udp_socket(&own)), 1);
	ck_assert_int_eq(q.set_blocking_mode(ssl, 0), 1);
	ck_assert_int_eq(SSL_set_alpn_protos(ssl,
				(const unsigned char *)"\4test", 5), 0);
	ck_assert_int_eq(BIO_ADDR_rawmake(addr, AF_INET, &to->sin_addr,
					  sizeof(to->sin_addr),
					  to->sin_port), 1);
	ck_assert_int_eq(q.set1_initial_peer_addr(ssl, addr), 1);
	BIO_ADDR_free(addr);
	return ssl;
}

/* Returns whether five bytes arrive completely. */
static bool goes_through(SSL *client, SSL *listening)
{
	SSL *server = NULL;
	unsigned int turns = 0;
	size_t sent = 0, got = 0;
	char buf[5];

	do {
		if (!sent && SSL_connect(client) == 1)
			SSL_write_ex(client, "hello", 5, &sent);
		q.handle_events(client);
		q.handle_events(listening);
		if (!server)
			server = q.accept_connection(listening, 0);
		if (server)
			SSL_read_ex(server, buf, sizeof(buf), &got);
	} while (!got && pause_turn(&turns));
	SSL_free(server);
	return got == 5 && !memcmp(buf, "hello", 5);
}

START_TEST(quic)
{
	struct sockaddr_in at;
	SSL *listening, *client;

	if (!find_quic()) {
		skip_test("quic: this libssl has no QUIC server");
		return;
	}
	listening = listener(&at);
	client = quic_client(&at);
	ck_assert(goes_through(client, listening));
	ck_assert_int_eq(tlssf_send(client, 0, 0, 1), TLSSF_ERROR);
	ck_assert_str_eq(tlssf_strerror(client),
			 tlssf_reason_text(TLSSF_REASON_QUIC));
	SSL_free(client);
	SSL_free(listening);
}
END_TEST
#endif

/*
 * BoringSSL passes a QUIC handshake's bytes by callbacks, so there is no BIO.
 */
START_TEST(no_write_bio)
{
	SSL_CTX *ctx = prepared(TLS_method()), *plain = plain_ctx(false);
	SSL *server = SSL_new(ctx), *client = SSL_new(plain);
	BIO *to_server = BIO_new(BIO_s_mem());

	ck_assert_int_eq(BIO_up_ref(to_server), 1);
	SSL_set_bio(client, BIO_new(BIO_s_mem()), to_server);
	SSL_set0_rbio(server, to_server);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	ck_assert_int_le(SSL_do_handshake(client), 0);
	ck_assert_int_le(SSL_do_handshake(server), 0);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ctx);
	SSL_CTX_free(plain);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_datagram");
	TCase *tc = add_case(suite, "datagrams");

	tcase_add_test(tc, dtls);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_test(tc, quic);
#endif
	tcase_add_test(tc, no_write_bio);
	return run_suite("e2e_datagram", suite);
}
