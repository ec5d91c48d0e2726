/* SPDX-License-Identifier: MIT */
#include "unit_userspace_world.h"

#define MANY_READS 1000000u

struct world w;

/* ---- the system ---- */

static int64_t play_pread(const struct sys_args *a)
{
	size_t n = a->out_len;

	if (!w.reads_left)
		return -w.read_err;
	w.reads_left--;
	if (a->off >= w.file_size)
		return 0;
	if (n > w.file_size - a->off)
		n = (size_t)(w.file_size - a->off);
	if (n > w.read_max)
		n = w.read_max;
	fill(a->out, a->off, n);
	return (int64_t)n;
}

static int64_t play_send(const struct sys_args *a)
{
	ck_assert(a->fd == SOCK || a->fd == SOCK2);
	ck_assert_int_eq(a->value, 0);	/* without MSG_MORE */
	return pair_send(a->fd == SOCK ? &w.p : &w.p2, a->in, a->in_len);
}

static int64_t play_nonblocking(const struct sys_args *a)
{
	(void)a;
	return !w.blocking;
}

static int64_t play_poll(const struct sys_args *a)
{
	ck_assert_int_eq(a->value2, 0);
	return w.writable ? a->value : 0;
}

static void set_defaults(void)
{
	static const uint64_t socket_id = 4711;

	SCRIPT_DEFAULT(file_size, .fd = FILE_FD, .data = &w.file_size,
		       .len = sizeof(w.file_size));
	SCRIPT_DEFAULT(pread, .fd = FILE_FD, .play = play_pread);
	SCRIPT_DEFAULT(send, .play = play_send);
	SCRIPT_DEFAULT(nonblocking, .play = play_nonblocking);
	SCRIPT_DEFAULT(poll, .play = play_poll);
	SCRIPT_DEFAULT(send_timeout_ms, .data = &w.timeout_ms,
		       .len = sizeof(w.timeout_ms));
	SCRIPT_DEFAULT(send_room, .data = &w.room, .len = sizeof(w.room));
	SCRIPT_DEFAULT(socket_id, .data = &socket_id,
		       .len = sizeof(socket_id));
	/* the probe finds nothing */
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
}

void world_open(const struct suite_row *row,
		const struct tlssf_options *options)
{
	struct tlssf_options named = { .size = sizeof(named) };
	SSL_CTX *ctx = plain_ctx(true);

	/* AUTO would take the keys over: see unit_order */
	if (options)
		named = *options;
	named.method = TLSSF_METHOD_USERSPACE;
	memset(&w, 0, sizeof(w));
	w.timeout_ms = -1;
	w.file_size = 1u << 20;
	w.room = 1u << 30;
	w.read_max = UNLIMITED;
	w.reads_left = MANY_READS;
	script_reset();
	set_defaults();
	ck_assert_int_eq(tlssf_ctx_init(ctx, &named), 0);
	pair_open(&w.p, ctx, row, SOCK, false);
	SSL_CTX_free(ctx);
}

void world_close(void)
{
	if (w.p2.ssl)
		pair_close(&w.p2);
	pair_close(&w.p);
}

/* ---- sending and receiving ---- */

void begin(uint64_t start)
{
	w.start = start;
	w.reported = w.received = 0;
}

static unsigned char got[2u << 20], want[2u << 20];

void receive_part(uint64_t off, size_t len)
{
	ck_assert_uint_eq(pair_read(&w.p, got, len), len);
	fill(want, off, len);
	ck_assert_mem_eq(got, want, len);
}

void receive(uint64_t off, size_t len)
{
	receive_part(off, len);
	ck_assert_uint_eq(pair_read(&w.p, got, 1), 0);
}

ssize_t step(size_t len)
{
	ssize_t r = tlssf_send(w.p.ssl, FILE_FD,
			       (off_t)(w.start + w.reported), len - w.reported);
	int saved = errno;
	size_t n = pair_read(&w.p, got, sizeof(got));

	fill(want, w.start + w.received, n);
	ck_assert_mem_eq(got, want, n);
	w.received += n;
	w.reported += r > 0 ? (uint64_t)r : 0;
	/* exactly what the peer can decrypt was reported */
	ck_assert_uint_eq(w.reported, w.received);
	errno = saved;
	return r;
}

void finish(size_t len)
{
	for (int i = 0; i < 1000 && w.reported < len; i++)
		ck_assert_int_gt(step(len), 0);
	ck_assert_uint_eq(w.reported, len);
}

/* ---- failures ---- */

struct tlssf_status status_of(SSL *ssl)
{
	struct tlssf_status st = { .size = sizeof(st) };

	ck_assert_int_eq(tlssf_status(ssl, &st), 0);
	return st;
}

void assert_error(ssize_t r, int err, int reason, bool dead)
{
	int saved = errno;
	struct tlssf_status st = status_of(w.p.ssl);

	ck_assert_int_eq(r, TLSSF_ERROR);
	ck_assert_int_eq(saved, err);
	ck_assert_msg(st.error == reason, "errno %d: %s, expected %s", err,
		      tlssf_reason_name(st.error), tlssf_reason_name(reason));
	ck_assert_msg(st.dead == dead, "errno %d: dead %d", err, st.dead);
}

static void assert_silent(ssize_t r, int err, size_t taken)
{
	ck_assert_int_eq(r, TLSSF_ERROR);
	ck_assert_int_eq(errno, err);
	ck_assert_uint_eq(w.p.wire.taken, taken);
}

void assert_dead(int err)
{
	struct tlssf_job job = { .size = sizeof(job), .header = "x",
				 .header_len = 1 };
	size_t taken = w.p.wire.taken;
	SSL *ssl = w.p.ssl;

	w.p.wire.room = w.p.wire.chunk = UNLIMITED;
	script_reset();	/* without defaults any system call fails the test */
	assert_silent(tlssf_send(ssl, FILE_FD, 0, 10), err, taken);
	assert_silent(tlssf_send_job(ssl, &job), err, taken);
	assert_silent(tlssf_flush(ssl), err, taken);
	assert_silent(SSL_write(ssl, "x", 1), err, taken);
	assert_silent(tlssf_shutdown(ssl), err, taken);
	ck_assert_uint_eq(job.done, 0);
	ck_assert_uint_eq(status_of(ssl).buffered, 0);
	set_defaults();
}
