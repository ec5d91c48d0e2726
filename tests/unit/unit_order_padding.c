/* SPDX-License-Identifier: MIT */
/*
 * Record padding after a takeover. libtlssf looks for padding in the sample,
 * the record from which it finds key and sequence number. That is a data
 * record, but an application may pad by record type, so the sample shows
 * nothing of the padding of handshake messages and alerts. If the peer requests
 * a KeyUpdate, such a connection must not end.
 */
#include "unit_order.h"

#ifdef OPENSSL_IS_BORINGSSL	/* BoringSSL cannot pad records. */
void add_padding_tests(Suite *suite)
{
	(void)suite;
}
#else

#include <openssl/err.h>

#define TLS13_ROW	2
#define MUCH		(256 * KIB)
#define BARE(len)	(RECORD_HEADER + (len) + 1u + TAG_LEN)
#define KEY_UPDATE_LEN	5u
#define ALERT_LEN	2u

/* Padding bytes of a record, by its type. */
static struct {
	size_t handshake, alert, data;
} pads;

static size_t pad(SSL *ssl, int type, size_t len, void *arg)
{
	(void)ssl, (void)len, (void)arg;
	switch (type) {
	case SSL3_RT_HANDSHAKE:
		return pads.handshake;
	case SSL3_RT_ALERT:
		return pads.alert;
	}
	return pads.data;
}

/* ---- the lengths of the records on the wire ---- */

static struct {
	unsigned char header[RECORD_HEADER];
	size_t have;		/* bytes of the header */
	size_t left;		/* bytes of the record behind the header */
	size_t len[256];
	unsigned int n;
} on_wire;

static void see_header(void)
{
	size_t len = tlssf_record_len(on_wire.header);

	ck_assert_uint_lt(on_wire.n, 256);
	on_wire.len[on_wire.n++] = len;
	on_wire.left = len - RECORD_HEADER;
	on_wire.have = 0;
}

static void watch_lengths(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	for (; len; len--, p++) {
		if (on_wire.left) {
			on_wire.left--;
			continue;
		}
		on_wire.header[on_wire.have++] = *p;
		if (on_wire.have == RECORD_HEADER)
			see_header();
	}
}

static unsigned int count_of_length(size_t len)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < on_wire.n; i++)
		n += on_wire.len[i] == len;
	return n;
}

static void watch(void)
{
	memset(&on_wire, 0, sizeof(on_wire));
	w.p.watch = watch_lengths;
}

/* ---- the connection ---- */

static void open_with(SSL_CTX *ctx, bool kernel, int drop)
{
	struct tlssf_options o = { .size = sizeof(o), .drop_padding = drop };

	world_open_with(ctx, (kernel ? ROWS : 0) + TLS13_ROW, &o);
	do_send(1, MUCH);
	ck_assert_int_eq(status().takeover, 1);
	ck_assert_int_eq(status().kernel_tx, kernel);
	receive();
	watch();
}

static void open_padded(bool kernel, int drop)
{
	SSL_CTX *ctx = plain_ctx(true);

	SSL_CTX_set_record_padding_callback(ctx, pad);
	open_with(ctx, kernel, drop);
}

static void peer_requests_key_update(void)
{
	char c;

	receive();	/* the peer has read whole records then */
	ck_assert_int_eq(SSL_key_update(w.p.peer, SSL_KEY_UPDATE_REQUESTED), 1);
	ck_assert_int_eq(SSL_do_handshake(w.p.peer), 1);
	ERR_clear_error();
	ck_assert_int_le(SSL_read(w.p.ssl, &c, 1), 0);
	ERR_clear_error();
}

/* Check that the answer has left, and that the connection still works. */
static void assert_still_works(void)
{
	do_send(1, MUCH);
	do_write((const unsigned char *)"afterwards", 10);
	do_send(5, 1000);
	ck_assert_int_eq(status().dead, 0);
	ck_assert_uint_eq(status().rekeys, 1);
	shut_down_and_check();
	pair_close(&w.p);
}

/*
 * If libtlssf encrypts, its records are padded as the TLS library pads them. If
 * the kernel encrypts, they are not padded.
 */
START_TEST(padded_by_type)
{
	static const size_t sizes[] = { 1, 100, 4096,
		RECORD_MAX - KEY_UPDATE_LEN - 1 };
	size_t size = sizes[_i / 4];
	bool kernel = _i % 2;

	pads.handshake = size;
	pads.alert = 77;
	pads.data = 0;
	open_padded(kernel, _i / 2 % 2);
	peer_requests_key_update();
	assert_still_works();
	ck_assert_uint_eq(count_of_length(BARE(KEY_UPDATE_LEN +
					       (kernel ? 0 : size))), 1);
	ck_assert_uint_eq(count_of_length(BARE(ALERT_LEN +
					       (kernel ? 0 : 77))), 1);
}
END_TEST

