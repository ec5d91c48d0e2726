/* SPDX-License-Identifier: MIT */
/* Every errno of every system call of the method ssl_sendfile. */
#include "unit_kernel_send_world.h"

/*
 * What the library reports for each errno of the socket. The errors of the file
 * are tested in unit_kernel_send_file.c.
 */
static const struct verdict {
	int err, reason, reported;
	bool dead;
} verdicts[] = {
	{ ENOMEM, TLSSF_REASON_NO_MEMORY, ENOMEM, false },
	{ ENOBUFS, TLSSF_REASON_NO_MEMORY, ENOBUFS, false },
	{ EPIPE, TLSSF_REASON_PEER_GONE, EPIPE, true },
	{ ECONNRESET, TLSSF_REASON_PEER_GONE, ECONNRESET, true },
	{ ECONNABORTED, TLSSF_REASON_PEER_GONE, ECONNABORTED, true },
	{ ENOTCONN, TLSSF_REASON_PEER_GONE, ENOTCONN, true },
	{ ESHUTDOWN, TLSSF_REASON_PEER_GONE, ESHUTDOWN, true },
	{ ETIMEDOUT, TLSSF_REASON_PEER_GONE, ETIMEDOUT, true },
	{ EBADMSG, TLSSF_REASON_TLS, EBADMSG, true },
	{ ERRNO_RESTARTSYS, TLSSF_REASON_INTERRUPTED, EIO, true },
};

static struct verdict verdict_of(int err)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (verdicts[i].err == err)
			return verdicts[i];
	return (struct verdict){ err, TLSSF_REASON_IO, err, true };
}

/*
 * EAGAIN and EINTR have tests of their own; ECHILD is the library's code for a
 * call in a forked child.
 */
static bool special(int err)
{
	return err == EAGAIN || err == EINTR || err == ECHILD;
}

/* Kernel TLS has failed: the library sends nothing after these errors. */
static bool is_final(int err)
{
	return err == EBADMSG || err == EPROTO || err == ERRNO_RESTARTSYS;
}

/* sendfile() fails with `err`, and so does the send() of the bytes read. */
static void answer_with_error(unsigned int at, int err)
{
	answer(ALL, ALL, ALL);
	w.answers[at] = -err;
	if (!is_final(err))
		w.answers[at + 1] = -err;
}

/*
 * Check that the result is that of `v`, and that the connection is dead or
 * works as before, as `v` says.
 */
static void check(ssize_t r, const struct verdict *v)
{
	assert_error(r, v->reported, v->reason, v->dead);
	answer(ALL, ALL, ALL);
	if (v->dead) {
		assert_dead(v->reported);
		return;
	}
	ck_assert_int_eq(send_file(5, 100), 100);
	ASSERT_LOG({ BY_FILE, 5, 100 });
}

/* ---- sendfile ---- */

static void fail_sendfile(int err)
{
	struct verdict v = verdict_of(err);

	if (special(err))
		return;
	for (int blocking = 0; blocking < 2; blocking++) {
		world_open();
		w.blocking = blocking;
		answer_with_error(0, err);
		check(send_file(0, 1000), &v);
		world_close();
	}
}

START_TEST(errno_of_sendfile)
{
	for_each_errno(fail_sendfile);
}
END_TEST

/*
 * The bytes sent are reported first, then the error; the open record is sent.
 */
static void fail_later(int err)
{
	struct verdict v = verdict_of(err);
	ssize_t r;

	if (special(err))
		return;
	world_open();
	answer_with_error(1, err);
	w.answers[0] = 300;
	ck_assert_int_eq(send_file(0, 1000), 300);
	ck_assert_int_eq(w.log[w.logged - 1].how, BY_PUSH);
	ck_assert_uint_eq(w.logged, is_final(err) ? 3 : 4);
	answer_with_error(0, err);
	r = send_file(300, 700);
	ck_assert_uint_eq(w.logged, v.dead ? 0 : 2);
	check(r, &v);
	world_close();
}

START_TEST(progress_is_told_before_the_error)
{
	for_each_errno(fail_later);
}
END_TEST

static void fail_job(int err)
{
	struct verdict v = verdict_of(err);
	struct tlssf_job job;
	ssize_t r;

	if (special(err))
		return;
	world_open();
	job = make_job(100, 9000, 0);
	answer_with_error(1, err);
	r = tlssf_send_job(w.p.ssl, &job);
	ck_assert_uint_eq(job.done, 100);
	ck_assert_uint_eq(w.logged, is_final(err) ? 3 : 4);
	ck_assert_int_eq(w.log[w.logged - 1].how, BY_PUSH);
	check(r, &v);
	world_close();
}

START_TEST(errno_of_sendfile_in_a_job)
{
	for_each_errno(fail_job);
}
END_TEST

/* The header is in memory, so no error of its send is one of the file. */
static void fail_header(int err)
{
	struct verdict v = verdict_of(err);
	struct tlssf_job job;

	if (special(err))
		return;
	world_open();
	job = make_job(100, 9000, 0);
	answer(-err, ALL, ALL);
	check(tlssf_send_job(w.p.ssl, &job), &v);
	ck_assert_uint_eq(job.done, 0);
	world_close();
}

START_TEST(errno_of_the_header)
{
	for_each_errno(fail_header);
}
END_TEST

/* ---- EAGAIN and EINTR ---- */

