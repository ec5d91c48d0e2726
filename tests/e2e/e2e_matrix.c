/* SPDX-License-Identifier: MIT */
/*
 * All combinations of method, TLS version, cipher, blocking socket or
 * non-blocking one with small buffers and a slow reader, size, and with or
 * without header and trailer; with SSL_write() before, between and after. A
 * guest (TLSSF_GUEST) is slow and skips most of the large ones unless
 * TLSSF_FULL is set, see wanted().
 *
 * The rows of the kernel's methods need a kernel that has them. If it has not,
 * the row is skipped, unless TLSSF_EXPECT promises the feature. Then the row
 * fails.
 */
#include "util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BIG		(64 * MIB)
#define ROOM		(2 * MIB)	/* for offsets behind BIG */
#define FOUR_GIB	(UINT64_C(1) << 32)
#define SPARSE_FROM	(FOUR_GIB - 32 * KIB)
/* the position of the descriptor, which libtlssf must not change */
#define POSITION	12345
#define SNDBUF		8192
#define RCVBUF		4096

static const char greeting[37] = "SSL_write before " MARKER;
static const char between[] = "SSL_write between " MARKER;
static const char after[] = "SSL_write after " MARKER;
static const char header[301] = "HTTP/1.1 200 OK\r\n" MARKER;
static const char trailer[77] = "a trailer " MARKER;

static const int methods[] = { TLSSF_METHOD_AUTO,
#ifndef OPENSSL_IS_BORINGSSL
			       TLSSF_METHOD_SSL_SENDFILE,
#endif
			       TLSSF_METHOD_KTLS, TLSSF_METHOD_USERSPACE };
static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
static const size_t sizes[] = { 0, 1, 16383, 16384, 16385, MIB + 1 };

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define N_ROWS		(COUNT(methods) * COUNT(versions) * N_CIPHERS * 2)

struct row {
	int method, version;
	const struct cipher *cipher;
	bool slow;
	char name[96];
};

static struct link l;
static struct file file, sparse; /* shared by all tests */
static unsigned int cells;	/* run on this connection so far */
static uint64_t sent;		/* by tlssf calls on this connection */

static void setup(void)
{
	memset(&l, 0, sizeof(l));
	cells = 0;
	sent = 0;
}

static void teardown(void)
{
	link_close(&l);
}

static struct row row_of(int i)
{
	size_t n = (size_t)i;
	struct row r;

	r.slow = n % 2;
	r.cipher = &ciphers[n / 2 % N_CIPHERS];
	r.version = versions[n / 2 / N_CIPHERS % COUNT(versions)];
	r.method = methods[n / 2 / N_CIPHERS / COUNT(versions)];
	snprintf(r.name, sizeof(r.name), "e2e_matrix %s %s %s %s",
		 tlssf_method_name(r.method), version_word(r.version),
		 r.cipher->word, r.slow ? "slow non-blocking" : "blocking");
	return r;
}

/* A guest runs only a part of the rows. */
static bool wanted(const struct row *r, size_t size, bool framed)
{
	bool first = r->version == TLS1_2_VERSION && r->cipher == ciphers;

	if (!in_guest() || size <= 16385)
		return true;
	/* user space is the same on every kernel, so the host runs these */
	if (r->method == TLSSF_METHOD_USERSPACE && !first)
		return false;
	/* AUTO chooses one of the other methods */
	if (r->method == TLSSF_METHOD_AUTO && size > MIB + 1)
		return false;
	if (full_run())
		return true;
	if (size > MIB + 1)
		return first && !r->slow && !framed;
	return r->slow ? first && framed : !framed;
}

static bool open_row(const struct row *r)
{
	struct link_conf conf = { .method = r->method, .version = r->version,
		.cipher = r->cipher, .nonblocking = r->slow,
		.sndbuf = r->slow ? SNDBUF : 0,
		.peer.rcvbuf = r->slow ? RCVBUF : 0 };
	uint64_t seq;

	link_open(&l, &conf);
	write_all(&l, greeting, sizeof(greeting));
	sync_peer(&l);
	if (r->method == TLSSF_METHOD_SSL_SENDFILE ? kernel_seq(&l, &seq)
	    : r->method != TLSSF_METHOD_KTLS ||
	      kernel_can(r->version, r->cipher))
		return true;
	ck_assert_msg(expected_cipher(r->version, r->cipher) != 1,
		      "%s: in TLSSF_EXPECT, but not in force", r->name);
	skip_test("%s: kernel TLS is not in force", r->name);
	return false;
}

/*
 * The method that must be in force on this row, with this kernel and TLS
 * library, once enough was sent to make a takeover worth it.
 */
