/* SPDX-License-Identifier: MIT */
#include "unit_kernel_send_world.h"

struct world w;

/* ---- the kernel ---- */

static int64_t take(enum how how, uint64_t off, uint64_t len)
{
	int64_t a = ALL;

	ck_assert_uint_lt(w.logged, 64);
	w.in_cork[w.logged] = w.corked;
	w.log[w.logged++] = (struct sent){ how, off, len };
	if (how == BY_PUSH)
		return -w.push_err;
	if (w.state_after_send)
		w.state = w.state_after_send;
	if (w.answered < 16)
		a = w.answers[w.answered++];
	return a == ALL ? (int64_t)len : a;
}

/* Replaces OpenSSL's function, since the linker finds this definition first. */
ossl_ssize_t SSL_sendfile(SSL *ssl, int fd, off_t off, size_t len, int flags)
{
	int64_t n;

	ck_assert_ptr_eq(ssl, w.p.ssl);
	ck_assert_int_eq(fd, FILE_FD);
	ck_assert_int_eq(flags, 0);
	n = take(BY_FILE, (uint64_t)off, len);
	if (n >= 0)
		return (ossl_ssize_t)n;
	errno = n == NO_ERRNO ? 0 : (int)-n;
	return -1;
}

static int64_t play_send(const struct sys_args *a)
{
	return take(a->value ? BY_SEND_MORE : BY_SEND, 0, a->in_len);
}

static int64_t play_pread(const struct sys_args *a)
{
	memset(a->out, 0, a->out_len);
	if (w.file_end && a->off >= w.file_end)
		return 0;
	return w.pread_err ? -w.pread_err : (int64_t)a->out_len;
}

static int64_t play_record(const struct sys_args *a)
{
	ck_assert_uint_eq(a->in_len, 0);
	return take(BY_PUSH, 0, 0);
}

static int64_t play_nonblocking(const struct sys_args *a)
{
	(void)a;
	return !w.blocking;
}

/* The library polls for errors alone (`value` 0), or for writability, too. */
static int64_t play_poll(const struct sys_args *a)
{
	ck_assert_int_eq(a->value2, 0);
	return w.revents & (a->value | POLLERR | POLLHUP);
}

static int64_t play_corked(const struct sys_args *a)
{
	(void)a;
	return w.corked;
}

static int64_t play_cork(const struct sys_args *a)
{
	w.corked = a->value != 0;
	return 0;
}

static int64_t play_state(const struct sys_args *a)
{
	(void)a;
	return w.state;
}

static int64_t play_tx_get(const struct sys_args *a)
{
	memset(a->out, 0, a->out_len);
	return 0;
}

static void set_defaults(void)
{
	static const uint64_t socket_id = 4711;

	SCRIPT_DEFAULT(file_size, .fd = FILE_FD, .data = &w.file_size,
		       .len = sizeof(w.file_size));
	SCRIPT_DEFAULT(pread, .fd = FILE_FD, .play = play_pread);
	SCRIPT_DEFAULT(nonblocking, .fd = SOCK, .play = play_nonblocking);
	SCRIPT_DEFAULT(send, .fd = SOCK, .play = play_send);
	SCRIPT_DEFAULT(send_record, .fd = SOCK, .value = RECORD_DATA,
		       .play = play_record);
	SCRIPT_DEFAULT(poll, .fd = SOCK, .play = play_poll);
	SCRIPT_DEFAULT(tcp_state, .fd = SOCK, .play = play_state);
	SCRIPT_DEFAULT(tcp_corked, .fd = SOCK, .play = play_corked);
	SCRIPT_DEFAULT(tcp_cork, .fd = SOCK, .play = play_cork);
	SCRIPT_DEFAULT(tcp, .fd = SOCK, .data = &w.tcp, .len = sizeof(w.tcp));
	SCRIPT_DEFAULT(tls_tx_get, .fd = SOCK, .play = play_tx_get);
	SCRIPT_DEFAULT(socket_id, .data = &socket_id,
		       .len = sizeof(socket_id));
	SCRIPT_DEFAULT(tcp_pair, .result = -EMFILE);
}

void world_open(void)
{
	memset(&w, 0, sizeof(w));
	w.file_size = 1u << 20;
	w.state = w.tcp.state = TCP_ESTABLISHED;
	answer(ALL, ALL, ALL);
	script_reset();
	set_defaults();
	pair_open(&w.p, NULL, &rows[0], SOCK, true);
	ck_assert_int_eq(status_now().method, TLSSF_METHOD_SSL_SENDFILE);
}

void world_close(void)
{
	ck_assert_uint_eq(w.p.wire.writes, 0);
	pair_close(&w.p);
}

void answer(int64_t a, int64_t b, int64_t c)
{
	for (int i = 0; i < 16; i++)
		w.answers[i] = ALL;
	w.answers[0] = a;
	w.answers[1] = b;
	w.answers[2] = c;
	w.answered = w.logged = 0;
}

/* ---- what was sent ---- */

void assert_log(const struct sent *want, unsigned int n)
{
	for (unsigned int i = 0; i < n && i < w.logged; i++) {
		ck_assert_msg(w.log[i].how == want[i].how &&
			      w.log[i].off == want[i].off &&
			      w.log[i].len == want[i].len,
			      "piece %u: how %d, %llu+%llu", i,
			      (int)w.log[i].how,
			      (unsigned long long)w.log[i].off,
			      (unsigned long long)w.log[i].len);
	}
	ck_assert_uint_eq(w.logged, n);
	w.logged = 0;
}

ssize_t send_file(uint64_t off, size_t len)
{
	return tlssf_send(w.p.ssl, FILE_FD, (off_t)off, len);
}

struct tlssf_job make_job(size_t header, uint64_t file, size_t trailer)
{
	static const unsigned char bytes[100000];

	w.file_size = 7 + file;
	return (struct tlssf_job){
		.size = sizeof(struct tlssf_job),
		.header = bytes, .header_len = header,
		.fd = FILE_FD, .off = 7, .file_len = file,
		.trailer = bytes, .trailer_len = trailer,
	};
}

/* ---- failures ---- */

struct tlssf_status status_now(void)
{
	struct tlssf_status st = { .size = sizeof(st) };

	ck_assert_int_eq(tlssf_status(w.p.ssl, &st), 0);
	return st;
}

void assert_error(ssize_t r, int err, int reason, bool dead)
{
	int saved = errno;
	struct tlssf_status st = status_now();

	ck_assert_int_eq(r, TLSSF_ERROR);
	ck_assert_int_eq(saved, err);
	ck_assert_msg(st.error == reason, "errno %d: %s, expected %s", err,
		      tlssf_reason_name(st.error), tlssf_reason_name(reason));
	ck_assert_msg(st.dead == dead, "errno %d: dead %d", err, st.dead);
}

static void assert_silent(ssize_t r, int err)
{
	ck_assert_int_eq(r, TLSSF_ERROR);
	ck_assert_int_eq(errno, err);
	ck_assert_uint_eq(w.logged, 0);
}

void assert_dead(int err)
{
	struct tlssf_job job = make_job(1, 1, 1);

	w.logged = 0;
	script_reset();	/* without defaults any system call fails the test */
	assert_silent(send_file(0, 10), err);
	assert_silent(tlssf_send_job(w.p.ssl, &job), err);
	assert_silent(tlssf_flush(w.p.ssl), err);
	assert_silent(SSL_write(w.p.ssl, "x", 1), err);
	assert_silent(tlssf_shutdown(w.p.ssl), err);
	assert_silent(send_file(0, 10), err);
	ck_assert_uint_eq(job.done, 0);
	set_defaults();
}
