/* SPDX-License-Identifier: MIT */
/*
 * Takeovers with BIOs above and below the bridge, the BIO that libtlssf puts
 * above the socket's. They are set up before, or replaced afterwards.
 */
#include "e2e_takeover.h"

#include <errno.h>
#include <openssl/bio.h>

/* Put `top` on the write side, above the other BIOs. */
static void push(SSL *ssl, BIO *top)
{
	BIO *below = SSL_get_wbio(ssl);

	ck_assert_ptr_nonnull(top);
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(ssl, BIO_push(top, below));
}

/* ---- set by hand, before the handshake ---- */

enum { TWO_SOCKETS, ONE_SOCKET, BY_FD, N_BY_HAND };

static void set_by_hand(int how)
{
	BIO *r = BIO_new_socket(tk.fd, BIO_NOCLOSE), *w = r;

	if (how == TWO_SOCKETS)
		w = BIO_new_socket(tk.fd, BIO_NOCLOSE);
	else if (how == BY_FD)
		w = BIO_new_fd(tk.fd, BIO_NOCLOSE);
	SSL_set_bio(tk.ssl, r, w);
}

START_TEST(by_hand)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);

	conf.no_handshake = true;
	link_open(&tk, &conf);
	set_by_hand(_i / 2);
	link_handshake(&tk);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
static void add_below(const BIO_METHOD *method)
{
	push(tk.ssl, BIO_new(method));
}

/*
 * Bytes that OpenSSL's own filters hold leave before the kernel gets the keys.
 */
START_TEST(filter_below)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);

	conf.no_handshake = true;
	link_open(&tk, &conf);
	add_below(_i / 2 ? BIO_f_null() : BIO_f_buffer());
	link_handshake(&tk);
	peer_do_read(&tk, 5 + 2 * TAKEOVER_PAYS, 0, 0);
	write_all(&tk, "start", 5);
	send_all(&tk, &tk_file, 1, 2 * TAKEOVER_PAYS);
	flush_all(&tk);
	compare(&tk);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

/*
 * The application pushes a buffer on top after the takeover, and pops it again.
 */
START_TEST(buffer_on_top)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	BIO *top;

	link_open(&tk, &conf);
	tk_take_over(&tk);
	push(tk.ssl, BIO_new(BIO_f_buffer()));
	peer_do_read(&tk, 6 + 200000 + 5, 0, 0);
	write_all(&tk, "before", 6);
	send_all(&tk, &tk_file, 7, 200000);
	write_all(&tk, "after", 5);
	flush_all(&tk);
	compare(&tk);
	if (_i / 2) {
		top = SSL_get_wbio(tk.ssl);
		SSL_set0_wbio(tk.ssl, BIO_pop(top));
	}
	tk_ends_well(&tk);
}
END_TEST
#endif

/*
 * With attach_late the first tlssf call attaches the bridge. Records that were
 * written before that do not prevent a takeover.
 */
START_TEST(attached_late)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	bool late = _i / 2;

	conf.attach_late = late;
	link_open(&tk, &conf);
	ck_assert_int_eq(!BIO_next(SSL_get_wbio(tk.ssl)), late);
	peer_do_read(&tk, 20000, 0, 0);
	write_all(&tk, tk_file.map, 20000);
	compare(&tk);
	ck_assert_int_eq(!BIO_next(SSL_get_wbio(tk.ssl)), late);
	tk_take_over(&tk);
	ck_assert_ptr_nonnull(BIO_next(SSL_get_wbio(tk.ssl)));
	tk_ends_well(&tk);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL
/*
 * If the library may give its keys to the kernel, the bridge is attached in the
 * handshake all the same.
 */
START_TEST(not_late_with_ktls)
{
	struct link_conf conf = { .version = versions[_i], .attach_late = true,
				  .options = SSL_OP_ENABLE_KTLS };

	link_open(&tk, &conf);
	ck_assert_ptr_nonnull(BIO_next(SSL_get_wbio(tk.ssl)));
	tk_ends_well(&tk);
}
END_TEST
#endif

/* ---- a BIO of the application's own ---- */

