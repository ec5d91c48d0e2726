/* SPDX-License-Identifier: MIT */
/*
 * Tests of how the library finds out whether sendfile() failed because of the
 * file or because of the socket. Both may cause any errno. So the library then
 * reads the file and sends the bytes by two calls: the call that fails shows
 * which of them has the error. A file that cannot be spliced is sent in that
 * way, too.
 */
#include "unit_kernel_send_world.h"

/* EAGAIN, EINTR and ECHILD (a forked child) have tests elsewhere. */
static bool is_special(int err)
{
	return err == EAGAIN || err == EINTR || err == ECHILD;
}

/* Check that the connection works as before. */
static void assert_usable(void)
{
	w.pread_err = 0;
	answer(ALL, ALL, ALL);
	ck_assert_int_eq(send_file(5, 100), 100);
	ASSERT_LOG({ BY_FILE, 5, 100 });
}

static void fail_file(int err)
{
	int reason = err == EBADF ? TLSSF_REASON_BAD_FD
				  : TLSSF_REASON_FILE_READ;

	if (is_special(err))
		return;
	for (int blocking = 0; blocking < 2; blocking++) {
		world_open();
		w.blocking = blocking;
		w.pread_err = err;
		answer(-err, ALL, ALL);
		assert_error(send_file(0, 1000), err, reason, false);
		ASSERT_LOG({ BY_FILE, 0, 1000 });
		assert_usable();
		world_close();
	}
}

START_TEST(each_errno_of_the_file)
{
	for_each_errno(fail_file);
}
END_TEST

/* The file can be read, so every errno is one of the socket. */
static void fail_socket(int err)
{
	bool memory = err == ENOMEM || err == ENOBUFS;
	struct tlssf_status st;

	if (is_special(err))
		return;
	world_open();
	answer(-err, -err, ALL);
	ck_assert_int_eq(send_file(0, 1000), TLSSF_ERROR);
	st = status_now();
	ck_assert_int_ne(st.error, TLSSF_REASON_FILE_READ);
	ck_assert_int_ne(st.error, TLSSF_REASON_BAD_FD);
	ck_assert_int_eq(st.dead, !memory);
	world_close();
}

START_TEST(each_errno_of_the_socket)
{
	for_each_errno(fail_socket);
}
END_TEST

/* If the peer has gone, the errno of sendfile() is reported. */
START_TEST(closed_connection_keeps_its_errno)
{
	world_open();
	answer(ALL, ALL, ALL);
	ck_assert_int_eq(send_file(0, 10), 10);
	answer(-ECONNRESET, ALL, ALL);
	w.state_after_send = TCP_CLOSE;
	assert_error(send_file(10, 1000), ECONNRESET, TLSSF_REASON_PEER_GONE,
		     true);
	assert_dead(ECONNRESET);
	world_close();
}
END_TEST

/* A file system without splice: sendfile() fails, and every byte arrives. */
START_TEST(file_without_splice_is_copied)
{
	const uint64_t size = 3 * PLAIN_SIZE + 11;

	world_open();
	w.file_size = size;
	answer(-EINVAL, ALL, ALL);
	ck_assert_int_eq(send_file(0, size), (ssize_t)size);
	ASSERT_LOG({ BY_FILE, 0, 3 * PLAIN_SIZE + 11 },
		   { BY_SEND, 0, PLAIN_SIZE }, { BY_SEND, 0, PLAIN_SIZE },
		   { BY_SEND, 0, PLAIN_SIZE }, { BY_SEND, 0, 11 });
	ck_assert_int_eq(status_now().error, TLSSF_REASON_NONE);
	world_close();
}
END_TEST

/* After an error of kernel TLS the library sends nothing more with this key. */
START_TEST(nothing_is_sent_after_an_error_of_kernel_tls)
{
	static const int errs[] = { EBADMSG, ERRNO_RESTARTSYS };

	for (int i = 0; i < 2; i++) {
		world_open();
		answer(-errs[i], ALL, ALL);
		ck_assert_int_eq(send_file(0, 1000), TLSSF_ERROR);
		ASSERT_LOG({ BY_FILE, 0, 1000 });
		ck_assert_int_eq(status_now().dead, 1);
		world_close();
	}
}
END_TEST

/*
 * The file is shorter than fstat() reports, as in sysfs. On a blocking socket a
 * signal, too, could cause the short count of sendfile(), but the first call
 * must find and report the end of the file.
 */
START_TEST(short_file_on_a_blocking_socket)
{
	struct tlssf_job job;

	world_open();
	w.blocking = true;
	w.file_end = 7 + 300;
	job = make_job(0, 9000, 0);
	answer(300, ALL, ALL);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_ERROR);
	ck_assert_int_eq(errno, ENODATA);
	ck_assert_int_eq(status_now().error, TLSSF_REASON_FILE_TRUNCATED);
	ck_assert_uint_eq(job.done, 300);
	ASSERT_LOG({ BY_FILE, 7, 9000 }, { BY_PUSH, 0, 0 });
	world_close();
}
END_TEST

/* After a short count because of a signal the call returns that count. */
START_TEST(signal_on_a_blocking_socket)
{
	world_open();
	w.blocking = true;
	w.revents = POLLOUT;
	answer(300, ALL, ALL);
	ck_assert_int_eq(send_file(0, 1000), 300);
	ASSERT_LOG({ BY_FILE, 0, 1000 }, { BY_PUSH, 0, 0 });
	world_close();
}
END_TEST

START_TEST(length_0_needs_no_file)
{
	world_open();
	ck_assert_int_eq(tlssf_send(w.p.ssl, -1, 0, 0), 0);
	ck_assert_int_eq(status_now().error, TLSSF_REASON_NONE);
	world_close();
}
END_TEST

void add_file_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "file");

	tcase_add_test(tc, each_errno_of_the_file);
	tcase_add_test(tc, each_errno_of_the_socket);
	tcase_add_test(tc, closed_connection_keeps_its_errno);
	tcase_add_test(tc, file_without_splice_is_copied);
	tcase_add_test(tc, nothing_is_sent_after_an_error_of_kernel_tls);
	tcase_add_test(tc, short_file_on_a_blocking_socket);
	tcase_add_test(tc, signal_on_a_blocking_socket);
	tcase_add_test(tc, length_0_needs_no_file);
}
