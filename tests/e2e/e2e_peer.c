/* SPDX-License-Identifier: MIT */
/*
 * Tests of the tests: the peer detects what must never happen. Another test
 * checks that this process is linked with one libssl only, and the peer with
 * plain OpenSSL.
 */
#include "util.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER		5
#define PLAIN_MAX	16384
#define BAD_RECORD_MAC	20	/* alerts, RFC 8446, 6 */

static struct link l;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	memset(&l, 0, sizeof(l));
}

static void teardown(void)
{
	link_close(&l);
}

static void open_version(int version)
{
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
				  .version = version };

	link_open(&l, &conf);
}

/* ---- records inside records ---- */

struct inside {
	unsigned char head[HEADER]; /* the first bytes that are sent as data */
	size_t len;			/* how many bytes are sent as data */
	bool is_record;
};

static const struct inside insides[] = {
	{ { 23, 3, 3, 0, 100 }, HEADER + 100, true },
	{ { 22, 3, 3, 0, 32 }, HEADER + 32, true },
	{ { 21, 3, 3, 0, 19 }, HEADER + 19, true },
	/* the record is longer than a full one */
	{ { 23, 3, 3, 64, 17 }, PLAIN_MAX, true },
	{ { 23, 3, 3, 0, 100 }, HEADER + 101, false },
	{ { 23, 3, 3, 0, 100 }, HEADER + 99, false },
	{ { 23, 3, 4, 0, 100 }, HEADER + 100, false },
	{ { 24, 3, 3, 0, 100 }, HEADER + 100, false },
	{ { 23, 3, 3, 80, 0 }, PLAIN_MAX, false }, /* longer than any record */
	{ { 23, 3, 3, 0, 0 }, HEADER, false },
	{ { 'd', 'a', 't', 'a' }, 1000, false },
	{ { 23 }, 1, false },
};
#define N_INSIDES	(int)(sizeof(insides) / sizeof(insides[0]))

START_TEST(record_in_data)
{
	static const size_t chunks[] = { 0, 1, 4, 7 };
	const struct inside *in = &insides[_i % N_INSIDES];
	static unsigned char buf[PLAIN_MAX];

	open_version(_i / N_INSIDES ? TLS1_3_VERSION : TLS1_2_VERSION);
	memset(buf, 'x', sizeof(buf));
	memcpy(buf, in->head, sizeof(in->head));
	for (unsigned int i = 0; i < 4; i++) {
		peer_do_read(&l, in->len, chunks[i], 0);
		ck_assert_int_eq(SSL_write(l.ssl, buf, (int)in->len),
				 (int)in->len);
		get_report(&l);
		ck_assert_uint_eq(l.report.bytes, in->len);
		ck_assert_uint_eq(l.report.records_in_data,
				  in->is_record ? i + 1 : 0);
	}
}
END_TEST

/* The data is two records; of the second only the header is complete. */
START_TEST(records_in_data)
{
	unsigned char buf[100] = { 23, 3, 3, 0, 30, [35] = 23, 3, 3, 0, 60 };

	open_version(TLS1_3_VERSION);
	peer_do_read(&l, sizeof(buf), 0, 0);
	ck_assert_int_eq(SSL_write(l.ssl, buf, sizeof(buf)), sizeof(buf));
	ck_assert_uint_eq(get_report(&l)->records_in_data, 1);
}
END_TEST

/* ---- plaintext and repetition on the wire ---- */

START_TEST(plaintext)
{
	static const char bare[] = "\x17\x03\x03\x00\x30" MARKER
				   "a record that nobody has sealed";

	open_version(_i ? TLS1_3_VERSION : TLS1_2_VERSION);
	peer_do(&l, PEER_READ, PEER_ALL);
	ck_assert_int_gt(send(l.fd, bare, HEADER + 0x30, MSG_NOSIGNAL), 0);
	get_report(&l);
	ck_assert_uint_eq(l.report.markers, 1);
	ck_assert_int_eq(l.report.end, END_BROKEN);
}
END_TEST

/* A BIO copies to this tape what it has passed on. */
static unsigned char tape[1024];
static size_t tape_len;

static int tape_write(BIO *bio, const char *in, int len)
{
	int n = BIO_write(BIO_next(bio), in, len);

	ck_assert_int_eq(n, len);
	ck_assert_uint_le((size_t)len, sizeof(tape));
	memcpy(tape, in, (size_t)len);
	tape_len = (size_t)len;
	return n;
}

static long tape_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return BIO_ctrl(BIO_next(bio), cmd, num, ptr);
}

