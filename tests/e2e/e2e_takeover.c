/* SPDX-License-Identifier: MIT */
/*
 * Takeovers (libtlssf takes the write keys over from the TLS library) in the
 * middle of a connection, after tickets, resumption, early data, records of the
 * application and KeyUpdates. If the kernel can encrypt, it gets the keys.
 * Otherwise the same tests run with AUTO, which encrypts in user space with
 * them.
 */
#include "e2e_takeover.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ENOUGH		(TAKEOVER_PAYS + 1001)
#define EARLY		5000	/* bytes of early data */
/* how many sequence numbers, and key generations, are tried */
#define SEARCHED	4096
#define GENERATIONS	16

const int versions[N_VERSIONS] = { TLS1_2_VERSION, TLS1_3_VERSION };
struct link tk;
struct file tk_file;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&tk, 0, sizeof(tk));
}

static void teardown(void)
{
	link_close(&tk);
}

/* ---- shared ---- */

bool tk_kernel(int version)
{
	return kernel_can(version, ciphers);
}

struct link_conf tk_conf(int version)
{
	return (struct link_conf){ .version = version,
		.method = tk_kernel(version) ? TLSSF_METHOD_KTLS
					     : TLSSF_METHOD_AUTO };
}

/*
 * Check that the status after a takeover agrees with what the kernel reports,
 * and with what the peer has decrypted.
 */
static void check_taken(struct link *l)
{
	int version = SSL_version(l->ssl);
	struct tlssf_status st;
	uint64_t seq;

	get_status(l, &st);
	ck_assert_msg(st.takeover == 1, "%s in force, reason %s",
		      tlssf_method_name(st.method),
		      tlssf_reason_name(st.reason));
	ck_assert_int_eq(st.kernel_tx, tk_kernel(version));
	ck_assert_int_eq(st.kernel_tx, kernel_seq(l, &seq));
	if (st.kernel_tx) {
		ck_assert_int_eq(st.method, TLSSF_METHOD_KTLS);
		ck_assert_uint_eq(seq, l->report.key_records +
				       (version == TLS1_2_VERSION));
	}
}

void tk_take_over(struct link *l)
{
	peer_do_read(l, l->bytes + ENOUGH, 0, 0);
	send_all(l, &tk_file, 1, ENOUGH);
	flush_all(l);
	compare(l);
	check_taken(l);
}

void tk_refused(struct link *l, int reason)
{
	struct tlssf_status st;
	ssize_t n = 0;

	get_status(l, &st);
	if (!tk_kernel(st.version)) {
		deliver(l, &tk_file, 1, ENOUGH);
		get_status(l, &st);
		ck_assert_int_eq(st.takeover, 0);
		ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
		return;
	}
	for (int i = 0; i < 3 && n >= 0; i++) {
		n = tlssf_send(l->ssl, tk_file.fd, 1, ENOUGH);
		if (n > 0)
			expect_file(l, &tk_file, 1, (size_t)n);
	}
	assert_failed(l, n, EOPNOTSUPP, reason, false);
	sync_peer(l);
}

void tk_ends_well(struct link *l)
{
	struct tlssf_job job = { .size = sizeof(job), .fd = tk_file.fd,
		.header = "header", .header_len = 6, .off = 3,
		.file_len = 70001, .trailer = "trailer", .trailer_len = 7 };

	peer_do_read(l, l->bytes + 7 + 30001 + 6 + 70001 + 7 + 20000, 0, 0);
	write_all(l, "between", 7);
	send_all(l, &tk_file, 4097, 30001);
	expect_bytes(l, job.header, job.header_len);
	expect_file(l, &tk_file, 3, 70001);
	expect_bytes(l, job.trailer, job.trailer_len);
	job_all(l, &job);
	write_all(l, tk_file.map, 20000);
	flush_all(l);
	compare(l);
	shutdown_all(l);
	expect_end(l, END_NOTIFY);
	ck_assert_int_eq(l->report.alert_out, -1);
}

/*
 * SSL_write() may succeed if it writes to the socket directly: kernel TLS
 * accepts bytes for a direction that was shut down.
 */
void tk_ends_truncated(struct link *l)
{
	ERR_clear_error();
	SSL_write(l->ssl, MARKER, MARKER_LEN);
	ck_assert_int_eq(tlssf_send(l->ssl, tk_file.fd, 0, 70000),
			 TLSSF_ERROR);
	ck_assert_int_eq(tlssf_shutdown(l->ssl), TLSSF_ERROR);
	ERR_clear_error();
	ck_assert_int_le(SSL_write(l->ssl, MARKER, MARKER_LEN), 0);
	SSL_shutdown(l->ssl);
	expect_end(l, END_EOF);
	ck_assert_int_eq(l->report.alert_in, -1);
	ck_assert_int_ne(l->report.alert_out, SSL_AD_BAD_RECORD_MAC);
}

