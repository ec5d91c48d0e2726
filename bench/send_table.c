/* SPDX-License-Identifier: MIT */
/* Prints the results: a table, and lines of JSON for bench/run. */
#include "send.h"

#include <stdlib.h>
#include <sys/utsname.h>

#include <tlssf/tlssf.h>

#define MIB	(1024.0 * 1024.0)

struct sample samples[MAX_VARIANTS][MAX_ROUNDS];

struct spread {
	double median, min, max;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread(double *x)
{
	int n = conf.rounds;

	qsort(x, (size_t)n, sizeof(*x), compare);
	return (struct spread) { (x[(n - 1) / 2] + x[n / 2]) / 2, x[0],
				 x[n - 1] };
}

static struct spread cpu_of(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[v][i].cpu * 1e6;
	return spread(x);
}

static struct spread wall_of(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[v][i].wall * 1e6;
	return spread(x);
}

/*
 * Returns the ratios of the base's CPU time to that of variant v. Each ratio
 * compares two samples of the same round, because the speed of the machine may
 * change between rounds.
 */
static struct spread ratio_of(unsigned int base, unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[base][i].cpu / samples[v][i].cpu;
	return spread(x);
}

static double records_of(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[v][i].records;
	return spread(x).median;
}

static double calls_of(unsigned int v)
{
	double x[MAX_ROUNDS];

	for (int i = 0; i < conf.rounds; i++)
		x[i] = samples[v][i].calls;
	return spread(x).median;
}

static const char *method_of(unsigned int v)
{
	int method = samples[v][conf.rounds - 1].method;

	return method < 0 ? "" : tlssf_method_name(method);
}

static const char *version_name(void)
{
	return conf.version == TLS1_3_VERSION ? "1.3" : "1.2";
}

/* If clocks count instructions, a nanosecond is one instruction. */
static const char *unit(void)
{
	return conf.count_instructions ? "1000 instructions" : "us";
}

void print_setting(bool own_net)
{
	struct utsname u;

	must(uname(&u) == 0, "uname");
	printf("%.0f + %d bytes, TLS %s %s, %s, Linux %s, reno, %s\n",
	       (double)conf.size, conf.header, version_name(),
	       conf.suite->name, OpenSSL_version(OPENSSL_VERSION), u.release,
	       own_net ? "own network namespace" :
	       "loopback of the machine (own namespace: only as root)");
	if (conf.connections + conf.slow > 1)
		printf("%d concurrent connections, and %d with a slow "
		       "client\n", conf.connections, conf.slow);
	if (conf.wake)
		printf("client wakes up once per %d bytes (SO_RCVLOWAT)\n",
		       conf.wake);
}

static void print_row(unsigned int base, unsigned int v)
{
	struct spread cpu = cpu_of(v), ratio = ratio_of(base, v);

	printf("%-24s %10.1f [%.1f-%.1f]  %5.3f [%.3f-%.3f]",
	       variants[v].name, cpu.median, cpu.min, cpu.max, ratio.median,
	       ratio.min, ratio.max);
	printf("  %7.2f %6.2f  %s\n", records_of(v), calls_of(v),
	       method_of(v));
}

static void write_spread(const char *name, struct spread s)
{
	fprintf(conf.results, ",\"%s\":[%.9g,%.9g,%.9g]", name, s.median,
		s.min, s.max);
}

static void write_row(unsigned int base, unsigned int v, double others)
{
	FILE *f = conf.results;
	struct utsname u;

	must(uname(&u) == 0, "uname");
	fprintf(f, "{\"question\":\"%s\",\"variant\":\"%s\"", conf.name,
		variants[v].name);
	fprintf(f, ",\"library\":\"%s\",\"linux\":\"%s\",\"tlssf\":\"%s\"",
		OpenSSL_version(OPENSSL_VERSION), u.release, tlssf_version());
	fprintf(f, ",\"tls\":\"%s\",\"cipher\":\"%s\",\"size\":%llu"
		",\"header\":%d,\"responses\":%d,\"connections\":%d"
		",\"slow\":%d,\"rounds\":%d,\"wake\":%d",
		version_name(), conf.suite->name,
		(unsigned long long)conf.size, conf.header, conf.responses,
		conf.connections, conf.slow, conf.rounds, conf.wake);
	fprintf(f, ",\"base\":\"%s\",\"unit\":\"%s\"", variants[base].name,
		unit());
	write_spread("cpu", cpu_of(v));
	write_spread("wall", wall_of(v));
	write_spread("times_less_cpu", ratio_of(base, v));
	fprintf(f, ",\"records\":%.9g,\"calls\":%.9g,\"method\":\"%s\"",
		records_of(v), calls_of(v), method_of(v));
	fprintf(f, ",\"others\":%.3f}\n", others);
}

void print_table(const unsigned int *order, unsigned int n, double others)
{
	printf("\n%s of CPU per response, times less CPU, records, sends of "
	       "libtlssf, method\n", unit());
	for (unsigned int i = 0; i < n; i++)
		print_row(order[0], order[i]);
	printf("median [min-max] of %d rounds; times less CPU: %s / variant, "
	       "in the same round\nother programs used %.0f %% of the CPUs "
	       "meanwhile\n\n",
	       conf.rounds, variants[order[0]].name, 100 * others);
	for (unsigned int i = 0; conf.results && i < n; i++)
		write_row(order[0], order[i], others);
	must(!conf.results || fflush(conf.results) == 0, "writing results");
}