START_TEST(eagain_and_eintr_are_wants)
{
	static const int again[] = { EAGAIN, EINTR };

	for (int i = 0; i < 4; i++) {
		world_open();
		w.blocking = i / 2;
		w.revents = POLLOUT;
		answer(-again[i % 2], ALL, ALL);
		ck_assert_int_eq(send_file(0, 100), TLSSF_WANT_WRITE);
		ck_assert_int_eq(send_file(0, 100), 100);
		ASSERT_LOG({ BY_FILE, 0, 100 }, { BY_FILE, 0, 100 });
		world_close();
	}
}
END_TEST

/*
 * A record was sent in part, and the socket has an error. Each further call
 * would fail with EINTR, so the connection must end.
 */
START_TEST(eintr_with_an_error_is_the_end)
{
	world_open();
	w.revents = POLLERR;
	answer(-EINTR, ALL, ALL);
	assert_error(send_file(0, 100), EIO, TLSSF_REASON_INTERRUPTED, true);
	assert_dead(EIO);
	world_close();
	world_open();		/* bytes sent before are reported first */
	w.blocking = true;
	w.revents = POLLERR;
	answer(60, ALL, ALL);
	ck_assert_int_eq(send_file(0, 100), 60);
	assert_dead(EIO);
	world_close();
	world_open();	/* if the peer has gone, the reason is peer_gone */
	w.revents = POLLERR | POLLHUP;
	answer(-EINTR, ALL, ALL);
	assert_error(send_file(0, 100), EPIPE, TLSSF_REASON_PEER_GONE, true);
	assert_dead(EPIPE);
	world_close();
	world_open();	/* after EAGAIN the socket's error is not read */
	w.revents = POLLERR;
	answer(-EAGAIN, ALL, ALL);
	ck_assert_int_eq(send_file(0, 100), TLSSF_WANT_WRITE);
	world_close();
}
END_TEST

/*
 * SSL_sendfile() has failed without an errno, because memory or the connection
 * is missing. The connection ends.
 */
START_TEST(no_errno_is_the_end)
{
	world_open();
	answer(NO_ERRNO, ALL, ALL);
	assert_error(send_file(0, 100), EPROTO, TLSSF_REASON_IO, true);
	assert_dead(EPROTO);
	world_close();
}
END_TEST

/* ---- the other system calls ---- */

START_TEST(dead_states)
{
	for (int state = 0; state <= TCP_CLOSING; state++) {
		world_open();
		w.state = state;
		if (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT) {
			ck_assert_int_eq(send_file(0, 100), 100);
		} else {
			assert_error(send_file(0, 100), EPIPE,
				     TLSSF_REASON_PEER_GONE, true);
			ck_assert_uint_eq(w.logged, 0);
			assert_dead(EPIPE);
		}
		world_close();
	}
}
END_TEST

static void fail_state(int err)
{
	struct verdict v = verdict_of(err);

	if (special(err))
		return;
	world_open();
	w.state = -err;
	assert_error(send_file(0, 100), v.reported, v.reason, v.dead);
	ck_assert_uint_eq(w.logged, 0);
	w.state = TCP_ESTABLISHED;
	if (v.dead)
		assert_dead(v.reported);
	else
		ck_assert_int_eq(send_file(0, 100), 100);
	world_close();
}

START_TEST(errno_of_the_state)
{
	for_each_errno(fail_state);
}
END_TEST

/* The error of the push is reported; that of the file will occur again. */
static void fail_push(int err)
{
	struct verdict v = verdict_of(err);

	if (special(err))
		return;
	world_open();
	w.push_err = err;
	answer(300, -ESTALE, -ESTALE);
	ck_assert_int_eq(send_file(0, 1000), 300);
	ck_assert_int_eq(status_now().error, v.reason);
	ck_assert_int_eq(status_now().dead, v.dead);
	if (v.dead)
		assert_dead(v.reported);
	world_close();
}

START_TEST(errno_of_the_push)
{
	for_each_errno(fail_push);
}
END_TEST

/*
 * The socket has no room for the push: the record stays open for a later call.
 */
START_TEST(push_again)
{
	world_open();
	w.blocking = true;
	w.push_err = EAGAIN;
	answer(300, ALL, ALL);
	ck_assert_int_eq(send_file(0, 1000), 300);
	ck_assert(tl_conn(w.p.ssl)->tx->open);
	w.push_err = 0;
	w.blocking = false;
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	ASSERT_LOG({ BY_FILE, 0, 1000 }, { BY_PUSH, 0, 0 },
		   { BY_PUSH, 0, 0 });
	ck_assert(!tl_conn(w.p.ssl)->tx->open);
	world_close();
}
END_TEST

void add_error_tests(Suite *suite)
{
	TCase *sends = add_case(suite, "errno");
	TCase *again = add_case(suite, "again");

	tcase_add_test(sends, errno_of_sendfile);
	tcase_add_test(sends, progress_is_told_before_the_error);
	tcase_add_test(sends, errno_of_sendfile_in_a_job);
	tcase_add_test(sends, errno_of_the_header);
	tcase_add_test(sends, dead_states);
	tcase_add_test(sends, errno_of_the_state);
	tcase_add_test(sends, errno_of_the_push);
	tcase_add_test(again, eagain_and_eintr_are_wants);
	tcase_add_test(again, eintr_with_an_error_is_the_end);
	tcase_add_test(again, no_errno_is_the_end);
	tcase_add_test(again, push_again);
}
