/* SPDX-License-Identifier: MIT */
/* The method ssl_sendfile against a scripted kernel. */
#include "scripted_sys.h"
#include "unit_kernel_send_world.h"

#include <limits.h>

#define PER_CALL	(1u << 20)	/* the default of max_per_call */

/* ---- the calls for a job, and which of them leave a record open ---- */

/* One tlssf_send_job() sends the job, and no record is open afterwards. */
static void run_job(size_t header, uint64_t file, size_t trailer)
{
	struct tlssf_job job = make_job(header, file, trailer);

	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	ck_assert_uint_eq(job.done, header + file + trailer);
	ck_assert(!tl_conn(w.p.ssl)->tx->open);
}

/* Small jobs: header, file and trailer go into one send(). */
START_TEST(tiny_jobs_are_one_send)
{
	world_open();
	run_job(100, 1000, 10);
	ASSERT_LOG({ BY_SEND, 0, 1110 });
	run_job(100, 2048, 1948);
	ASSERT_LOG({ BY_SEND, 0, 4096 });
	run_job(100, 0, 50);
	ASSERT_LOG({ BY_SEND, 0, 150 });
	/* without a header nothing is joined, so nothing is copied */
	run_job(0, 100, 50);
	ASSERT_LOG({ BY_FILE, 7, 100 }, { BY_SEND, 0, 50 });
	world_close();
}
END_TEST

/* After a short send() the remaining part of the file is read again. */
START_TEST(tiny_job_in_two_sends)
{
	struct tlssf_job job;

	world_open();
	job = make_job(100, 900, 5);
	answer(60, -EAGAIN, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(job.done, 60);
	ASSERT_LOG({ BY_SEND, 0, 1005 }, { BY_SEND, 0, 945 });
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	ASSERT_LOG({ BY_SEND, 0, 945 });
	world_close();
}
END_TEST

/* The bytes that could be read are sent; then the read error is reported. */
START_TEST(tiny_job_and_a_bad_file)
{
	struct tlssf_job job;

	world_open();
	job = make_job(100, 900, 5);
	w.pread_err = EIO;
	answer(ALL, -EIO, ALL);
	assert_error(tlssf_send_job(w.p.ssl, &job), EIO,
		     TLSSF_REASON_FILE_READ, false);
	ck_assert_uint_eq(job.done, 100);
	ASSERT_LOG({ BY_SEND, 0, 100 }, { BY_FILE, 7, 900 });
	world_close();
}
END_TEST

START_TEST(small_jobs_share_a_record)
{
	world_open();
	for (w.blocking = 0;; w.blocking = 1) {
		run_job(100, 10000, 10);
		ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 10000 },
			   { BY_SEND, 0, 10 });
		run_job(100, 2049, 0);
		ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 2049 });
		run_job(100, 2048, 1949);
		ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 2048 },
			   { BY_SEND, 0, 1949 });
		run_job(100, RECORD_MAX - 100, 0);
		ASSERT_LOG({ BY_SEND_MORE, 0, 100 },
			   { BY_FILE, 7, RECORD_MAX - 100 });
		run_job(100, 0, 5000);
		ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_SEND, 0, 5000 });
		run_job(0, 100, 50);
		ASSERT_LOG({ BY_FILE, 7, 100 }, { BY_SEND, 0, 50 });
		run_job(RECORD_MAX, 0, 0);
		ASSERT_LOG({ BY_SEND, 0, RECORD_MAX });
		if (w.blocking)
			break;
	}
	world_close();
}
END_TEST

START_TEST(large_jobs_do_not)
{
	world_open();
	run_job(100, RECORD_MAX - 99, 0);
	ASSERT_LOG({ BY_SEND, 0, 100 }, { BY_FILE, 7, RECORD_MAX - 99 });
	run_job(100, RECORD_MAX - 100, 1);
	ASSERT_LOG({ BY_SEND, 0, 100 }, { BY_FILE, 7, RECORD_MAX - 100 },
		   { BY_SEND, 0, 1 });
	run_job(50000, 5, 50000);
	ASSERT_LOG({ BY_SEND, 0, 50000 }, { BY_FILE, 7, 5 },
		   { BY_SEND, 0, 50000 });
	world_close();
}
END_TEST

