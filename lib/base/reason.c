/* SPDX-License-Identifier: MIT */
/*
 * The names and texts of reasons, methods and ciphers, the version of the
 * library, and the trace (tlssf_set_trace(), TLSSF_TRACE=1).
 */
#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LEN 512	/* a longer trace line is truncated */

/*
 * X(value without TLSSF_REASON_, name, text): the text states the cause and,
 * after a semicolon, the remedy. The table and the count below are generated
 * from this list, so a value of enum tlssf_reason that the list lacks is a
 * compile error.
 */
#define REASONS(X) \
X(NONE, "none", \
  "there is no obstacle and no error") \
X(NOT_ASKED, "not_asked", \
  "the options name another method, or a faster method was chosen; to use " \
  "this method, name it in the options") \
X(NOT_YET, "not_yet", \
  "too little data was sent so far to justify a takeover of the keys; a " \
  "large send takes the keys over, and so does any send when the options " \
  "name the method ktls") \
X(HANDSHAKE, "handshake", \
  "the TLS handshake is unfinished or early data is in use; complete the " \
  "handshake with SSL_do_handshake() before sending") \
X(DTLS, "dtls", \
  "DTLS carries datagrams, not a stream; use a TLS connection") \
X(QUIC, "quic", \
  "QUIC connections are not supported; use a TLS connection over TCP") \
X(NOT_SOCKET, "not_socket", \
  "the write BIO does not end in a TCP socket, on which the kernel could " \
  "encrypt; give the SSL a socket with SSL_set_fd()") \
X(VERSION, "version", \
  "kernel TLS supports only TLS 1.2 and 1.3; allow one of these versions on " \
  "both sides") \
X(CIPHER, "cipher", \
  "no kernel offloads this cipher suite; prefer a suite with AES-GCM or " \
  "ChaCha20-Poly1305") \
X(LIBRARY_NO_KTLS, "library_no_ktls", \
  "the TLS library was built without kernel TLS; use an OpenSSL 3 " \
  "configured with enable-ktls") \
X(ULP_ABSENT, "ulp_absent", \
  "the kernel has no tls module; use a kernel built with CONFIG_TLS (4.13 " \
  "or later)") \
X(ULP_NOT_LOADED, "ulp_not_loaded", \
  "the tls module of the kernel is not loaded, and loading it automatically " \
  "failed; run 'modprobe tls' as root") \
X(KERNEL_CIPHER, "kernel_cipher", \
  "the running kernel refuses this cipher for this TLS version; load its " \
  "crypto module (for example 'modprobe gcm' or 'modprobe chacha20poly1305' " \
  "as root) or prefer AES-128-GCM") \
X(REKEY, "rekey", \
  "the kernel cannot follow a TLS 1.3 KeyUpdate of this connection; use " \
  "Linux 6.14 or later (with OpenSSL 3.2 or later for the method " \
  "ssl_sendfile), or TLS 1.2, or the option key_update = " \
  "TLSSF_KEY_UPDATE_USERSPACE") \
X(OPTION_OFF, "option_off", \
  "SSL_OP_ENABLE_KTLS was not set before the handshake; call " \
  "tlssf_ctx_init() on the SSL_CTX first, or set the option") \
X(COMPRESSION, "compression", \
  "TLS compression is in use; set SSL_OP_NO_COMPRESSION") \
X(MAX_FRAGMENT, "max_fragment", \
  "this connection needs smaller records than the kernel makes: the client " \
  "negotiated max_fragment_length, or max_send_fragment was set; use " \
  "neither") \
X(REFUSED, "refused", \
  "the TLS library or the kernel did not switch this connection to kernel " \
  "TLS; look for record padding, a small max_send_fragment, or a socket " \
  "whose send buffer was full at the end of the handshake") \
X(KERNEL_KEYS, "kernel_keys", \
  "the kernel already holds the keys of this connection, so its records " \
  "cannot be encrypted in user space; use the method auto or ssl_sendfile") \
X(NO_SECRET, "no_secret", \
  "the traffic secret of this TLS 1.3 connection is not known; before the " \
  "handshake, call tlssf_ctx_init() on the SSL_CTX and on each SSL_CTX that " \
  "SNI may select") \
