/* SPDX-License-Identifier: MIT */
/*
 * The method userspace with scripted system calls. The peer can decrypt all
 * that the socket accepts, and exactly these bytes are reported to the caller.
 */
#include "scripted_sys.h"
#include "unit_userspace_world.h"

#define BIG	(5 * RECORD_MAX + 100)
#define SOME	40000	/* bytes that fit in one batch */
#define SMALL_CAP	(BATCH_SMALL + BATCH_SLACK)

static struct batch *kept(SSL *ssl)
{
	return tlssf_queue_batch(tl_conn(ssl)->bridge);
}

/* ---- how much the socket accepts ---- */

START_TEST(all_at_once)
{
	static const size_t sizes[] = { 1, 16383, 16384, 16385, 65536, 65537,
					262145, 1u << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int blocking = 0; blocking < 2; blocking++) {
			world_open(&rows[_i], NULL);
			w.file_size = sizes[i] + 3;
			w.blocking = blocking;
			begin(3);
			ck_assert_int_eq(step(sizes[i]), (ssize_t)sizes[i]);
			ck_assert_uint_eq(w.p.wire.writes, 0);
			ck_assert_ptr_null(kept(w.p.ssl));
			world_close();
		}
}
END_TEST

/* Each send() is short, with and without an EAGAIN in between. */
static void send_in_chunks(size_t chunk, size_t len, bool agains)
{
	int idle = 0;

	begin(chunk);
	for (w.p.wire.chunk = chunk; w.reported < len;) {
		size_t before = w.p.wire.taken;

		if (step(len) < 0)
			ck_assert_int_lt(++idle, 70000);
		ck_assert_uint_gt(w.p.wire.taken, before);
		if (!agains || w.reported == len)
			continue;
		w.p.wire.room = 0;
		ck_assert_int_eq(step(len), TLSSF_WANT_WRITE);
		w.p.wire.room = UNLIMITED;
	}
	ck_assert_ptr_null(kept(w.p.ssl));
}

START_TEST(short_sends)
{
	static const size_t chunks[] = { 2, 3, 5, 7, 4096, 16383, 16384,
					 16385, 16406, 40000, 65536, 70000 };

	world_open(&rows[_i], NULL);
	send_in_chunks(1, RECORD_MAX + 500, false);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		send_in_chunks(chunks[i], RECORD_MAX + 10, true);
		if (chunks[i] < 4096)
			continue;
		send_in_chunks(chunks[i], 3 * RECORD_MAX + 10, false);
		send_in_chunks(chunks[i], 300000, true);
	}
	world_close();
}
END_TEST

