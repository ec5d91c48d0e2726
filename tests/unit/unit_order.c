/* SPDX-License-Identifier: MIT */
/*
 * Sends, writes and KeyUpdates in any order around a takeover, which is the
 * moment when libtlssf takes the write keys over from the TLS library. No byte
 * may be lost, repeated or out of order, and no nonce may be used twice. The
 * sample is the record from which libtlssf finds key and sequence number.
 *
 * The world of these tests (struct order, world_open()) consists of:
 *
 * - The SSL pair of tests/support/tls_pair.h. Our end is a server with
 *   libtlssf. The peer is a client of the plain TLS library.
 * - The wire between them. It accepts as many bytes as it has room for, and the
 *   test sets the room, so a send can stop at any byte.
 * - The system calls, scripted with tests/support/scripted_sys.h: a file filled
 *   with the pattern, a socket that is the wire, no kernel to probe.
 * - In rows from ROWS on, the modelled kernel of unit_order_kernel.c: it gets
 *   the keys by TLS_TX, and encrypts itself. In rows below ROWS there is none,
 *   and libtlssf encrypts.
 *
 * anything_in_any_order() draws from a seed: the options (the limit of a key,
 * max_per_call), short reads, the room of the wire, and OPS actions. Each is an
 * SSL_write(), tlssf_send() or tlssf_send_job() of any length, a tlssf_flush(),
 * or a KeyUpdate of either side.
 *
 * After each action, and between two calls of the same send, the peer decrypts
 * all that has arrived and compares it with what was sent. A record that is out
 * of order, encrypted twice, or under a wrong key or sequence number cannot be
 * decrypted. The modelled kernel checks that no key is installed twice. At the
 * end the peer must have every byte and close_notify, and neither libtlssf nor
 * the modelled kernel may hold any.
 *
 * The other groups of tests:
 *
 *   unit_order_failures.c  what ends a connection after a takeover; a bridge
 *                          that is removed
 *   unit_order_faults.c    each system call fails once
 *   unit_order_fragments.c a max_send_fragment below 16 KiB: no takeover
 *   unit_order_library.c   the TLS library's own calls after a takeover
 *   unit_order_limit.c     how many records one key protects
 *   unit_order_mixed.c     actions between two calls of one send, from a seed
 *   unit_order_padding.c   padded records after a takeover
 *   unit_order_search.c    the search for key and sequence number
 *   unit_order_secret.c    the write secret is wiped where it is of no use
 *   unit_order_stale.c     renegotiation, other BIOs, fork(), other sockets
 *
 * The seed of a test is its loop number, which Check prints if the test fails:
 * "order:anything_in_any_order:17" is loop 17. Run it again with
 * CK_RUN_CASE=order CK_FORK=no under a debugger, with a breakpoint in
 * anything_in_any_order if _i == 17.
 */
#include "scripted_sys.h" /* CMake then adds scripted_sys.c */
#include "unit_order.h"

#include <openssl/err.h>

#define SEEDS		40
#define OPS		12
#define MAX_STREAM	(8 * MIB)

struct order w;

uint32_t draw(uint32_t n)
{
	w.seed = w.seed * 1664525u + 1013904223u;
	return (w.seed >> 8) % n;
}

/* ---- the scripted system calls ---- */

static size_t shorten(size_t n)
{
	return w.short_reads && n > 1 && draw(2) ? 1 + draw((uint32_t)n) : n;
}

int64_t play_preadv(const struct sys_args *a)
{
	const struct iovec *v = a->in;
	uint64_t off = a->off;
	size_t all = 0;

	if (!w.reads_left)
		return -EIO;
	w.reads_left--;
	for (int i = 0; i < a->value && off < FILE_SIZE; i++) {
		size_t n = v[i].iov_len, some;

		if (n > FILE_SIZE - off)
			n = (size_t)(FILE_SIZE - off);
		some = shorten(n);
		fill(v[i].iov_base, off, some);
		off += some;
		all += some;
		if (some < v[i].iov_len)
			break;
	}
	return (int64_t)all;
}

static int64_t play_pread(const struct sys_args *a)
{
	struct iovec v = { a->out, a->out_len };
	struct sys_args b = { .in = &v, .value = 1, .off = a->off };

	return play_preadv(&b);
}

static int64_t play_send(const struct sys_args *a)
{
	if (w.kernel)
		return kernel_send(a);
	return pair_send(&w.p, a->in, a->in_len);
}

static int64_t play_shutdown_write(const struct sys_args *a)
{
	ck_assert_int_eq(a->fd, SOCK);
	w.shutdowns++;
	return 0;
}

static int64_t play_poll(const struct sys_args *a)
{
	(void)a;
	return 0;
}

