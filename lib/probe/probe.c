/* SPDX-License-Identifier: MIT */
/*
 * What the kernel can do, found by doing it on a loopback TCP connection: a
 * fresh one for each trial, since kernel TLS cannot be taken off a socket.
 */
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS	1000u	/* a "no" is believed that long */
#define RETRY_FACTOR	16u	/* and that many times what it took to learn */
#define PLAIN_LEN	64u
#define RECORD_LEN	(PLAIN_LEN + 32u)	/* overhead is 29 at most */
#define RECV_TRIES	64	/* pieces and signals in one record */
#define TEXT_MAX	(8u << 20)	/* modules.dep is below 1 MiB today */

/* Socket options of SOL_TLS; the numbers are the kernel's ABI. */

/* A connection with its kernel TLS keys. They are no secret. */
struct trial {
	int fds[2];		/* the kernel seals what fds[0] sends */
	struct kernel_key key;
	bool opened;		/* the last record was decrypted */
};

/* Yes is for ever. Anything else may be tried again from `until` on. */
struct fact {
	struct tlssf_cap cap;
	uint64_t until;
};

static struct {
	pthread_mutex_t lock;
	int ulp;
	int error;		/* of the last pair that failed, until: */
	uint64_t until;
	bool on_disk;		/* the module's file was seen */
	struct fact facts[2][TLSSF_CIPHER_COUNT];
	int rekey, zerocopy_ro, max_payload_len;
	uint64_t extras_until;
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

/*
 * A trial that times out must not become most of what the caller does, so
 * slow answers are believed for longer.
 */
static uint64_t retry_at(uint64_t start)
{
	uint64_t now = tlssf_sys.now_ms();
	uint64_t wait = (now - start) * RETRY_FACTOR;

	return now + (wait > RETRY_MS ? wait : RETRY_MS);
}

/* Does the error tell something of this moment only, not of the kernel? */
static bool passing(int err)
{
	switch (-err) {
	case EAGAIN: case EINTR: case ERRNO_RESTARTSYS: case ETIMEDOUT:
	case ENOMEM: case ENOBUFS: case EMFILE: case ENFILE:
	case EPIPE: case ECONNRESET: case ENOTCONN:
		return true;
	default:
		return false;
	}
}

static int answer(int err)
{
	if (err == 0)
		return TLSSF_YES;
	return passing(err) ? TLSSF_UNKNOWN : TLSSF_NO;
}

/* ---- the tls module ---- */

static bool file_names_module(const char *path)
{
	char *text = malloc(TEXT_MAX);	/* untouched pages cost nothing */
	bool found;

	if (text == NULL)
		return false;
	found = tlssf_sys.read_text(path, text, TEXT_MAX) > 0 &&
		strstr(text, "/tls.ko") != NULL;
	free(text);
	return found;
}

static bool module_on_disk(void)
{
	static const char *const files[] = { "dep", "builtin" };
	char release[128], path[sizeof(release) + 32];

	if (tlssf_sys.kernel_release(release, sizeof(release)) < 0)
		return false;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/modules.%s",
			 release, files[i]);
		if (file_names_module(path))
			return true;
	}
	return false;
}

/* The kernel has none at hand; the disk says whether it could be loaded. */
static int missing_module(void)
{
	if (!cache.on_disk)
		cache.on_disk = module_on_disk();
	return cache.on_disk ? TLSSF_ULP_NOT_LOADED : TLSSF_ULP_ABSENT;
}

static void learn_ulp(int err)
{
	if (err == 0)
		cache.ulp = TLSSF_ULP_LOADED;
	else if (err == -ENOENT)
		cache.ulp = missing_module();
	else if (err == -ENOPROTOOPT)	/* older than kernel TLS */
		cache.ulp = TLSSF_ULP_ABSENT;
	else if (cache.ulp != TLSSF_ULP_LOADED)
		cache.ulp = TLSSF_ULP_UNKNOWN;
	tlssf_trace(NULL, "probe: tls module: state %d, errno %d", cache.ulp,
		    -err);
}

/* ---- one trial ---- */

static void close_pair(struct trial *t)
{
	tlssf_sys.close(t->fds[0]);
	tlssf_sys.close(t->fds[1]);
	explicit_bzero(&t->key, sizeof(t->key));
}

/* A pair with the tls module attached: 0, -errno. */
static int open_pair(struct trial *t)
{
	uint64_t start = tlssf_sys.now_ms();
	int err;

	memset(t, 0, sizeof(*t));
	if (start < cache.until)
		return cache.error;
	err = tlssf_sys.tcp_pair(t->fds);
	if (err) {
		if (cache.ulp != TLSSF_ULP_LOADED)
			cache.ulp = TLSSF_ULP_UNKNOWN;
		tlssf_trace(NULL, "probe: no loopback, errno %d", -err);
	} else {
		err = tlssf_sys.ulp_attach(t->fds[0]);
		learn_ulp(err);
		if (err)
			close_pair(t);
	}
	cache.error = err;
	if (err)
		cache.until = retry_at(start);
	return err;
}

