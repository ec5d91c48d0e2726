/* SPDX-License-Identifier: MIT */
/* A KeyUpdate that the kernel cannot follow ends the connection. */
#include "unit_conn.h"

/*
 * Skip the test if this OpenSSL can rekey in the kernel. libtlssf then asks the
 * probe whether the kernel can rekey, and in this program the probe fails.
 */
static bool library_rekeys(const char *test)
{
	if (tl_library_rekey())
		skip_test("%s: this OpenSSL can rekey in the kernel", test);
	return tl_library_rekey();
}

/*
 * The first tlssf call attaches the bridge; then the application requests a
 * KeyUpdate.
 */
static void request_key_update(void)
{
	world_open(true);
	ck_assert_int_eq(status_now().method, TLSSF_METHOD_SSL_SENDFILE);
	ck_assert_int_eq(SSL_key_update(w.p.ssl, SSL_KEY_UPDATE_NOT_REQUESTED),
			 1);
}

START_TEST(key_update_ends_with_an_alert)
{
	if (library_rekeys("key_update_ends_with_an_alert"))
		return;
	request_key_update();
	w.tcp.in_tcp = 2;	/* the scripted sequence number never rises */
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	ck_assert_uint_eq(w.alerts, 1);
	ck_assert_uint_eq(w.p.wire.writes, 0);	/* the KeyUpdate has not left */
	assert_error(send_file(0), EPROTO, TLSSF_REASON_REKEY, true);
	ck_assert_uint_eq(status_now().rekeys, 1);
	assert_error(tlssf_shutdown(w.p.ssl), EPROTO, TLSSF_REASON_REKEY,
		     true);
	ck_assert_uint_eq(w.alerts, 1);
	ck_assert_uint_eq(w.p.wire.writes, 0);
	pair_close(&w.p);
}
END_TEST

/* The alert is sent again until the socket accepts it. */
START_TEST(alert_waits_for_room)
{
	if (library_rekeys("alert_waits_for_room"))
		return;
	request_key_update();
	w.alert_err = EAGAIN;
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(send_file(0), TLSSF_WANT_WRITE);
	ck_assert_int_eq(tlssf_flush(w.p.ssl), TLSSF_WANT_WRITE);
	w.alert_err = 0;
	w.tcp.in_tcp = 2;	/* the scripted sequence number never rises */
	assert_error(send_file(0), EPROTO, TLSSF_REASON_REKEY, true);
	ck_assert_uint_eq(w.alerts, 1);
	pair_close(&w.p);
}
END_TEST

static void fail_alert(int err)
{
	if (err == EAGAIN || err == EINTR)
		return;
	request_key_update();
	w.alert_err = err;	/* sending the alert fails and is given up */
	ck_assert_int_eq(SSL_write(w.p.ssl, "x", 1), -1);
	assert_error(send_file(0), EPROTO, TLSSF_REASON_REKEY, true);
	ck_assert_uint_eq(script_count(CALL_send_record), 1);
	pair_close(&w.p);
}

START_TEST(errno_of_the_alert)
{
	if (library_rekeys("errno_of_the_alert"))
		return;
	for_each_errno(fail_alert);
}
END_TEST

void add_rekey_tests(Suite *suite)
{
	TCase *keys = add_case(suite, "keys");

	tcase_add_test(keys, key_update_ends_with_an_alert);
	tcase_add_test(keys, alert_waits_for_room);
	tcase_add_test(keys, errno_of_the_alert);
}
