/* SPDX-License-Identifier: MIT */
/*
 * A program and a library of different versions: structs that carry their size.
 */
#include "e2e_api.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define MORE	16		/* bytes for members of a later version */
#define TOO_MUCH 5000

/* The whole struct, and the members that a later version may add behind it. */
#define LATER(type) union {			\
	struct type now;			\
	unsigned char bytes[sizeof(struct type) + MORE]; \
}

static void take(SSL_CTX *ctx, const struct tlssf_options *o, bool good)
{
	errno = 0;
	ck_assert_int_eq(tlssf_ctx_init(ctx, o), good ? 0 : TLSSF_ERROR);
	if (!good)
		ck_assert_int_eq(errno, EINVAL);
}

/*
 * The program has the shorter struct of an earlier version. The library does
 * not read behind its end.
 */
START_TEST(shorter_options)
{
	const size_t least = offsetof(struct tlssf_options, method) +
			     sizeof(int);
	SSL_CTX *ctx = plain_ctx(true);

	for (size_t size = 0; size <= sizeof(struct tlssf_options); size++) {
		LATER(tlssf_options) o;

		memset(&o, 0xa5, sizeof(o));
		memset(&o, 0, size);
		o.now.size = size;
		take(ctx, &o.now, size >= least);
	}
	SSL_CTX_free(ctx);
}
END_TEST

/*
 * The program has the longer struct of a later version. The library refuses an
 * option that it does not know.
 */
START_TEST(longer_options)
{
	SSL_CTX *ctx = plain_ctx(true);
	LATER(tlssf_options) o = { .bytes = { 0 } };

	for (size_t size = sizeof(o.now); size <= sizeof(o); size++) {
		o.now.size = size;
		take(ctx, &o.now, true);
		if (size == sizeof(o.now))
			continue;
		o.bytes[size - 1] = 1;
		take(ctx, &o.now, false);
		/* the member lies outside of the struct then */
		o.now.size = size - 1;
		take(ctx, &o.now, true);
		o.bytes[size - 1] = 0;
	}
	o.now.size = TOO_MUCH;
	take(ctx, &o.now, false);
	o.now.size = SIZE_MAX;
	take(ctx, &o.now, false);
	SSL_CTX_free(ctx);
}
END_TEST

static void refused(struct tlssf_job *job)
{
	assert_failed(&api, tlssf_send_job(api.ssl, job), EINVAL,
		      TLSSF_REASON_ARGUMENT, false);
	ck_assert_uint_eq(job->done, 0);
}

START_TEST(sizes_of_jobs)
{
	LATER(tlssf_job) job = { .bytes = { 0 } };
	struct link_conf conf = { 0 };

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	job.now.fd = api_file.fd;
	job.now.file_len = 1000;
	for (size_t size = 0; size < sizeof(job.now); size++) {
		job.now.size = size;
		refused(&job.now);
	}
	job.now.size = TOO_MUCH;
	refused(&job.now);
	job.now.size = SIZE_MAX;
	refused(&job.now);
	job.now.size = sizeof(job);
	job.bytes[sizeof(job) - 1] = 1;
	refused(&job.now);
	job.bytes[sizeof(job) - 1] = 0;
	expect_file(&api, &api_file, 0, 1000);
	job_all(&api, &job.now);
	ck_assert_uint_eq(job.now.size, sizeof(job));
	api_still_works();
}
END_TEST

/*
 * The library fills the members that both sides know, sets the size to that,
 * and writes no byte more.
 */
START_TEST(sizes_of_status)
{
	const size_t least = offsetof(struct tlssf_status, method) +
			     sizeof(int);
	struct link_conf conf = { 0 };
	struct tlssf_status whole;

	link_open(&api, &conf);
	deliver(&api, &api_file, 0, 100);
	get_status(&api, &whole);
	ck_assert_uint_eq(whole.size, sizeof(whole));
	for (size_t size = 0; size <= sizeof(whole) + MORE; size++) {
		LATER(tlssf_status) st;
		size_t ours = size < sizeof(whole) ? size : sizeof(whole);

		memset(&st, 0xa5, sizeof(st));
		st.now.size = size;
		if (size < least) {
			ck_assert_int_eq(tlssf_status(api.ssl, &st.now),
					 TLSSF_ERROR);
			ck_assert_int_eq(errno, EINVAL);
			ours = sizeof(size);
		} else {
			ck_assert_int_eq(tlssf_status(api.ssl, &st.now), 0);
			ck_assert_uint_eq(st.now.size, ours);
			ck_assert_mem_eq(st.bytes + sizeof(size),
					 (char *)&whole + sizeof(size),
					 ours - sizeof(size));
		}
		for (size_t i = ours; i < sizeof(st); i++)
			ck_assert_uint_eq(st.bytes[i], 0xa5);
	}
	api_still_works();
}
END_TEST

void add_size_tests(TCase *tc)
{
	tcase_add_test(tc, shorter_options);
	tcase_add_test(tc, longer_options);
	add_ways(tc, sizes_of_jobs, 1);
	tcase_add_test(tc, sizes_of_status);
}