/* `salt` makes keys differ. */
static int install_key(struct trial *t, int version, int cipher,
		       unsigned int salt)
{
	unsigned char info[SYS_CRYPTO_MAX];
	struct kernel_key *k = &t->key;
	size_t len;
	int err;

	k->version = version;
	k->cipher = cipher;
	for (unsigned int i = 0; i < sizeof(k->key); i++)
		k->key[i] = (unsigned char)(7 * i + salt);
	for (unsigned int i = 0; i < sizeof(k->nonce); i++)
		k->nonce[i] = (unsigned char)(0x80 ^ (11 * i + salt));
	k->seq = 256 + salt;	/* not 0: ignoring it would show */
	len = tlssf_kernel_key_pack(info, k);
	err = tlssf_sys.tls_tx_set(t->fds[0], info, len);
	explicit_bzero(info, sizeof(info));
	return err;
}

static int receive(int fd, unsigned char *buf, size_t len)
{
	size_t got = 0;

	for (int i = 0; i < RECV_TRIES && got < len; i++) {
		ssize_t n = tlssf_sys.recv(fd, buf + got, len - got);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && n != -EINTR)
			return (int)n;
		if (n > 0)
			got += (size_t)n;
	}
	return got == len ? 0 : -ETIMEDOUT;
}

/* Send one record through the kernel and look at it at the other end. */
static int round_trip(struct trial *t)
{
	size_t len = PLAIN_LEN +
		     tlssf_record_overhead(t->key.version, t->key.cipher);
	unsigned char plain[PLAIN_LEN], rec[RECORD_LEN];
	ssize_t n;
	int err;

	t->opened = false;
	for (unsigned int i = 0; i < sizeof(plain); i++)
		plain[i] = (unsigned char)(i ^ 0x5a);
	n = tlssf_sys.send(t->fds[0], plain, sizeof(plain), false);
	if (n != (ssize_t)sizeof(plain))
		return n < 0 ? (int)n : -EIO;
	err = receive(t->fds[1], rec, len);
	if (err)
		return err;
	err = tlssf_record_check(&t->key, rec, len, plain, sizeof(plain));
	t->opened = err == 0;
	/* -ENOTSUP: the TLS library here cannot judge it */
	return err == -ENOTSUP ? 0 : err;
}

/* ---- what is learned, under the lock ---- */

/* No trial was possible. The pair's own `until` bounds how often we come. */
static void no_trial(struct tlssf_cap *cap, int err)
{
	bool absent = cache.ulp == TLSSF_ULP_ABSENT ||
		      cache.ulp == TLSSF_ULP_NOT_LOADED;

	cap->tx = absent ? TLSSF_NO : TLSSF_UNKNOWN;
	cap->error = -err;
	cap->verified = 0;
}

static void try_cipher(struct trial *t, int version, int cipher,
		       struct tlssf_cap *cap)
{
	int err = install_key(t, version, cipher, 1);

	if (err == 0)
		err = round_trip(t);
	cap->tx = answer(err);
	cap->error = -err;
	cap->verified = t->opened;
	tlssf_trace(NULL, "probe: %s %s: %s, errno %d",
		    version == TLS13 ? "TLS 1.3" : "TLS 1.2",
		    tlssf_cipher_name(cipher), cap->tx != TLSSF_YES ? "no" :
		    cap->verified ? "yes, verified" : "yes", cap->error);
}

static const struct tlssf_cap *learn_cipher(int version, int cipher)
{
	struct fact *f = &cache.facts[version == TLS13][cipher];
	uint64_t start = tlssf_sys.now_ms();
	struct trial t;
	int err;

	if (f->cap.tx == TLSSF_YES || start < f->until)
		return &f->cap;
	err = open_pair(&t);
	if (err) {
		no_trial(&f->cap, err);
		return &f->cap;
	}
	try_cipher(&t, version, cipher, &f->cap);
	close_pair(&t);
	f->until = retry_at(start);
	return &f->cap;
}

/* The first cipher that works with TLS 1.3; -1: none, and *why. */
static int any_cipher13(int *why)
{
	*why = TLSSF_NO;
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		int tx = learn_cipher(TLS13, c)->tx;

		if (tx == TLSSF_YES)
			return c;
		if (tx == TLSSF_UNKNOWN)
			*why = TLSSF_UNKNOWN;
	}
	return -1;
}

static void improve(int *known, int seen)
{
	if (*known != TLSSF_YES)
		*known = seen;
}

static void improve_all(int seen)
{
	improve(&cache.zerocopy_ro, seen);
	improve(&cache.max_payload_len, seen);
	improve(&cache.rekey, seen);
}