static int tape_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static void push_tape(BIO_METHOD *m)
{
	BIO *below = SSL_get_wbio(l.ssl), *top;

	BIO_meth_set_write(m, tape_write);
	BIO_meth_set_ctrl(m, tape_ctrl);
	BIO_meth_set_create(m, tape_create);
	top = BIO_new(m);
	ck_assert_ptr_nonnull(top);
	ck_assert_int_eq(BIO_up_ref(below), 1);
	SSL_set0_wbio(l.ssl, BIO_push(top, below));
}

/*
 * The peer gets the same record twice. It detects that an explicit nonce
 * repeats; with an implicit nonce it cannot decrypt the record.
 */
START_TEST(repetition)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER,
				     "tape");

	open_version(_i ? TLS1_3_VERSION : TLS1_2_VERSION);
	push_tape(m);
	peer_do(&l, PEER_READ, PEER_ALL);
	ck_assert_int_eq(SSL_write(l.ssl, "twice", 5), 5);
	ck_assert_int_eq(send(l.fd, tape, tape_len, MSG_NOSIGNAL),
			 (ssize_t)tape_len);
	get_report(&l);
	ck_assert_int_eq(l.report.end, END_BROKEN);
	ck_assert_int_eq(l.report.alert_out, BAD_RECORD_MAC);
	ck_assert_uint_eq(l.report.nonce_repeats, _i ? 0 : 1);
	link_close(&l);
	BIO_meth_free(m);
}
END_TEST

/* ---- the peer as the server ---- */

static unsigned int sessions;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl, (void)session;
	sessions++;
	return 0;
}

/*
 * The client reads the session tickets while it waits for the answer to its
 * upload.
 */
START_TEST(peer_is_server)
{
	static const int tickets[] = { 0, 2, 5 };
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
		.client = true, .version = TLS1_3_VERSION,
		.peer.tickets = tickets[_i] + 1 };
	struct file file;
	char buf[8];

	file_make(&file, 100 * KIB);
	conf.ctx = test_ctx(&conf);
	SSL_CTX_set_session_cache_mode(conf.ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(conf.ctx, on_session);
	sessions = 0;
	link_open(&l, &conf);
	SSL_CTX_free(conf.ctx);
	deliver(&l, &file, 1, 100 * KIB - 1);
	peer_do(&l, PEER_WRITE, sizeof(buf));
	ck_assert_int_eq(SSL_read(l.ssl, buf, sizeof(buf)), sizeof(buf));
	get_report(&l);
	ck_assert_uint_eq(sessions, (unsigned int)tickets[_i]);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
	file_free(&file);
}
END_TEST

/* ---- resumption ---- */

/* Resumption with TLS 1.2 and 1.3; both connections have the same SSL_CTX. */
START_TEST(resumption)
{
	struct link_conf conf = { .method = TLSSF_METHOD_USERSPACE,
		.version = _i ? TLS1_3_VERSION : TLS1_2_VERSION };

	conf.ctx = test_ctx(&conf);
	link_open(&l, &conf);
	ck_assert(!l.report.resumed);
	/* tickets come with the first data at the latest */
	write_all(&l, "first", 5);
	sync_peer(&l);
	link_close(&l);
	conf.peer.resume = true;
	link_open(&l, &conf);
	SSL_CTX_free(conf.ctx);
	ck_assert(l.report.resumed);
	write_all(&l, "second", 6);
	sync_peer(&l);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
}
END_TEST

#define EARLY	1000

static void allow_early_data(SSL_CTX *ctx)
{
#ifdef OPENSSL_IS_BORINGSSL
	SSL_CTX_set_early_data_enabled(ctx, 1);
#else
	ck_assert_int_eq(SSL_CTX_set_max_early_data(ctx, EARLY), 1);
#endif
}

/*
 * Read the early data; tlssf_send() before the handshake is complete must fail.
 */
static void read_early_data(const struct file *file)
{
	char buf[EARLY + 1];
	size_t n = 0;

#ifdef OPENSSL_IS_BORINGSSL
	ck_assert_int_eq(SSL_do_handshake(l.ssl), 1);
	ck_assert(SSL_in_early_data(l.ssl));
	while (n < EARLY) {
		int r = SSL_read(l.ssl, buf, sizeof(buf));

		ck_assert_int_gt(r, 0);
		n += (size_t)r;
	}
#else
	ck_assert_int_eq(SSL_read_early_data(l.ssl, buf, sizeof(buf), &n),
			 SSL_READ_EARLY_DATA_SUCCESS);
#endif
	ck_assert_uint_eq(n, EARLY);
	assert_failed(&l, tlssf_send(l.ssl, file->fd, 0, 1), EINVAL,
		      TLSSF_REASON_HANDSHAKE, false);
#ifndef OPENSSL_IS_BORINGSSL
	ck_assert_int_eq(SSL_read_early_data(l.ssl, buf, sizeof(buf), &n),
			 SSL_READ_EARLY_DATA_FINISH);
#endif
}

