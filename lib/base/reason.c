/* SPDX-License-Identifier: MIT */
/* Names and texts for what the library says, and the trace. */
#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LEN 512	/* a longer trace line is cut */

/*
 * X(enum value without its prefix, name, a sentence with the remedy). One list
 * makes the table and its count, so that a forgotten value does not compile.
 */
#define REASONS(X) \
X(NONE, "none", "nothing stands in the way") \
X(NOT_ASKED, "not_asked", \
  "another method was named in the options, or a faster one is taken; to " \
  "have this one, name it") \
X(NOT_YET, "not_yet", \
  "too little was sent so far to be worth it; a large send takes the keys " \
  "over, and so does any send when the method ktls is named") \
X(HANDSHAKE, "handshake", \
  "the TLS handshake is unfinished or early data is in use; complete it with " \
  "SSL_do_handshake() before sending") \
X(DTLS, "dtls", \
  "DTLS carries datagrams, not a stream; use a TLS connection") \
X(QUIC, "quic", \
  "QUIC connections are not handled; use a TLS connection over TCP") \
X(NOT_SOCKET, "not_socket", \
  "the write BIO does not end in a TCP socket that the kernel could encrypt " \
  "for; give the SSL a socket with SSL_set_fd()") \
X(VERSION, "version", \
  "kernel TLS knows only TLS 1.2 and 1.3; allow one of them on both sides") \
X(CIPHER, "cipher", \
  "no kernel offloads this cipher suite; prefer one with AES-GCM or " \
  "ChaCha20-Poly1305") \
X(LIBRARY_NO_KTLS, "library_no_ktls", \
  "the TLS library was built without kernel TLS; use an OpenSSL 3 configured " \
  "with enable-ktls") \
X(ULP_ABSENT, "ulp_absent", \
  "the kernel has no tls module; use a kernel built with CONFIG_TLS (4.13 or " \
  "later)") \
X(ULP_NOT_LOADED, "ulp_not_loaded", \
  "the kernel's tls module is not loaded and did not load by itself; " \
  "run 'modprobe tls' as root") \
X(KERNEL_CIPHER, "kernel_cipher", \
  "the running kernel refuses this cipher for this TLS version; load its " \
  "crypto module (for example 'modprobe gcm' or 'modprobe chacha20poly1305' " \
  "as root) or prefer AES-128-GCM") \
X(REKEY, "rekey", \
  "the kernel cannot follow a TLS 1.3 KeyUpdate of this connection; it needs " \
  "Linux 6.14 (and OpenSSL 3.2 for the method ssl_sendfile), or TLS 1.2, or " \
  "the option key_update = TLSSF_KEY_UPDATE_USERSPACE") \
X(OPTION_OFF, "option_off", \
  "SSL_OP_ENABLE_KTLS was not set before the handshake; call " \
  "tlssf_ctx_init() on the SSL_CTX first, or set the option") \
X(COMPRESSION, "compression", \
  "TLS compression is in use; set SSL_OP_NO_COMPRESSION") \
X(MAX_FRAGMENT, "max_fragment", \
  "records are to be smaller than the kernel's: the client negotiated " \
  "max_fragment_length, or max_send_fragment was set; give up either") \
X(REFUSED, "refused", \
  "the TLS library or the kernel did not switch this connection to kernel " \
  "TLS; look for record padding, a small max_send_fragment, or a socket that " \
  "was full at the end of the handshake") \
X(KERNEL_KEYS, "kernel_keys", \
  "the kernel already holds the keys of this connection, so that it cannot " \
  "be sealed in user space; use the method auto or ssl_sendfile") \
X(NO_SECRET, "no_secret", \
  "the traffic secret of this TLS 1.3 connection is not known; call " \
  "tlssf_ctx_init() on the SSL_CTX (on each that SNI may choose) before the " \
  "handshake") \
X(KEYLOG_REPLACED, "keylog_replaced", \
  "SSL_CTX_set_keylog_callback() was called after tlssf_ctx_init(); call it " \
  "before, ours passes every line on") \