static int right_method(const struct row *r)
{
	bool own = LIBRARY_KTLS &&
		   (r->version == TLS1_2_VERSION || survives_rekey());

	if (r->method != TLSSF_METHOD_AUTO)
		return r->method;
	if (!kernel_can(r->version, r->cipher))
		return TLSSF_METHOD_USERSPACE;
	return own ? TLSSF_METHOD_SSL_SENDFILE : TLSSF_METHOD_KTLS;
}

static bool pays(void)
{
	return sent >= TAKEOVER_PAYS;
}

static void check_reasons(const struct row *r, const struct tlssf_status *st,
			  int right)
{
	ck_assert_int_eq(st->why_not[st->method], TLSSF_REASON_NONE);
	for (int m = 1; m < TLSSF_METHOD_COUNT; m++)
		if (m != st->method)
			ck_assert_int_ne(st->why_not[m], TLSSF_REASON_NONE);
	if (right == TLSSF_METHOD_KTLS && st->method != right)
		ck_assert_int_eq(st->why_not[right], TLSSF_REASON_NOT_YET);
	if (r->method == TLSSF_METHOD_AUTO && right == TLSSF_METHOD_KTLS)
		ck_assert_int_eq(st->why_not[TLSSF_METHOD_SSL_SENDFILE],
				 LIBRARY_KTLS ? TLSSF_REASON_REKEY
					      : TLSSF_REASON_LIBRARY_NO_KTLS);
}

/*
 * Check what the kernel reports for this socket. If the kernel encrypts, its
 * sequence number is the number of records that the peer has decrypted (plus
 * the Finished of TLS 1.2). If not, it has no key at all.
 */
static void check_kernel(const struct row *r, const struct tlssf_status *st)
{
	uint64_t seq, before = r->version == TLS1_2_VERSION;

	if (st->method == TLSSF_METHOD_USERSPACE) {
		ck_assert(!kernel_seq(&l, &seq));
		ck_assert_int_eq(st->kernel_tx, 0);
		return;
	}
	ck_assert_int_eq(st->kernel_tx, 1);
	ck_assert(kernel_seq(&l, &seq));
	ck_assert_uint_eq(seq, l.report.records + before);
	ck_assert_uint_ge(st->records[st->method],
			  (st->bytes[st->method] + 16383) / 16384);
	ck_assert_uint_le(st->records[st->method], seq);
}

static void check_in_force(const struct row *r)
{
	struct tlssf_status st;
	uint64_t all = 0;
	int right = right_method(r), now = right;

	if (right == TLSSF_METHOD_KTLS && r->method == TLSSF_METHOD_AUTO &&
	    !pays())
		now = TLSSF_METHOD_USERSPACE;
	get_status(&l, &st);
	ck_assert_msg(st.method == now, "%s: %s in force, not %s", r->name,
		      tlssf_method_name(st.method), tlssf_method_name(now));
	ck_assert_int_eq(st.version, r->version);
	check_reasons(r, &st, right);
	for (int m = 0; m < TLSSF_METHOD_COUNT; m++)
		all += st.bytes[m];
	ck_assert_uint_eq(all, sent);
	if (right == TLSSF_METHOD_KTLS) {	/* it starts in user space */
		all -= st.bytes[TLSSF_METHOD_USERSPACE];
		ck_assert_uint_lt(st.bytes[TLSSF_METHOD_USERSPACE],
				  r->method == right ? 16384
				  : TAKEOVER_PAYS + 16384);
	}
	ck_assert_uint_eq(st.bytes[right], all);
	check_kernel(r, &st);
}

static void check_position(const struct file *f)
{
	ck_assert_int_eq(lseek(f->fd, 0, SEEK_CUR), POSITION);
}

static void start_reading(const struct row *r, uint64_t n)
{
	bool big = n > 2 * MIB;

	if (r->slow)
		peer_do_read(&l, n, big ? 0 : 1000, big ? 10 : 20);
	else
		peer_do_read(&l, n, 0, 0);
}

static void two_sends(const struct file *f, uint64_t off, size_t size)
{
	size_t half = size / 2;

	send_all(&l, f, off, half);
	write_all(&l, between, sizeof(between));
	send_all(&l, f, off + half, size - half);
}

static void one_job(const struct file *f, uint64_t off, size_t size)
{
	struct tlssf_job job = { .size = sizeof(job), .fd = f->fd,
		.off = (off_t)off, .file_len = size,
		.header = header, .header_len = sizeof(header),
		.trailer = trailer, .trailer_len = sizeof(trailer) };

	expect_bytes(&l, header, sizeof(header));
	expect_file(&l, f, off, size);
	expect_bytes(&l, trailer, sizeof(trailer));
	job_all(&l, &job);
	sent += sizeof(header) + sizeof(trailer);
}

static void transfer(const struct row *r, const struct file *f, uint64_t off,
		     size_t size, bool framed)
{
	size_t more = framed ? sizeof(header) + sizeof(trailer)
			     : sizeof(between);

	start_reading(r, sizeof(greeting) + size + more + sizeof(after));
	write_all(&l, greeting, sizeof(greeting));
	if (framed)
		one_job(f, off, size);
	else
		two_sends(f, off, size);
	sent += size;
	write_all(&l, after, sizeof(after));
	compare(&l);
	check_position(f);
	cells++;
}

