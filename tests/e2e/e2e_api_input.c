/* SPDX-License-Identifier: MIT */
/* Bad arguments, jobs, files and ranges are refused, with the right reason. */
#include "e2e_api.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void refused(ssize_t got)
{
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(got, TLSSF_ERROR);
	errno = 0;
}

START_TEST(null_and_sizes)
{
	struct tlssf_options o = { .size = sizeof(o) };
	struct tlssf_status st = { .size = 0 };
	struct tlssf_caps caps = { .size = 0 };
	struct link_conf conf = { .no_init = true };
	SSL_CTX *ctx = plain_ctx(true);

	refused(tlssf_send(NULL, api_file.fd, 0, 1));
	refused(tlssf_send_job(NULL, NULL));
	refused(tlssf_flush(NULL));
	refused(tlssf_shutdown(NULL));
	refused(tlssf_status(NULL, &st));
	refused(tlssf_probe(NULL));
	refused(tlssf_probe(&caps));
	refused(tlssf_ctx_init(NULL, NULL));
	o = (struct tlssf_options){ .size = sizeof(o), .method = -1 };
	refused(tlssf_ctx_init(ctx, &o));
	o.method = TLSSF_METHOD_COUNT;
	refused(tlssf_ctx_init(ctx, &o));
	o = (struct tlssf_options){ .size = sizeof(o), .key_records = 15 };
	refused(tlssf_ctx_init(ctx, &o));
	for (size_t i = 0; i < 3; i++) {
		static const size_t lens[] = { 63, 16385, SIZE_MAX };

		o = (struct tlssf_options){ .size = sizeof(o),
					    .max_payload_len = lens[i] };
		refused(tlssf_ctx_init(ctx, &o));
	}
	SSL_CTX_free(ctx);
	link_open(&api, &conf);
	refused(tlssf_status(api.ssl, NULL));
	refused(tlssf_status(api.ssl, &st));
	errno = ENOMEM;
	ck_assert_str_eq(tlssf_strerror(NULL), strerror(ENOMEM));
	/* for ELIBBAD, tlssf_strerror() has a text of its own */
	errno = ELIBBAD;
	ck_assert_str_eq(tlssf_strerror(NULL),
			 tlssf_reason_text(TLSSF_REASON_WRONG_LIBRARY));
	api_still_works();
}
END_TEST

START_TEST(names)
{
	char version[64];

	for (int i = 0; i < TLSSF_REASON_COUNT; i++) {
		ck_assert_str_ne(tlssf_reason_name(i), "unknown");
		ck_assert_str_ne(tlssf_reason_text(i), "unknown");
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(tlssf_reason_name(i),
					 tlssf_reason_name(j));
	}
	ck_assert_str_eq(tlssf_reason_name(-1), "unknown");
	ck_assert_str_eq(tlssf_reason_text(TLSSF_REASON_COUNT), "unknown");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_COUNT), "unknown");
	ck_assert_str_eq(tlssf_cipher_name(-1), "unknown");
	ck_assert_str_eq(tlssf_method_name(TLSSF_METHOD_USERSPACE),
			 "userspace");
	snprintf(version, sizeof(version), "%d.%d.%d", TLSSF_VERSION_MAJOR,
		 TLSSF_VERSION_MINOR, TLSSF_VERSION_PATCH);
	ck_assert_str_eq(tlssf_version(), version);
}
END_TEST

static void bad_job(struct tlssf_job job)
{
	assert_failed(&api, tlssf_send_job(api.ssl, &job), EINVAL,
		      TLSSF_REASON_ARGUMENT, false);
}