static void set_defaults(void)
{
	static const uint64_t size = FILE_SIZE, id = 4711;
	static const size_t room = 1 << 30;

	SCRIPT_DEFAULT(file_size, .fd = FILE_FD, .data = &size,
		       .len = sizeof(size));
	SCRIPT_DEFAULT(pread, .fd = FILE_FD, .play = play_pread);
	SCRIPT_DEFAULT(preadv, .fd = FILE_FD, .play = play_preadv);
	SCRIPT_DEFAULT(send, .play = play_send);
	SCRIPT_DEFAULT(nonblocking, .result = 1);
	SCRIPT_DEFAULT(poll, .play = play_poll);
	SCRIPT_DEFAULT(send_room, .data = &room, .len = sizeof(room));
	SCRIPT_DEFAULT(socket_id, .data = &id, .len = sizeof(id));
	SCRIPT_DEFAULT(shutdown_write, .play = play_shutdown_write);
	/* the probe finds nothing */
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
	SCRIPT_DEFAULT(ulp_attach, .fd = SOCK,
		       .result = w.kernel ? 0 : -ENOENT);
	if (w.kernel)
		kernel_defaults();
}

void world_open(int row, const struct tlssf_options *options)
{
	world_open_with(plain_ctx(true), row, options);
}

void world_open_with(SSL_CTX *ctx, int row,
		     const struct tlssf_options *options)
{
	struct tlssf_options none = { .size = sizeof(none) };

	w.expected_len = w.received = 0;
	w.slow = w.short_reads = false;
	w.reads_left = UINT64_MAX;
	w.shutdowns = 0;
	w.kernel = row >= ROWS;
	row %= ROWS;
	script_reset();
	kernel_reset();
	set_defaults();
	ck_assert_int_eq(tlssf_ctx_init(ctx, options ? options : &none), 0);
	if (w.kernel)
		kernel_set_probed(ctx);
	pair_open(&w.p, ctx, &rows[row], SOCK, false);
	SSL_CTX_free(ctx);
}

struct tlssf_status status(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	ck_assert_int_eq(tlssf_status(w.p.ssl, &st), 0);
	return st;
}

/* ---- the SSL pair ---- */

/* The peer decrypts what has arrived, and compares it with what was sent. */
void receive(void)
{
	static unsigned char buf[MIB];
	size_t n;

	do {
		n = pair_read(&w.p, buf, sizeof(buf));
		ck_assert_uint_le(w.received + n, w.expected_len);
		ck_assert_mem_eq(buf, w.expected + w.received, n);
		w.received += n;
	} while (n == sizeof(buf));
}

/* Read the peer's messages; there may be no room for the answer. */
static void read_from_peer(void)
{
	char c;

	ERR_clear_error();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ERR_clear_error();
}

static void key_update(void)
{
	bool ours = draw(2);
	SSL *ssl = ours ? w.p.ssl : w.p.peer;

	if (SSL_version(ssl) != TLS1_3_VERSION)
		return;
	receive();	/* the peer has read whole records then */
	SSL_key_update(ssl, draw(2) ? SSL_KEY_UPDATE_REQUESTED
				    : SSL_KEY_UPDATE_NOT_REQUESTED);
	if (!ours)
		ck_assert_int_eq(SSL_do_handshake(w.p.peer), 1);
	else if (draw(2))
		SSL_do_handshake(w.p.ssl);
	ERR_clear_error();
}

static void advance_wire(void)
{
	w.p.wire.room = w.slow ? draw(40000) : UNLIMITED;
	if (w.kernel)
		kernel_push();
	receive();
}

/* What the peer and the wire do between two calls of the same send. */
static void between_tries(void)
{
	advance_wire();
	if (draw(8) == 0)
		read_from_peer();
}

void expect_data(const void *buf, size_t len)
{
	ck_assert_uint_le(w.expected_len + len, sizeof(w.expected));
	memcpy(w.expected + w.expected_len, buf, len);
	w.expected_len += len;
}

void expect_file_part(uint64_t off, size_t len)
{
	ck_assert_uint_le(w.expected_len + len, sizeof(w.expected));
	fill(w.expected + w.expected_len, off, len);
	w.expected_len += len;
}

void do_write(const unsigned char *buf, size_t len)
{
	expect_data(buf, len);
	while (len) {
		int n = SSL_write(w.p.ssl, buf, (int)len);

		ck_assert(n > 0 || SSL_get_error(w.p.ssl, n) ==
				   SSL_ERROR_WANT_WRITE);
		buf += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		/* OpenSSL cannot answer a KeyUpdate inside SSL_write() */
		advance_wire();
	}
}

void do_send(uint64_t off, size_t len)
{
	expect_file_part(off, len);
	while (len) {
		ssize_t n = tlssf_send(w.p.ssl, FILE_FD, (off_t)off, len);

		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%s",
			      tlssf_strerror(w.p.ssl));
		off += n > 0 ? (uint64_t)n : 0;
		len -= n > 0 ? (size_t)n : 0;
		between_tries();
	}
}

