/* SPDX-License-Identifier: MIT */
/*
 * The peer closes its side, resets the connection or requests a renegotiation:
 * before the first send, between the sample (the record from which key and
 * sequence number are found) and the moment when the kernel gets the keys, or
 * afterwards. For the second case this program replaces setsockopt().
 */
#include "e2e_takeover.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#define MANY		2000
#define ALL		(2 * TAKEOVER_PAYS)

static size_t begun;		/* how many bytes of ALL were sent */
static const int kinds[] = { PEER_FIN, PEER_RESET };

static void happen(int what)
{
	struct pollfd pfd = { .fd = tk.fd, .events = POLLIN | POLLRDHUP };

	peer_do(&tk, what, 0);
	ck_assert_int_eq(get_report(&tk)->result, 0);
	ck_assert_int_eq(poll(&pfd, 1, HANG_MS), 1);
}

/* ---- our setsockopt() ---- */

static struct {
	bool armed;
	int level, name;	/* before the call with these arguments ... */
	int what;		/* ... the peer does this */
} plan;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (plan.armed && fd == tk.fd && level == plan.level &&
	    name == plan.name) {
		plan.armed = false;
		happen(plan.what);
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

/* ---- what must follow ---- */

/* Send until the reset is reported; then every call reports it. */
static void expect_gone(int tolerated)
{
	struct tlssf_status st;
	ssize_t n = 0;

	for (int i = 0; i < MANY && n != TLSSF_ERROR; i++)
		n = tlssf_send(tk.ssl, tk_file.fd, 0, 65536);
	ck_assert_int_eq(n, TLSSF_ERROR);
	get_status(&tk, &st);
	if (tolerated && st.error == tolerated) {
		ck_assert_int_eq(st.dead, 0);
		return;
	}
	for (int i = 0; i < 4; i++) {
		n = i % 2 ? tlssf_shutdown(tk.ssl)
			  : tlssf_send(tk.ssl, tk_file.fd, 0, 1);
		ck_assert_int_eq(n, TLSSF_ERROR);
		ck_assert(errno == EPIPE || errno == ECONNRESET);
		get_status(&tk, &st);
		ck_assert_msg(st.error == TLSSF_REASON_PEER_GONE, "reason %s",
			      tlssf_reason_name(st.error));
		ck_assert_int_eq(st.dead, 1);
	}
	ERR_clear_error();
	ck_assert_int_le(SSL_write(tk.ssl, "x", 1), 0);
}

/* Check that the peer, which still reads, gets the rest of the send. */
static void expect_all(void)
{
	deliver(&tk, &tk_file, 1 + begun, ALL - begun);
	tk_ends_well(&tk);
}

/* The method is named, or it is AUTO, which continues in user space. */
static const struct way tried[] = {
	{ TLSSF_METHOD_KTLS, TLS1_2_VERSION, "ktls tls12" },
	{ TLSSF_METHOD_KTLS, TLS1_3_VERSION, "ktls tls13" },
	{ TLSSF_METHOD_AUTO, TLS1_3_VERSION, "auto tls13" },
};
#define N_TRIED (int)(sizeof(tried) / sizeof(tried[0]))

static bool open_for(const struct way *w, const char *test)
{
	struct link_conf conf = { .method = w->method,
				  .version = w->version };

	link_open(&tk, &conf);
	if (tk_kernel(conf.version))
		return true;
	skip_test("%.*s, %s: no kernel TLS", (int)strlen(test) - 3, test,
		  w->name);
	return false;
}

/* ---- before, between, after ---- */

START_TEST(before)
{
	struct link_conf conf = { .version = versions[_i % 2] };
	int what = kinds[_i / 2];

	link_open(&tk, &conf);
	happen(what);
	if (what == PEER_RESET)
		expect_gone(0);
	else
		expect_all();
}
END_TEST

/* Kernels refuse TLS_TX on a socket that has received a FIN. */
START_TEST(before_named)
{
	if (!open_for(&tried[_i], __func__))
		return;
	happen(PEER_FIN);
	tk_refused(&tk, TLSSF_REASON_REFUSED);
	write_all(&tk, "still here", 10);
	shutdown_all(&tk);
	expect_end(&tk, END_NOTIFY);
}
END_TEST

/* Send once and note what was accepted. The peer must not be reading then. */
static void send_and_see(void)
{
	ssize_t n;

	set_nonblocking(tk.fd, true);
	n = tlssf_send(tk.ssl, tk_file.fd, 1, ALL);
	set_nonblocking(tk.fd, false);
	begun = n > 0 ? (size_t)n : 0;
	expect_file(&tk, &tk_file, 1, begun);
	ck_assert(!plan.armed);
}

/*
 * The peer acts between the sample and TLS_TX. If AUTO uses OpenSSL's own
 * kernel TLS, there is no sample, so the peer acts before the send.
 */
START_TEST(between)
{
	const struct way *w = &tried[_i % N_TRIED];
	bool named = w->method == TLSSF_METHOD_KTLS;
	bool at_ulp = _i / N_TRIED % 2 == 0;

	if (!open_for(w, __func__))
		return;
	plan.level = at_ulp ? IPPROTO_TCP : SOL_TLS;
	plan.name = at_ulp ? TCP_ULP : TLS_TX;
	plan.what = kinds[_i / N_TRIED / 2];
	plan.armed = named || auto_method(w->version, ciphers, MIB) ==
			      TLSSF_METHOD_KTLS;
	if (plan.armed)
		send_and_see();
	else
		happen(plan.what);
	if (plan.what == PEER_RESET)
		expect_gone(named ? TLSSF_REASON_REFUSED : 0);
	else if (named && at_ulp)
		tk_refused(&tk, TLSSF_REASON_REFUSED);
	else
		expect_all();
}
END_TEST

START_TEST(after)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	int what = kinds[_i / 2];

	link_open(&tk, &conf);
	tk_take_over(&tk);
	happen(what);
	if (what == PEER_RESET)
		expect_gone(0);
	else
		expect_all();
}
END_TEST

/* ---- renegotiation, TLS 1.2 ---- */

/*
 * OpenSSL refuses with an alert that the peer can decrypt, and the peer gives
 * up. Our stream is intact.
 */
START_TEST(renegotiation)
{
	struct link_conf conf = tk_conf(TLS1_2_VERSION);
	char buf[100];

	link_open(&tk, &conf);
	tk_take_over(&tk);
	peer_do(&tk, PEER_RENEGOTIATE, 0);
	ck_assert_int_le(SSL_read(tk.ssl, buf, sizeof(buf)), 0);
	ck_assert_int_eq(get_report(&tk)->result, -1);
	ck_assert_int_eq(tk.report.alert_in, SSL_AD_NO_RENEGOTIATION);
	ck_assert_int_ne(tk.report.alert_out, SSL_AD_BAD_RECORD_MAC);
	ck_assert_uint_eq(tk.report.markers, 0);
	ck_assert_uint_eq(tk.report.nonce_repeats, 0);
}
END_TEST

void add_peer_tests(TCase *tc)
{
	tcase_add_loop_test(tc, before, 0, 4);
	tcase_add_loop_test(tc, before_named, 0, 2);
	tcase_add_loop_test(tc, between, 0, 4 * N_TRIED);
	tcase_add_loop_test(tc, after, 0, 4);
	tcase_add_test(tc, renegotiation);
}
