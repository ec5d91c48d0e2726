/* SPDX-License-Identifier: MIT */
/* The account with every errno of every system call that it makes. */
#include "unit_tx_account.h"

#include <errno.h>

/* ---- facts that are missing ---- */

START_TEST(start_needs_a_socket)
{
	struct conn *c = test_conn_new(-1, SEALER_LIBRARY_IN_KERNEL);

	script_reset();		/* any system call fails the test */
	ck_assert_int_eq(tlssf_tx_open(c, false), -ENOTSOCK);
}
END_TEST

/*
 * The kernel encrypts with a cipher whose records we cannot count: only an idle
 * TCP queue shows that no record is above TCP.
 */
START_TEST(unknown_cipher_is_inexact)
{
	struct conn *c = start(&kinds[0], 0);

	test_conn_describe(c, TLS13, -1);
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	assert_drain(c, -EAGAIN);
	script_advance(25);
	assert_drain(c, 0);
	ck_assert_uint_eq(tlssf_tx_records(c), 0);
}
END_TEST

/* Check that the sum becomes exact when the TCP queue was seen idle twice. */
static void assert_recovers(struct conn *c)
{
	ck_assert(!c->tx->exact);
	assert_drain(c, -EAGAIN);
	script_advance(25);
	assert_drain(c, 0);
	ck_assert(c->tx->exact);
}

/* ---- every errno ---- */

/*
 * After EAGAIN and EINTR the push is tried again. Every other errno is
 * returned, and TCP's counters are not read.
 */
static void fail_push(int err)
{
	bool again = err == EAGAIN || err == EINTR;
	struct conn *c = start(&kinds[0], 0);
	unsigned int looks = script_count(CALL_tcp);

	tlssf_tx_sent(c, 0, true);
	sock.push_err = err;
	ck_assert_int_eq(tlssf_tx_close_record(c), -err);
	assert_drain(c, again ? -EAGAIN : -err);
	ck_assert(c->tx->open);
	ck_assert_uint_eq(script_count(CALL_tcp), looks);
	sock.push_err = 0;
	assert_drain(c, 0);
	ck_assert_uint_eq(sock.pushes, 1);
}

START_TEST(errno_of_push)
{
	for_each_errno(fail_push);
}
END_TEST

static void refuse_options(int err)
{
	struct conn *c = start(&kinds[0], 0);

	test_conn_configure(c, &zerocopy_conf);
	SCRIPT_DEFAULT(tls_option, .result = -err);
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	ck_assert(!c->tx->zerocopy);
	ck_assert_uint_eq(tlssf_tx_record_max(c), RECORD_MAX);
	assert_drain(c, 0);
}

START_TEST(errno_of_options)
{
	for_each_errno(refuse_options);
}
END_TEST

/* Only these errnos mean that the kernel has no keys. */
static bool means_no_key(int err)
{
	return err == ENOPROTOOPT || err == EBUSY || err == ENOTSOCK ||
	       err == EOPNOTSUPP || err == EBADF;
}

static void fail_start(int err)
{
	struct conn *c = start(&kinds[0], 0);

	sock.head_err = err;
	ck_assert_int_eq(tlssf_tx_open(c, false), means_no_key(err) ? -err : 0);
	sock.head_err = 0;
	sock.tcp_err = err;
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	sock.tcp_err = 0;
	assert_recovers(c);
	sock.seq_err = err;
	ck_assert_int_eq(tlssf_tx_open(c, false), 0);
	ck_assert_uint_eq(tlssf_tx_records(c), 0);
	sock.seq_err = 0;
	assert_recovers(c);
}

START_TEST(errno_at_start)
{
	for_each_errno(fail_start);
}
END_TEST

static void fail_tcp(int err)
{
	struct conn *c = start(&kinds[0], 0);

	sock.tcp_err = err;
	assert_drain(c, -err);
	sock.tcp_err = 0;
	assert_drain(c, 0);
}

START_TEST(errno_of_tcp)
{
	for_each_errno(fail_tcp);
}
END_TEST

/*
 * Without the sequence number only an idle TCP queue shows that nothing is
 * held.
 */
static void fail_sequence(int err)
{
	struct conn *c = start(&kinds[0], 0);

	sock.seq_err = err;
	sock.tcp.queued = 1;
	for (int i = 0; i < 3; i++) {
		assert_drain(c, -EAGAIN);
		script_advance(1000);
	}
	sock.tcp.queued = 0;
	sock.seq_err = 0;
	assert_recovers(c);
}

START_TEST(errno_of_the_number)
{
	for_each_errno(fail_sequence);
}
END_TEST

/* A failure while a new sum is started must not make it inexact for ever. */
static void fail_restart(int err)
{
	struct conn *c = start(&kinds[0], 1);

	sock.tcp.queued = 0;
	kernel_sends(c, 10, 1);
	assert_drain(c, -EAGAIN);
	script_advance(25);
	sock.seq_err = err;
	assert_drain(c, 0);
	ck_assert(!c->tx->exact);
	sock.seq_err = 0;
	script_advance(25);
	assert_drain(c, 0);
	ck_assert(c->tx->exact);
}

START_TEST(errno_of_the_number_at_restart)
{
	for_each_errno(fail_restart);
}
END_TEST

void add_tx_account_errors(Suite *suite)
{
	TCase *tc = add_case(suite, "errors");

	tcase_add_test(tc, start_needs_a_socket);
	tcase_add_test(tc, unknown_cipher_is_inexact);
	tcase_add_test(tc, errno_of_push);
	tcase_add_test(tc, errno_of_options);
	tcase_add_test(tc, errno_at_start);
	tcase_add_test(tc, errno_of_tcp);
	tcase_add_test(tc, errno_of_the_number);
	tcase_add_test(tc, errno_of_the_number_at_restart);
}