static void do_job(uint64_t off, size_t len, size_t before, size_t after)
{
	static unsigned char text[40000];
	struct tlssf_job j = { .size = sizeof(j), .header = text,
		.header_len = before, .fd = FILE_FD, .off = (off_t)off,
		.file_len = len, .trailer = text, .trailer_len = after };
	int n;

	memset(text, 'j', sizeof(text));
	expect_data(text, before);
	expect_file_part(off, len);
	expect_data(text, after);
	while ((n = tlssf_send_job(w.p.ssl, &j))) {
		ck_assert_msg(n == TLSSF_WANT_WRITE, "%s",
			      tlssf_strerror(w.p.ssl));
		between_tries();
	}
}

void shut_down_and_check(void)
{
	int n;

	while ((n = tlssf_shutdown(w.p.ssl))) {
		ck_assert_int_eq(n, TLSSF_WANT_WRITE);
		between_tries();
	}
	receive();
	ck_assert_uint_eq(w.received, w.expected_len);
	ck_assert(pair_closed(&w.p));
	ck_assert_uint_eq(status().buffered, 0);
	if (w.kernel)
		kernel_is_empty();
}

/* ---- anything in any order ---- */

static size_t any_size(void)
{
	static const size_t near[] = { 1, 15990, 16383, 16384, 16385, 65536 };

	if (draw(2))
		return near[draw(sizeof(near) / sizeof(near[0]))];
	return 1 + draw(draw(2) ? 400000 : 3000);
}

static void any_operation(void)
{
	static unsigned char buf[400000];
	size_t len = any_size();
	uint64_t off = draw((uint32_t)(FILE_SIZE - len));

	switch (draw(6)) {
	case 0:
		memset(buf, (int)draw(256), sizeof(buf));
		do_write(buf, len);
		break;
	case 1:
		key_update();
		break;
	case 2:
		do_job(off, len, draw(2) ? draw(20000) : 0,
			draw(2) ? draw(20000) : 0);
		break;
	case 3:
		while (tlssf_flush(w.p.ssl) == TLSSF_WANT_WRITE)
			between_tries();
		break;
	default:
		do_send(off, len);
	}
}

START_TEST(anything_in_any_order)
{
	struct tlssf_options o = { .size = sizeof(o) };
	int row = _i % (2 * ROWS);

	w.seed = (uint32_t)_i * 7919;
	o.key_records = draw(2) ? 16 + draw(40) : 0;
	o.max_per_call = draw(2) ? 1 + draw(200000) : 0;
	world_open(row, &o);
	w.short_reads = draw(2);
	if (draw(2))
		do_write((const unsigned char *)"early", 5);
	if (draw(2))
		key_update();
	w.slow = draw(3) != 0;
	do_send(draw(MIB), BIG + draw(BIG));
	if (!o.max_per_call || o.max_per_call >= SAMPLE_LEN) {
		ck_assert_int_eq(status().takeover, 1);
		ck_assert_int_eq(status().kernel_tx, w.kernel);
	}
	for (int i = 0; i < OPS; i++)
		any_operation();
	shut_down_and_check();
	if (o.key_records && status().takeover &&
	    rows[row % ROWS].version == TLS1_3_VERSION && w.expected_len > MIB)
		ck_assert_uint_gt(status().rekeys, 0);
	pair_close(&w.p);
}
END_TEST

/* ---- every position in a record, every split of a send ---- */

START_TEST(every_alignment)
{
	world_open(_i, NULL);
	do_send(1, BIG);
	ck_assert_int_eq(status().takeover, 1);
	for (size_t i = 0; i < 40; i++) {
		size_t header = 16384 - 20 + i;

		do_job(i, 3 * 16384 - 20 + i, header, i);
	}
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

START_TEST(every_cut)
{
	static const size_t overhead[ROWS] = { 29, 21, 22 };
	size_t whole = 33 + overhead[_i];

	world_open(_i, NULL);
	do_send(1, BIG);
	w.slow = true;
	for (size_t cut = 1; cut < 90; cut++) {
		w.p.wire.room = cut;
		expect_file_part(cut, 33);
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, (off_t)cut, 33),
				 cut >= whole ? 33 : TLSSF_WANT_WRITE);
		receive();
		w.p.wire.room = UNLIMITED;
		if (cut < whole)
			ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD,
						    (off_t)cut, 33), 33);
		receive();
		ck_assert_uint_eq(w.received, w.expected_len);
	}
	w.slow = false;
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unit_order");
	TCase *tc = add_case(suite, "order");

	tcase_add_loop_test(tc, anything_in_any_order, 0,
			    (in_guest() ? SEEDS / 8 : SEEDS) * 2 * ROWS);
	tcase_add_loop_test(tc, every_alignment, 0, 2 * ROWS);
	tcase_add_loop_test(tc, every_cut, 0, ROWS);
	add_failure_tests(suite);
	add_search_tests(suite);
	add_stale_tests(suite);
	add_fault_tests(suite);
	add_library_tests(suite);
	add_mixed_tests(suite);
	add_padding_tests(suite);
	add_limit_tests(suite);
	add_fragment_tests(suite);
	add_secret_tests(suite);
	return run_suite("unit_order", suite);
}