X(KEYLOG_REPLACED, "keylog_replaced", \
  "SSL_CTX_set_keylog_callback() was called after tlssf_ctx_init(); call it " \
  "before, since the callback of libtlssf passes every line on to the one " \
  "that was installed before it") \
X(KEY_SCHEDULE, "key_schedule", \
  "the TLS library did not derive the keys (a FIPS provider may refuse) or " \
  "memory ran out; use the method userspace") \
X(SEQUENCE_NOT_FOUND, "sequence_not_found", \
  "a record of the TLS library could not be decrypted with the keys of this " \
  "connection, so these keys were not taken over; report a bug, unless " \
  "thousands of records were written before the first send") \
X(PADDING, "padding", \
  "the TLS library pads its records, and kernel TLS cannot pad; switch " \
  "record padding off, or use the method userspace") \
X(ARGUMENT, "argument", \
  "an argument is NULL, negative or too large, or a struct has a wrong " \
  "size; correct the call") \
X(BAD_FD, "bad_fd", \
  "the file descriptor is closed or was not opened for reading; open the " \
  "file with O_RDONLY and keep it open") \
X(NOT_REGULAR, "not_regular", \
  "the file descriptor is not a regular file; send pipes, sockets and " \
  "devices with SSL_write()") \
X(FILE_TRUNCATED, "file_truncated", \
  "the file ends before the requested length; do not truncate a file while " \
  "it is sent, replace the file by rename()") \
X(FILE_READ, "file_read", \
  "reading the file failed; look up errno, and check the disk or file " \
  "system") \
X(NO_MEMORY, "no_memory", \
  "memory ran out; call again later, or lower max_buffered") \
X(PENDING_WRITE, "pending_write", \
  "an earlier SSL_write() is unfinished; repeat that SSL_write() until it " \
  "succeeds, then send") \
X(PENDING_SEND, "pending_send", \
  "an earlier send of another file or offset is unfinished; repeat that " \
  "send until it is complete") \
X(SHUT_DOWN, "shut_down", \
  "close_notify was sent, and no data can follow it; send before shutting " \
  "down") \
X(FORKED, "forked", \
  "the connection was first used in another process; use the connection " \
  "only in that process") \
X(WRONG_LIBRARY, "wrong_library", \
  "the SSL belongs to another copy of the TLS library than libtlssf is " \
  "linked with; link the program and libtlssf with the same copy") \
X(PEER_GONE, "peer_gone", \
  "the peer closed or reset the connection; free the connection and let the " \
  "peer connect again") \
X(IO, "io", \
  "the transport failed; look up errno, and free the connection") \
X(TLS, "tls", \
  "the TLS library reported a fatal error; free the connection") \
X(INTERRUPTED, "interrupted", \
  "a signal made this kernel cut a record short (errno 512); update the " \
  "kernel, or use non-blocking sockets") \
X(KEY_LIMIT, "key_limit", \
  "the key has protected as many records as RFC 8446, 5.5 allows, and the " \
  "kernel cannot replace the key; use Linux 6.14 or later, or reconnect")

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

static const char *name_or_unknown(const char *const *names, int count,
				   int value)
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
	return name_or_unknown(methods, TLSSF_METHOD_COUNT, method);
}

const char *tlssf_cipher_name(int cipher)
{
	return name_or_unknown(ciphers, TLSSF_CIPHER_COUNT, cipher);
}

#define STRING(x) #x
#define NUMBER(x) STRING(x)

const char *tlssf_version(void)
{
	return NUMBER(TLSSF_VERSION_MAJOR) "." NUMBER(TLSSF_VERSION_MINOR) "."
	       NUMBER(TLSSF_VERSION_PATCH);
}

/*
 * Prefer the writer, tlssf_set_trace(): threads that trace all the time must
 * not keep it waiting for ever.
 */
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#define TRACE_LOCK PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#else
#define TRACE_LOCK PTHREAD_RWLOCK_INITIALIZER
#endif

/*
 * Each trace line holds the read lock while the trace function runs. So no
 * thread is in the old function after tlssf_set_trace() has returned.
 */
static struct {
	pthread_once_t once;
	pthread_rwlock_t lock;
	atomic_bool on;		/* fn != NULL, or to_stderr */
	bool to_stderr;		/* TLSSF_TRACE=1, as read by `once` */
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

static void output_line(const char *line)
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
	output_line(line);
	errno = saved;
}