static int filter_write(BIO *bio, const char *in, int len)
{
	int n = BIO_write(BIO_next(bio), in, len);

	BIO_clear_retry_flags(bio);
	BIO_copy_next_retry(bio);
	return n;
}

static long filter_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH ? BIO_ctrl(BIO_next(bio), cmd, num, ptr)
				     : 0;
}

static int filter_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *filter_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "filter");

	BIO_meth_set_write(m, filter_write);
	BIO_meth_set_ctrl(m, filter_ctrl);
	BIO_meth_set_create(m, filter_create);
	return m;
}

/* Nobody knows what this BIO does with the bytes, so there is no takeover. */
START_TEST(own_filter)
{
	struct link_conf conf = { .version = versions[_i],
				  .no_handshake = true };
	BIO_METHOD *m = filter_method();
	struct tlssf_status st;

	link_open(&tk, &conf);
	push(tk.ssl, BIO_new(m));
	link_handshake(&tk);
	deliver(&tk, &tk_file, 1, 3 * TAKEOVER_PAYS);
	get_status(&tk, &st);
	ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	ck_assert_int_eq(st.kernel_tx, 0);
	ck_assert_int_eq(st.why_not[TLSSF_METHOD_KTLS],
			 TLSSF_REASON_NOT_SOCKET);
	tk_ends_well(&tk);
	link_close(&tk);
	BIO_meth_free(m);
}
END_TEST

START_TEST(own_filter_named)
{
	struct link_conf conf = { .version = versions[_i],
		.method = TLSSF_METHOD_KTLS, .no_handshake = true };
	BIO_METHOD *m = filter_method();

	link_open(&tk, &conf);
	push(tk.ssl, BIO_new(m));
	link_handshake(&tk);
	assert_failed(&tk, tlssf_send(tk.ssl, tk_file.fd, 0, 1), EOPNOTSUPP,
		      TLSSF_REASON_NOT_SOCKET, false);
	write_all(&tk, "still here", 10);
	shutdown_all(&tk);
	expect_end(&tk, END_NOTIFY);
	link_close(&tk);
	BIO_meth_free(m);
}
END_TEST

/* ---- the bridge is removed from an open connection ---- */

enum { POPPED, NEW_FD, NEW_SOCKET_BIO, TAKEN_OUT, N_CHANGES };

/* Returns the BIO to free later, or NULL. */
static BIO *change(int how)
{
	BIO *bridge = SSL_get_wbio(tk.ssl), *below = BIO_next(bridge);

	switch (how) {
	case POPPED:
		return BIO_pop(bridge);
	case NEW_FD:
		ck_assert_int_eq(SSL_set_fd(tk.ssl, tk.fd), 1);
		return NULL;
	case NEW_SOCKET_BIO:
		below = BIO_new_socket(tk.fd, BIO_NOCLOSE);
		SSL_set_bio(tk.ssl, below, below);
		return NULL;
	default:
		ck_assert_int_eq(BIO_up_ref(below), 1);
		SSL_set0_wbio(tk.ssl, below);
		return NULL;
	}
}

/*
 * The records that the library encrypts by itself are stale and must not reach
 * the peer, so the write direction ends. In every second pair of loops this
 * happens in the middle of a response.
 */
START_TEST(taken_out)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	BIO *rest;

	link_open(&tk, &conf);
	tk_take_over(&tk);
	if (_i / 2 % 2) {
		write_all(&tk, "begun", 5);
		flush_all(&tk);
	}
	rest = change(_i / 4);
	tk_ends_truncated(&tk);
	link_close(&tk);
	BIO_free(rest);
}
END_TEST

void add_bio_tests(TCase *tc)
{
	tcase_add_loop_test(tc, by_hand, 0, 2 * N_BY_HAND);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, not_late_with_ktls, 0, N_VERSIONS);
	tcase_add_loop_test(tc, filter_below, 0, 4);
	tcase_add_loop_test(tc, buffer_on_top, 0, 4);
#endif
	tcase_add_loop_test(tc, attached_late, 0, 4);
	tcase_add_loop_test(tc, own_filter, 0, 2);
	tcase_add_loop_test(tc, own_filter_named, 0, 2);
	tcase_add_loop_test(tc, taken_out, 0, 4 * N_CHANGES);
}
