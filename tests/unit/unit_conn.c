/* SPDX-License-Identifier: MIT */
/*
 * The state of a connection: which process owns it, how calls wait, how it
 * ends.
 */
#include "scripted_sys.h"	/* CMake then adds scripted_sys.c */
#include "test_conn.h"
#include "unit_conn.h"

#include <netinet/tcp.h>

struct world w;

/* ---- the system calls ---- */

static int64_t play_process(const struct sys_args *a)
{
	(void)a;
	return w.process;
}

static int64_t play_pread(const struct sys_args *a)
{
	fill(a->out, a->off, a->out_len);
	return (int64_t)a->out_len;
}

static int64_t play_send(const struct sys_args *a)
{
	return pair_send(&w.p, a->in, a->in_len);
}

static int64_t play_nonblocking(const struct sys_args *a)
{
	(void)a;
	return !w.blocking;
}

static void wait_for(uint64_t ms)
{
	ck_assert_uint_gt(ms, 0);
	ck_assert_uint_le(ms, 1000);
	ck_assert_uint_lt(++w.turns, 10000);
	w.waited += ms;
	script_advance(ms);
}

static int64_t play_poll(const struct sys_args *a)
{
	if (!w.writable && a->value2)
		wait_for((uint64_t)a->value2);
	return w.writable ? a->value : 0;
}

static int64_t play_sleep(const struct sys_args *a)
{
	wait_for((uint64_t)a->value);
	return 0;
}

static int64_t play_send_timeout(const struct sys_args *a)
{
	memcpy(a->out, &w.timeout, sizeof(w.timeout));
	return 0;
}

static int64_t play_alert(const struct sys_args *a)
{
	static const unsigned char fatal[] = { 2, 80 };

	ck_assert_uint_eq(a->in_len, sizeof(fatal));
	ck_assert_mem_eq(a->in, fatal, sizeof(fatal));
	if (w.alert_err)
		return -w.alert_err;
	w.alerts++;
	return (int64_t)a->in_len;
}

static int64_t play_tx_get(const struct sys_args *a)
{
	memset(a->out, 0, a->out_len);
	return 0;
}

static void set_defaults(void)
{
	static const uint64_t socket_id = 4711;

	SCRIPT_DEFAULT(process, .play = play_process);
	SCRIPT_DEFAULT(file_size, .data = &w.file_size,
		       .len = sizeof(w.file_size));
	SCRIPT_DEFAULT(pread, .play = play_pread);
	SCRIPT_DEFAULT(send, .play = play_send);
	SCRIPT_DEFAULT(nonblocking, .play = play_nonblocking);
	SCRIPT_DEFAULT(poll, .fd = SOCK, .play = play_poll);
	SCRIPT_DEFAULT(sleep_ms, .play = play_sleep);
	SCRIPT_DEFAULT(send_timeout_ms, .play = play_send_timeout);
	SCRIPT_DEFAULT(send_room, .result = -ENOPROTOOPT);
	SCRIPT_DEFAULT(tcp, .data = &w.tcp, .len = sizeof(w.tcp));
	SCRIPT_DEFAULT(tcp_state, .result = TCP_ESTABLISHED);
	SCRIPT_DEFAULT(tcp_corked, .result = 0);
	SCRIPT_DEFAULT(tcp_cork, .result = 0);
	SCRIPT_DEFAULT(tls_tx_get, .play = play_tx_get);
	SCRIPT_DEFAULT(send_record, .value = ALERT, .play = play_alert);
	SCRIPT_DEFAULT(socket_id, .data = &socket_id,
		       .len = sizeof(socket_id));
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
}

void world_open(bool kernel)
{
	memset(&w, 0, sizeof(w));
	w.file_size = 1u << 20;
	w.process = 1;
	w.timeout = -1;
	w.tcp.state = TCP_ESTABLISHED;
	script_reset();
	set_defaults();
	pair_open(&w.p, NULL, &rows[2], SOCK, kernel);
}

ssize_t send_file(uint64_t off)
{
	return tlssf_send(w.p.ssl, FILE_FD, (off_t)off, LEN - off);
}

/* A part of the file is encrypted, and the socket accepts less than that. */
static void leave_unsent_bytes(void)
{
	w.p.wire.room = 20000;
	ck_assert_int_eq(send_file(0), RECORD_MAX);
}

