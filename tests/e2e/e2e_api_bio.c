/* SPDX-License-Identifier: MIT */
/*
 * Any BIO may be below: memory, a BIO pair of 512 bytes, a buffer, a BIO that
 * claims what is not true.
 */
#include "e2e_api.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <string.h>

#define PUMP_TURNS	100000
#define STREAM		(300 * KIB + 1)

/* Two TLS endpoints in one process. The other end is a plain client. */
struct wire {
	SSL *server, *client;
	unsigned char got[STREAM + 100];
	size_t len;
	bool closed;
};
static struct wire wire;

static void wire_open(int version, bool pair)
{
	struct link_conf conf = { .method = TLSSF_METHOD_AUTO };
	SSL_CTX *server = test_ctx(&conf), *client = plain_ctx(false);
	BIO *a, *b;

	memset(&wire, 0, sizeof(wire));
	SSL_CTX_set_min_proto_version(client, version);
	SSL_CTX_set_max_proto_version(client, version);
	wire.server = SSL_new(server);
	wire.client = SSL_new(client);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	if (pair) {
		ck_assert_int_eq(BIO_new_bio_pair(&a, 512, &b, 512), 1);
		SSL_set_bio(wire.server, a, a);
		SSL_set_bio(wire.client, b, b);
	} else {
		a = BIO_new(BIO_s_mem());
		b = BIO_new(BIO_s_mem());
		ck_assert_int_eq(BIO_up_ref(a) && BIO_up_ref(b), 1);
		SSL_set_bio(wire.server, a, b);
		SSL_set_bio(wire.client, b, a);
	}
	SSL_set_accept_state(wire.server);
	SSL_set_connect_state(wire.client);
	for (int i = 0; i < PUMP_TURNS; i++) {
		SSL_do_handshake(wire.client);
		if (SSL_do_handshake(wire.server) == 1 &&
		    SSL_is_init_finished(wire.client))
			return;
	}
	ck_abort_msg("the handshake does not complete");
}

static void wire_close(void)
{
	SSL_free(wire.server);
	SSL_free(wire.client);
}

static void wire_read(void)
{
	int n;

	do {
		ERR_clear_error();
		n = SSL_read(wire.client, wire.got + wire.len,
			     (int)(sizeof(wire.got) - wire.len));
		if (n > 0)
			wire.len += (size_t)n;
	} while (n > 0);
	wire.closed = SSL_get_error(wire.client, n) == SSL_ERROR_ZERO_RETURN;
	ck_assert_int_ne(SSL_get_error(wire.client, n), SSL_ERROR_SSL);
}

static void wire_send(uint64_t off, size_t len)
{
	ssize_t n;

	for (int i = 0; i < PUMP_TURNS && len; i++) {
		n = tlssf_send(wire.server, api_file.fd, (off_t)off, len);
		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%zd: %s", n,
			      tlssf_strerror(wire.server));
		if (n > 0)
			off += (uint64_t)n, len -= (size_t)n;
		wire_read();
	}
	ck_assert_uint_eq(len, 0);
}

static void wire_job(struct tlssf_job *job)
{
	int n, turns = 0;

	while ((n = tlssf_send_job(wire.server, job))) {
		ck_assert_int_eq(n, TLSSF_WANT_WRITE);
		ck_assert_int_lt(turns++, PUMP_TURNS);
		wire_read();
	}
}

static void wire_shutdown(void)
{
	int n, turns = 0;

	while ((n = tlssf_shutdown(wire.server))) {
		ck_assert_int_eq(n, TLSSF_WANT_WRITE);
		ck_assert_int_lt(turns++, PUMP_TURNS);
		wire_read();
	}
	wire_read();
	ck_assert(wire.closed);
	ck_assert_int_eq(tlssf_shutdown(wire.server), 0);
}

/*
 * The BIO below is memory, or in odd loops a BIO pair that holds 512 bytes, so
 * that every call has to wait.
 */