/* ---- what the TLS library has sent before ---- */

static const int ticket_numbers[] = { 0, 1, 2, 5 };

/* TLS 1.2 has at most one ticket, which comes before the Finished. */
START_TEST(tickets)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	int number = ticket_numbers[_i / 2];

	if (conf.version == TLS1_3_VERSION)
		conf.tickets = number + 1;
	else if (number == 0)
		conf.options = SSL_OP_NO_TICKET;
	link_open(&tk, &conf);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

/* Sessions are resumed with a ticket, or with an ID in the server's cache. */
#ifdef OPENSSL_IS_BORINGSSL
#define RESUMPTIONS	3	/* TLS 1.3 by ticket only */
#else
#define RESUMPTIONS	4
#endif

START_TEST(resumed)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);

	conf.options = _i / 2 ? SSL_OP_NO_TICKET : 0;
	conf.ctx = test_ctx(&conf);
	ck_assert_int_eq(SSL_CTX_set_session_id_context(conf.ctx,
				(const unsigned char *)"test", 4), 1);
	for (int i = 0; i < 3; i++) {
		link_open(&tk, &conf);
		ck_assert_int_eq(tk.report.resumed, i > 0);
		tk_take_over(&tk);
		tk_ends_well(&tk);
		link_close(&tk);
		conf.peer.resume = true;
	}
	SSL_CTX_free(conf.ctx);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* e2e_peer tests 0-RTT with BoringSSL */
/* The server reads the early data, and answers before the client's Finished. */
static void accept_early(void)
{
	char buf[EARLY];
	size_t all = 0, n;
	int r;

	do {
		r = SSL_read_early_data(tk.ssl, buf, sizeof(buf), &n);
		ck_assert_int_ne(r, SSL_READ_EARLY_DATA_ERROR);
		all += n;
		if (r == SSL_READ_EARLY_DATA_SUCCESS && all == EARLY) {
			ck_assert_int_eq(SSL_write_early_data(tk.ssl, "half",
							      4, &n), 1);
			expect_bytes(&tk, "half", 4);
			assert_failed(&tk, tlssf_send(tk.ssl, tk_file.fd, 0,
						      1),
				      EINVAL, TLSSF_REASON_HANDSHAKE, false);
		}
	} while (r != SSL_READ_EARLY_DATA_FINISH);
	ck_assert_uint_eq(all, EARLY);
}

/* Accepted 0-RTT data; the server's answer uses the same key as later data. */
START_TEST(early_data)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	conf.ctx = test_ctx(&conf);
	SSL_CTX_set_max_early_data(conf.ctx, 16384);
	link_open(&tk, &conf);
	tk_take_over(&tk);
	tk_ends_well(&tk);	/* or the session is not kept */
	link_close(&tk);
	conf.peer.resume = true;
	conf.peer.early = EARLY;
	conf.no_handshake = true;
	link_open(&tk, &conf);
	SSL_CTX_free(conf.ctx);
	accept_early();
	link_handshake(&tk);
	ck_assert_int_eq(tk.report.resumed, 1);
	ck_assert_int_eq(tk.report.early, 1);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

/*
 * The tickets fill the socket, so our handshake ends late. The peer's handshake
 * has ended long before, and it reads only on command.
 */
START_TEST(tickets_unsent)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);
	struct pollfd pfd = { .events = POLLOUT };
	int r, waits = 0;

	conf.tickets = 60 + 1;
	conf.no_handshake = conf.nonblocking = true;
	conf.sndbuf = 4608;
	conf.peer.rcvbuf = 2304;
	link_open(&tk, &conf);
	pfd.fd = tk.fd;
	pfd.events = POLLIN;
	while ((r = SSL_do_handshake(tk.ssl)) != 1 &&
	       SSL_get_error(tk.ssl, r) == SSL_ERROR_WANT_READ)
		ck_assert_int_eq(poll(&pfd, 1, HANG_MS), 1);
	ck_assert_int_eq(get_report(&tk)->result, 0);
	pfd.events = POLLOUT;
	while (r != 1 && poll(&pfd, 1, 200) == 1) /* the peer does not read */
		r = SSL_do_handshake(tk.ssl);
	ck_assert_int_eq(SSL_get_error(tk.ssl, r), SSL_ERROR_WANT_WRITE);
	assert_failed(&tk, tlssf_send(tk.ssl, tk_file.fd, 0, 1), EINVAL,
		      TLSSF_REASON_HANDSHAKE, false);
	peer_do(&tk, PEER_READ, 5);
	while ((r = SSL_do_handshake(tk.ssl)) != 1 && waits++ < 1000)
		ck_assert_int_eq(poll(&pfd, 1, HANG_MS), 1);
	ck_assert_int_eq(r, 1);
	write_all(&tk, "hello", 5);
	compare(&tk);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

