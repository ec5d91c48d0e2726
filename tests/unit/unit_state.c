/* SPDX-License-Identifier: MIT */
/*
 * The states of a connection: which steps the setters of output/state.c accept,
 * and which combinations connection/state_table.c accepts. Everything else must
 * end the process with SIGABRT.
 *
 * "unit_state --markdown" runs no test. It prints the table of the legal
 * combinations for docs/DESIGN.md.
 */
#include "connection.h"
#include "test_conn.h"
#include "util.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a step that must end the process ---- */

/* The library reports a violation to standard error before it aborts. */
static void silence_stderr(void)
{
	if (!freopen("/dev/null", "w", stderr))
		_exit(1);
}

/* Does `run` end a child process with SIGABRT? */
static bool aborts(void (*run)(const void *arg), const void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		silence_stderr();
		run(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* ---- single steps ---- */

#define TO(state)	(1u << (state))

struct machine {		/* one of the three states with setters */
	const char *name;
	unsigned int count;	/* how many states it has */
	void (*enter)(struct conn *c, unsigned int state);
	void (*step)(struct conn *c, unsigned int to);
	unsigned int (*state)(const struct conn *c);
	/* For each state the states that may follow it, as in output/state.c;
	 * written down here a second time, so that a change needs two edits. */
	unsigned int legal[SEALER_COUNT];
};

static void step_life(struct conn *c, unsigned int to)
{
	tlssf_set_life(c, (enum life)to);
}

static unsigned int life_of(const struct conn *c)
{
	return c->life;
}

static void enter_sealer(struct conn *c, unsigned int state)
{
	test_conn_set_sealer(c, (enum sealer)state);
}

static void step_sealer(struct conn *c, unsigned int to)
{
	tlssf_set_sealer(c, (enum sealer)to);
}

static unsigned int sealer_of(const struct conn *c)
{
	return c->sealer;
}

static void enter_sample(struct conn *c, unsigned int state)
{
	test_conn_set_sample(c, (enum sample_step)state);
}

static void step_sample(struct conn *c, unsigned int to)
{
	tlssf_set_sample(c, (enum sample_step)to, TLSSF_REASON_NONE);
}

static unsigned int sample_of(const struct conn *c)
{
	return c->sample_step;
}

static const struct machine machines[] = {
	{ "life", LIFE_COUNT, step_life, step_life, life_of, {
		[LIFE_OPEN] = TO(LIFE_ALERT_DUE) | TO(LIFE_ALERT_SENT) |
			      TO(LIFE_DEAD),
		[LIFE_ALERT_DUE] = TO(LIFE_ALERT_SENT) | TO(LIFE_DEAD) |
				   TO(LIFE_OPEN),
		[LIFE_ALERT_SENT] = TO(LIFE_DEAD) | TO(LIFE_OPEN),
		[LIFE_DEAD] = TO(LIFE_OPEN),
	} },
	{ "sealer", SEALER_COUNT, enter_sealer, step_sealer, sealer_of, {
		[SEALER_UNKNOWN] = TO(SEALER_LIBRARY) |
				   TO(SEALER_LIBRARY_IN_KERNEL),
		[SEALER_LIBRARY] = TO(SEALER_UNKNOWN) | TO(SEALER_KERNEL) |
				   TO(SEALER_OURSELVES),
		[SEALER_LIBRARY_IN_KERNEL] = TO(SEALER_UNKNOWN),
		[SEALER_KERNEL] = TO(SEALER_UNKNOWN) | TO(SEALER_NOBODY),
		[SEALER_OURSELVES] = TO(SEALER_UNKNOWN) | TO(SEALER_NOBODY),
		[SEALER_NOBODY] = TO(SEALER_UNKNOWN),
	} },
	{ "sample", SAMPLE_COUNT, enter_sample, step_sample, sample_of, {
		[SAMPLE_NONE] = TO(SAMPLE_NEXT),
		[SAMPLE_NEXT] = TO(SAMPLE_NONE) | TO(SAMPLE_TAKEN) |
				TO(SAMPLE_REFUSED),
		[SAMPLE_TAKEN] = TO(SAMPLE_NONE) | TO(SAMPLE_NEXT) |
				 TO(SAMPLE_REFUSED),
		[SAMPLE_REFUSED] = TO(SAMPLE_NONE) | TO(SAMPLE_NEXT),
	} },
};
#define N_MACHINES	(sizeof(machines) / sizeof(machines[0]))

struct step_of {
	const struct machine *machine;
	unsigned int from, to;
};

static bool is_legal(const struct step_of *s)
{
	/* a step to the same state changes nothing, and is always accepted */
	return s->from == s->to || s->machine->legal[s->from] & TO(s->to);
}

#define MAX_STEPS	(LIFE_COUNT * LIFE_COUNT + SEALER_COUNT * SEALER_COUNT \
			 + SAMPLE_COUNT * SAMPLE_COUNT)
static struct step_of legal[MAX_STEPS], illegal[MAX_STEPS];
static int n_legal, n_illegal;

static void sort_steps(const struct machine *m)
{
	for (unsigned int i = 0; i < m->count * m->count; i++) {
		struct step_of s = { m, i / m->count, i % m->count };

		if (is_legal(&s))
			legal[n_legal++] = s;
		else
			illegal[n_illegal++] = s;
	}
}

static void make_step(const void *arg)
{
	const struct step_of *s = arg;
	struct conn *c = test_conn_new(-1, SEALER_UNKNOWN);

	s->machine->enter(c, s->from);
	ck_assert_uint_eq(s->machine->state(c), s->from);
	s->machine->step(c, s->to);
	ck_assert_uint_eq(s->machine->state(c), s->to);
}

START_TEST(legal_step_is_accepted)
{
	make_step(&legal[_i]);
}
END_TEST

/* Check expects SIGABRT. */
START_TEST(illegal_step_ends_the_process)
{
	silence_stderr();
	make_step(&illegal[_i]);
}
END_TEST

START_TEST(illegal_steps_not_asserted)
{
	skip_test("illegal_step_ends_the_process: the library was built "
		  "without TLSSF_ASSERT_STATES");
}
END_TEST

/* ---- combinations ---- */

/*
 * A combination as a connection can hold it. Whether writes fail or are
 * resealed follows from life and sealer, so a test chooses only among these
 * bridges.
 */
enum bridge_kind { NO_BRIDGE, PLAIN, GATHERING, BLOCKED, ORPHAN, N_BRIDGES };

struct combination {
	enum life life;
	enum sealer sealer;
	enum sample_step sample;
	enum bridge_kind bridge;
	enum reseal_step reseal;	/* without `keys` always IDLE */
	bool keys;		/* has the keys of a takeover */
	bool account;		/* has an account of the kernel's TLS layer */
};

static struct conn *conn_with(const struct combination *k)
{
	static struct bridge bridge;
	struct conn *c = test_conn_new(-1, k->sealer);

	tlssf_set_life(c, k->life);
	test_conn_set_sample(c, k->sample);
	if (k->keys)
		test_conn_attach_keys(c, k->reseal);
	if (k->account)
		ck_assert_int_eq(tlssf_tx_allocate(c), 0);
	bridge = (struct bridge){
		.conn = k->bridge == ORPHAN ? NULL : c,
		.gathering = k->bridge == GATHERING,
		.blocked = k->bridge == BLOCKED,
	};
	c->bridge = k->bridge == NO_BRIDGE ? NULL : &bridge;
	return c;
}

static bool in_table(const struct combination *k)
{
	const struct conn *c = conn_with(k);
	unsigned int bridge = c->bridge ? tlssf_bridge_mode(c->bridge)
					: BRIDGE_ABSENT;

	for (unsigned int i = 0; i < tlssf_state_rows; i++) {
		const struct state_row *row = &tlssf_state_table[i];

		if (row->life & TO(k->life) && row->sealer & TO(k->sealer) &&
		    row->sample & TO(k->sample) && row->bridge & TO(bridge) &&
		    row->reseal & TO(k->reseal))
			return true;
	}
	return false;
}

static void require_legal(const void *arg)
{
	tlssf_state_require_legal(conn_with(arg));
}

static bool has_keys(enum sealer s)
{
	return s == SEALER_KERNEL || s == SEALER_OURSELVES;
}

static bool has_account(enum sealer s)
{
	return s == SEALER_KERNEL || s == SEALER_LIBRARY_IN_KERNEL;
}

/* The i-th combination of all states, with the parts that its sealer needs. */
static struct combination combination_at(unsigned int i)
{
	struct combination k = { 0 };

	k.reseal = i % RESEAL_COUNT;
	i /= RESEAL_COUNT;
	k.bridge = i % N_BRIDGES;
	i /= N_BRIDGES;
	k.sample = i % SAMPLE_COUNT;
	i /= SAMPLE_COUNT;
	k.sealer = i % SEALER_COUNT;
	k.life = i / SEALER_COUNT;
	k.keys = has_keys(k.sealer);
	k.account = has_account(k.sealer);
	return k;
}
#define N_COMBINATIONS	(LIFE_COUNT * SEALER_COUNT * SAMPLE_COUNT * \
			 N_BRIDGES * RESEAL_COUNT)