START_TEST(memory)
{
	struct tlssf_job job = { .size = sizeof(job), .fd = api_file.fd,
		.header = "hd", .header_len = 2, .off = 3,
		.file_len = 100000, .trailer = "tr", .trailer_len = 2 };
	struct tlssf_status st = { .size = sizeof(st) };

	wire_open(ways[_i / 2].version, _i % 2);
	wire_send(1, STREAM - 1 - 100004);
	wire_job(&job);
	wire_read();
	ck_assert_uint_eq(wire.len, STREAM - 1);
	ck_assert_mem_eq(wire.got, api_file.map + 1, STREAM - 100005);
	ck_assert_mem_eq(wire.got + STREAM - 100005, "hd", 2);
	ck_assert_mem_eq(wire.got + STREAM - 100003, api_file.map + 3, 100000);
	ck_assert_mem_eq(wire.got + STREAM - 3, "tr", 2);
	ck_assert_int_eq(tlssf_status(wire.server, &st), 0);
	ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	ck_assert_int_eq(st.why_not[TLSSF_METHOD_SSL_SENDFILE],
			 TLSSF_REASON_NOT_SOCKET);
	wire_shutdown();
	wire_close();
}
END_TEST

/* The application's SSL_write() is unfinished since the BIO pair is full. */
START_TEST(pair_pending_write)
{
	int n = -1, turns = 0;

	wire_open(ways[_i].version, true);
	wire_send(0, 1000);
	ck_assert_int_le(SSL_write(wire.server, api_file.map + 1000, 5000), 0);
	ck_assert_int_eq(tlssf_send(wire.server, api_file.fd, 0, 1),
			 TLSSF_ERROR);
	for (; n <= 0 && turns < PUMP_TURNS; turns++) {
		wire_read();
		n = SSL_write(wire.server, api_file.map + 1000, 5000);
	}
	ck_assert_int_eq(n, 5000);
	wire_send(6000, 1000);
	wire_shutdown();
	ck_assert_uint_eq(wire.len, 7000);
	ck_assert_mem_eq(wire.got, api_file.map, 7000);
	wire_close();
}
END_TEST

/* Put `top` on the write side, above the socket's own BIO. */
static void push(BIO *top)
{
	BIO *socket = SSL_get_wbio(api.ssl);

	ck_assert_ptr_nonnull(top);
	ck_assert_int_eq(BIO_up_ref(socket), 1);
	SSL_set0_wbio(api.ssl, BIO_push(top, socket));
}

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
START_TEST(buffer_below)
{
	struct link_conf conf = { .nonblocking = _i % 2,
		.sndbuf = _i % 2 ? 16384 : 0 };

	if (!link_open_way(&api, _i / 2, &conf, __func__))
		return;
	push(BIO_new(BIO_f_buffer()));
	peer_do_read(&api, 5 + 2 * MUCH, 0, 0);
	write_all(&api, "start", 5);
	send_all(&api, &api_file, 1, 2 * MUCH);
	flush_all(&api);
	compare(&api);
	peer_do_read(&api, MUCH + 5, 0, 0);
	send_all(&api, &api_file, 7, MUCH);
	write_all(&api, "later", 5);
	flush_all(&api);
	compare(&api);
	shutdown_all(&api);
	expect_end(&api, END_NOTIFY);
}
END_TEST

#endif

/* ---- a BIO that answers every control with 1 ---- */

static int yes_write(BIO *bio, const char *in, int len)
{
	int n = BIO_write(BIO_next(bio), in, len);

	BIO_clear_retry_flags(bio);
	BIO_copy_next_retry(bio);
	return n;
}

static long yes_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	if (cmd == BIO_CTRL_FLUSH)
		return BIO_ctrl(BIO_next(bio), cmd, num, ptr);
	return 1;
}

