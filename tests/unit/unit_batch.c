/* SPDX-License-Identifier: MIT */
/* The batch of encrypted records, its marks, and the cache of batches. */
#include "output.h"
#include "util.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The sum of 0 to i - 1. */
#define SUM_BELOW(i)	((i) * ((i) - 1) / 2)
#define SMALL_CAP	(BATCH_SMALL + BATCH_SLACK)
#define LARGE_CAP	(BATCH_LARGE + BATCH_SLACK)
#define MAX_RECORDS	400

static unsigned char record[1u << 20];

/* What was appended, as positions in the whole stream. */
static struct {
	size_t end[MAX_RECORDS], plain[MAX_RECORDS];
	int records;
	size_t base;		/* stream position of data[0] */
	size_t reported;
} model;

/* ---- records in and out ---- */

/* Append an encrypted record with bytes of the pattern, and mark its end. */
static void add_record(struct batch **b, size_t plain, size_t sealed)
{
	int i = model.records++;

	model.end[i] = (i ? model.end[i - 1] : 0) + sealed;
	model.plain[i] = plain;
	fill(record, model.end[i] - sealed, sealed);
	ck_assert_int_eq(tlssf_batch_append(b, record, sealed), 0);
	tlssf_batch_mark(*b, plain);
}

static size_t plain_out(size_t out)
{
	size_t n = 0;

	for (int i = 0; i < model.records && model.end[i] <= out; i++)
		n += model.plain[i];
	return n;
}

static void assert_content(const struct batch *b)
{
	size_t left = b->used - b->head;

	ck_assert_uint_le(b->used, b->cap);
	fill(record, model.base + b->head, left);
	ck_assert_mem_eq(b->data + b->head, record, left);
}

static void assert_reported(struct batch *b)
{
	model.reported += tlssf_batch_plaintext_written(b);
	ck_assert_uint_eq(model.reported, plain_out(model.base + b->head));
	/* each byte is reported only once */
	ck_assert_uint_eq(tlssf_batch_plaintext_written(b), 0);
}

/*
 * Compare the marks just before and at the end of each record that has not
 * left.
 */
static void walk(struct batch *b)
{
	for (int i = 0; i < model.records; i++)
		for (int d = 1; d >= 0; d--) {
			size_t out = model.end[i] - (size_t)d;

			if (out < model.base + b->head)
				continue;
			b->head = out - model.base;
			assert_reported(b);
		}
	ck_assert_uint_eq(b->head, b->used);
}

/* Call tlssf_batch_shrink_to_fit(), and update the model. */
static struct batch *shrink(struct batch *b)
{
	size_t out = model.base + b->head;
	struct batch *s = tlssf_batch_shrink_to_fit(b);

	model.base = out - s->head;
	return s;
}

static void forget(void)
{
	memset(&model, 0, sizeof(model));
}

/* ---- marks ---- */

START_TEST(marks_tell_whole_records)
{
	struct batch *b = tlssf_batch_get(1);

	for (size_t i = 1; i <= 10; i++)
		add_record(&b, i, i + 22);
	walk(b);
	ck_assert_uint_eq(model.reported, 55);
	tlssf_batch_put(b);
}
END_TEST

/*
 * When marks run out, they are merged: then bytes are reported late, never
 * early.
 */
START_TEST(marks_merge_when_they_run_out)
{
	struct batch *b = tlssf_batch_get(1);
	size_t reported = 0;

	for (size_t i = 0; i < BATCH_MARKS + 20; i++)
		add_record(&b, 100 + i, 122 + i);
	ck_assert_uint_eq(b->nmarks, BATCH_MARKS);
	for (; b->head < b->used; b->head++) {
		size_t out = plain_out(b->head);

		reported += tlssf_batch_plaintext_written(b);
		ck_assert_uint_le(reported, out);
		if (b->head < model.end[BATCH_MARKS - 2] + 1)
			ck_assert_uint_eq(reported, out);
	}
	reported += tlssf_batch_plaintext_written(b);
	ck_assert_uint_eq(reported, plain_out(b->used));
	ck_assert_uint_eq(model.end[model.records - 1], b->used);
	tlssf_batch_put(b);
}
END_TEST

/* ---- growth ---- */

START_TEST(padded_records_make_it_grow)
{
	static const size_t targets[] = { 1, BATCH_SMALL, BATCH_SMALL + 1,
					  BATCH_LARGE };
	struct batch *b;

	for (int t = 0; t < 4; t++) {
		forget();
		b = tlssf_batch_get(targets[t]);
		for (int i = 0; i < 60; i++)
			add_record(&b, 1, RECORD_MAX + 256 + 5);
		ck_assert_uint_gt(b->cap, b->used - 1);
		assert_content(b);
		walk(b);
		tlssf_batch_put(b);
	}
}
END_TEST

