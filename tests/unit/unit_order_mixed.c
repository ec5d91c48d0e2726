/* SPDX-License-Identifier: MIT */
/*
 * As in unit_order, but nothing is done to its end before the next thing is
 * begun: between two tries of a send come writes, reads, KeyUpdates, flushes,
 * other lengths, filters on top; and system calls fail in ways that pass. No
 * connection may die of that, and no byte be lost, repeated or out of place.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define SEEDS		180
#define SENDS		14
#define TRIES		20000
#define LONGEST		(300 * KIB)
#define AROUND		20000	/* bytes of header, of trailer */

static bool faults;
static unsigned int filters;

/* ---- the world around ---- */

static void maybe_fail(void)
{
	static const enum sys_call calls[] = { CALL_send, CALL_send_record,
		CALL_sendfile, CALL_preadv, CALL_pread };
	static const int errnos[] = { EAGAIN, EINTR, ENOMEM, ENOBUFS };
	enum sys_call call = calls[dice(5)];
	int err = errnos[dice(4)];

	script_fail(call, 0, 0);
	if (!faults || dice(3))
		return;
	if (call == CALL_preadv || call == CALL_pread)
		err = EIO;
	script_fail(call, 1 + dice(4), err);
}

static void time_passes(void)
{
	ERR_clear_error();
	script_fail(CALL_send, 0, 0);
	w.p.wire.room = w.slow ? dice(40000) : UNLIMITED;
	if (w.kernel)
		kernel_push();
	receive();
	maybe_fail();
}

/* OpenSSL 3.0 does not always tell through a filter that it waits. */
static void may_be_tried_again(int result, bool reading)
{
	int err = SSL_get_error(w.p.ssl, result);

	ck_assert_msg(err == SSL_ERROR_WANT_WRITE ||
		      (reading && err == SSL_ERROR_WANT_READ) ||
		      ((faults || filters) && err == SSL_ERROR_SYSCALL),
		      "SSL error %d", err);
}

static void no_end_of_it(ssize_t result)
{
	ck_assert_msg(result != TLSSF_ERROR || (faults && !status().dead),
		      "%s", tlssf_strerror(w.p.ssl));
}

/* ---- what comes between ---- */

static void read_some(void)
{
	char buf[100];
	int n;

	ERR_clear_error();
	n = SSL_read(w.p.ssl, buf, sizeof(buf));
	if (n <= 0)
		may_be_tried_again(n, true);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(buf[i], 'y');
}

static int key_update_type(void)
{
	return dice(2) ? SSL_KEY_UPDATE_REQUESTED
		       : SSL_KEY_UPDATE_NOT_REQUESTED;
}

