/* SPDX-License-Identifier: MIT */
/* Failures while the method userspace sends, and how they are reported. */
#include "unit_userspace_world.h"

#define MANY	1000000u
#define LEN	200000

static const struct tlssf_options userspace = {
	.size = sizeof(userspace),
	.method = TLSSF_METHOD_USERSPACE,
	.max_per_call = 4u << 20,
};

/* ---- reading the file ---- */

static void fail_size(int err)
{
	int reason = err == EBADF ? TLSSF_REASON_BAD_FD :
		     err == EINVAL ? TLSSF_REASON_NOT_REGULAR :
		     TLSSF_REASON_FILE_READ;

	SCRIPT(file_size, .fd = FILE_FD, .result = -err);
	assert_error(step(10), err, reason, false);
	script_done();
	ck_assert_int_eq(step(10), 10);
	begin(0);
}

START_TEST(errno_of_the_size)
{
	world_open(TLS13_ROW, NULL);
	for_each_errno(fail_size);
	world_close();
}
END_TEST

static void assert_nothing_kept(void)
{
	ck_assert_ptr_null(tlssf_queue_batch(tl_conn(w.p.ssl)->bridge));
}

/* No byte was sent, and the connection works as before. */
static void fail_read(int err)
{
	size_t taken = w.p.wire.taken;

	if (err == EINTR)
		return;		/* the read is repeated; tested below */
	begin((uint64_t)err);
	w.reads_left = 0;
	w.read_err = err;
	assert_error(step(LEN), err, TLSSF_REASON_FILE_READ, false);
	ck_assert_uint_eq(w.p.wire.taken, taken);
	assert_nothing_kept();
	w.reads_left = MANY;
	finish(LEN);
}

/* Bytes that were read before the failure are sent and reported first. */
static void fail_second_read(int err)
{
	if (err == EINTR)
		return;
	begin((uint64_t)err);
	w.reads_left = 1;
	w.read_err = err;
	ck_assert_int_eq(step(LEN), PLAIN_SIZE);
	assert_error(step(LEN), err, TLSSF_REASON_FILE_READ, false);
	w.reads_left = 3;	/* a short record, which counts */
	w.read_max = 1000;
	ck_assert_int_eq(step(LEN), 3000);
	assert_error(step(LEN), err, TLSSF_REASON_FILE_READ, false);
	w.reads_left = MANY;
	w.read_max = UNLIMITED;
	finish(LEN);
}

START_TEST(errno_of_pread)
{
	world_open(TLS13_ROW, &userspace);
	for_each_errno(fail_read);
	for_each_errno(fail_second_read);
	world_close();
}
END_TEST

START_TEST(short_reads)
{
	static const size_t sizes[] = { 1, 7, 16383, 16385, 65535 };
	struct tlssf_status st;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		world_open(TLS13_ROW, NULL);
		w.read_max = sizes[i];
		SCRIPT(pread, .result = -EINTR);
		SCRIPT(pread, .result = -EINTR);
		ck_assert_int_eq(step(LEN), LEN);
		script_done();
		st = status_of(w.p.ssl);	/* all records are full */
		ck_assert_uint_eq(st.records[TLSSF_METHOD_USERSPACE],
				  (LEN + RECORD_MAX - 1) / RECORD_MAX);
		world_close();
	}
}
END_TEST

/*
 * The file was truncated after its size was read. tlssf_send() takes this for
 * the end of the file, and reports no error.
 */
START_TEST(file_ends_early)
{
	world_open(TLS13_ROW, NULL);
	w.read_max = 0;
	ck_assert_int_eq(step(LEN), 0);
	ck_assert_uint_eq(w.p.wire.taken, 0);
	assert_nothing_kept();
	w.read_max = UNLIMITED;
	w.reads_left = 1;
	w.read_err = 0;
	ck_assert_int_eq(step(LEN), PLAIN_SIZE);
	ck_assert_int_eq(step(LEN), 0);
	w.reads_left = MANY;
	finish(LEN);
	world_close();
}
END_TEST