START_TEST(one_call_is_capped)
{
	/* ssize_t of a 32-bit system holds less than the rest of the file */
	const uint64_t rest = 0x8fffffffu,
		       all = rest < SSIZE_MAX ? rest : SSIZE_MAX;

	world_open();
	w.file_size = 0x90000000u;
	w.blocking = true;
	ck_assert_int_eq(send_file(1, SIZE_MAX), (intmax_t)all);
	ASSERT_LOG({ BY_FILE, 1, 0x7ffff000u },
		   { BY_FILE, 0x7ffff001u, all - 0x7ffff000u });
	ck_assert_int_eq(send_file(1, 0x7ffff000u), 0x7ffff000);
	ASSERT_LOG({ BY_FILE, 1, 0x7ffff000u });
	w.blocking = false;
	ck_assert_int_eq(send_file(1, SIZE_MAX), PER_CALL);
	ASSERT_LOG({ BY_FILE, 1, PER_CALL });
	world_close();
}
END_TEST

START_TEST(clamped_to_the_file)
{
	world_open();
	w.file_size = 1000;
	ck_assert_int_eq(send_file(0, SIZE_MAX), 1000);
	ASSERT_LOG({ BY_FILE, 0, 1000 });
	ck_assert_int_eq(send_file(999, 2), 1);
	ASSERT_LOG({ BY_FILE, 999, 1 });
	ck_assert_int_eq(send_file(1000, 1), 0);
	ck_assert_int_eq(send_file(0, 0), 0);
	ck_assert_uint_eq(w.logged, 0);
	world_close();
}
END_TEST

/* ---- short counts ---- */

/* Send until the socket is full; the record stays open for more data. */
START_TEST(short_count_nonblocking)
{
	world_open();
	answer(300, 200, -EAGAIN);
	ck_assert_int_eq(send_file(0, 1000), 500);
	ASSERT_LOG({ BY_FILE, 0, 1000 }, { BY_FILE, 300, 700 },
		   { BY_FILE, 500, 500 });
	answer(-EAGAIN, ALL, ALL);
	ck_assert_int_eq(send_file(500, 500), TLSSF_WANT_WRITE);
	ASSERT_LOG({ BY_FILE, 500, 500 });
	ck_assert_int_eq(send_file(500, 500), 500);
	ASSERT_LOG({ BY_FILE, 500, 500 });
	ck_assert(!tl_conn(w.p.ssl)->tx->open);
	world_close();
}
END_TEST

/*
 * A short count after a signal or SO_SNDTIMEO is reported at once, and no
 * record stays open.
 */
START_TEST(short_count_blocking)
{
	struct tlssf_job job;

	world_open();
	w.blocking = true;
	answer(300, ALL, ALL);
	ck_assert_int_eq(send_file(0, 1000), 300);
	ASSERT_LOG({ BY_FILE, 0, 1000 }, { BY_PUSH, 0, 0 });
	answer(-EINTR, ALL, ALL);
	ck_assert_int_eq(send_file(300, 700), TLSSF_WANT_WRITE);
	ASSERT_LOG({ BY_FILE, 300, 700 });	/* no record was open */
	job = make_job(100, 9000, 0);
	answer(ALL, -EAGAIN, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_WANT_WRITE);
	ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 9000 },
		   { BY_PUSH, 0, 0 });
	ck_assert_uint_eq(job.done, 100);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	ASSERT_LOG({ BY_FILE, 7, 9000 });
	world_close();
}
END_TEST

/*
 * A short send of the header leaves a record open, too. tlssf_flush() closes
 * the record before it reads TCP's counters.
 */
START_TEST(flush_pushes_what_is_open)
{
	struct tlssf_job job;

	world_open();
	job = make_job(100, 100000, 0);
	answer(60, -EAGAIN, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(job.done, 60);
	ASSERT_LOG({ BY_SEND, 0, 100 }, { BY_SEND, 0, 40 });
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	ASSERT_LOG({ BY_PUSH, 0, 0 });
	w.tcp.in_tcp = 60;	/* the scripted sequence number never rises */
	ck_assert_int_eq(tlssf_flush(w.p.ssl), 0);
	ck_assert_uint_eq(w.logged, 0);
	world_close();
}
END_TEST

/*
 * The file was truncated. tlssf_send() takes this for the end of the file; for
 * tlssf_send_job() it is an error.
 */
START_TEST(file_ends_early)
{
	struct tlssf_job job;

	world_open();
	answer(0, ALL, ALL);
	ck_assert_int_eq(send_file(0, 1000), 0);
	ASSERT_LOG({ BY_FILE, 0, 1000 });
	answer(300, 0, ALL);
	ck_assert_int_eq(send_file(0, 1000), 300);
	ASSERT_LOG({ BY_FILE, 0, 1000 }, { BY_FILE, 300, 700 },
		   { BY_PUSH, 0, 0 });
	job = make_job(100, 9000, 5);
	answer(ALL, 0, ALL);
	assert_error(tlssf_send_job(w.p.ssl, &job), ENODATA,
		     TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_eq(job.done, 100);
	ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 9000 },
		   { BY_PUSH, 0, 0 });
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	world_close();
}
END_TEST

