/* SPDX-License-Identifier: MIT */
/*
 * The state of a connection belongs to its SSL and ends with it, when the SSL
 * is duplicated, cleared or freed at any moment, or its BIOs are replaced. The
 * sanitizer's build finds leaks.
 */
#include "e2e_life.h"

#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ALL	(2 * MIB)

struct link life;
struct file life_file;
static struct link second;
static uint64_t reported;	/* bytes of the stream that were reported */

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&life, 0, sizeof(life));
	memset(&second, 0, sizeof(second));
}

static void teardown(void)
{
	link_close(&life);
	link_close(&second);
}

void life_ends_well(struct link *l)
{
	write_all(l, "still here", 10);
	deliver(l, &life_file, 4097, 300001);
	shutdown_all(l);
	expect_end(l, END_NOTIFY);
}

bool life_open_full(struct link *l, int way, const char *test)
{
	struct link_conf conf = { .nonblocking = true, .sndbuf = 16384,
				  .peer.rcvbuf = 8192 };

	if (!link_open_way(l, way, &conf, test))
		return false;
	life_fill(l);
	return true;
}

void life_fill(struct link *l)
{
	ssize_t n = 0;

	for (reported = 0; n >= 0 && reported < ALL;
	     reported += n > 0 ? (size_t)n : 0)
		n = tlssf_send(l->ssl, life_file.fd, (off_t)reported,
			       (size_t)(ALL - reported));
	ck_assert_int_eq(n, TLSSF_WANT_WRITE);
	expect_file(l, &life_file, 0, (size_t)reported);
}

void life_send_rest(struct link *l)
{
	peer_do_read(l, ALL, 0, 0);
	send_all(l, &life_file, reported, (size_t)(ALL - reported));
	compare(l);
}

/* ---- SSL_free, SSL_dup, SSL_clear ---- */

START_TEST(free_at_once)
{
	struct link_conf conf = { .no_handshake = true };
	struct tlssf_status st;

	link_open(&life, &conf);
	get_status(&life, &st);		/* this call attaches our state */
	ck_assert_int_eq(st.method, TLSSF_METHOD_AUTO);
	link_close(&life);
}
END_TEST

/*
 * SSL_free() while the socket is full (even loops) or idle (odd loops). The
 * peer sees no close_notify.
 */
START_TEST(free_after_send)
{
	struct link_conf conf = { 0 };

	if (_i % 2 ? !link_open_way(&life, _i / 2, &conf, __func__)
		   : !life_open_full(&life, _i / 2, __func__))
		return;
	if (_i % 2)
		deliver(&life, &life_file, 1, MIB);
	SSL_free(life.ssl);
	life.ssl = NULL;
	close(life.fd);
	life.fd = 0;
	peer_do(&life, PEER_READ, PEER_ALL);
	ck_assert_int_ne(get_report(&life)->end, END_NOTIFY);
}
END_TEST

/*
 * The limit max_buffered counts live connections only: the second connection
 * waits as long as the first one holds all of it.
 */
START_TEST(freed_is_not_counted)
{
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
		.nonblocking = true, .sndbuf = 16384, .max_buffered = 1 };

	ck_assert(life_open_full(&life, _i, __func__));
	link_open(&second, &conf);
	ck_assert_int_eq(tlssf_send(second.ssl, life_file.fd, 0, 1000),
			 TLSSF_WANT_WRITE);
	link_close(&life);
	life_ends_well(&second);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no SSL_dup() */
/*
 * The duplicate of an unused SSL starts without state; SSL_dup() of a connected
 * SSL returns the SSL itself.
 */
START_TEST(duplicate)
{
	struct link_conf conf = { .no_handshake = true };
	SSL *copy;

	link_open(&life, &conf);
	ck_assert_int_eq(tlssf_send(life.ssl, life_file.fd, 0, 1),
			 TLSSF_ERROR);
	copy = SSL_dup(life.ssl);
	ck_assert_ptr_nonnull(copy);
	ck_assert_ptr_ne(copy, life.ssl);
	SSL_free(life.ssl);
	life.ssl = copy;
	ck_assert_int_eq(SSL_set_fd(copy, life.fd), 1);
	link_handshake(&life);
	deliver(&life, &life_file, 0, 1000);
	copy = SSL_dup(life.ssl);
	SSL_free(copy);
	life_ends_well(&life);
}
END_TEST
#endif

/* SSL_clear(), and a second connection of the same SSL on a new socket. */
static void reuse(struct link *from, struct link *to, int way)
{
	struct link_conf conf = { .version = ways[way].version,
				  .no_handshake = true };

	link_open(to, &conf);
	SSL_free(to->ssl);
	to->ssl = from->ssl;
	from->ssl = NULL;
	ck_assert_int_eq(SSL_clear(to->ssl), 1);
	ck_assert_int_eq(SSL_set_fd(to->ssl, to->fd), 1);
	link_handshake(to);
}

