/* SPDX-License-Identifier: MIT */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK		512 /* bytes of the pattern: MARKER, number, noise */
#define ALL_SKIPPED	77

/* Shared with the child processes in which Check runs the tests. */
struct tally {
	unsigned int skipped, compared;
};
static struct tally *tally;
static EVP_PKEY *key;
static X509 *cert;

const struct cipher ciphers[N_CIPHERS] = {
	{ "aes128gcm", "ECDHE-RSA-AES128-GCM-SHA256",
	  "TLS_AES_128_GCM_SHA256", TLSSF_AES_128_GCM },
	{ "aes256gcm", "ECDHE-RSA-AES256-GCM-SHA384",
	  "TLS_AES_256_GCM_SHA384", TLSSF_AES_256_GCM },
	{ "chacha20", "ECDHE-RSA-CHACHA20-POLY1305",
	  "TLS_CHACHA20_POLY1305_SHA256", TLSSF_CHACHA20_POLY1305 },
};

/* ---- passed, failed, skipped ---- */

static void make_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);

	if (!ctx || EVP_PKEY_keygen_init(ctx) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) <= 0 ||
	    EVP_PKEY_keygen(ctx, &key) <= 0) {
		fputs("cannot make a key\n", stderr);
		exit(1);
	}
	EVP_PKEY_CTX_free(ctx);
}

static void make_certificate(void)
{
	X509_NAME *name;

	make_key();
	cert = X509_new();
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)"localhost", -1, -1,
				   0);
	X509_set_issuer_name(cert, name);
	if (!X509_sign(cert, key, EVP_sha256())) {
		fputs("cannot make a certificate\n", stderr);
		exit(1);
	}
}

SSL_CTX *plain_ctx(bool server)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method()
					  : TLS_client_method());

	ck_assert_ptr_nonnull(ctx);
	if (server) {
		ck_assert_int_eq(SSL_CTX_use_certificate(ctx, cert), 1);
		ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, key), 1);
	}
	return ctx;
}

int run_suite(const char *name, Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	unsigned int skipped;
	int failed, run;

	setvbuf(stdout, NULL, _IOLBF, 0);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		return 1;
	make_certificate();
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	run = srunner_ntests_run(runner);
	srunner_free(runner);
	printf("%s: %u streams compared by SHA-256\n", name, tally->compared);
	skipped = tally->skipped;
	printf("%s: %d passed, %d failed, %u skipped\n", name,
	       run - failed - (int)skipped, failed, skipped);
	munmap(tally, sizeof(*tally));
	X509_free(cert);
	EVP_PKEY_free(key);
	return failed ? 1 : run == (int)skipped ? ALL_SKIPPED : 0;
}

void warm_up(void)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };

	if (tlssf_probe(&caps) || peer_prepare())
		exit(1);
}

void skip_test(const char *fmt, ...)
{
	va_list ap;

	fputs("skipped: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	puts("");
	__atomic_add_fetch(&tally->skipped, 1, __ATOMIC_RELAXED);
}

static bool env_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value && strcmp(value, "0") != 0;
}

bool in_guest(void)
{
	return env_set("TLSSF_GUEST");
}

bool full_run(void)
{
	return env_set("TLSSF_FULL");
}

/* ---- versions and ciphers ---- */

const char *version_word(int version)
{
	return version == TLS1_2_VERSION ? "tls12" : "tls13";
}

int expected(const char *word)
{
	const char *all = getenv("TLSSF_EXPECT"), *p = all;
	size_t len = strlen(word);

	if (!all)
		return -1;
	while ((p = strstr(p, word))) {
		if ((p == all || p[-1] == ' ') &&
		    (p[len] == ' ' || p[len] == '\0'))
			return 1;
		p += len;
	}
	return 0;
}

int expected_cipher(int version, const struct cipher *c)
{
	char word[64];

	snprintf(word, sizeof(word), "%s-%s", version_word(version), c->word);
	return expected(word);
}

bool kernel_can(int version, const struct cipher *c)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };
	const struct tlssf_cap *cap;
	int kernel = expected_cipher(version, c);

	if (kernel >= 0)
		return kernel;
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	cap = version == TLS1_2_VERSION ? caps.tls12 : caps.tls13;
	return cap[c->offload].tx == TLSSF_YES;
}

bool kernel_rekeys(void)
{
	struct tlssf_caps caps = { .size = sizeof(caps) };
	int kernel = expected("rekey");

	if (kernel >= 0)
		return kernel;
	ck_assert_int_eq(tlssf_probe(&caps), 0);
	return caps.rekey == TLSSF_YES;
}

bool survives_rekey(void)
{
	return OpenSSL_version_num() >= 0x30200000L && kernel_rekeys();
}

int auto_method(int version, const struct cipher *c, uint64_t sent)
{
	if (!kernel_can(version, c))
		return TLSSF_METHOD_USERSPACE;
	if (LIBRARY_KTLS && (version == TLS1_2_VERSION || survives_rekey()))
		return TLSSF_METHOD_SSL_SENDFILE;
	return sent >= TAKEOVER_PAYS ? TLSSF_METHOD_KTLS
				     : TLSSF_METHOD_USERSPACE;
}

/* ---- files ---- */

static void fill_block(unsigned char *p, uint64_t block)
{
	uint64_t x = (block + 1) * 0x9e3779b97f4a7c15u;

	memcpy(p, MARKER, MARKER_LEN);
	memset(p + MARKER_LEN, 0, 16 - MARKER_LEN % 16);
	for (size_t i = 32; i < BLOCK; i += sizeof(x)) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		memcpy(p + i, &x, sizeof(x));
	}
}

void fill(unsigned char *buf, uint64_t off, size_t len)
{
	unsigned char block[BLOCK];
	size_t skip, n;

	while (len) {
		fill_block(block, off / BLOCK);
		skip = (size_t)(off % BLOCK);
		n = BLOCK - skip < len ? BLOCK - skip : len;
		memcpy(buf, block + skip, n);
		buf += n;
		off += n;
		len -= n;
	}
}

/* Ends the program if `done` is false. main() cannot use Check's assertions. */
static void need(bool done, const char *what)
{
	if (!done) {
		perror(what);
		exit(1);
	}
}

void file_make_sparse(struct file *f, uint64_t from, uint64_t size)
{
	unsigned char *map;

	*f = (struct file){ .size = size,
			    .fd = memfd_create("tlssf-test", MFD_CLOEXEC) };
	need(f->fd >= 0, "memfd_create");
	need(!ftruncate(f->fd, (off_t)size), "ftruncate");
	if (!size)
		return;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_NORESERVE, f->fd, 0);
	need(map != MAP_FAILED, "mmap");
	fill(map + from, from, size - from);
	f->map = map;
}

void file_make(struct file *f, uint64_t size)
{
	file_make_sparse(f, 0, size);
}

void file_free(struct file *f)
{
	if (f->map)
		munmap((void *)(uintptr_t)f->map, f->size);
	if (f->fd > 0)
		close(f->fd);
	memset(f, 0, sizeof(*f));
}

void count_comparison(void)
{
	__atomic_add_fetch(&tally->compared, 1, __ATOMIC_RELAXED);
}