/* The batch grows by a record that is one byte too long, and not before. */
START_TEST(growth_at_the_edge)
{
	for (int d = -1; d <= 1; d++) {
		struct batch *b = tlssf_batch_get(1);

		forget();
		add_record(&b, 1, SMALL_CAP - 10);
		add_record(&b, 1, (size_t)(10 + d));
		if (d <= 0)
			ck_assert_uint_eq(b->cap, SMALL_CAP);
		else
			ck_assert_uint_gt(b->cap, SMALL_CAP);
		assert_content(b);
		tlssf_batch_put(b);
	}
}
END_TEST

/* ---- shrinking to a small batch ---- */

/*
 * Shrink a batch of which `head` bytes have left. With `marks_used` the records
 * that have left are reported before, so their marks are used up. Without it
 * their marks are still in the batch.
 */
static void shrink_at(size_t head, bool marks_used)
{
	struct batch *b = tlssf_batch_get(BATCH_LARGE), *s;
	size_t rest;

	forget();
	for (size_t i = 0; i < 30; i++)
		add_record(&b, 8000 + i, 8022 + i);
	b->head = head;
	if (marks_used)
		assert_reported(b);
	rest = b->used - b->head;
	s = shrink(b);
	ck_assert_uint_eq(s->used - s->head, rest);
	ck_assert_uint_eq(s->cap, rest > SMALL_CAP ? LARGE_CAP : SMALL_CAP);
	assert_content(s);
	walk(s);
	tlssf_batch_put(s);
}

START_TEST(settle_keeps_marks_right)
{
	for (size_t i = 0; i <= 30; i++) {
		size_t end = 8022 * i + SUM_BELOW(i);

		for (int d = -1; d <= 1; d++) {
			if ((i == 0 && d < 0) || (i == 30 && d > 0))
				continue;
			shrink_at(end + (size_t)d, _i);
		}
	}
}
END_TEST

START_TEST(settle_at_the_limit)
{
	for (int d = -1; d <= 1; d++) {
		struct batch *b = tlssf_batch_get(BATCH_LARGE);

		forget();
		add_record(&b, 5, BATCH_LARGE);
		b->head = BATCH_LARGE - (size_t)(SMALL_CAP + d);
		b = shrink(b);
		ck_assert_uint_eq(b->cap, d <= 0 ? SMALL_CAP : LARGE_CAP);
		assert_content(b);
		b->head = b->used;
		assert_reported(b);
		tlssf_batch_put(b);
	}
}
END_TEST

/* The batch shrinks after all marks were in use and the first are used up. */
START_TEST(settle_full_marks)
{
	struct batch *b = tlssf_batch_get(BATCH_LARGE);

	for (size_t i = 0; i < BATCH_MARKS; i++)
		add_record(&b, 4000, 4022);
	b->head = b->used - SMALL_CAP;
	assert_reported(b);
	b = shrink(b);
	ck_assert_uint_eq(b->cap, SMALL_CAP);
	walk(b);
	ck_assert_uint_eq(model.reported, BATCH_MARKS * 4000u);
	tlssf_batch_put(b);
}
END_TEST

START_TEST(settle_leaves_the_small_one_alone)
{
	struct batch *b = tlssf_batch_get(1);

	add_record(&b, 10, 32);
	ck_assert_ptr_eq(tlssf_batch_shrink_to_fit(b), b);
	assert_content(b);
	tlssf_batch_put(b);
}
END_TEST

/* ---- the cache ---- */

START_TEST(sizes)
{
	static const struct { size_t target, cap; } want[] = {
		{ 0, SMALL_CAP }, { 1, SMALL_CAP },
		{ BATCH_SMALL, SMALL_CAP }, { BATCH_SMALL + 1, LARGE_CAP },
		{ BATCH_LARGE, LARGE_CAP },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct batch *b = tlssf_batch_get(want[i].target);

		ck_assert_uint_eq(b->cap, want[i].cap);
		tlssf_batch_put(b);
	}
	tlssf_batch_put(NULL);
}
END_TEST