static void peer_writes(void)
{
	receive();	/* it is between records then */
	for (unsigned int i = dice(4); i > 0; i--) {
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
	if (dice(2))
		SSL_do_handshake(w.p.ssl);
}

static void write_some(void)
{
	static unsigned char buf[60000];
	size_t len = 1 + dice(sizeof(buf)), done = 0;

	memset(buf, (int)dice(256), sizeof(buf));
	want(buf, len);
	for (int i = 0; done < len; i++) {
		int n = SSL_write(w.p.ssl, buf + done, (int)(len - done));

		if (n <= 0)
			may_be_tried_again(n, false);
		done += n > 0 ? (size_t)n : 0;
		ck_assert_int_lt(i, TRIES);
		time_passes();
		if (dice(6) == 0)
			no_end_of_it(tlssf_flush(w.p.ssl));
	}
}

#ifdef OPENSSL_IS_BORINGSSL	/* which has no BIO that buffers */
static void push_filter(void)
{
}
#else
static void push_filter(void)
{
	BIO *below = SSL_get_wbio(w.p.ssl);

	if (dice(2) || filters == 3 || !tl_conn(w.p.ssl)->takeover)
		return;
	filters++;
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(w.p.ssl, BIO_push(BIO_new(dice(2) ? BIO_f_buffer()
							: BIO_f_null()),
					below));
}
#endif

static void between(void)
{
	switch (dice(8)) {
	case 0:
		read_some();
		break;
	case 1:
		peer_writes();
		read_some();
		break;
	case 2:
		no_end_of_it(tlssf_flush(w.p.ssl));
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
	size_t len = 1 + dice(dice(3) ? LONGEST : 5000);
	struct tlssf_job j = { .size = sizeof(j), .header = text,
		.header_len = dice(dice(2) ? AROUND : 200), .fd = FILE_FD,
		.off = (off_t)dice((uint32_t)(FILE_SIZE - len)),
		.file_len = len, .trailer = text, .trailer_len = dice(AROUND),
		.file_known = (int)dice(2), .then_flush = (int)dice(2) };

	if (dice(2))	/* a file alone */
		j.header_len = j.trailer_len = 0;
	memset(text, 'j', sizeof(text));
	memcpy(all, text, j.header_len);
	fill(all + j.header_len, (uint64_t)j.off, len);
	memcpy(all + j.header_len + len, text, j.trailer_len);
	*total = j.header_len + len + j.trailer_len;
	return j;
}

/* After WANT the length may be another one. */
static ssize_t send_file(struct tlssf_job *j)
{
	size_t left = (size_t)(j->file_len - j->done);
	size_t len = dice(3) ? left : 1 + dice((uint32_t)left);
	ssize_t n = tlssf_send(w.p.ssl, FILE_FD, j->off + (off_t)j->done, len);

	ck_assert_int_ne(n, 0);
	ck_assert(n < 0 || (size_t)n <= len);
	j->done += n > 0 ? (uint64_t)n : 0;
	return n;
}

/* What is sealed but not yet told has its place in the stream, too. */
static void send_any(void)
{
	size_t total, wanted = 0;
	struct tlssf_job j = any_job(&total);
	bool is_job = j.header_len || j.trailer_len;

	for (int i = 0; j.done < total; i++) {
		ssize_t n = is_job ? tlssf_send_job(w.p.ssl, &j)
				   : send_file(&j);
		size_t upto = (size_t)(j.done + tlssf_unreported_bytes(tl_conn(w.p.ssl)));

		no_end_of_it(n);
		ck_assert(upto >= wanted && upto <= total);
		want(all + wanted, upto - wanted);
		wanted = upto;
		ck_assert_int_lt(i, TRIES);
		time_passes();
		if (j.done < total && dice(4) == 0)
			between();
	}
}

/* ---- all of it ---- */

static struct tlssf_options any_options(bool kernel)
{
	struct tlssf_options o = { .size = sizeof(o) };

	o.key_records = dice(2) ? 16 + dice(40) : 0;
	o.max_per_call = dice(2) ? 1 + dice(200000) : 0;
	o.max_buffered = dice(4) ? 0 : 1 + dice(100000);
	o.attach_late = (int)dice(2);
	o.takeover_from = dice(2);
	if (dice(4) == 0)
		o.takeover_from = UINT64_MAX;
	if (dice(4) == 0)
		o.method = TLSSF_METHOD_USERSPACE;
	else if (kernel && dice(3) == 0)
		o.method = TLSSF_METHOD_KTLS;
	return o;
}

static void any_mode(void)
{
	SSL_clear_mode(w.p.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
				SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (dice(2))
		SSL_set_mode(w.p.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	if (dice(2))
		SSL_set_mode(w.p.ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

START_TEST(anything_between)
{
	int row = _i % (2 * ROWS);
	struct tlssf_options o;

	w.dice = (uint32_t)_i * 7919;
	o = any_options(row >= ROWS);
	world_open(row, &o);
	any_mode();
	filters = 0;
	faults = dice(2);
	w.short_reads = dice(2);
	w.slow = dice(4) != 0;
	for (int i = 0; i < SENDS; i++) {
		send_any();
		if (dice(2))
			between();
	}
	faults = w.slow = false;
	time_passes();
	good_bye();
	pair_close(&w.p);
}
END_TEST

void add_mixed_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "mixed");

	tcase_add_loop_test(tc, anything_between, 0,
			    in_guest() ? SEEDS / 8 : SEEDS);
}
