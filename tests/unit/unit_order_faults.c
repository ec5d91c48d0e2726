/* SPDX-License-Identifier: MIT */
/*
 * Around a takeover each system call fails once, at its first, second ... use,
 * with each errno that makes a difference. If the connection has not failed,
 * the client gets all that was sent, otherwise a prefix of it. It never gets a
 * record that it cannot decrypt.
 */
#include "unit_order.h"

#include <openssl/err.h>

#define MUCH		(200 * KIB)
#define TIMES		3
#define MAX_TURNS	200

static const int errnos[] = { EAGAIN, EINTR, ENOMEM, ENOBUFS, EPIPE, ECONNRESET,
			      EBADMSG, EINVAL, EIO, EBUSY, EOPNOTSUPP, 512 };
#define N_ERRNOS (sizeof(errnos) / sizeof(errnos[0]))

/* in the first two the kernel encrypts (TLS 1.3, 1.2), in the third libtlssf */
static const int worlds[] = { ROWS + 2, ROWS, 2 };
#define N_WORLDS (sizeof(worlds) / sizeof(worlds[0]))

static const enum sys_call calls[] = {
	CALL_preadv, CALL_pread, CALL_send, CALL_send_record, CALL_sendfile,
	CALL_tls_tx_set, CALL_tls_tx_get, CALL_ulp_attach, CALL_socket_id,
	CALL_tcp, CALL_tcp_state, CALL_tcp_corked, CALL_tcp_cork,
	CALL_send_room, CALL_send_timeout_ms, CALL_poll, CALL_nonblocking,
	CALL_file_size,
};
#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- the scenario ---- */

static bool lost;

/*
 * Returns true if the same call must be repeated: its error has changed
 * nothing.
 */
static bool retry(ssize_t n, int *turns)
{
	if (n == TLSSF_ERROR)
		lost = status().dead;
	kernel_push();
	return !lost && ++*turns < MAX_TURNS;
}

static void send_file(uint64_t off)
{
	size_t done = 0;
	int turns = 0;
	ssize_t n;

	expect_file_part(off, MUCH);
	while (!lost && done < MUCH) {
		n = tlssf_send(w.p.ssl, FILE_FD, (off_t)(off + done),
			       MUCH - done);
		if (n > 0)
			done += (size_t)n;
		else if (!retry(n, &turns))
			break;
	}
	ck_assert(lost || done == MUCH);
}

static void write_text(void)
{
	int n, turns = 0;

	expect_data("text", 4);
	do {
		ERR_clear_error();
		n = lost ? 4 : SSL_write(w.p.ssl, "text", 4);
	} while (n <= 0 && retry(TLSSF_ERROR, &turns));
	ERR_clear_error();
	ck_assert(lost || n == 4);
}

static void rekey(void)
{
	if (lost || SSL_version(w.p.ssl) != TLS1_3_VERSION)
		return;
	SSL_key_update(w.p.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
	SSL_do_handshake(w.p.ssl);
	ERR_clear_error();
}

static void end(int (*call)(SSL *))
{
	int n, turns = 0;

	while (!lost && (n = call(w.p.ssl)))
		if (!retry(n, &turns))
			break;
}

static void scenario(void)
{
	lost = false;
	send_file(1);
	write_text();
	rekey();
	send_file(3);
	write_text();
	end(tlssf_flush);
	end(tlssf_shutdown);
}

static void run(int row, const struct tlssf_options *options,
		enum sys_call call, unsigned int time, int err)
{
	world_open(row, options);
	script_fail(call, time, err);
	scenario();
	script_fail(call, 0, 0);
	kernel_push();
	receive();
	if (!lost) {
		ck_assert_uint_eq(w.received, w.expected_len);
		ck_assert(pair_closed(&w.p));
	} else {
		/* a truncated stream never looks complete */
		ck_assert(w.received == w.expected_len || !pair_closed(&w.p));
	}
	ERR_clear_error();
	pair_close(&w.p);
}

START_TEST(each_call)
{
	enum sys_call call = calls[_i % N_CALLS];
	int row = worlds[_i / (int)N_CALLS];

	for (unsigned int time = 1; time <= TIMES; time++)
		for (size_t e = 0; e < N_ERRNOS; e++)
			run(row, NULL, call, time, errnos[e]);
}
END_TEST

/*
 * The limit of a key is reached at any point of the scenario, also at a record
 * of the TLS library's own. The KeyUpdate may then have to wait for room.
 */
START_TEST(key_ends)
{
	struct tlssf_options o = { .size = sizeof(o),
				   .key_records = 16 + (uint64_t)_i };

	for (unsigned int time = 1; time <= TIMES; time++) {
		run(worlds[0], &o, CALL_send_record, time, EAGAIN);
		ck_assert(!lost);
	}
}
END_TEST

void add_fault_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "faults");

	tcase_add_loop_test(tc, each_call, 0,
			    (int)((in_guest() ? 1 : N_WORLDS) * N_CALLS));
	tcase_add_loop_test(tc, key_ends, 0, 20);
}
