/* SPDX-License-Identifier: MIT */
/* Options for the kernel's records, and for when a takeover happens. */
#include "e2e_takeover.h"

#define PAYLOAD		1000	/* plaintext bytes in a record */
#define MUCH		(256 * KIB)
#define FULL_RECORD	16384

/* ---- options of kernel TLS ---- */

static struct tlssf_status deliver_much(void)
{
	struct tlssf_status st;

	deliver(&tk, &tk_file, 1, TAKEOVER_PAYS);
	deliver(&tk, &tk_file, 3, MUCH);
	get_status(&tk, &st);
	return st;
}

/*
 * Returns whether the option must be in force: the kernel encrypts, for a named
 * method or for AUTO, and supports it.
 */
static bool in_force(const struct tlssf_status *st, const char *word)
{
	return st->kernel_tx && expected(word) > 0;
}

START_TEST(payload_len)
{
	struct link_conf conf = { .max_payload_len = PAYLOAD };
	struct tlssf_status st;
	uint64_t before;

	if (!link_open_way(&tk, _i, &conf, __func__))
		return;
	st = deliver_much();
	before = tk.report.data_records;
	deliver(&tk, &tk_file, 3, MUCH);
	if (in_force(&st, "max-payload-len")) {
		ck_assert_uint_eq(st.max_payload_len, PAYLOAD);
		ck_assert_uint_ge(tk.report.data_records - before,
				  MUCH / PAYLOAD);
	} else {
		ck_assert_uint_eq(st.max_payload_len, 0);
		ck_assert_uint_lt(tk.report.data_records - before,
				  3 * MUCH / FULL_RECORD);
	}
	tk_ends_well(&tk);
}
END_TEST

/* The limit of a key counts records of that size. */
START_TEST(payload_len_and_key)
{
	struct link_conf conf = { .max_payload_len = PAYLOAD,
				  .key_records = 1000 };
	struct tlssf_status st;

	if (!kernel_rekeys()) {
		skip_test("payload_len_and_key, %s: this kernel cannot rekey",
			  ways[_i].name);
		return;
	}
	if (!link_open_way(&tk, _i, &conf, __func__))
		return;
	for (int i = 0; i < 8; i++)
		deliver(&tk, &tk_file, 3, MUCH);
	get_status(&tk, &st);
	if (in_force(&st, "max-payload-len"))
		ck_assert_uint_ge(st.rekeys, 8 * MUCH / PAYLOAD / 1000);
	ck_assert_uint_le(tk.report.key_records, 1000);
	tk_ends_well(&tk);
}
END_TEST

/* Without a network device that encrypts, the option has no effect. */
START_TEST(zerocopy)
{
	struct link_conf conf = { .zerocopy = true };
	struct tlssf_status st;

	if (!link_open_way(&tk, _i, &conf, __func__))
		return;
	st = deliver_much();
	ck_assert_int_eq(st.zerocopy, in_force(&st, "zerocopy-ro"));
	tk_ends_well(&tk);
}
END_TEST

/* ---- when AUTO takes over ---- */

static const struct {
	uint64_t from, sent;
	int taken;
} begins[] = {
	{ 0, TAKEOVER_PAYS - 1, 0 }, { 0, TAKEOVER_PAYS, 1 },
	{ 1, 20000, 1 }, { 50000, 49999, 0 }, { 50000, 50000, 1 },
	{ UINT64_MAX, MUCH, 0 },
};

START_TEST(takeover_from)
{
	struct link_conf conf = {
		.version = versions[_i % N_VERSIONS],
		.takeover_from = begins[_i / N_VERSIONS].from,
	};
	int taken = begins[_i / N_VERSIONS].taken;
	struct tlssf_status st;

	link_open(&tk, &conf);
	deliver(&tk, &tk_file, 1, begins[_i / N_VERSIONS].sent);
	get_status(&tk, &st);
	if (st.method == TLSSF_METHOD_SSL_SENDFILE)
		taken = 0; /* the TLS library has encrypted the first records */
	ck_assert_int_eq(st.takeover, taken);
	tk_ends_well(&tk);
}
END_TEST

void add_option_tests(TCase *tc)
{
	add_ways(tc, payload_len, 1);
	add_ways(tc, zerocopy, 1);
	for (int way = first_way() + 1; way < end_of_ways(); way += 2)
		/* the library's own kernel TLS handles KeyUpdates itself */
		if (ways[way].method == TLSSF_METHOD_KTLS)
			tcase_add_loop_test(tc, payload_len_and_key, way,
					    way + 1);
	tcase_add_loop_test(tc, takeover_from, 0,
			    (int)(N_VERSIONS * sizeof(begins) /
				  sizeof(begins[0])));
}