START_TEST(job_tells_a_short_file)
{
	struct tlssf_job job = { .size = sizeof(job), .header = "head",
				 .header_len = 4, .fd = FILE_FD,
				 .file_len = LEN, .trailer = "end",
				 .trailer_len = 3 };
	char text[8];

	world_open(TLS13_ROW, NULL);
	w.read_max = 0;
	assert_error(tlssf_send_job(w.p.ssl, &job), ENODATA,
		     TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_eq(job.done, 4);
	ck_assert_uint_eq(pair_read(&w.p, text, 8), 4);
	ck_assert_mem_eq(text, "head", 4);
	w.read_max = UNLIMITED;
	w.reads_left = 0;
	w.read_err = EIO;
	assert_error(tlssf_send_job(w.p.ssl, &job), EIO,
		     TLSSF_REASON_FILE_READ, false);
	ck_assert_uint_eq(job.done, 4);
	w.reads_left = MANY;
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	receive_part(0, LEN);
	ck_assert_uint_eq(pair_read(&w.p, text, 8), 3);
	ck_assert_mem_eq(text, "end", 3);
	world_close();
}
END_TEST

/* ---- sending ---- */

static const struct verdict {
	int err, reason, reported;
	bool passes;
} verdicts[] = {
	{ ENOMEM, TLSSF_REASON_NO_MEMORY, ENOMEM, true },
	{ ENOBUFS, TLSSF_REASON_NO_MEMORY, ENOBUFS, true },
	{ EPIPE, TLSSF_REASON_PEER_GONE, EPIPE, false },
	{ ECONNRESET, TLSSF_REASON_PEER_GONE, ECONNRESET, false },
	{ ECONNABORTED, TLSSF_REASON_PEER_GONE, ECONNABORTED, false },
	{ ENOTCONN, TLSSF_REASON_PEER_GONE, ENOTCONN, false },
	{ ESHUTDOWN, TLSSF_REASON_PEER_GONE, ESHUTDOWN, false },
	{ ETIMEDOUT, TLSSF_REASON_PEER_GONE, ETIMEDOUT, false },
	{ EBADMSG, TLSSF_REASON_TLS, EBADMSG, false },
	{ ERRNO_RESTARTSYS, TLSSF_REASON_INTERRUPTED, EIO, false },
};

static struct verdict verdict_of(int err)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (verdicts[i].err == err)
			return verdicts[i];
	return (struct verdict){ err, TLSSF_REASON_IO, err, false };
}

/* The socket fails now, and works again if the error is one that passes. */
static void refuse(int err)
{
	struct verdict v = verdict_of(err);

	assert_error(step(LEN), v.reported, v.reason, !v.passes);
	if (v.passes) {
		ck_assert_uint_gt(status_of(w.p.ssl).buffered, 0);
		w.p.wire.room = UNLIMITED;
		finish(LEN);
	} else {
		assert_dead(v.reported);
	}
	world_close();
}

/*
 * EAGAIN and EINTR have tests of their own; ECHILD is the library's code for a
 * call in a forked child.
 */
static bool special(int err)
{
	return err == EAGAIN || err == EINTR || err == ECHILD;
}

static void fail_send(int err)
{
	if (special(err))
		return;
	world_open(TLS13_ROW, &userspace);
	w.p.wire.room = 0;
	w.p.wire.err = err;
	refuse(err);
}

/* The send of the rest of a batch fails, after a part of it was sent. */
static void fail_rest(int err)
{
	if (special(err))
		return;
	world_open(&rows[err % N_ROWS], &userspace);
	w.p.wire.room = 40000;
	w.p.wire.err = err;
	ck_assert_int_eq(step(LEN), 2 * RECORD_MAX);
	refuse(err);
}

START_TEST(errno_of_send)
{
	for_each_errno(fail_send);
}
END_TEST

START_TEST(errno_of_the_rest)
{
	for_each_errno(fail_rest);
}
END_TEST

/*
 * In one call a batch is sent and the next one fails: the bytes sent are
 * reported first.
 */
START_TEST(progress_is_told_before_the_error)
{
	size_t first;

	world_open(TLS13_ROW, &userspace);
	w.p.wire.room = 0;
	step(1u << 20);
	first = w.p.wire.last;
	world_close();
	for (int blocking = 0; blocking < 2; blocking++) {
		world_open(TLS13_ROW, &userspace);
		w.blocking = blocking;
		w.p.wire.room = first;
		w.p.wire.err = ECONNRESET;
		ck_assert_int_gt(step(1u << 20), BATCH_LARGE - RECORD_MAX);
		ck_assert_uint_eq(w.p.wire.room, 0);
		assert_dead(ECONNRESET);
		world_close();
	}
}
END_TEST