/*
 * SSL_clear() after the first connection has ended cleanly or has failed, or
 * while its socket is full.
 */
START_TEST(clear_and_reuse)
{
	unsigned int turns = 0;
	int way = _i / 3;

	if (!life_open_full(&life, way, __func__))
		return;
	if (_i % 3 == 0) {
		life_send_rest(&life);
		life_ends_well(&life);
	} else if (_i % 3 == 1) {
		peer_do(&life, PEER_RESET, 0);
		get_report(&life);
		while (tlssf_shutdown(life.ssl) == TLSSF_WANT_WRITE &&
		       pause_turn(&turns))
			;
		ck_assert_int_eq(tlssf_shutdown(life.ssl), TLSSF_ERROR);
	}
	reuse(&life, &second, way);
	life_ends_well(&second);
	ck_assert_int_eq(second.report.alert_out, -1);
}
END_TEST

/* ---- BIOs replaced ---- */

START_TEST(bio_replaced)
{
	struct link_conf conf = { 0 };
	BIO *wbio, *below;

	ck_assert(link_open_way(&life, _i / 3, &conf, __func__));
	deliver(&life, &life_file, 1, 100000);
	wbio = SSL_get_wbio(life.ssl);
	below = BIO_next(wbio);
	ck_assert_ptr_nonnull(below);
	if (_i % 3 == 0) {
		ck_assert_int_eq(SSL_set_fd(life.ssl, life.fd), 1);
	} else if (_i % 3 == 1) {
		wbio = BIO_new_socket(life.fd, BIO_NOCLOSE);
		SSL_set_bio(life.ssl, wbio, wbio);
	} else {	/* this removes our bridge */
		ck_assert_int_eq(BIO_up_ref(below), 1);
		SSL_set0_wbio(life.ssl, below);
	}
	life_ends_well(&life);
}
END_TEST

/*
 * BIOs are replaced while the bridge has encrypted bytes. These are lost, so
 * the stream must end there, with an error and without close_notify.
 */