X(KEY_SCHEDULE, "key_schedule", \
  "the TLS library did not derive the keys (a FIPS provider may refuse) or " \
  "memory ran out; use the method userspace") \
X(SEQUENCE_NOT_FOUND, "sequence_not_found", \
  "a record that the TLS library had sealed did not open with the keys of " \
  "this connection, so they were not given to the kernel; report this, " \
  "unless thousands of records were written before the first send") \
X(PADDING, "padding", \
  "the TLS library pads its records, which the kernel cannot do; switch the " \
  "padding off, or keep to the method userspace") \
X(ARGUMENT, "argument", \
  "an argument is NULL, negative or too large, or a struct has a wrong size; " \
  "correct the call") \
X(BAD_FD, "bad_fd", \
  "the file descriptor is closed or was not opened for reading; open the " \
  "file with O_RDONLY and keep it open") \
X(NOT_REGULAR, "not_regular", \
  "the file descriptor is not a regular file; send pipes, sockets and " \
  "devices with SSL_write()") \
X(FILE_TRUNCATED, "file_truncated", \
  "the file is shorter than promised; do not truncate files that are being " \
  "sent, replace them by rename()") \
X(FILE_READ, "file_read", \
  "reading the file failed; errno tells why, check the disk or file system") \
X(NO_MEMORY, "no_memory", \
  "memory ran out; call again later, or lower max_buffered") \
X(PENDING_WRITE, "pending_write", \
  "an earlier SSL_write() is unfinished; repeat it until it is done, then " \
  "send") \
X(PENDING_SEND, "pending_send", \
  "the call before returned WANT for another file or offset; repeat that " \
  "one first") \
X(SHUT_DOWN, "shut_down", \
  "close_notify was sent, so nothing can follow; send before shutting down") \
X(FORKED, "forked", \
  "the connection was first used in another process; use it only there") \
X(WRONG_LIBRARY, "wrong_library", \
  "the SSL belongs to another copy of the TLS library than libtlssf is " \
  "linked with; link both with the same one") \
X(PEER_GONE, "peer_gone", \
  "the peer closed or reset the connection; free it and let the peer " \
  "connect again") \
X(IO, "io", \
  "the transport failed; errno tells why, the connection must be freed") \
X(TLS, "tls", \
  "the TLS library reported a fatal error; the connection must be freed") \
X(INTERRUPTED, "interrupted", \
  "a signal made this kernel cut a record (errno 512); update the kernel, " \
  "or use non-blocking sockets") \
X(KEY_LIMIT, "key_limit", \
  "the key has protected as many records as RFC 8446, 5.5 allows, and the " \
  "kernel cannot be given another; it needs Linux 6.14, or reconnect")

struct reason {
	const char *name, *text;
};