/* Without keys of a takeover there is no reseal step but IDLE. */
static bool can_be_made(const struct combination *k)
{
	return k->keys || k->reseal == RESEAL_IDLE;
}

/* This loop test has one loop for each combination of life and sealer. */
START_TEST(combination_is_legal_if_in_the_table)
{
	unsigned int n = N_COMBINATIONS / (LIFE_COUNT * SEALER_COUNT);

	for (unsigned int i = (unsigned int)_i * n; i < (_i + 1u) * n; i++) {
		struct combination k = combination_at(i);

		if (can_be_made(&k) && in_table(&k))
			require_legal(&k);
		else if (can_be_made(&k))
			ck_assert_msg(aborts(require_legal, &k),
				      "combination %u is accepted", i);
	}
}
END_TEST

/* A row that no combination matches would hide a mistake in the table. */
START_TEST(every_row_is_in_use)
{
	const struct state_row *row = &tlssf_state_table[_i];
	bool used = false;

	for (unsigned int i = 0; i < N_COMBINATIONS && !used; i++) {
		struct combination k = combination_at(i);

		used = can_be_made(&k) && in_table(&k) &&
		       row->life & TO(k.life) && row->sealer & TO(k.sealer) &&
		       row->sample & TO(k.sample);
	}
	ck_assert_msg(used, "%s", row->meaning);
}
END_TEST