START_TEST(bio_replaced_when_full)
{
	unsigned int turns = 0;
	ssize_t n;

	ck_assert(life_open_full(&life, _i, __func__));
	ck_assert_int_eq(SSL_set_fd(life.ssl, life.fd), 1);
	peer_do(&life, PEER_READ, PEER_ALL);
	do {
		n = tlssf_send(life.ssl, life_file.fd, (off_t)reported,
			       (size_t)(ALL - reported));
		if (n > 0)
			reported += (size_t)n;
	} while (n != TLSSF_ERROR && reported < ALL && pause_turn(&turns));
	ck_assert_int_eq(n, TLSSF_ERROR);
	ck_assert_int_eq(tlssf_shutdown(life.ssl), TLSSF_ERROR);
	link_close(&second);
	SSL_free(life.ssl);
	life.ssl = NULL;
	close(life.fd);
	life.fd = 0;
	get_report(&life);
	ck_assert_int_ne(life.report.end, END_NOTIFY);
	ck_assert_int_ne(life.report.end, END_BROKEN);
	ck_assert_uint_le(life.report.bytes, reported);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
static void push(SSL *ssl, BIO *top)
{
	BIO *below = SSL_get_wbio(ssl);

	ck_assert_ptr_nonnull(top);
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(ssl, BIO_push(top, below));
}

/* Bytes in a buffering BIO above the bridge leave before those of a send. */
START_TEST(buffer_above)
{
	struct link_conf conf = { .nonblocking = _i % 2 };

	if (!link_open_way(&life, _i / 2, &conf, __func__))
		return;
	deliver(&life, &life_file, 1, 100000);
	push(life.ssl, BIO_new(BIO_f_buffer()));
	peer_do_read(&life, 6 + MIB + 5, 0, 0);
	write_all(&life, "before", 6);
	send_all(&life, &life_file, 7, MIB);
	write_all(&life, "after", 5);
	flush_all(&life);
	compare(&life);
	life_ends_well(&life);
}
END_TEST

#endif

/* ---- SSL_CTX ---- */

static unsigned int lines[2];
static void (*ours)(const SSL *ssl, const char *line);

static void count_line(int which, const char *line)
{
	static const char label[] = "SERVER_HANDSHAKE_TRAFFIC_SECRET ";

	if (!strncmp(line, label, sizeof(label) - 1))
		lines[which]++;
	ck_assert_uint_le(lines[which], 1);
}

static void app_log(const SSL *ssl, const char *line)
{
	(void)ssl;
	count_line(0, line);
}

/* The application's key log callback, set after ours, calls ours. */
static void app_log_above(const SSL *ssl, const char *line)
{
	count_line(1, line);
	if (ours)
		ours(ssl, line);
}

START_TEST(init_again)
{
	struct tlssf_options o = { .size = sizeof(o) };
	struct link_conf conf = { .ctx = plain_ctx(true) };
	bool above = _i % 2;

	lines[0] = lines[1] = 0;
	SSL_CTX_set_keylog_callback(conf.ctx, app_log);
	ck_assert_int_eq(tlssf_ctx_init(conf.ctx, NULL), 0);
	ck_assert_int_eq(tlssf_ctx_init(conf.ctx, &o), 0);
	if (above) {
		ours = SSL_CTX_get_keylog_callback(conf.ctx);
		SSL_CTX_set_keylog_callback(conf.ctx, app_log_above);
	}
	ck_assert_int_eq(tlssf_ctx_init(conf.ctx, &o), 0);
	o.method = TLSSF_METHOD_USERSPACE;
	ck_assert_int_eq(tlssf_ctx_init(conf.ctx, &o), 0);
	if (above)
		ck_assert_ptr_eq((void *)(uintptr_t)
				 SSL_CTX_get_keylog_callback(conf.ctx),
				 (void *)(uintptr_t)app_log_above);
	link_open(&life, &conf);
	SSL_CTX_free(conf.ctx);
	ck_assert_uint_eq(lines[0], 1);
	ck_assert_uint_eq(lines[1], above);
	life_ends_well(&life);
}
END_TEST

/* OpenSSL writes no key log if no callback needs it. */
START_TEST(no_keylog)
{
	struct tlssf_options o = { .size = sizeof(o), .attach_late = 1,
				   .method = TLSSF_METHOD_USERSPACE };
	struct link_conf conf = { .ctx = plain_ctx(true) };
	bool later = _i;

	lines[0] = 0;
	SSL_CTX_set_keylog_callback(conf.ctx, app_log);
	ck_assert_int_eq(tlssf_ctx_init(conf.ctx, &o), 0);
	ck_assert(SSL_CTX_get_keylog_callback(conf.ctx) == app_log);
	if (later) {
		o.method = TLSSF_METHOD_AUTO;
		ck_assert_int_eq(tlssf_ctx_init(conf.ctx, &o), 0);
		ck_assert(SSL_CTX_get_keylog_callback(conf.ctx) != app_log);
	}
	link_open(&life, &conf);
	SSL_CTX_free(conf.ctx);
	ck_assert_uint_eq(lines[0], 1);
	life_ends_well(&life);
}
END_TEST

static int on_name(SSL *ssl, int *alert, void *other)
{
	(void)alert;
	ck_assert_str_eq(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name),
			 "other");
	ck_assert_ptr_eq(SSL_set_SSL_CTX(ssl, other), other);
	return SSL_TLSEXT_ERR_OK;
}

/*
 * The servername callback of a virtual host gives the SSL another SSL_CTX.
 */
START_TEST(other_ctx_by_name)
{
	struct link_conf conf = { .version = ways[_i % 2].version,
		.no_init = _i & 2, .peer.name = "other" };
	struct link_conf host = { .no_init = _i & 4 };
	SSL_CTX *other = test_ctx(&host);

	conf.ctx = test_ctx(&conf);
	SSL_CTX_set_tlsext_servername_callback(conf.ctx, on_name);
	SSL_CTX_set_tlsext_servername_arg(conf.ctx, other);
	link_open(&life, &conf);
	SSL_CTX_free(conf.ctx);
	SSL_CTX_free(other);
	life_ends_well(&life);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_life");
	TCase *tc = add_case(suite, "life");

	warm_up();
	file_make(&life_file, 4 * MIB);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, free_at_once);
	add_ways(tc, free_after_send, 2);
	tcase_add_loop_test(tc, freed_is_not_counted, 0, 2);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_test(tc, duplicate);
	add_ways(tc, buffer_above, 2);
#endif
	add_ways(tc, clear_and_reuse, 3);
	/*
	 * With the other ways the kernel has the keys, and no change of BIOs
	 * can undo that.
	 */
	tcase_add_loop_test(tc, bio_replaced, 0, 3 * 2);
	tcase_add_loop_test(tc, bio_replaced_when_full, 0, 2);
	tcase_add_loop_test(tc, init_again, 0, 2);
	tcase_add_loop_test(tc, no_keylog, 0, 2);
	tcase_add_loop_test(tc, other_ctx_by_name, 0, 8);
	tc = add_case(suite, "process");
	tcase_add_checked_fixture(tc, setup, teardown);
	add_process_tests(tc);
	return run_suite("e2e_life", suite);
}
