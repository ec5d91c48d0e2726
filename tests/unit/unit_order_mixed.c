/* SPDX-License-Identifier: MIT */
/*
 * The same as unit_order.c, but a send need not end before the next action.
 * Writes, reads, KeyUpdates, flushes, other lengths and new filter BIOs come
 * between two calls of the same send, and system calls fail with errors that
 * pass. No connection may fail, and no byte may be lost, repeated or out of
 * order.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define SEEDS		180
#define SENDS		14
#define TRIES		20000
#define LONGEST		(300 * KIB)
#define AROUND		20000	/* most bytes of a header or trailer */

static bool faults;
static unsigned int filters;

/* ---- the wire, and failing system calls ---- */

static void maybe_fail(void)
{
	static const enum sys_call calls[] = { CALL_send, CALL_send_record,
		CALL_sendfile, CALL_preadv, CALL_pread };
	static const int errnos[] = { EAGAIN, EINTR, ENOMEM, ENOBUFS };
	enum sys_call call = calls[draw(5)];
	int err = errnos[draw(4)];

	script_fail(call, 0, 0);
	if (!faults || draw(3))
		return;
	if (call == CALL_preadv || call == CALL_pread)
		err = EIO;
	script_fail(call, 1 + draw(4), err);
}

static void advance_wire(void)
{
	ERR_clear_error();
	script_fail(CALL_send, 0, 0);
	w.p.wire.room = w.slow ? draw(40000) : UNLIMITED;
	if (w.kernel)
		kernel_push();
	receive();
	maybe_fail();
}

/*
 * Check that the call only has to wait. With a filter above the bridge, OpenSSL
 * 3.0 may not report that.
 */
static void assert_retry(int result, bool reading)
{
	int err = SSL_get_error(w.p.ssl, result);

	ck_assert_msg(err == SSL_ERROR_WANT_WRITE ||
		      (reading && err == SSL_ERROR_WANT_READ) ||
		      ((faults || filters) && err == SSL_ERROR_SYSCALL),
		      "SSL error %d", err);
}

static void assert_not_dead(ssize_t result)
{
	ck_assert_msg(result != TLSSF_ERROR || (faults && !status().dead),
		      "%s", tlssf_strerror(w.p.ssl));
}

/* ---- actions between two calls of a send ---- */

static void read_some(void)
{
	char buf[100];
	int n;

	ERR_clear_error();
	n = SSL_read(w.p.ssl, buf, sizeof(buf));
	if (n <= 0)
		assert_retry(n, true);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(buf[i], 'y');
}

static int key_update_type(void)
{
	return draw(2) ? SSL_KEY_UPDATE_REQUESTED
		       : SSL_KEY_UPDATE_NOT_REQUESTED;
}

static void peer_writes(void)
{
	receive();	/* the peer has read whole records then */
	for (unsigned int i = draw(4); i > 0; i--) {
		if (SSL_version(w.p.peer) == TLS1_3_VERSION)
			SSL_key_update(w.p.peer, key_update_type());
		ck_assert_int_eq(SSL_write(w.p.peer, "y", 1), 1);
	}
}

static void key_update(void)
{
	if (SSL_version(w.p.ssl) != TLS1_3_VERSION)
		return;
	SSL_key_update(w.p.ssl, key_update_type());
	if (draw(2))
		SSL_do_handshake(w.p.ssl);
}

static void write_some(void)
{
	static unsigned char buf[60000];
	size_t len = 1 + draw(sizeof(buf)), done = 0;

	memset(buf, (int)draw(256), sizeof(buf));
	expect_data(buf, len);
	for (int i = 0; done < len; i++) {
		int n = SSL_write(w.p.ssl, buf + done, (int)(len - done));

		if (n <= 0)
			assert_retry(n, false);
		done += n > 0 ? (size_t)n : 0;
		ck_assert_int_lt(i, TRIES);
		advance_wire();
		if (draw(6) == 0)
			assert_not_dead(tlssf_flush(w.p.ssl));
	}
}

#ifdef OPENSSL_IS_BORINGSSL	/* BoringSSL has no BIO that buffers */
static void push_filter(void)
{
}
#else
static void push_filter(void)
{
	BIO *below = SSL_get_wbio(w.p.ssl);

	if (draw(2) || filters == 3 || !tl_conn(w.p.ssl)->takeover)
		return;
	filters++;
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, BIO_push(BIO_new(draw(2) ? BIO_f_buffer()
							: BIO_f_null()),
					below));
}
#endif

