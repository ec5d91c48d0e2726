/* SPDX-License-Identifier: MIT */
/*
 * The probe (tlssf_probe()) tries the features of kernel TLS on TCP connections
 * over loopback, and caches the results. Each trial needs a new connection,
 * since kernel TLS cannot be removed from a socket.
 */
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define RETRY_MS	1000u	/* how long a negative result is valid */
#define RETRY_FACTOR	16u	/* or trial time * this factor, if longer */
#define PLAIN_LEN	64u
#define RECORD_LEN	(PLAIN_LEN + RECORD_SLACK)
#define RECV_TRIES	64	/* recv() calls for one record */

/* One connection of the probe. Its key is a constant, not a secret. */
struct trial {
	int fds[2];		/* the kernel encrypts what fds[0] sends */
	struct kernel_key key;
	bool verified;		/* the last record was decrypted */
};

/* TLSSF_YES is final. Other results expire at `retry_at`. */
struct cipher_result {
	struct tlssf_cap cap;
	uint64_t retry_at;
};

/* The extras are the features rekey, zerocopy_ro and max_payload_len. */
static struct cache {
	int ulp;
	int pair_error;		/* result of open_pair(), which is */
	uint64_t pair_retry_at;	/* returned again until this time */
	bool module_found;	/* below /lib/modules */
	struct cipher_result ciphers[2][TLSSF_CIPHER_COUNT];
	int rekey, zerocopy_ro, max_payload_len;
	uint64_t extras_retry_at;
} cache;

/*
 * The mutex protects the cache. The flags tell that this thread has locked the
 * mutex, for a probe or for fork().
 */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool probing, forking;

/*
 * The system calls of a trial are cancellation points. A thread that was
 * cancelled with the mutex locked would block every later probe. So
 * cancellation is disabled until the probe has ended. Returns the state that
 * unlock() restores.
 */
static int lock(void)
{
	int cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&mutex);
	probing = true;
	return cancel;
}

static void unlock(int cancel)
{
	probing = false;
	pthread_mutex_unlock(&mutex);
	pthread_setcancelstate(cancel, NULL);
}

/*
 * A probe may take seconds, so fork() does not wait while another thread
 * probes.
 */
static void before_fork(void)
{
	forking = !probing && pthread_mutex_trylock(&mutex) == 0;
}

static void after_fork(void)
{
	if (forking)
		pthread_mutex_unlock(&mutex);
}

/*
 * If another thread was probing, no thread of the child would unlock the mutex,
 * and the cache may be half written. So both are reset. But if a trace function
 * forks during a probe, that probe continues in both processes.
 */
static void after_fork_in_child(void)
{
	if (!forking && !probing) {
		memset(&cache, 0, sizeof(cache));
		pthread_mutex_init(&mutex, NULL);
	}
	after_fork();
}

__attribute__((constructor)) static void handle_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

/*
 * Returns when to retry a trial that began at `start`. A slow trial is retried
 * later, so that the caller does not spend most of its time in trials that time
 * out.
 */
static uint64_t next_retry(uint64_t start)
{
	uint64_t now = tlssf_sys.now_ms();
	uint64_t wait = (now - start) * RETRY_FACTOR;

	return now + (wait > RETRY_MS ? wait : RETRY_MS);
}

/* Is the error temporary, so that it shows nothing about the kernel? */
static bool is_temporary(int err)
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

/* Returns enum tlssf_tristate for the result of a trial, 0 or -errno. */
static int tristate_of(int err)
{
	if (err == 0)
		return TLSSF_YES;
	return is_temporary(err) ? TLSSF_UNKNOWN : TLSSF_NO;
}

/* ---- the tls module ---- */

/* The kernel has no ULP "tls". Find out whether its module could be loaded. */
static int unloaded_or_absent(void)
{
	if (!cache.module_found)
		cache.module_found = tlssf_tls_module_installed();
	return cache.module_found ? TLSSF_ULP_NOT_LOADED : TLSSF_ULP_ABSENT;
}

