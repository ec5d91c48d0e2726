/* SPDX-License-Identifier: MIT */
/*
 * Records under keys that were taken over, sealed by us or by a kernel (a model
 * of one: unit_order_kernel.c). A TLS client in memory opens everything, in
 * order: a record out of order, sealed twice, under a wrong key or number, ends
 * it. What happens is drawn from a seed, so a failure can be repeated: writes,
 * sends and jobs of all sizes, KeyUpdates from both sides, a wire that takes any
 * number of bytes, short reads, a key that lasts for few records.
 */
#include "scripted_sys.h"	/* for CMake, too: it brings its own tlssf_sys */
#include "unit_order.h"

#include <openssl/err.h>

#define SEEDS		40
#define OPS		12
#define MAX_STREAM	(8 * MIB)

struct order w;

uint32_t dice(uint32_t n)
{
	w.dice = w.dice * 1664525u + 1013904223u;
	return (w.dice >> 8) % n;
}

/* ---- the system ---- */

static size_t shorten(size_t n)
{
	return w.short_reads && n > 1 && dice(2) ? 1 + dice((uint32_t)n) : n;
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
	w.severed++;
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
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);	/* no probing here */
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

	w.wanted = w.received = 0;
	w.slow = w.short_reads = false;
	w.reads_left = UINT64_MAX;
	w.severed = 0;
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

/* ---- the two ends ---- */

/* What the peer has opened is what was sent, in order. */
void receive(void)
{
	static unsigned char buf[MIB];
	size_t n;

	do {
		n = pair_read(&w.p, buf, sizeof(buf));
		ck_assert_uint_le(w.received + n, w.wanted);
		ck_assert_mem_eq(buf, w.want + w.received, n);
		w.received += n;
	} while (n == sizeof(buf));
}

/* Handle what the peer has sent; the answer may not fit. */
static void listen_to_peer(void)
{
	char c;

	ERR_clear_error();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ERR_clear_error();
}

static void key_update(void)
{
	bool ours = dice(2);
	SSL *ssl = ours ? w.p.ssl : w.p.peer;

	if (SSL_version(ssl) != TLS1_3_VERSION)
		return;
	receive();	/* the peer is between records then */
	SSL_key_update(ssl, dice(2) ? SSL_KEY_UPDATE_REQUESTED
				    : SSL_KEY_UPDATE_NOT_REQUESTED);
	if (!ours)
		ck_assert_int_eq(SSL_do_handshake(w.p.peer), 1);
	else if (dice(2))
		SSL_do_handshake(w.p.ssl);
	ERR_clear_error();
}

static void wire_goes_on(void)
{
	w.p.wire.room = w.slow ? dice(40000) : UNLIMITED;
	if (w.kernel)
		kernel_push();
	receive();
}

/* Between two tries of the same call. */
static void meanwhile(void)
{
	wire_goes_on();
	if (dice(8) == 0)
		listen_to_peer();
}

void want(const void *buf, size_t len)
{
	ck_assert_uint_le(w.wanted + len, sizeof(w.want));
	memcpy(w.want + w.wanted, buf, len);
	w.wanted += len;
}

void want_file_part(uint64_t off, size_t len)
{
	ck_assert_uint_le(w.wanted + len, sizeof(w.want));
	fill(w.want + w.wanted, off, len);
	w.wanted += len;
}

void do_write(const unsigned char *buf, size_t len)
{
	want(buf, len);
	while (len) {
		int n = SSL_write(w.p.ssl, buf, (int)len);

		ck_assert(n > 0 || SSL_get_error(w.p.ssl, n) ==
				   SSL_ERROR_WANT_WRITE);
		buf += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		/* OpenSSL cannot answer a KeyUpdate inside SSL_write() */
		wire_goes_on();
	}
}