/* If O_NONBLOCK cannot be read, the socket counts as non-blocking. */
static void fail_nonblocking(int err)
{
	begin((uint64_t)err);
	SCRIPT_DEFAULT(nonblocking, .result = -err);
	w.p.wire.room = 0;
	ck_assert_int_eq(step(LEN), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	finish(LEN);
}

START_TEST(errno_of_the_flags)
{
	world_open(TLS13_ROW, &userspace);
	for_each_errno(fail_nonblocking);
	world_close();
}
END_TEST

/* ---- limits of the process, and waiting ---- */

START_TEST(max_buffered_answers_want)
{
	struct tlssf_options o = userspace;

	o.max_buffered = 1;
	world_open(TLS13_ROW, &o);
	pair_open(&w.p2, SSL_get_SSL_CTX(w.p.ssl), TLS13_ROW, SOCK2, false);
	w.writable = true;
	w.p.wire.room = 100;
	ck_assert_int_eq(step(LEN), TLSSF_WANT_WRITE);
	for (unsigned int ms = 1; ms <= 4; ms *= 2) {
		ck_assert_int_eq(tlssf_send(w.p2.ssl, FILE_FD, 0, LEN),
				 TLSSF_WANT_WRITE);
		ck_assert_uint_eq(status_of(w.p2.ssl).retry_ms, ms);
	}
	ck_assert_uint_eq(w.p2.wire.last, 0);
	/* the unsent rest of a batch is not limited */
	w.p.wire.room = UNLIMITED;
	finish(LEN);
	ck_assert_int_eq(tlssf_send(w.p2.ssl, FILE_FD, 0, LEN), LEN);
	world_close();
}
END_TEST

/* A connection that is freed no longer counts for max_buffered. */
START_TEST(max_buffered_after_free)
{
	struct tlssf_options o = userspace;

	o.max_buffered = 1;
	world_open(TLS13_ROW, &o);
	pair_open(&w.p2, SSL_get_SSL_CTX(w.p.ssl), TLS13_ROW, SOCK2, false);
	w.p2.wire.room = 100;
	ck_assert_int_eq(tlssf_send(w.p2.ssl, FILE_FD, 0, LEN),
			 TLSSF_WANT_WRITE);
	ck_assert_int_eq(step(LEN), TLSSF_WANT_WRITE);
	pair_close(&w.p2);
	finish(LEN);
	world_close();
}
END_TEST

START_TEST(retry_ms_backs_off)
{
	static const unsigned int ms[] = { 1, 2, 4, 8, 16, 32, 64, 64, 64 };

	world_open(TLS13_ROW, NULL);
	for (int round = 0; round < 2; round++) {
		begin(0);
		w.p.wire.room = 0;
		for (int i = 0; i < 9; i++) {
			w.writable = false;
			ck_assert_int_eq(step(LEN), TLSSF_WANT_WRITE);
			ck_assert_uint_eq(status_of(w.p.ssl).retry_ms, 0);
			w.writable = true;
			ck_assert_int_eq(step(LEN), TLSSF_WANT_WRITE);
			ck_assert_uint_eq(status_of(w.p.ssl).retry_ms, ms[i]);
		}
		w.p.wire.room = UNLIMITED;
		finish(LEN);
	}
	world_close();
}
END_TEST

void add_error_tests(Suite *suite)
{
	TCase *reads = add_case(suite, "read");
	TCase *sends = add_case(suite, "send");
	TCase *limits = add_case(suite, "limits");

	tcase_add_test(reads, errno_of_the_size);
	tcase_add_test(reads, errno_of_pread);
	tcase_add_test(reads, short_reads);
	tcase_add_test(reads, file_ends_early);
	tcase_add_test(reads, job_tells_a_short_file);
	tcase_add_test(sends, errno_of_send);
	tcase_add_test(sends, errno_of_the_rest);
	tcase_add_test(sends, progress_is_told_before_the_error);
	tcase_add_test(sends, errno_of_the_flags);
	tcase_add_test(limits, max_buffered_answers_want);
	tcase_add_test(limits, max_buffered_after_free);
	tcase_add_test(limits, retry_ms_backs_off);
}