/* Store what the result of ulp_attach() shows. */
static void store_ulp(int err)
{
	if (err == 0)
		cache.ulp = TLSSF_ULP_LOADED;
	else if (err == -ENOENT)
		cache.ulp = unloaded_or_absent();
	else if (err == -ENOPROTOOPT)	/* a kernel without TCP_ULP */
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

/* Connect a pair and attach kernel TLS to it: 0, -errno. */
static int open_pair(struct trial *t)
{
	uint64_t start = tlssf_sys.now_ms();
	int err;

	memset(t, 0, sizeof(*t));
	if (start < cache.pair_retry_at)
		return cache.pair_error;
	err = tlssf_sys.tcp_pair(t->fds);
	if (err) {
		if (cache.ulp != TLSSF_ULP_LOADED)
			cache.ulp = TLSSF_ULP_UNKNOWN;
		tlssf_trace(NULL, "probe: no loopback, errno %d", -err);
	} else {
		err = tlssf_sys.ulp_attach(t->fds[0]);
		store_ulp(err);
		if (err)
			close_pair(t);
	}
	cache.pair_error = err;
	if (err)
		cache.pair_retry_at = next_retry(start);
	return err;
}

/* Install a constant key, which differs from the key of another `variant`. */
static int install_key(struct trial *t, int version, int cipher,
		       unsigned int variant)
{
	unsigned char info[SYS_CRYPTO_MAX];
	struct kernel_key *k = &t->key;
	size_t len;
	int err;

	k->version = version;
	k->cipher = cipher;
	for (unsigned int i = 0; i < sizeof(k->key); i++)
		k->key[i] = (unsigned char)(7 * i + variant);
	for (unsigned int i = 0; i < sizeof(k->nonce); i++)
		k->nonce[i] = (unsigned char)(0x80 ^ (11 * i + variant));
	k->seq = 256 + variant;	/* not 0, to detect a kernel that ignores it */
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

/* Send one record by kernel TLS, receive the record, and decrypt it. */
static int round_trip(struct trial *t)
{
	size_t len = PLAIN_LEN +
		     tlssf_record_overhead(t->key.version, t->key.cipher);
	unsigned char plain[PLAIN_LEN], rec[RECORD_LEN];
	ssize_t n;
	int err;

	t->verified = false;
	for (unsigned int i = 0; i < sizeof(plain); i++)
		plain[i] = (unsigned char)(i ^ 0x5a);
	n = tlssf_sys.send(t->fds[0], plain, sizeof(plain), false);
	if (n != (ssize_t)sizeof(plain))
		return n < 0 ? (int)n : -EIO;
	err = receive(t->fds[1], rec, len);
	if (err)
		return err;
	err = tlssf_record_check(&t->key, rec, len, plain, sizeof(plain));
	t->verified = err == 0;
	/* -ENOTSUP: the TLS library lacks the cipher, so nothing is verified */
	return err == -ENOTSUP ? 0 : err;
}

/* ---- running trials, with the lock held ---- */

/*
 * Store the result when open_pair() fails. That result has no retry_at, since
 * cache.pair_retry_at limits the attempts.
 */
static void store_pair_error(struct tlssf_cap *cap, int err)
{
	bool no_ulp = cache.ulp == TLSSF_ULP_ABSENT ||
		      cache.ulp == TLSSF_ULP_NOT_LOADED;

	cap->tx = no_ulp ? TLSSF_NO : TLSSF_UNKNOWN;
	cap->error = -err;
	cap->verified = 0;
}

static void try_cipher(struct trial *t, int version, int cipher,
		       struct tlssf_cap *cap)
{
	int err = install_key(t, version, cipher, 1);

	if (err == 0)
		err = round_trip(t);
	cap->tx = tristate_of(err);
	cap->error = -err;
	cap->verified = t->verified;
	tlssf_trace(NULL, "probe: %s %s: %s, errno %d",
		    version == TLS13 ? "TLS 1.3" : "TLS 1.2",
		    tlssf_cipher_name(cipher), cap->tx != TLSSF_YES ? "no" :
		    cap->verified ? "yes, verified" : "yes", cap->error);
}

static const struct tlssf_cap *probe_cipher(int version, int cipher)
{
	struct cipher_result *result = &cache.ciphers[version == TLS13][cipher];
	uint64_t start = tlssf_sys.now_ms();
	struct trial t;
	int err;

	if (result->cap.tx == TLSSF_YES || start < result->retry_at)
		return &result->cap;
	err = open_pair(&t);
	if (err) {
		store_pair_error(&result->cap, err);
		return &result->cap;
	}
	try_cipher(&t, version, cipher, &result->cap);
	close_pair(&t);
	result->retry_at = next_retry(start);
	return &result->cap;
}

/*
 * Returns the first cipher that works with TLS 1.3, or -1. With -1, *tx is
 * TLSSF_NO if no cipher works, and TLSSF_UNKNOWN if a trial failed for a
 * temporary reason.
 */
static int find_cipher13(int *tx)
{
	*tx = TLSSF_NO;
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		int cipher_tx = probe_cipher(TLS13, c)->tx;

		if (cipher_tx == TLSSF_YES)
			return c;
		if (cipher_tx == TLSSF_UNKNOWN)
			*tx = TLSSF_UNKNOWN;
	}
	return -1;
}

/* Store a result, unless the cached result is TLSSF_YES. */
static void store_extra(int *cached, int result)
{
	if (*cached != TLSSF_YES)
		*cached = result;
}

static void store_extras(int result)
{
	store_extra(&cache.zerocopy_ro, result);
	store_extra(&cache.max_payload_len, result);
	store_extra(&cache.rekey, result);
}

/* Install a second key on the socket, and check a record of that key. */
static int try_rekey(struct trial *t, int cipher)
{
	int err = install_key(t, TLS13, cipher, 2);

	if (err == 0)
		err = round_trip(t);
	tlssf_trace(NULL, "probe: rekey: errno %d", -err);
	return err || t->verified ? tristate_of(err) : TLSSF_UNKNOWN;
}

static void try_extras(struct trial *t, int cipher)
{
	unsigned int zerocopy = 1, payload = RECORD_MAX;
	int err = install_key(t, TLS13, cipher, 1);

	if (err) {	/* temporary, since this cipher has worked before */
		store_extras(TLSSF_UNKNOWN);
		return;
	}
	err = tlssf_sys.tls_option(t->fds[0], TLS_OPTION_ZEROCOPY_RO,
				   &zerocopy, sizeof(unsigned int));
	store_extra(&cache.zerocopy_ro, tristate_of(err));
	err = tlssf_sys.tls_option(t->fds[0], TLS_OPTION_MAX_PAYLOAD_LEN,
				   &payload, sizeof(uint16_t));
	store_extra(&cache.max_payload_len, tristate_of(err));
	store_extra(&cache.rekey, try_rekey(t, cipher));
}

static void probe_extras(void)
{
	uint64_t start = tlssf_sys.now_ms();
	struct trial t;
	int tx, cipher;

	if (start < cache.extras_retry_at)
		return;
	cipher = find_cipher13(&tx);
	if (cipher < 0) {
		store_extras(tx);
		return;
	}
	if (open_pair(&t)) {
		store_extras(TLSSF_UNKNOWN);
		return;
	}
	try_extras(&t, cipher);
	close_pair(&t);
	cache.extras_retry_at = next_retry(start);
}

static void probe_ulp(void)
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

/* ---- the results for other files and for the application ---- */

const struct tlssf_cap *tlssf_probe_cap(int version, int cipher)
{
	static const struct tlssf_cap invalid = { TLSSF_NO, EINVAL, 0 };
	static _Thread_local struct tlssf_cap cap;
	int cancel;

	if ((version != TLS12 && version != TLS13) || cipher < 0 ||
	    cipher >= TLSSF_CIPHER_COUNT)
		return &invalid;
	cancel = lock();
	cap = *probe_cipher(version, cipher);
	unlock(cancel);
	return &cap;
}

void tlssf_probe_peek(int version, int cipher, int *ulp, int *tx)
{
	int cancel = lock();

	*ulp = cache.ulp;
	*tx = cache.ciphers[version == TLS13][cipher].cap.tx;
	unlock(cancel);
}

int tlssf_probe_ulp(void)
{
	int cancel = lock(), ulp;

	probe_ulp();
	ulp = cache.ulp;
	unlock(cancel);
	return ulp;
}

bool tlssf_probe_rekey(void)
{
	int cancel = lock();
	bool can_rekey;

	if (cache.rekey != TLSSF_YES)
		probe_extras();
	can_rekey = cache.rekey == TLSSF_YES;
	unlock(cancel);
	return can_rekey;
}

static void probe_all(struct tlssf_caps *caps)
{
	probe_ulp();
	for (int c = 0; c < TLSSF_CIPHER_COUNT; c++) {
		caps->tls12[c] = *probe_cipher(TLS12, c);
		caps->tls13[c] = *probe_cipher(TLS13, c);
	}
	if (!extras_complete())
		probe_extras();
	caps->ulp = cache.ulp;
	caps->rekey = cache.rekey;
	caps->zerocopy_ro = cache.zerocopy_ro;
	caps->max_payload_len = cache.max_payload_len;
}

int tlssf_probe(struct tlssf_caps *caps)
{
	struct tlssf_caps all = { 0 };
	int cancel;

	tl_clear_errors();
	if (!caps || caps->size < offsetof(struct tlssf_caps, ulp)) {
		errno = EINVAL;
		return TLSSF_ERROR;
	}
	cancel = lock();
	probe_all(&all);
	unlock(cancel);
	all.library = tl_library();
	all.library_ktls = tl_library_ktls() ? TLSSF_YES : TLSSF_NO;
	all.library_rekey = tl_library_rekey() ? TLSSF_YES : TLSSF_NO;
	tlssf_abi_export(caps, &all, sizeof(all));
	return 0;
}