#define ENTRY(value, word, sentence) \
	[TLSSF_REASON_##value] = { word, sentence },
#define PLUS_ONE(value, word, sentence) + 1

static const struct reason reasons[] = { REASONS(ENTRY) };

_Static_assert(0 REASONS(PLUS_ONE) == TLSSF_REASON_COUNT &&
	       sizeof(reasons) / sizeof(reasons[0]) == TLSSF_REASON_COUNT,
	       "a name and a text for each reason");

static const char *const methods[] = {
	[TLSSF_METHOD_AUTO] = "auto",
	[TLSSF_METHOD_SSL_SENDFILE] = "ssl_sendfile",
	[TLSSF_METHOD_KTLS] = "ktls",
	[TLSSF_METHOD_USERSPACE] = "userspace",
};

static const char *const ciphers[] = {
	[TLSSF_AES_128_GCM] = "AES-128-GCM",
	[TLSSF_AES_256_GCM] = "AES-256-GCM",
	[TLSSF_AES_128_CCM] = "AES-128-CCM",
	[TLSSF_CHACHA20_POLY1305] = "ChaCha20-Poly1305",
	[TLSSF_SM4_GCM] = "SM4-GCM",
	[TLSSF_SM4_CCM] = "SM4-CCM",
	[TLSSF_ARIA_128_GCM] = "ARIA-128-GCM",
	[TLSSF_ARIA_256_GCM] = "ARIA-256-GCM",
};

_Static_assert(sizeof(methods) / sizeof(methods[0]) == TLSSF_METHOD_COUNT,
	       "a name for each method");
_Static_assert(sizeof(ciphers) / sizeof(ciphers[0]) == TLSSF_CIPHER_COUNT,
	       "a name for each cipher");

static const char *pick(const char *const *names, int count, int value)
{
	return value >= 0 && value < count ? names[value] : "unknown";
}

const char *tlssf_reason_name(int reason)
{
	if (reason < 0 || reason >= TLSSF_REASON_COUNT)
		return "unknown";
	return reasons[reason].name;
}

const char *tlssf_reason_text(int reason)
{
	if (reason < 0 || reason >= TLSSF_REASON_COUNT)
		return "unknown";
	return reasons[reason].text;
}

const char *tlssf_method_name(int method)
{
	return pick(methods, TLSSF_METHOD_COUNT, method);
}

const char *tlssf_cipher_name(int cipher)
{
	return pick(ciphers, TLSSF_CIPHER_COUNT, cipher);
}

#define STRING(x) #x
#define NUMBER(x) STRING(x)

const char *tlssf_version(void)
{
	return NUMBER(TLSSF_VERSION_MAJOR) "." NUMBER(TLSSF_VERSION_MINOR) "."
	       NUMBER(TLSSF_VERSION_PATCH);
}

/* Threads that trace without a pause must not keep tlssf_set_trace() out. */
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#define TRACE_LOCK PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#else
#define TRACE_LOCK PTHREAD_RWLOCK_INITIALIZER
#endif

/*
 * The lock is held for reading while the function runs: once
 * tlssf_set_trace() has returned, the old one is not in use any more.
 */
static struct {
	pthread_once_t once;
	pthread_rwlock_t lock;
	atomic_bool on;		/* fn is set or TLSSF_TRACE=1 */
	bool to_stderr;		/* TLSSF_TRACE=1; fixed by `once` */
	void (*fn)(void *arg, const char *line);
	void *arg;
} trace = {
	.once = PTHREAD_ONCE_INIT,
	.lock = TRACE_LOCK,
};

static void read_environment(void)
{
	const char *value = secure_getenv("TLSSF_TRACE");

	trace.to_stderr = value != NULL && strcmp(value, "1") == 0;
	if (trace.to_stderr)
		atomic_store(&trace.on, true);
}

void tlssf_set_trace(void (*fn)(void *arg, const char *line), void *arg)
{
	pthread_once(&trace.once, read_environment);
	pthread_rwlock_wrlock(&trace.lock);
	trace.fn = fn;
	trace.arg = arg;
	atomic_store(&trace.on, fn != NULL || trace.to_stderr);
	pthread_rwlock_unlock(&trace.lock);
}

bool tlssf_tracing(void)
{
	pthread_once(&trace.once, read_environment);
	return atomic_load_explicit(&trace.on, memory_order_relaxed);
}

static void deliver(const char *line)
{
	pthread_rwlock_rdlock(&trace.lock);
	if (trace.fn != NULL)
		trace.fn(trace.arg, line);
	else if (trace.to_stderr)
		fprintf(stderr, "%s\n", line);
	pthread_rwlock_unlock(&trace.lock);
}

void tlssf_trace(const void *ssl, const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	int saved = errno;
	va_list args;
	int n;

	if (!tlssf_tracing())
		return;
	if (ssl != NULL)
		n = snprintf(line, sizeof(line), "tlssf: ssl=%p: ", ssl);
	else
		n = snprintf(line, sizeof(line), "tlssf: ");
	va_start(args, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
	va_end(args);
	deliver(line);
	errno = saved;
}