/* A second key on the same socket, and a record sealed with it. */
static int try_rekey(struct trial *t, int cipher)
{
	int err = install_key(t, TLS13, cipher, 2);

	if (err == 0)
		err = round_trip(t);
	tlssf_trace(NULL, "probe: rekey: errno %d", -err);
	return err || t->opened ? answer(err) : TLSSF_UNKNOWN;
}

static void try_extras(struct trial *t, int cipher)
{
	unsigned int zerocopy = 1, payload = RECORD_MAX;
	int err = install_key(t, TLS13, cipher, 1);

	if (err) {	/* it worked a moment ago */
		improve_all(TLSSF_UNKNOWN);
		return;
	}
	err = tlssf_sys.tls_option(t->fds[0], TLS_OPTION_ZEROCOPY_RO,
				   &zerocopy, sizeof(unsigned int));
	improve(&cache.zerocopy_ro, answer(err));
	err = tlssf_sys.tls_option(t->fds[0], TLS_OPTION_MAX_PAYLOAD_LEN,
				   &payload, sizeof(uint16_t));
	improve(&cache.max_payload_len, answer(err));
	improve(&cache.rekey, try_rekey(t, cipher));
}

static void learn_extras(void)
{
	uint64_t start = tlssf_sys.now_ms();
	struct trial t;
	int why, cipher;

	if (start < cache.extras_until)
		return;
	cipher = any_cipher13(&why);
	if (cipher < 0) {
		improve_all(why);
		return;
	}
	if (open_pair(&t)) {
		improve_all(TLSSF_UNKNOWN);
		return;
	}
	try_extras(&t, cipher);
	close_pair(&t);
	cache.extras_until = retry_at(start);
}

static void learn_ulp_alone(void)
{
	struct trial t;

	if (cache.ulp != TLSSF_ULP_LOADED && open_pair(&t) == 0)
		close_pair(&t);
}

static bool extras_complete(void)
{
	return cache.rekey == TLSSF_YES && cache.zerocopy_ro == TLSSF_YES &&
	       cache.max_payload_len == TLSSF_YES;
}

/* ---- the questions ---- */

/* The answer is this thread's own until it asks again. */
const struct tlssf_cap *tlssf_probe_cap(int version, int cipher)
{
	static const struct tlssf_cap never = { TLSSF_NO, EINVAL, 0 };
	static _Thread_local struct tlssf_cap cap;

	if ((version != TLS12 && version != TLS13) || cipher < 0 ||
	    cipher >= TLSSF_CIPHER_COUNT)
		return &never;
	pthread_mutex_lock(&cache.lock);
	cap = *learn_cipher(version, cipher);
	pthread_mutex_unlock(&cache.lock);
	return &cap;
}

void tlssf_probe_peek(int version, int cipher, int *ulp, int *tx)
{
	pthread_mutex_lock(&cache.lock);
	*ulp = cache.ulp;
	*tx = cache.facts[version == TLS13][cipher].cap.tx;
	pthread_mutex_unlock(&cache.lock);
}

int tlssf_probe_ulp(void)
{
	int ulp;

	pthread_mutex_lock(&cache.lock);
	learn_ulp_alone();
	ulp = cache.ulp;
	pthread_mutex_unlock(&cache.lock);
	return ulp;
}

bool tlssf_probe_rekey(void)
{
	bool yes;

	pthread_mutex_lock(&cache.lock);
	if (cache.rekey != TLSSF_YES)
		learn_extras();
	yes = cache.rekey == TLSSF_YES;
	pthread_mutex_unlock(&cache.lock);
	return yes;
}

static void learn_all(struct tlssf_caps *caps)
{
	learn_ulp_alone();
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		caps->tls12[c] = *learn_cipher(TLS12, c);
		caps->tls13[c] = *learn_cipher(TLS13, c);
	}
	if (!extras_complete())
		learn_extras();
	caps->ulp = cache.ulp;
	caps->rekey = cache.rekey;
	caps->zerocopy_ro = cache.zerocopy_ro;
	caps->max_payload_len = cache.max_payload_len;
}

int tlssf_probe(struct tlssf_caps *caps)
{
	struct tlssf_caps all = { 0 };

	tl_clear_errors();
	if (caps == NULL || caps->size < offsetof(struct tlssf_caps, ulp)) {
		errno = EINVAL;
		return TLSSF_ERROR;
	}
	pthread_mutex_lock(&cache.lock);
	learn_all(&all);
	pthread_mutex_unlock(&cache.lock);
	all.library = tl_library();
	all.library_ktls = tl_library_ktls() ? TLSSF_YES : TLSSF_NO;
	all.library_rekey = tl_library_rekey() ? TLSSF_YES : TLSSF_NO;
	tlssf_abi_export(caps, &all, sizeof(all));
	return 0;
}