/* The socket is full after `cut` bytes of the send. */
static void cut_at(size_t cut)
{
	begin(77);
	w.p.wire.room = cut;
	step(BIG);
	ck_assert_uint_eq(w.p.wire.room, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(step(BIG), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	finish(BIG);
}

START_TEST(full_at_each_boundary)
{
	size_t sealed, full;

	world_open(&rows[_i], NULL);
	begin(77);
	finish(RECORD_MAX);
	sealed = w.p.wire.taken;
	finish(BIG);
	full = w.p.wire.taken;
	for (size_t i = 0; i <= 5; i++)
		for (size_t d = 0; d < 3; d++)
			if (i * sealed + d > 1)
				cut_at(i * sealed + d - 1);
	cut_at(full - 1);
	world_close();
}
END_TEST

START_TEST(signals_are_wants)
{
	world_open(TLS13_ROW, NULL);
	begin(0);
	w.p.wire.room = 20000;
	w.p.wire.err = EINTR;
	ck_assert_int_eq(step(BIG), RECORD_MAX);
	ck_assert_int_eq(step(BIG), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	finish(BIG);
	world_close();
}
END_TEST

/*
 * The write BIO is not a socket but a BIO of the application. It gets bytes
 * until it refuses some.
 */
START_TEST(custom_bio)
{
	static const size_t chunks[] = { 1, 1000, 16406, UNLIMITED };

	world_open(TLS13_ROW, NULL);
	for (int i = 0; i < 4; i++) {
		pair_close(&w.p);
		pair_open(&w.p, NULL, &rows[_i], NO_SOCKET, false);
		begin(5);
		w.p.wire.chunk = chunks[i];
		w.p.wire.room = 50000;
		ck_assert_int_ge(step(BIG), RECORD_MAX);
		ck_assert_uint_eq(w.p.wire.room, 0);
		ck_assert_int_eq(step(BIG), TLSSF_WANT_WRITE);
		w.p.wire.room = UNLIMITED;
		finish(BIG);
	}
	ck_assert_uint_eq(script_count(CALL_send), 0);
	world_close();
}
END_TEST

/* ---- how much is encrypted at a time ---- */

#define ALWAYS	(-2)	/* the socket is non-blocking */
#define NEVER	(-1)

/*
 * Check that the first batch (the bytes that are encrypted before the first
 * send) has `target` bytes. `early` says when the call may return early:
 * ALWAYS, NEVER, or after so many ms (SO_SNDTIMEO).
 */
static void expect_next_batch(size_t room, int early, size_t target)
{
	world_open(TLS13_ROW, NULL);
	w.room = room;
	w.blocking = early != ALWAYS;
	w.timeout_ms = early == ALWAYS ? NEVER : early;
	w.p.wire.room = 0;
	ck_assert_int_eq(step(1u << 20), TLSSF_WANT_WRITE);
	ck_assert_uint_ge(w.p.wire.last, target);
	ck_assert_uint_lt(w.p.wire.last, target + RECORD_MAX + 22);
	world_close();
}

static void expect_batch(size_t room, int early, size_t target)
{
	script_advance(100);	/* see refused_in_spite_of_room */
	expect_next_batch(room, early, target);
}

START_TEST(room_limits_the_batch)
{
	for (int early = ALWAYS; early <= 10; early += 12) {
		expect_batch(0, early, BATCH_SMALL);
		expect_batch(16384, early, BATCH_SMALL);
		expect_batch(200000, early, 150000);
		expect_batch(400000, early, 300000);
		expect_batch(1u << 30, early, BATCH_LARGE);
	}
	expect_batch(0, NEVER, BATCH_LARGE);
}
END_TEST

/*
 * The socket refuses bytes although its buffer has room, so TCP is short of
 * memory. For a while then, no connection encrypts much ahead.
 */
START_TEST(refused_in_spite_of_room)
{
	expect_batch(1u << 30, ALWAYS, BATCH_LARGE);
	script_advance(99);
	expect_next_batch(1u << 30, ALWAYS, BATCH_SMALL);
	script_advance(1);
	expect_next_batch(1u << 30, ALWAYS, BATCH_LARGE);
}
END_TEST

START_TEST(errno_of_the_room)
{
	world_open(TLS13_ROW, NULL);
	SCRIPT_DEFAULT(send_room, .result = -ENOPROTOOPT);
	w.p.wire.room = 0;
	ck_assert_int_eq(step(1u << 20), TLSSF_WANT_WRITE);
	ck_assert_uint_ge(w.p.wire.last, BATCH_SMALL);
	ck_assert_uint_lt(w.p.wire.last, SMALL_CAP);
	world_close();
}
END_TEST

START_TEST(rest_moves_to_the_small_buffer)
{
	world_open(TLS13_ROW, NULL);
	w.p.wire.room = 500000;
	ck_assert_int_gt(step(1u << 20), 0);
	ck_assert_uint_eq(kept(w.p.ssl)->cap, SMALL_CAP);
	ck_assert_uint_eq(status_of(w.p.ssl).buffered,
			  w.p.wire.last - 500000);
	w.p.wire.room = 1;
	step(1u << 20);
	ck_assert_uint_eq(status_of(w.p.ssl).buffered,
			  w.p.wire.last - 1);
	w.p.wire.room = UNLIMITED;
	finish(1u << 20);
	ck_assert_ptr_null(kept(w.p.ssl));
	ck_assert_uint_eq(status_of(w.p.ssl).buffered, 0);
	world_close();
}
END_TEST

START_TEST(max_per_call)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE,
				   .max_per_call = 50000 };

	world_open(TLS13_ROW, &o);
	ck_assert_int_eq(step(120000), 50000);
	ck_assert_int_eq(step(120000), 50000);
	ck_assert_int_eq(step(120000), 20000);
	begin(0);
	/* the unreported bytes of one call count for the next */
	w.p.wire.room = 40000;
	ck_assert_int_eq(step(120000), 2 * RECORD_MAX);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(step(120000), 50000);
	finish(120000);
	begin(0);
	w.blocking = true;
	ck_assert_int_eq(step(120000), 120000);
	world_close();
}
END_TEST

/* ---- the order of the stream ---- */

START_TEST(excess_is_credited_to_the_next_call)
{
	world_open(TLS13_ROW, NULL);
	w.p.wire.room = 10;
	ck_assert_int_eq(step(SOME), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 0, 100), 100);
	receive(0, SOME);	/* everything was encrypted, and has left */
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 100, 1), 1);
	assert_error(tlssf_send(w.p.ssl, FILE_FD, 0, 5), EINVAL,
		     TLSSF_REASON_PENDING_SEND, false);
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 101, SOME), SOME);
	receive(SOME, 101);
	world_close();
}
END_TEST