/*
 * BoringSSL's server completes the handshake only when it reads the data that
 * follows.
 */
static void finish_handshake(void)
{
#ifdef OPENSSL_IS_BORINGSSL
	char byte;

	ck_assert_int_eq(get_report(&l)->result, 0);
	peer_do(&l, PEER_WRITE, 1);
	ck_assert_int_eq(SSL_read(l.ssl, &byte, 1), 1);
	ck_assert_int_eq(get_report(&l)->result, 0);
#else
	link_handshake(&l);
#endif
}

/* A download after 0-RTT (RFC 8446, 2.3), by each method. */
START_TEST(early_data)
{
	struct link_conf conf = { .method = ways[TLS13_WAY(_i)].method,
				  .version = TLS1_3_VERSION };
	struct file file;

	conf.ctx = test_ctx(&conf);
	allow_early_data(conf.ctx);
	if (!link_open_way(&l, TLS13_WAY(_i), &conf, __func__)) {
		SSL_CTX_free(conf.ctx);
		return;
	}
	file_make(&file, MIB);
	deliver(&l, &file, 0, 1000);
	shutdown_all(&l);	/* or OpenSSL does not keep the session */
	link_close(&l);
	conf.peer.resume = conf.no_handshake = true;
	conf.peer.early = EARLY;
	link_open(&l, &conf);
	SSL_CTX_free(conf.ctx);
	read_early_data(&file);
	finish_handshake();
	ck_assert(l.report.resumed && l.report.early);
	deliver(&l, &file, 1, MIB - 1);
	write_all(&l, "after", 5);
	shutdown_all(&l);
	expect_end(&l, END_NOTIFY);
	file_free(&file);
}
END_TEST

/* ---- who is linked with whom ---- */

#ifdef OPENSSL_IS_BORINGSSL
#define LIBSSL	"libssl.so.0"	/* OpenSSL's has a version number from 3 on */
#define SPEAKS	"BoringSSL"
#else
#define LIBSSL	"libssl.so."
#define SPEAKS	"OpenSSL "
#endif

static int count_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned int *n = arg;

	(void)size;
	if (!strstr(info->dlpi_name, "libssl.so"))
		return 0;
	++*n;
	ck_assert_msg(strstr(info->dlpi_name, LIBSSL), "%s",
		      info->dlpi_name);
	return 0;
}

START_TEST(one_libssl)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };
	unsigned int n = 0;
	Dl_info info;

	dl_iterate_phdr(count_object, &n);
	ck_assert_uint_eq(n, 1);
	ck_assert(dladdr((void *)(uintptr_t)SSL_get_wbio, &info));
	ck_assert_msg(strstr(info.dli_fname, LIBSSL), "%s", info.dli_fname);
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	ck_assert_msg(!strncmp(caps.library, SPEAKS, strlen(SPEAKS)), "%s",
		      caps.library);
}
END_TEST

START_TEST(plain_peer)
{
	char path[64], line[512];
	bool openssl = false;
	FILE *maps;

	open_version(TLS1_3_VERSION);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)l.peer.pid);
	maps = fopen(path, "r");
	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps)) {
		/* file name without the path */
		const char *name = strrchr(line, '/');

		if (!name)
			continue;
		ck_assert_msg(strncmp(name, "/libtlssf", 9), "%s", line);
		ck_assert_msg(strncmp(name, "/libssl.so.0", 12), "%s", line);
		openssl = openssl || !strncmp(name, "/libssl.so.", 11);
	}
	fclose(maps);
	ck_assert(openssl);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_peer");
	TCase *tc = add_case(suite, "peer");

	warm_up();
	tcase_add_checked_fixture(tc, setup, teardown);
	/* a guest runs only a few: they do not depend on the kernel */
	tcase_add_loop_test(tc, record_in_data, 0, in_guest() ? 2
						  : 2 * N_INSIDES);
	tcase_add_test(tc, records_in_data);
	tcase_add_loop_test(tc, plaintext, 0, 2);
	tcase_add_loop_test(tc, repetition, 0, 2);
	tcase_add_loop_test(tc, peer_is_server, 0, in_guest() ? 1 : 3);
	tcase_add_loop_test(tc, resumption, 0, 2);
	tcase_add_loop_test(tc, early_data, 0, end_of_ways() / 2);
	tcase_add_test(tc, one_libssl);
	tcase_add_test(tc, plain_peer);
	return run_suite("e2e_peer", suite);
}