static void receive(size_t from, size_t to)
{
	static unsigned char got[LEN], want[LEN];

	ck_assert_uint_eq(pair_read(&w.p, got, to - from), to - from);
	fill(want, from, to - from);
	ck_assert_mem_eq(got, want, to - from);
}

struct tlssf_status status_now(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	ck_assert_int_eq(tlssf_status(w.p.ssl, &st), 0);
	return st;
}

void assert_error(ssize_t r, int err, int reason, bool dead)
{
	int saved = errno;

	ck_assert_int_eq(r, TLSSF_ERROR);
	ck_assert_int_eq(saved, err);
	ck_assert_int_eq(status_now().error, reason);
	ck_assert_int_eq(status_now().dead, dead);
}

/* ---- what an errno means ---- */

static void check_classification(int err, int reason, bool dead, int reported)
{
	struct conn *c = test_conn_new(-1, SEALER_LIBRARY);

	errno = 0;
	ck_assert_int_eq(tlssf_conn_io_error(c, err), TLSSF_ERROR);
	ck_assert_int_eq(errno, reported);
	ck_assert_int_eq(c->err, reported);
	ck_assert_int_eq(c->error, reason);
	ck_assert_int_eq(tlssf_failed(c), dead);
	/* a second failure does not replace the first one */
	tlssf_conn_die(c, TLSSF_REASON_REKEY, EPROTO);
	ck_assert_int_eq(tlssf_failed(c), true);
	ck_assert_int_eq(errno, dead ? reported : EPROTO);
	ck_assert_int_eq(c->error, dead ? reason : TLSSF_REASON_REKEY);
}

static void check_errno(int err)
{
	switch (err) {
	case ENOMEM:
	case ENOBUFS:
		check_classification(err, TLSSF_REASON_NO_MEMORY, false, err);
		break;
	case ECHILD:	/* the library's code for a call in a forked child */
		check_classification(err, TLSSF_REASON_FORKED, false, EPERM);
		break;
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case ESHUTDOWN:
	case ETIMEDOUT:
		check_classification(err, TLSSF_REASON_PEER_GONE, true, err);
		break;
	case EBADMSG:
		check_classification(err, TLSSF_REASON_TLS, true, err);
		break;
	case ERRNO_RESTARTSYS:	/* an internal errno of the kernel */
		check_classification(err, TLSSF_REASON_INTERRUPTED, true, EIO);
		break;
	default:
		check_classification(err, TLSSF_REASON_IO, true, err);
	}
}

START_TEST(every_errno_is_classified)
{
	for_each_errno(check_errno);
}
END_TEST

/* ---- fork ---- */

START_TEST(another_process_sends_nothing)
{
	size_t taken;

	world_open(false);
	leave_unsent_bytes();
	w.p.wire.room = UNLIMITED;
	taken = w.p.wire.taken;
	w.process++;
	assert_error(send_file(RECORD_MAX), EPERM, TLSSF_REASON_FORKED,
		     false);
	assert_error(tlssf_flush(w.p.ssl), EPERM, TLSSF_REASON_FORKED, false);
	assert_error(tlssf_shutdown(w.p.ssl), EPERM, TLSSF_REASON_FORKED,
		     false);
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	pair_close(&w.p);	/* the parent continues with its own copy */
	world_open(false);
	leave_unsent_bytes();
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(send_file(RECORD_MAX), LEN - RECORD_MAX);
	receive(0, LEN);
	pair_close(&w.p);
}
END_TEST

/* ---- flush and shutdown ---- */

START_TEST(flush_nonblocking)
{
	world_open(false);
	leave_unsent_bytes();
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(status_now().retry_ms, 0);
	w.writable = true;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(status_now().retry_ms, 1);
	ck_assert_uint_eq(w.turns, 0);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	receive(0, LEN);
	/* bytes that were flushed are reported now, and not sent again */
	ck_assert_int_eq(send_file(RECORD_MAX), LEN - RECORD_MAX);
	ck_assert_uint_eq(pair_read(&w.p, &w.file_size, 1), 0);
	pair_close(&w.p);
}
END_TEST