static void between(void)
{
	switch (draw(8)) {
	case 0:
		read_some();
		break;
	case 1:
		peer_writes();
		read_some();
		break;
	case 2:
		assert_not_dead(tlssf_flush(w.p.ssl));
		break;
	case 3:
		status();
		break;
	case 4:
		write_some();
		break;
	case 5:
		key_update();
		break;
	case 6:
		push_filter();
	}
}

/* ---- a file, or a job ---- */

static unsigned char text[AROUND], all[LONGEST + 2 * AROUND];

static struct tlssf_job any_job(size_t *total)
{
	size_t len = 1 + draw(draw(3) ? LONGEST : 5000);
	struct tlssf_job j = { .size = sizeof(j), .header = text,
		.header_len = draw(draw(2) ? AROUND : 200), .fd = FILE_FD,
		.off = (off_t)draw((uint32_t)(FILE_SIZE - len)),
		.file_len = len, .trailer = text, .trailer_len = draw(AROUND),
		.file_known = (int)draw(2), .then_flush = (int)draw(2) };

	if (draw(2))	/* a file without header and trailer */
		j.header_len = j.trailer_len = 0;
	memset(text, 'j', sizeof(text));
	memcpy(all, text, j.header_len);
	fill(all + j.header_len, (uint64_t)j.off, len);
	memcpy(all + j.header_len + len, text, j.trailer_len);
	*total = j.header_len + len + j.trailer_len;
	return j;
}

/* After TLSSF_WANT_WRITE the next call may have another length. */
static ssize_t send_file(struct tlssf_job *j)
{
	size_t left = (size_t)(j->file_len - j->done);
	size_t len = draw(3) ? left : 1 + draw((uint32_t)left);
	ssize_t n = tlssf_send(w.p.ssl, FILE_FD, j->off + (off_t)j->done, len);

	ck_assert_int_ne(n, 0);
	ck_assert(n < 0 || (size_t)n <= len);
	j->done += n > 0 ? (uint64_t)n : 0;
	return n;
}

/*
 * Send a file or a job, with other actions between its calls. Bytes that are
 * encrypted and not yet reported have their place in the stream, too.
 */
static void send_any(void)
{
	size_t total, wanted = 0;
	struct tlssf_job j = any_job(&total);
	bool is_job = j.header_len || j.trailer_len;

	for (int i = 0; j.done < total; i++) {
		ssize_t n = is_job ? tlssf_send_job(w.p.ssl, &j)
				   : send_file(&j);
		uint64_t unreported = tlssf_unreported_bytes(tl_conn(w.p.ssl));
		size_t upto = (size_t)(j.done + unreported);

		assert_not_dead(n);
		ck_assert(upto >= wanted && upto <= total);
		expect_data(all + wanted, upto - wanted);
		wanted = upto;
		ck_assert_int_lt(i, TRIES);
		advance_wire();
		if (j.done < total && draw(4) == 0)
			between();
	}
}

/* ---- everything together ---- */

static struct tlssf_options any_options(bool kernel)
{
	struct tlssf_options o = { .size = sizeof(o) };

	o.key_records = draw(2) ? 16 + draw(40) : 0;
	o.max_per_call = draw(2) ? 1 + draw(200000) : 0;
	o.max_buffered = draw(4) ? 0 : 1 + draw(100000);
	o.attach_late = (int)draw(2);
	o.takeover_from = draw(2);
	if (draw(4) == 0)
		o.takeover_from = UINT64_MAX;
	if (draw(4) == 0)
		o.method = TLSSF_METHOD_USERSPACE;
	else if (kernel && draw(3) == 0)
		o.method = TLSSF_METHOD_KTLS;
	return o;
}

static void any_mode(void)
{
	SSL_clear_mode(w.p.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
				SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (draw(2))
		SSL_set_mode(w.p.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	if (draw(2))
		SSL_set_mode(w.p.ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

START_TEST(anything_between)
{
	int row = _i % (2 * ROWS);
	struct tlssf_options o;

	w.seed = (uint32_t)_i * 7919;
	o = any_options(row >= ROWS);
	world_open(row, &o);
	any_mode();
	filters = 0;
	faults = draw(2);
	w.short_reads = draw(2);
	w.slow = draw(4) != 0;
	for (int i = 0; i < SENDS; i++) {
		send_any();
		if (draw(2))
			between();
	}
	faults = w.slow = false;
	advance_wire();
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

void add_mixed_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "mixed");

	tcase_add_loop_test(tc, anything_between, 0,
			    in_guest() ? SEEDS / 8 : SEEDS);
}