START_TEST(other_offset_or_file_after_want)
{
	world_open(TLS13_ROW, NULL);
	w.p.wire.room = 10;
	ck_assert_int_eq(step(SOME), TLSSF_WANT_WRITE);
	SCRIPT(file_size, .fd = FILE_FD + 1, .data = &w.file_size,
	       .len = sizeof(w.file_size));
	assert_error(tlssf_send(w.p.ssl, FILE_FD + 1, 0, 10), EINVAL,
		     TLSSF_REASON_PENDING_SEND, false);
	assert_error(tlssf_send(w.p.ssl, FILE_FD, 1, 10), EINVAL,
		     TLSSF_REASON_PENDING_SEND, false);
	w.p.wire.room = UNLIMITED;
	finish(SOME);
	world_close();
}
END_TEST

START_TEST(write_keeps_its_place)
{
	char text[16];

	world_open(&rows[_i], NULL);
	w.p.wire.room = 20000;
	ck_assert_int_eq(step(SOME), RECORD_MAX);
	ck_assert_int_eq(SSL_write(w.p.ssl, "hello", 5), -1);
	ck_assert_int_eq(SSL_get_error(w.p.ssl, -1), SSL_ERROR_WANT_WRITE);
	assert_error(tlssf_send(w.p.ssl, FILE_FD, RECORD_MAX, 10), EBUSY,
		     TLSSF_REASON_PENDING_WRITE, false);
	w.p.wire.room = UNLIMITED;
	ck_assert_int_eq(SSL_write(w.p.ssl, "hello", 5), 5);
	receive_part(RECORD_MAX, SOME - RECORD_MAX);
	ck_assert_uint_eq(pair_read(&w.p, text, sizeof(text)), 5);
	ck_assert_mem_eq(text, "hello", 5);
	/* bytes encrypted before are reported now, and not sent again */
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, RECORD_MAX, SOME), SOME);
	receive(SOME, RECORD_MAX);
	world_close();
}
END_TEST

/* ---- jobs ---- */

static struct tlssf_job make_job(size_t header, uint64_t file, size_t trailer)
{
	static unsigned char bytes[2][100000];

	/* header, file and trailer are one range of the pattern */
	fill(bytes[0], 1000000 - header, header);
	fill(bytes[1], 1000000 + file, trailer);
	w.file_size = 1000000 + file;
	return (struct tlssf_job){
		.size = sizeof(struct tlssf_job),
		.header = bytes[0], .header_len = header,
		.fd = FILE_FD, .off = 1000000, .file_len = file,
		.trailer = bytes[1], .trailer_len = trailer,
	};
}