/*
 * The caller passes the file's size, so the library does not call fstat();
 * missing bytes are an error all the same.
 */
START_TEST(known_file_is_not_looked_at)
{
	struct tlssf_job job;
	unsigned int looks;

	world_open();
	looks = script_count(CALL_file_size);
	job = make_job(100, 9000, 5);
	job.file_known = 1;
	w.file_size = 50;
	answer(ALL, 43, 0);
	assert_error(tlssf_send_job(w.p.ssl, &job), ENODATA,
		     TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_eq(job.done, 143);
	ASSERT_LOG({ BY_SEND_MORE, 0, 100 }, { BY_FILE, 7, 9000 },
		   { BY_FILE, 50, 8957 }, { BY_PUSH, 0, 0 });
	ck_assert_uint_eq(script_count(CALL_file_size), looks);
	job.file_known = 0;
	job.done = 0;
	assert_error(tlssf_send_job(w.p.ssl, &job), ENODATA,
		     TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_eq(job.done, 0);
	ck_assert_uint_eq(script_count(CALL_file_size), looks + 1);
	world_close();
}
END_TEST

/*
 * If a flush follows a small job, only the flush checks TCP's state. A large
 * job checks it, too.
 */
START_TEST(flush_tells_that_the_peer_has_gone)
{
	struct tlssf_job job;
	unsigned int looks;

	world_open();
	w.state = w.tcp.state = TCP_CLOSE;
	looks = script_count(CALL_tcp_state);
	job = make_job(100, 9000, 0);
	job.then_flush = 1;
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	ck_assert_uint_eq(script_count(CALL_tcp_state), looks);
	w.tcp.queued = 1;
	assert_error(tlssf_flush(w.p.ssl), EPIPE, TLSSF_REASON_PEER_GONE,
		     true);
	world_close();

	world_open();
	w.state = TCP_CLOSE;
	job = make_job(100, 131072, 0);
	job.then_flush = 1;
	assert_error(tlssf_send_job(w.p.ssl, &job), EPIPE,
		     TLSSF_REASON_PEER_GONE, true);
	ck_assert_uint_eq(job.done, 0);
	world_close();
}
END_TEST

/*
 * Data of the peer that arrived since the last check of TCP's state replaces
 * one such check.
 */
START_TEST(peer_that_was_heard_is_not_looked_at)
{
	unsigned int looks;
	char c;

	world_open();
	ck_assert_int_eq(send_file(0, 131072), 131072);
	looks = script_count(CALL_tcp_state);
	ck_assert_int_eq(send_file(0, 131072), 131072);
	ck_assert_uint_eq(script_count(CALL_tcp_state), looks + 1);

	ck_assert_int_eq(SSL_write(w.p.peer, "x", 1), 1);
	ck_assert_int_eq(SSL_read(w.p.ssl, &c, 1), 1);
	ck_assert_int_eq(send_file(0, 131072), 131072);
	ck_assert_uint_eq(script_count(CALL_tcp_state), looks + 1);
	w.state = TCP_CLOSE;
	assert_error(send_file(0, 1), EPIPE, TLSSF_REASON_PEER_GONE, true);
	world_close();

	world_open();
	ck_assert_int_eq(SSL_write(w.p.peer, "x", 1), 1);
	ck_assert_int_eq(SSL_read(w.p.ssl, &c, 1), 1);
	w.state = TCP_CLOSE;
	assert_error(send_file(0, 131073), EPIPE, TLSSF_REASON_PEER_GONE, true);
	world_close();
}
END_TEST

/* ---- packets ---- */

static void assert_corked(bool header, bool file)
{
	ck_assert_int_eq(w.in_cork[0], header);
	ck_assert_int_eq(w.in_cork[1], file);
}

/*
 * The header has a record of its own and shares a packet with the file; then
 * TCP_CORK is cleared.
 */
START_TEST(header_shares_a_packet)
{
	struct tlssf_job job;

	world_open();
	run_job(100, 20000, 10);
	assert_corked(true, true);
	ck_assert(!w.corked);
	w.logged = 0;
	job = make_job(100, 20000, 10);
	answer(ALL, -EAGAIN, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_WANT_WRITE);
	assert_corked(true, true);
	ck_assert(!w.corked);
	answer(ALL, ALL, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	assert_corked(false, false);	/* the header was sent before */
	world_close();
}
END_TEST

START_TEST(no_cork_where_none_is_due)
{
	unsigned int corks;

	world_open();
	corks = script_count(CALL_tcp_cork);
	run_job(100, 10000, 10);	/* one record needs no cork */
	w.logged = 0;
	w.corked = true;		/* the application has set TCP_CORK */
	run_job(100, 20000, 10);
	ck_assert(w.corked);
	ck_assert_uint_eq(script_count(CALL_tcp_cork), corks);
	world_close();
}
END_TEST

/* ---- waiting ---- */

/*
 * Kernel TLS may return EAGAIN although POLLOUT is ready: retry_ms says when to
 * try again.
 */
START_TEST(retry_ms_backs_off)
{
	static const unsigned int ms[] = { 1, 2, 4, 8, 16, 32, 64, 64 };

	world_open();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 8; i++) {
			answer(-EAGAIN, ALL, ALL);
			w.revents = POLLOUT;
			ck_assert_int_eq(send_file(0, 10), TLSSF_WANT_WRITE);
			ck_assert_uint_eq(status_now().retry_ms, ms[i]);
		}
		ck_assert_int_eq(send_file(0, 10), 10);
	}
	w.revents = 0;
	answer(-EAGAIN, ALL, ALL);
	ck_assert_int_eq(send_file(0, 10), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(status_now().retry_ms, 0);
	world_close();
}
END_TEST

/*
 * Before TLSSF_WANT_WRITE is returned, TCP is pushed: without that, Linux
 * before 6.5 leaves records in TCP unsent.
 */
START_TEST(want_pushes_tcp)
{
	unsigned int before;

	world_open();
	before = script_count(CALL_tcp_cork);
	answer(-EAGAIN, ALL, ALL);
	ck_assert_int_eq(send_file(0, 10), TLSSF_WANT_WRITE);
	ck_assert_uint_gt(script_count(CALL_tcp_cork), before);
	world_close();
}
END_TEST

START_TEST(no_call_inside_an_unfinished_write)
{
	world_open();
	w.p.wire.room = 0;
	ck_assert_int_eq(SSL_write(w.p.ssl, "hello", 5), -1);
	assert_error(send_file(0, 10), EBUSY, TLSSF_REASON_PENDING_WRITE,
		     false);
	ck_assert_uint_eq(w.logged, 0);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(SSL_write(w.p.ssl, "hello", 5), 5);
	ck_assert_int_eq(send_file(0, 10), 10);
	w.p.wire.writes = 0;
	world_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_kernel_send");
	TCase *pieces = add_case(suite, "pieces");
	TCase *counts = add_case(suite, "counts");
	TCase *packets = add_case(suite, "packets");
	TCase *waits = add_case(suite, "waits");

	tcase_add_test(pieces, tiny_jobs_are_one_send);
	tcase_add_test(pieces, tiny_job_in_two_sends);
	tcase_add_test(pieces, tiny_job_and_a_bad_file);
	tcase_add_test(pieces, small_jobs_share_a_record);
	tcase_add_test(pieces, large_jobs_do_not);
	tcase_add_test(pieces, one_call_is_capped);
	tcase_add_test(pieces, clamped_to_the_file);
	tcase_add_test(counts, short_count_nonblocking);
	tcase_add_test(counts, short_count_blocking);
	tcase_add_test(counts, flush_pushes_what_is_open);
	tcase_add_test(counts, file_ends_early);
	tcase_add_test(counts, known_file_is_not_looked_at);
	tcase_add_test(counts, flush_tells_that_the_peer_has_gone);
	tcase_add_test(counts, peer_that_was_heard_is_not_looked_at);
	tcase_add_test(packets, header_shares_a_packet);
	tcase_add_test(packets, no_cork_where_none_is_due);
	tcase_add_test(waits, retry_ms_backs_off);
	tcase_add_test(waits, want_pushes_tcp);
	tcase_add_test(waits, no_call_inside_an_unfinished_write);
	add_error_tests(suite);
	add_file_tests(suite);
	return run_suite("unit_kernel_send", suite);
}