#endif

/* ---- what the application has sent before ---- */

static void write_records(unsigned int n)
{
	peer_do_read(&tk, n, 0, 0);
	for (unsigned int i = 0; i < n; i++)
		write_all(&tk, "r", 1);
	compare(&tk);
}

START_TEST(records_before)
{
	static const unsigned int numbers[] = { 1, 100, SEARCHED - 10 };
	struct link_conf conf = tk_conf(versions[_i % 2]);
	unsigned int n = numbers[_i / 2];

	link_open(&tk, &conf);
	write_records(n > 1000 && in_guest() && !full_run() ? 1000 : n);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

/*
 * The search for the sequence number is limited: beyond the limit there is no
 * takeover, and the connection stays usable.
 */
START_TEST(too_many_before)
{
	struct link_conf conf = tk_conf(versions[_i]);

	link_open(&tk, &conf);
	write_records(SEARCHED + 10);
	tk_refused(&tk, TLSSF_REASON_SEQUENCE_NOT_FOUND);
	write_all(&tk, "still here", 10);
	shutdown_all(&tk);
	expect_end(&tk, END_NOTIFY);
}
END_TEST

static void update_own_key(unsigned int times)
{
	for (unsigned int i = 0; i < times; i++) {
		ck_assert_int_eq(SSL_key_update(tk.ssl,
				SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		write_records(2);
	}
}

/* KeyUpdates are not in the key log, so the logged secret is an old one. */
START_TEST(updates_before)
{
	static const unsigned int numbers[] = { 1, 2, GENERATIONS - 1 };
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	link_open(&tk, &conf);
	update_own_key(numbers[_i]);
	tk_take_over(&tk);
	tk_ends_well(&tk);
}
END_TEST

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL returns the present secret */
START_TEST(too_many_updates_before)
{
	struct link_conf conf = tk_conf(TLS1_3_VERSION);

	link_open(&tk, &conf);
	update_own_key(GENERATIONS);
	tk_refused(&tk, TLSSF_REASON_SEQUENCE_NOT_FOUND);
	write_all(&tk, "still here", 10);
	shutdown_all(&tk);
	expect_end(&tk, END_NOTIFY);
}
END_TEST
#endif

/*
 * Each job has one full record and a little more: enough for a sample, and for
 * the takeover after it.
 */
START_TEST(short_jobs)
{
	struct link_conf conf = { .version = versions[_i] };
	struct tlssf_status st = { 0 };
	uint64_t seq;

	link_open(&tk, &conf);
	for (uint64_t sent = 0; sent < TAKEOVER_PAYS + 16000; sent += 16000) {
		get_status(&tk, &st);
		if (sent + 16000 < TAKEOVER_PAYS)
			ck_assert(!st.takeover);
		deliver(&tk, &tk_file, sent, 16000);
	}
	get_status(&tk, &st);
	ck_assert(st.takeover || kernel_seq(&tk, &seq));
	tk_ends_well(&tk);
}
END_TEST


static void add_before_tests(TCase *tc)
{
	tcase_add_loop_test(tc, tickets, 0, 8);
	tcase_add_loop_test(tc, resumed, 0, RESUMPTIONS);
	tcase_add_loop_test(tc, records_before, 0, 6);
	tcase_add_loop_test(tc, too_many_before, in_guest() ? 1 : 0, 2);
	tcase_add_loop_test(tc, updates_before, 0, 3);
	tcase_add_loop_test(tc, short_jobs, 0, 2);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_test(tc, tickets_unsent);
	tcase_add_test(tc, early_data);
	tcase_add_test(tc, too_many_updates_before);
#endif
}

static void add_tests(Suite *suite, const char *name, void (*add)(TCase *))
{
	TCase *tc = add_case(suite, name);

	tcase_add_checked_fixture(tc, setup, teardown);
	add(tc);
}

int main(void)
{
	Suite *suite = suite_create("e2e_takeover");

	warm_up();
	file_make(&tk_file, MIB);
	add_tests(suite, "before", add_before_tests);
	add_tests(suite, "BIOs", add_bio_tests);
	add_tests(suite, "life", add_life_tests);
	add_tests(suite, "options", add_option_tests);
	add_tests(suite, "peer", add_peer_tests);
	add_tests(suite, "why", add_why_tests);
	add_tests(suite, "client", add_client_tests);
	return run_suite("e2e_takeover", suite);
}