void do_send(uint64_t off, size_t len)
{
	want_file_part(off, len);
	while (len) {
		ssize_t n = tlssf_send(w.p.ssl, FILE_FD, (off_t)off, len);

		ck_assert_msg(n > 0 || n == TLSSF_WANT_WRITE, "%s",
			      tlssf_strerror(w.p.ssl));
		off += n > 0 ? (uint64_t)n : 0;
		len -= n > 0 ? (size_t)n : 0;
		meanwhile();
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
	want(text, before);
	want_file_part(off, len);
	want(text, after);
	while ((n = tlssf_send_job(w.p.ssl, &j))) {
		ck_assert_msg(n == TLSSF_WANT_WRITE, "%s",
			      tlssf_strerror(w.p.ssl));
		meanwhile();
	}
}

void good_bye(void)
{
	int n;

	while ((n = tlssf_shutdown(w.p.ssl))) {
		ck_assert_int_eq(n, TLSSF_WANT_WRITE);
		meanwhile();
	}
	receive();
	ck_assert_uint_eq(w.received, w.wanted);
	ck_assert(pair_closed(&w.p));
	ck_assert_uint_eq(status().buffered, 0);
	if (w.kernel)
		kernel_is_empty();
}

/* ---- anything in any order ---- */

static size_t any_size(void)
{
	static const size_t near[] = { 1, 15990, 16383, 16384, 16385, 65536 };

	if (dice(2))
		return near[dice(sizeof(near) / sizeof(near[0]))];
	return 1 + dice(dice(2) ? 400000 : 3000);
}

static void any_operation(void)
{
	static unsigned char buf[400000];
	size_t len = any_size();
	uint64_t off = dice((uint32_t)(FILE_SIZE - len));

	switch (dice(6)) {
	case 0:
		memset(buf, (int)dice(256), sizeof(buf));
		do_write(buf, len);
		break;
	case 1:
		key_update();
		break;
	case 2:
		do_job(off, len, dice(2) ? dice(20000) : 0,
			dice(2) ? dice(20000) : 0);
		break;
	case 3:
		while (tlssf_flush(w.p.ssl) == TLSSF_WANT_WRITE)
			meanwhile();
		break;
	default:
		do_send(off, len);
	}
}

START_TEST(anything_in_any_order)
{
	struct tlssf_options o = { .size = sizeof(o) };
	int row = _i % (2 * ROWS);

	w.dice = (uint32_t)_i * 7919;
	o.key_records = dice(2) ? 16 + dice(40) : 0;
	o.max_per_call = dice(2) ? 1 + dice(200000) : 0;
	world_open(row, &o);
	w.short_reads = dice(2);
	if (dice(2))
		do_write((const unsigned char *)"early", 5);
	if (dice(2))
		key_update();
	w.slow = dice(3) != 0;
	do_send(dice(MIB), BIG + dice(BIG));
	if (!o.max_per_call || o.max_per_call >= SAMPLE_LEN) {
		ck_assert_int_eq(status().takeover, 1);
		ck_assert_int_eq(status().kernel_tx, w.kernel);
	}
	for (int i = 0; i < OPS; i++)
		any_operation();
	good_bye();
	if (o.key_records && status().takeover &&
	    rows[row % ROWS].version == TLS1_3_VERSION && w.wanted > MIB)
		ck_assert_uint_gt(status().rekeys, 0);
	pair_close(&w.p);
}
END_TEST

/* ---- every place in a record, every way of cutting the wire ---- */

START_TEST(every_alignment)
{
	world_open(_i, NULL);
	do_send(1, BIG);
	ck_assert_int_eq(status().takeover, 1);
	for (size_t i = 0; i < 40; i++) {
		size_t header = 16384 - 20 + i;

		do_job(i, 3 * 16384 - 20 + i, header, i);
	}
	good_bye();
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
		want_file_part(cut, 33);
		ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, (off_t)cut, 33),
				 cut >= whole ? 33 : TLSSF_WANT_WRITE);
		receive();
		w.p.wire.room = UNLIMITED;
		if (cut < whole)
			ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD,
						    (off_t)cut, 33), 33);
		receive();
		ck_assert_uint_eq(w.received, w.wanted);
	}
	w.slow = false;
	good_bye();
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
	return run_suite("unit_order", suite);
}