/*
 * A connection has keys if and only if there was a takeover, and an account if
 * and only if the kernel encrypts.
 */
START_TEST(missing_parts_are_illegal)
{
	struct combination k = { .sealer = (enum sealer)_i };

	k.life = k.sealer == SEALER_NOBODY ? LIFE_DEAD : LIFE_OPEN;
	k.sample = has_keys(k.sealer) ? SAMPLE_TAKEN : SAMPLE_NONE;
	k.bridge = k.sealer == SEALER_NOBODY ? BLOCKED : PLAIN;
	k.keys = has_keys(k.sealer);
	k.account = has_account(k.sealer);
	ck_assert(in_table(&k));
	require_legal(&k);
	k.keys = !k.keys;
	ck_assert(aborts(require_legal, &k));
	k.keys = !k.keys;
	k.account = !k.account;
	ck_assert_int_eq(aborts(require_legal, &k), has_account(k.sealer));
}
END_TEST

/* ---- the table in Markdown ---- */

static void print_set(unsigned int set, const char *const *names,
		      unsigned int count, bool any)
{
	const char *separator = "";

	fputs("| ", stdout);
	if (any && set == TO(count) - 1) {
		fputs("any ", stdout);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		if (set & TO(i)) {
			fputs(separator, stdout);
			for (const char *p = names[i]; *p; p++)
				putchar(tolower((unsigned char)*p));
			separator = ", ";
		}
	putchar(' ');
}

static int print_markdown(void)
{
	const char *bridges[BRIDGE_MODE_COUNT + 1];

	for (unsigned int i = 0; i < BRIDGE_MODE_COUNT; i++)
		bridges[i] = tlssf_bridge_mode_names[i];
	bridges[BRIDGE_ABSENT] = "absent";
	puts("| life | sealer | sample | bridge | reseal | meaning |");
	puts("|---|---|---|---|---|---|");
	for (unsigned int i = 0; i < tlssf_state_rows; i++) {
		const struct state_row *row = &tlssf_state_table[i];

		print_set(row->life, tlssf_life_names, LIFE_COUNT, true);
		print_set(row->sealer, tlssf_sealer_names, SEALER_COUNT, true);
		print_set(row->sample, tlssf_sample_names, SAMPLE_COUNT, true);
		print_set(row->bridge, bridges, BRIDGE_MODE_COUNT + 1, false);
		print_set(row->reseal, tlssf_reseal_names, RESEAL_COUNT, true);
		printf("| %s |\n", row->meaning);
	}
	return fflush(stdout) ? 1 : 0;
}

/* ---- main ---- */

/* No ck_assert here: no test is running yet. */
static void step_illegally(const void *arg)
{
	struct conn *c = test_conn_new(-1, SEALER_UNKNOWN);

	(void)arg;
	tlssf_set_sealer(c, SEALER_NOBODY);
}

/* Was the library built with TLSSF_ASSERT_STATES? */
static bool steps_are_asserted(void)
{
	return aborts(step_illegally, NULL);
}

static void add_step_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "steps");

	for (size_t i = 0; i < N_MACHINES; i++)
		sort_steps(&machines[i]);
	tcase_add_loop_test(tc, legal_step_is_accepted, 0, n_legal);
	if (steps_are_asserted())
		tcase_add_loop_test_raise_signal(tc,
						 illegal_step_ends_the_process,
						 SIGABRT, 0, n_illegal);
	else
		tcase_add_test(tc, illegal_steps_not_asserted);
}

int main(int argc, char **argv)
{
	const struct rlimit no_core = { 0, 0 };
	Suite *suite;
	TCase *tc;

	if (argc == 2 && strcmp(argv[1], "--markdown") == 0)
		return print_markdown();
	setrlimit(RLIMIT_CORE, &no_core);	/* many processes abort */
	suite = suite_create("unit_state");
	add_step_tests(suite);
	tc = add_case(suite, "combinations");
	tcase_add_loop_test(tc, combination_is_legal_if_in_the_table, 0,
			    LIFE_COUNT * SEALER_COUNT);
	tcase_add_loop_test(tc, every_row_is_in_use, 0, (int)tlssf_state_rows);
	tcase_add_loop_test(tc, missing_parts_are_illegal, 0, SEALER_COUNT);
	return run_suite("unit_state", suite);
}