static void finish(const struct row *r)
{
	check_in_force(r);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
	ck_assert_uint_le(l.report.max_record, 16384 + 256);
	ck_assert_int_eq(l.report.alert_out, -1);
}

static void open_files(void)
{
	file_make(&file, BIG + ROOM);
	file_make_sparse(&sparse, SPARSE_FROM, FOUR_GIB + 128 * KIB);
	lseek(file.fd, POSITION, SEEK_SET);
	lseek(sparse.fd, POSITION, SEEK_SET);
}

START_TEST(every_size)
{
	struct row r = row_of(_i);

	if (!open_row(&r))
		return;
	for (size_t i = 0; i < 2 * COUNT(sizes); i++)
		/* with framing, the offset is odd */
		if (wanted(&r, sizes[i / 2], i % 2))
			transfer(&r, &file, 1 + 2 * 4099 * i, sizes[i / 2],
				 i % 2);
	check_in_force(&r);
	/* send a range that crosses 4 GiB, and one beyond 4 GiB */
	for (int framed = 0; framed <= 1; framed++) {
		transfer(&r, &sparse, FOUR_GIB - 7001, 20011, framed);
		transfer(&r, &sparse, FOUR_GIB + 1, 70001, framed);
	}
	finish(&r);
}
END_TEST

START_TEST(sixty_four_mib)
{
	struct row r = row_of(_i / 2);
	bool framed = _i % 2;
	size_t len = strlen(r.name);

	snprintf(r.name + len, sizeof(r.name) - len, " 64 MiB%s",
		 framed ? " framed" : "");
	if (!wanted(&r, BIG, framed)) {
		skip_test("%s: %s", r.name, full_run() ?
			  "not in a guest" : "in a guest only with TLSSF_FULL");
		return;
	}
	if (!open_row(&r))
		return;
	transfer(&r, &file, 4097, BIG, framed);
	finish(&r);
}
END_TEST

/*
 * With a cipher that no kernel supports, the data arrives and the reason is
 * reported.
 */
START_TEST(cipher_without_offload)
{
	struct link_conf conf = { .version = TLS1_2_VERSION,
		.cipher_name = "ECDHE-RSA-AES128-SHA" };
	struct tlssf_status st;

	link_open(&l, &conf);
	deliver(&l, &file, 1, 99999);
	get_status(&l, &st);
	ck_assert_int_eq(st.method, TLSSF_METHOD_USERSPACE);
	ck_assert_int_eq(st.why_not[TLSSF_METHOD_SSL_SENDFILE],
			 TLSSF_REASON_CIPHER);
	ck_assert_int_eq(st.reason, TLSSF_REASON_CIPHER);
	ck_assert_str_eq(st.cipher_name, "ECDHE-RSA-AES128-SHA");
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
}
END_TEST

/*
 * Without tlssf_ctx_init() any connected SSL works. Only a takeover with TLS
 * 1.3 and OpenSSL is impossible, since the secrets are missing.
 */
START_TEST(without_ctx_init)
{
	struct link_conf conf = { .version = versions[_i], .no_init = true };
	bool ktls = kernel_can(conf.version, &ciphers[0]) &&
		    (conf.version == TLS1_2_VERSION || !LIBRARY_KTLS);
	struct tlssf_status st;

	link_open(&l, &conf);
	deliver(&l, &file, 1, MIB - 1);
	get_status(&l, &st);
	ck_assert_int_eq(st.method, ktls ? TLSSF_METHOD_KTLS
					 : TLSSF_METHOD_USERSPACE);
	ck_assert_int_eq(st.kernel_tx, ktls);
	ck_assert_int_ne(st.why_not[TLSSF_METHOD_SSL_SENDFILE],
			 TLSSF_REASON_NONE);
	if (!ktls && kernel_can(conf.version, &ciphers[0]))
		ck_assert_int_eq(st.why_not[TLSSF_METHOD_KTLS],
				 TLSSF_REASON_NO_SECRET);
	ck_assert_uint_eq(st.bytes[TLSSF_METHOD_USERSPACE] +
			  st.bytes[TLSSF_METHOD_KTLS], MIB - 1);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_matrix");
	TCase *tc = add_case(suite, "sizes");

	warm_up();
	open_files();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, every_size, 0, (int)N_ROWS);
	tcase_add_test(tc, cipher_without_offload);
	tcase_add_loop_test(tc, without_ctx_init, 0, (int)COUNT(versions));
	tc = add_case(suite, "64 MiB");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, sixty_four_mib, 0, 2 * (int)N_ROWS);
	return run_suite("e2e_matrix", suite);
}