START_TEST(bad_jobs)
{
	struct link_conf conf = { 0 };
	struct tlssf_job job = { .size = sizeof(job), .fd = api_file.fd,
				 .file_len = 1 }, bad;

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	assert_failed(&api, tlssf_send_job(api.ssl, NULL), EINVAL,
		      TLSSF_REASON_ARGUMENT, false);
	bad = job, bad.header_len = 1, bad_job(bad);
	bad = job, bad.trailer_len = 1, bad_job(bad);
	bad = job, bad.off = -1, bad_job(bad);
	bad = job, bad.off = INT64_MAX, bad_job(bad);
	bad = job, bad.file_len = UINT64_MAX, bad_job(bad);
	bad = job, bad.header = "x", bad.header_len = SIZE_MAX, bad_job(bad);
	bad = job, bad.done = 2, bad_job(bad);
	bad = job, bad.off = (off_t)api_file.size;
	assert_failed(&api, tlssf_send_job(api.ssl, &bad), ENODATA,
		      TLSSF_REASON_FILE_TRUNCATED, false);
	ck_assert_uint_eq(bad.done, 0);
	bad = job, bad.fd = -1;
	assert_failed(&api, tlssf_send_job(api.ssl, &bad), EBADF,
		      TLSSF_REASON_BAD_FD, false);
	bad.file_len = 0; /* without a file part the descriptor is not used */
	ck_assert_int_eq(tlssf_send_job(api.ssl, &bad), 0);
	api_still_works();
}
END_TEST

static int closed_fd(void)
{
	int fd = dup(api_file.fd);

	close(fd);
	return fd;
}

START_TEST(bad_files)
{
	struct link_conf conf = { 0 };
	int p[2], s[2], fds[8], n = 0;

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	ck_assert_int_eq(pipe(p), 0);
	ck_assert_int_eq(write(p[1], "pipe", 4), 4);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	ck_assert_int_eq(write(s[1], "sock", 4), 4);
	fds[n++] = open("/", O_RDONLY | O_DIRECTORY);
	fds[n++] = open("/dev/zero", O_RDONLY);
	fds[n++] = open("/dev/null", O_RDONLY);
	fds[n++] = p[0];
	fds[n++] = s[0];
	for (int i = 0; i < n; i++) {
		ck_assert_int_ge(fds[i], 0);
		assert_failed(&api, tlssf_send(api.ssl, fds[i], 0, 1), EINVAL,
			      TLSSF_REASON_NOT_REGULAR, false);
		close(fds[i]);
	}
	close(p[1]);
	close(s[1]);
	fds[0] = open("/proc/self/exe", O_PATH);
	fds[1] = closed_fd();
	fds[2] = -1;
	for (int i = 0; i < 3; i++)
		assert_failed(&api, tlssf_send(api.ssl, fds[i], 0, 1), EBADF,
			      TLSSF_REASON_BAD_FD, false);
	close(fds[0]);
	api_still_works();
}
END_TEST

START_TEST(write_only_file)
{
	struct link_conf conf = { 0 };
	char name[64];
	int fd;

	if (!link_open_way(&api, _i, &conf, __func__))
		return;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", api_file.fd);
	fd = open(name, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	assert_failed(&api, tlssf_send(api.ssl, fd, 0, 1), EBADF,
		      TLSSF_REASON_BAD_FD, false);
	close(fd);
	api_still_works();
}
END_TEST

START_TEST(bad_ranges)
{
	struct link_conf conf = { .nonblocking = _i % 2 };
	off_t size = (off_t)api_file.size;
	int fd = api_file.fd;

	if (!link_open_way(&api, _i / 2, &conf, __func__))
		return;
	assert_failed(&api, tlssf_send(api.ssl, fd, -1, 1), EINVAL,
		      TLSSF_REASON_ARGUMENT, false);
	assert_failed(&api, tlssf_send(api.ssl, fd, INT64_MIN, SIZE_MAX),
		      EINVAL, TLSSF_REASON_ARGUMENT, false);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, 0, 0), 0);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, size, 1), 0);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, size + 1, SIZE_MAX), 0);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, INT64_MAX, SIZE_MAX), 0);
	/* a send ends at the end of the file, even if off + len overflows */
	expect_file(&api, &api_file, api_file.size - 2000, 2000);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, size - 2000, SIZE_MAX), 2000);
	expect_file(&api, &api_file, api_file.size - 7, 7);
	ck_assert_int_eq(tlssf_send(api.ssl, fd, size - 7, SSIZE_MAX), 7);
	api_still_works();
}
END_TEST

void add_input_tests(TCase *tc)
{
	tcase_add_test(tc, null_and_sizes);
	tcase_add_test(tc, names);
	add_ways(tc, bad_jobs, 1);
	add_ways(tc, bad_files, 1);
	add_ways(tc, write_only_file, 1);
	add_ways(tc, bad_ranges, 2);
}