/* The answer waits for room, and has the same padding afterwards. */
START_TEST(padded_without_room)
{
	pads.handshake = 300;
	pads.alert = pads.data = 0;
	open_padded(_i, 0);
	w.p.wire.room = 0;
	peer_requests_key_update();
	ck_assert_int_eq(tlssf_send(w.p.ssl, FILE_FD, 1, 1), TLSSF_WANT_WRITE);
	w.p.wire.room = UNLIMITED;
	assert_still_works();
	ck_assert_uint_eq(count_of_length(BARE(KEY_UPDATE_LEN +
					       (_i ? 0 : 300))), 1);
}
END_TEST

/*
 * The limit of the key is reached, so an unpadded KeyUpdate of our own leaves
 * first.
 */
START_TEST(padded_behind_own_update)
{
	struct tlssf_options o = { .size = sizeof(o), .key_records = 40 };
	SSL_CTX *ctx = plain_ctx(true);

	pads.handshake = 300;
	pads.alert = pads.data = 0;
	SSL_CTX_set_record_padding_callback(ctx, pad);
	world_open_with(ctx, TLS13_ROW, &o);
	do_send(1, MUCH);
	while (tlssf_keys_records_left(tl_conn(w.p.ssl)) > KEY_RESERVE)
		do_write((const unsigned char *)"x", 1);
	watch();
	peer_requests_key_update();
	do_send(1, 1000);
	ck_assert_uint_eq(on_wire.len[0], BARE(KEY_UPDATE_LEN));
	ck_assert_uint_eq(on_wire.len[1], BARE(KEY_UPDATE_LEN + 300));
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

/* ---- data that the application pads later ---- */

static void write_padded(void)
{
	pads.data = 50;
	do_write((const unsigned char *)"padded", 6);
	receive();
	ck_assert_uint_eq(w.received, w.expected_len);
}

/* If libtlssf encrypts, the padding stays, with either value of the option. */
START_TEST(data_padded_later)
{
	memset(&pads, 0, sizeof(pads));
	open_padded(false, _i);
	write_padded();
	ck_assert_uint_eq(on_wire.len[0], BARE(6 + 50));
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

START_TEST(data_padding_dropped)
{
	memset(&pads, 0, sizeof(pads));
	open_padded(true, 1);
	write_padded();
	ck_assert_uint_eq(on_wire.len[0], BARE(6));
	shut_down_and_check();
	pair_close(&w.p);
}
END_TEST

START_TEST(data_padding_refused)
{
	memset(&pads, 0, sizeof(pads));
	open_padded(true, 0);
	pads.data = 50;
	ck_assert_int_le(SSL_write(w.p.ssl, "padded", 6), 0);
	ERR_clear_error();
	ck_assert_int_eq(status().dead, 1);
	ck_assert_int_eq(status().error, TLSSF_REASON_PADDING);
	pair_close(&w.p);
}
END_TEST

#if OPENSSL_VERSION_NUMBER >= 0x30400000L
/* OpenSSL pads handshake messages and alerts, but no data, to full blocks. */
START_TEST(handshake_blocks)
{
	SSL_CTX *ctx = plain_ctx(true);

	ck_assert_int_eq(SSL_CTX_set_block_padding_ex(ctx, 0, 512), 1);
	open_with(ctx, _i, 0);
	peer_requests_key_update();
	assert_still_works();
	ck_assert_uint_eq(count_of_length(_i ? BARE(KEY_UPDATE_LEN)
					     : RECORD_HEADER + 512 + TAG_LEN),
			  _i ? 1 : 2);	/* with close_notify */
}
END_TEST
#endif

void add_padding_tests(Suite *suite)
{
	TCase *tc = add_case(suite, "padding");

	tcase_add_loop_test(tc, padded_by_type, 0, 16);
	tcase_add_loop_test(tc, padded_without_room, 0, 2);
	tcase_add_test(tc, padded_behind_own_update);
	tcase_add_loop_test(tc, data_padded_later, 0, 2);
	tcase_add_test(tc, data_padding_dropped);
	tcase_add_test(tc, data_padding_refused);
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
	tcase_add_loop_test(tc, handshake_blocks, 0, 2);
#endif
}

#endif
