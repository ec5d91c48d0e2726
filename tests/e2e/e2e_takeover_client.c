/* SPDX-License-Identifier: MIT */
/*
 * Our end is the TLS client and uploads a file. A client has other secrets and
 * the other half of the key block, and sends no session tickets. Only the keys
 * of the write direction are taken over.
 */
#include "e2e_takeover.h"

#include <poll.h>

#define SNDBUF	8192
#define RCVBUF	4096

static struct link_conf client_conf(int version)
{
	struct link_conf conf = tk_conf(version);

	conf.client = true;
	return conf;
}

/* The application reads the server's data with SSL_read() as before. */
static void answer(size_t len)
{
	char buf[1000];
	size_t all = 0;
	int n;

	ck_assert_uint_le(len, sizeof(buf));
	peer_do(&tk, PEER_WRITE, len);
	ck_assert_int_eq(get_report(&tk)->result, 0);
	set_nonblocking(tk.fd, false);
	while (all < len) {
		n = SSL_read(tk.ssl, buf, (int)(len - all));
		ck_assert_int_gt(n, 0);
		all += (size_t)n;
	}
}

/* Upload with every cipher, blocking, or non-blocking with small buffers. */
START_TEST(upload)
{
	struct link_conf conf = client_conf(versions[_i % 2]);

	conf.cipher = &ciphers[_i / 2 % N_CIPHERS];
	conf.nonblocking = _i / 2 / N_CIPHERS;
	if (conf.nonblocking) {
		conf.sndbuf = SNDBUF;
		conf.peer.rcvbuf = RCVBUF;
	}
	link_open(&tk, &conf);
	write_all(&tk, "PUT", 3);
	tk_take_over(&tk);
	answer(100);
	set_nonblocking(tk.fd, conf.nonblocking);
	tk_ends_well(&tk);
	answer(200);
}
END_TEST

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION **kept = SSL_get_app_data(ssl);

	SSL_SESSION_free(*kept);
	*kept = session;
	return 1;
}

static SSL_CTX *session_ctx(const struct link_conf *conf)
{
	SSL_CTX *ctx = test_ctx(conf);

	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT |
				       SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return ctx;
}

/* In a resumed TLS 1.2 handshake the client's Finished is the last message. */
START_TEST(upload_resumed)
{
	struct link_conf conf = client_conf(versions[_i]);
	SSL_SESSION *session = NULL;

	conf.ctx = session_ctx(&conf);
	conf.no_handshake = true;
	for (int i = 0; i < 3; i++) {
		link_open(&tk, &conf);
		SSL_set_app_data(tk.ssl, &session);
		ck_assert_int_eq(i == 0 || SSL_set_session(tk.ssl, session),
				 1);
		link_handshake(&tk);
		ck_assert_int_eq(SSL_session_reused(tk.ssl), i > 0);
		tk_take_over(&tk);
		answer(100);
		ck_assert_ptr_nonnull(session);
		tk_ends_well(&tk);
		link_close(&tk);
	}
	SSL_SESSION_free(session);
	SSL_CTX_free(conf.ctx);
}
END_TEST

/* The server requests a renegotiation; it can decrypt our answer. */
START_TEST(hello_request)
{
	struct link_conf conf = client_conf(TLS1_2_VERSION);
	struct pollfd pfd = { .events = POLLIN };
	char buf[10];

	link_open(&tk, &conf);
	pfd.fd = tk.fd;
	tk_take_over(&tk);
	peer_do(&tk, PEER_RENEGOTIATE, 0);
	ck_assert_int_eq(get_report(&tk)->result, 0);
	ck_assert_int_eq(poll(&pfd, 1, HANG_MS), 1);
	set_nonblocking(tk.fd, true);
	ck_assert_int_le(SSL_read(tk.ssl, buf, sizeof(buf)), 0);
	peer_do(&tk, PEER_READ, PEER_ALL);
	get_report(&tk);
	ck_assert_int_eq(tk.report.alert_in, SSL_AD_NO_RENEGOTIATION);
	ck_assert_int_ne(tk.report.alert_out, SSL_AD_BAD_RECORD_MAC);
	ck_assert_uint_eq(tk.report.nonce_repeats, 0);
}
END_TEST

void add_client_tests(TCase *tc)
{
	/* in a guest only one of the slow ones for each version */
	tcase_add_loop_test(tc, upload, 0, in_guest() && !full_run()
			    ? 2 * N_CIPHERS + 2 : 4 * N_CIPHERS);
	tcase_add_loop_test(tc, upload_resumed, 0, 2);
	tcase_add_test(tc, hello_request);
}