static void run_job(size_t header, uint64_t file, size_t trailer, size_t chunk)
{
	struct tlssf_job job = make_job(header, file, trailer);
	uint64_t total = header + file + trailer, before;
	int r = TLSSF_WANT_WRITE;

	w.p.wire.chunk = chunk;
	for (int i = 0; r && i < 1000000; i++) {
		before = job.done;
		r = tlssf_send_job(w.p.ssl, &job);
		ck_assert(r == 0 || r == TLSSF_WANT_WRITE);
		receive(1000000 - header + before,
			(size_t)(job.done - before));
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(job.done, total);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
}

START_TEST(jobs)
{
	static const size_t parts[][3] = {
		{ 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 }, { 5, 6, 7 },
		{ 300, 16084, 0 }, { 300, 16085, 0 }, { 300, 16084, 1 },
		{ 20000, 20000, 20000 }, { 70000, 200000, 66000 },
	};
	static const size_t chunks[] = { 99, 16406, UNLIMITED };

	world_open(&rows[_i], NULL);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (int k = 0; k < 3; k++)
			run_job(parts[i][0], parts[i][1], parts[i][2],
				chunks[k]);
	world_close();
}
END_TEST

/* If header, file and trailer fit into one record, they share it. */
START_TEST(job_shares_records)
{
	world_open(TLS13_ROW, NULL);
	run_job(300, 16083, 1, UNLIMITED);
	ck_assert_uint_eq(w.p.wire.taken, RECORD_MAX + 22);
	ck_assert_uint_eq(status_of(w.p.ssl).records[TLSSF_METHOD_USERSPACE],
			  1);
	run_job(300, 16084, 1, UNLIMITED);
	ck_assert_uint_eq(w.p.wire.taken, 2 * RECORD_MAX + 22 + 1 + 2 * 22);
	ck_assert_uint_eq(status_of(w.p.ssl).records[TLSSF_METHOD_USERSPACE],
			  3);
	world_close();
}
END_TEST

START_TEST(job_over_max_per_call_comes_back_soon)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .method = TLSSF_METHOD_USERSPACE,
				   .max_per_call = 30000 };
	struct tlssf_job job;

	world_open(TLS13_ROW, &o);
	job = make_job(10, 40000, 0);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), TLSSF_WANT_WRITE);
	ck_assert_uint_eq(job.done, 30000);
	ck_assert_uint_eq(status_of(w.p.ssl).retry_ms, 1);
	ck_assert_int_eq(tlssf_send_job(w.p.ssl, &job), 0);
	ck_assert_uint_eq(job.done, 40010);
	world_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_userspace");
	TCase *sends = add_case(suite, "sends");
	TCase *sizes = add_case(suite, "batch");
	TCase *order = add_case(suite, "order");

	tcase_add_loop_test(sends, all_at_once, 0, N_ROWS);
	tcase_add_loop_test(sends, short_sends, 0, N_ROWS);
	tcase_add_loop_test(sends, full_at_each_boundary, 0, N_ROWS);
	tcase_add_test(sends, signals_are_wants);
	tcase_add_loop_test(sends, custom_bio, 0, N_ROWS);
	tcase_add_test(sizes, room_limits_the_batch);
	tcase_add_test(sizes, refused_in_spite_of_room);
	tcase_add_test(sizes, errno_of_the_room);
	tcase_add_test(sizes, rest_moves_to_the_small_buffer);
	tcase_add_test(sizes, max_per_call);
	tcase_add_test(order, excess_is_credited_to_the_next_call);
	tcase_add_test(order, other_offset_or_file_after_want);
	tcase_add_loop_test(order, write_keeps_its_place, 0, N_ROWS);
	tcase_add_loop_test(order, jobs, 0, N_ROWS);
	tcase_add_test(order, job_shares_records);
	tcase_add_test(order, job_over_max_per_call_comes_back_soon);
	add_error_tests(suite);
	return run_suite("unit_userspace", suite);
}