static int yes_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/*
 * This BIO claims that the kernel encrypts what is written. OpenSSL before 3.2
 * believes it at every write and would send plaintext.
 */
START_TEST(yes_to_everything)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "yes");
	struct link_conf conf = { .nonblocking = _i % 2, .no_init = true,
				  .version = ways[_i / 2].version };
	struct tlssf_status st;

	BIO_meth_set_write(m, yes_write);
	BIO_meth_set_ctrl(m, yes_ctrl);
	BIO_meth_set_create(m, yes_create);
	link_open(&api, &conf);
	push(BIO_new(m));
	deliver(&api, &api_file, 0, MIB + 1);
	get_status(&api, &st);
	ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	ck_assert_int_eq(st.kernel_tx, 0);
	api_still_works();
	link_close(&api);
	BIO_meth_free(m);
}
END_TEST

/* ---- a BIO that accepts few bytes at a time ---- */

#define LITTLE	4096

static int little_write(BIO *bio, const char *in, int len)
{
	return yes_write(bio, in, len < LITTLE ? len : LITTLE);
}

static long little_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	if (cmd == BIO_CTRL_PUSH || cmd == BIO_CTRL_POP)
		return 1;
	return BIO_ctrl(BIO_next(bio), cmd, num, ptr);
}

/*
 * A short write of the BIO is no reason to return early on a blocking socket.
 * In odd loops tlssf_ctx_init() was called.
 */
START_TEST(takes_little)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "little");
	struct link_conf conf = { .no_init = !(_i % 2),
				  .version = ways[_i / 2].version };

	BIO_meth_set_write(m, little_write);
	BIO_meth_set_ctrl(m, little_ctrl);
	BIO_meth_set_create(m, yes_create);
	link_open(&api, &conf);
	push(BIO_new(m));
	peer_do_read(&api, STREAM, 0, 0);
	ck_assert_int_eq(tlssf_send(api.ssl, api_file.fd, 0, STREAM), STREAM);
	expect_file(&api, &api_file, 0, STREAM);
	compare(&api);
	api_still_works();
	link_close(&api);
	BIO_meth_free(m);
}
END_TEST

/* ---- a BIO that fails, and no BIO at all ---- */

static int broken_write(BIO *bio, const char *in, int len)
{
	(void)bio, (void)in, (void)len;
	errno = EIO;
	return -1;
}

START_TEST(write_fails)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "broken");
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
				  .nonblocking = _i };

	BIO_meth_set_write(m, broken_write);
	BIO_meth_set_ctrl(m, yes_ctrl);
	BIO_meth_set_create(m, yes_create);
	link_open(&api, &conf);
	push(BIO_new(m));
	for (int i = 0; i < 4; i++)
		assert_failed(&api, tlssf_send(api.ssl, api_file.fd, 0, 1000),
			      EIO, TLSSF_REASON_IO, true);
	ck_assert_int_le(SSL_write(api.ssl, "x", 1), 0);
	link_close(&api);
	BIO_meth_free(m);
}
END_TEST

START_TEST(no_bio)
{
	SSL_CTX *ctx = plain_ctx(true);
	SSL *ssl = SSL_new(ctx);

	SSL_set_accept_state(ssl);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tlssf_send(ssl, api_file.fd, 0, 1),
				 TLSSF_ERROR);
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_int_eq(tlssf_shutdown(ssl), TLSSF_ERROR);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}
END_TEST

void add_bio_tests(TCase *tc)
{
	tcase_add_loop_test(tc, memory, 0, 4);
	tcase_add_loop_test(tc, pair_pending_write, 0, 2);
#ifndef OPENSSL_IS_BORINGSSL
	add_ways(tc, buffer_below, 2);
#endif
	tcase_add_loop_test(tc, yes_to_everything, 0, 4);
	tcase_add_loop_test(tc, takes_little, 0, 4);
	tcase_add_loop_test(tc, write_fails, 0, 2);
	tcase_add_test(tc, no_bio);
}