/*
 * tlssf_flush() waits as long as SO_SNDTIMEO says, and each turn of its loop
 * waits.
 */
static void flush_blocking(int timeout, bool writable)
{
	world_open(false);
	leave_unsent_bytes();
	w.blocking = true;
	w.writable = writable;
	w.timeout = timeout;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	ck_assert_uint_ge(w.waited, (uint64_t)timeout);
	ck_assert_uint_lt(w.waited, (uint64_t)timeout + 65);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	pair_close(&w.p);
}

START_TEST(flush_waits_for_the_timeout)
{
	flush_blocking(1, false);
	flush_blocking(2500, false);
	flush_blocking(1, true);
	flush_blocking(2500, true);
	ck_assert_uint_lt(w.turns, 100);
}
END_TEST

/* After each short send() tlssf_flush() continues by itself. */
START_TEST(flush_blocking_to_the_end)
{
	world_open(false);
	leave_unsent_bytes();
	w.blocking = true;
	w.p.wire.chunk = 1000;
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	receive(0, LEN);
	pair_close(&w.p);
}
END_TEST

START_TEST(shutdown_says_goodbye_once)
{
	world_open(false);
	leave_unsent_bytes();
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), 0);
	/* tlssf_shutdown() ignores data of the peer */
	ck_assert_int_eq(SSL_write(w.p.peer, "late", 4), 4);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(tlssf_shutdown(w.p.ssl), 0);
	receive(0, LEN);
	ck_assert_uint_eq(pair_read(&w.p, &w.file_size, 1), 0);
	ck_assert(pair_closed(&w.p));
	ck_assert_uint_eq(w.p.wire.writes, 1);
	assert_error(send_file(RECORD_MAX), EPIPE, TLSSF_REASON_SHUT_DOWN,
		     false);
	pair_close(&w.p);
}
END_TEST

START_TEST(quiet_shutdown_only_flushes)
{
	world_open(false);
	leave_unsent_bytes();
	SSL_set_quiet_shutdown(w.p.ssl, 1);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), 0);
	receive(0, LEN);
	ck_assert_uint_eq(w.p.wire.writes, 0);
	ck_assert(!pair_closed(&w.p));
	pair_close(&w.p);
}
END_TEST

/* ---- another BIO ---- */

/*
 * The old BIO had encrypted records, which are lost, so the stream must end
 * here.
 */
START_TEST(bio_replaced_with_a_rest)
{
	world_open(false);
	leave_unsent_bytes();
	SSL_set0_wbio(w.p.ssl, BIO_new(BIO_s_mem()));
	assert_error(send_file(RECORD_MAX), ECONNABORTED, TLSSF_REASON_IO,
		     true);
	ck_assert_int_eq(tlssf_shutdown(w.p.ssl), TLSSF_ERROR);
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	ck_assert_uint_eq(BIO_pending(SSL_get_wbio(w.p.ssl)), 0);
	pair_close(&w.p);
}
END_TEST

START_TEST(bio_replaced_without)
{
	world_open(false);
	w.p.wire.chunk = UNLIMITED;
	ck_assert_int_eq(send_file(0), LEN);
	SSL_set0_wbio(w.p.ssl, BIO_new(BIO_s_mem()));
	ck_assert_int_eq(send_file(0), LEN);
	ck_assert_uint_gt(BIO_pending(SSL_get_wbio(w.p.ssl)), LEN);
	ck_assert(!status_now().dead);
	pair_close(&w.p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_conn");
	TCase *state = add_case(suite, "state");
	TCase *end = add_case(suite, "end");

	tcase_add_test(state, every_errno_is_classified);
	tcase_add_test(state, another_process_sends_nothing);
	tcase_add_test(state, bio_replaced_with_a_rest);
	tcase_add_test(state, bio_replaced_without);
	tcase_add_test(end, flush_nonblocking);
	tcase_add_test(end, flush_waits_for_the_timeout);
	tcase_add_test(end, flush_blocking_to_the_end);
	tcase_add_test(end, shutdown_says_goodbye_once);
	tcase_add_test(end, quiet_shutdown_only_flushes);
	add_clear_tests(suite);
	add_rekey_tests(suite);
	return run_suite("unit_conn", suite);
}
