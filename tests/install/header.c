/* SPDX-License-Identifier: MIT */
/*
 * scripts/header compiles this file, as C11 and as C++11, to test the public
 * header alone. It also tests the ABI, which may only grow: if a line of this
 * file fails, programs built before would break.
 */
#include <tlssf/tlssf.h>

#include <assert.h>

#define VALUE(name, value) static_assert(TLSSF_##name == (value), #name)

/*
 * The last value of each enum: a new value inserted before it would break the
 * ABI, and this test.
 */
VALUE(ERROR, -1);
VALUE(WANT_READ, -2);
VALUE(WANT_WRITE, -3);
VALUE(METHOD_USERSPACE, 3);
VALUE(METHOD_COUNT, 4);		/* sizes of arrays */
VALUE(ARIA_256_GCM, 7);
VALUE(CIPHER_COUNT, 8);
VALUE(KEY_UPDATE_USERSPACE, 1);
VALUE(YES, 2);
VALUE(ULP_LOADED, 3);
VALUE(REASON_NOT_ASKED, 1);
VALUE(REASON_QUIC, 5);
VALUE(REASON_ULP_ABSENT, 10);
VALUE(REASON_MAX_FRAGMENT, 16);
VALUE(REASON_PADDING, 23);
VALUE(REASON_ARGUMENT, 24);
VALUE(REASON_FILE_READ, 28);
VALUE(REASON_WRONG_LIBRARY, 34);
VALUE(REASON_PEER_GONE, 35);
VALUE(REASON_KEY_LIMIT, 39);

#if defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define PLACE(type, member, at) \
	static_assert(offsetof(struct type, member) == (at), #member)

PLACE(tlssf_options, method, 8);
PLACE(tlssf_options, key_update, 32);
PLACE(tlssf_options, key_records, 40);
PLACE(tlssf_options, max_payload_len, 56);
PLACE(tlssf_options, attach_late, 68);
PLACE(tlssf_job, header, 8);
PLACE(tlssf_job, fd, 24);
PLACE(tlssf_job, trailer_len, 56);
PLACE(tlssf_job, done, 64);
PLACE(tlssf_job, then_flush, 76);
PLACE(tlssf_status, method, 8);
PLACE(tlssf_status, why_not, 16);
PLACE(tlssf_status, cipher_name, 48);
PLACE(tlssf_status, records, 96);
PLACE(tlssf_status, buffered, 144);
PLACE(tlssf_status, retry_ms, 152);
PLACE(tlssf_status, zerocopy, 168);
PLACE(tlssf_cap, verified, 8);
PLACE(tlssf_caps, ulp, 8);
PLACE(tlssf_caps, tls13, 108);
PLACE(tlssf_caps, library, 216);
PLACE(tlssf_caps, library_rekey, 228);
#endif

/* Never called. It uses each declaration with its documented types. */
int header_test(struct ssl_st *ssl, struct ssl_ctx_st *ctx, int fd);

int header_test(struct ssl_st *ssl, struct ssl_ctx_st *ctx, int fd)
{
	struct tlssf_options options;
	struct tlssf_status status;
	struct tlssf_caps caps;
	struct tlssf_job job;

	options.size = sizeof(options);
	options.key_update = TLSSF_KEY_UPDATE_END;
	status.size = sizeof(status);
	caps.size = sizeof(caps);
	job.size = sizeof(job);
	job.fd = fd;
	return tlssf_ctx_init(ctx, &options) == 0 &&
	       tlssf_probe(&caps) == 0 &&
	       caps.tls13[TLSSF_AES_128_GCM].tx == TLSSF_YES &&
	       tlssf_send(ssl, fd, 0, SIZE_MAX) != TLSSF_ERROR &&
	       tlssf_send_job(ssl, &job) != TLSSF_WANT_WRITE &&
	       tlssf_flush(ssl) == 0 && tlssf_shutdown(ssl) == 0 &&
	       tlssf_status(ssl, &status) == 0 &&
	       status.why_not[TLSSF_METHOD_KTLS] == TLSSF_REASON_NONE;
}