START_TEST(cache_gives_back_an_empty_one)
{
	static const size_t targets[] = { BATCH_SMALL, BATCH_LARGE };

	for (int i = 0; i < 2; i++) {
		struct batch *b = tlssf_batch_get(targets[i]), *again, *other;

		forget();
		add_record(&b, 10, 100);
		add_record(&b, 10, 100);
		b->head = 150;
		assert_reported(b);
		tlssf_batch_put(b);
		again = tlssf_batch_get(targets[i]);
		ck_assert_ptr_eq(again, b);
		ck_assert_uint_eq(again->head | again->used, 0);
		ck_assert_uint_eq(again->nmarks | again->next_mark, 0);
		/* the cache keeps only one of each size */
		other = tlssf_batch_get(targets[i]);
		ck_assert_ptr_ne(other, again);
		tlssf_batch_put(again);
		tlssf_batch_put(other);
		ck_assert_ptr_eq(tlssf_batch_get(targets[i]), again);
		tlssf_batch_put(again);
	}
}
END_TEST

static size_t allocated(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* A batch that has grown has a size that nobody requests. */
START_TEST(grown_ones_are_not_kept)
{
	size_t before;

	tlssf_batch_put(tlssf_batch_get(1));
	before = allocated();
	for (int i = 0; i < 20; i++) {
		struct batch *b = tlssf_batch_get(1);

		forget();
		add_record(&b, 1, SMALL_CAP + 1);
		tlssf_batch_put(b);
	}
	ck_assert_uint_le(allocated(), before + SMALL_CAP);
}
END_TEST

static void *use_the_cache(void *arg)
{
	struct batch *s = tlssf_batch_get(BATCH_SMALL);
	struct batch *l = tlssf_batch_get(BATCH_LARGE);

	*(unsigned char **)arg = tlssf_plaintext_buffer_get();
	tlssf_plaintext_buffer_put(*(unsigned char **)arg);
	ck_assert_ptr_nonnull(*(unsigned char **)arg);
	memset(*(unsigned char **)arg, 1, PLAIN_SIZE);
	tlssf_batch_put(l);
	tlssf_batch_put(s);
	return NULL;
}

static void run_thread(unsigned char **plain)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, use_the_cache, plain),
			 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/*
 * A thread that ends must free its cache, or it would leak 600 KiB. The leak
 * check of a sanitizer tests this.
 */
START_TEST(thread_exit_frees_the_cache)
{
	unsigned char *plain;
	size_t before;

	run_thread(&plain);
	before = allocated();
	for (int i = 0; i < 20; i++)
		run_thread(&plain);
	ck_assert_uint_le(allocated(), before + SMALL_CAP);
}
END_TEST

/*
 * While a buffer is in use, another caller gets another one; once it is put
 * back, the next caller gets it.
 */
START_TEST(plain_buffer_has_one_owner)
{
	unsigned char *mine = tlssf_plaintext_buffer_get(), *second, *other;

	ck_assert_ptr_nonnull(mine);
	memset(mine, 0xa5, PLAIN_SIZE);
	run_thread(&other);
	ck_assert_ptr_ne(other, mine);
	second = tlssf_plaintext_buffer_get();
	ck_assert_ptr_nonnull(second);
	memset(second, 0x5a, PLAIN_SIZE);
	ck_assert_uint_eq(mine[0] & mine[PLAIN_SIZE - 1], 0xa5);
	tlssf_plaintext_buffer_put(mine);
	tlssf_plaintext_buffer_put(second);	/* the cache keeps one */
	tlssf_plaintext_buffer_put(NULL);
	ck_assert_ptr_eq(tlssf_plaintext_buffer_get(), mine);
	tlssf_plaintext_buffer_put(mine);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_batch");
	TCase *marks = add_case(suite, "marks");
	TCase *moves = add_case(suite, "settle");
	TCase *cache = add_case(suite, "cache");

	tcase_add_test(marks, marks_tell_whole_records);
	tcase_add_test(marks, marks_merge_when_they_run_out);
	tcase_add_test(marks, padded_records_make_it_grow);
	tcase_add_test(marks, growth_at_the_edge);
	tcase_add_loop_test(moves, settle_keeps_marks_right, 0, 2);
	tcase_add_test(moves, settle_at_the_limit);
	tcase_add_test(moves, settle_full_marks);
	tcase_add_test(moves, settle_leaves_the_small_one_alone);
	tcase_add_test(cache, sizes);
	tcase_add_test(cache, cache_gives_back_an_empty_one);
	tcase_add_test(cache, grown_ones_are_not_kept);
	tcase_add_test(cache, thread_exit_frees_the_cache);
	tcase_add_test(cache, plain_buffer_has_one_owner);
	return run_suite("unit_batch", suite);
}
