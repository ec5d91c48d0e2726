/* SPDX-License-Identifier: MIT */
#include "unit_order.h"

#include <linux/tls.h>
#include <netinet/tcp.h>

#define QUEUE_MAX	(256 * KIB)	/* encrypted bytes held above TCP */
#define KEYS_MAX	4096

static struct {
	bool on;
	struct kernel_key key;
	struct tl_aead *sealer;
	unsigned char info[SYS_CRYPTO_MAX];
	size_t info_len;
	unsigned char queue[QUEUE_MAX];
	size_t queued;
	/* every key of this connection: none may be installed twice */
	unsigned char keys[KEYS_MAX][32];
	unsigned int nkeys;
} k;

void kernel_reset(void)
{
	tl_aead_free(k.sealer);
	memset(&k, 0, sizeof(k));
}

/* ---- records ---- */

void kernel_push(void)
{
	ssize_t n = k.queued ? pair_send(&w.p, k.queue, k.queued) : 0;

	if (n <= 0)
		return;
	memmove(k.queue, k.queue + n, k.queued - (size_t)n);
	k.queued -= (size_t)n;
}

void kernel_is_empty(void)
{
	ck_assert_uint_eq(k.queued, 0);
}

static int send_one_record(int type, const void *data, size_t len)
{
	size_t start = tlssf_record_start(&k.key);
	ssize_t n;

	ck_assert(k.on);
	if (k.queued || w.p.wire.room == 0) /* no memory for another record */
		return -EAGAIN;
	memcpy(k.queue + start, data, len);
	n = tlssf_record_encrypt(&k.key, k.sealer, type, k.queue, len,
				 0);
	ck_assert_int_gt(n, 0);
	k.queued = (size_t)n;
	kernel_push();
	return 0;
}

static int64_t send_records(int type, const unsigned char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t n = len - done < RECORD_MAX ? len - done : RECORD_MAX;
		int r = send_one_record(type, data + done, n);

		if (r)
			return done ? (int64_t)done : r;
		done += n;
	}
	return (int64_t)done;
}

/* ---- system calls ---- */

int64_t kernel_send(const struct sys_args *a)
{
	if (!k.on)
		return pair_send(&w.p, a->in, a->in_len);
	ck_assert(!a->value || a->in_len < RECORD_MAX);
	return send_records(RECORD_DATA, a->in, a->in_len);
}

static int64_t play_send_record(const struct sys_args *a)
{
	if (a->in_len == 0)	/* no record ever stays open here */
		return 0;
	ck_assert_int_ne(a->value, RECORD_DATA);
	return send_records((int)a->value, a->in, a->in_len);
}

static int64_t play_sendfile(const struct sys_args *a)
{
	static unsigned char buf[512 * KIB];
	size_t n = a->in_len < sizeof(buf) ? a->in_len : sizeof(buf);
	struct iovec v = { buf, n };
	struct sys_args read = { .in = &v, .value = 1, .off = a->off };
	int64_t got;

	ck_assert_int_eq(a->value, FILE_FD);
	ck_assert(k.on);	/* without keys, plaintext would leave */
	got = play_preadv(&read);
	return got > 0 ? send_records(RECORD_DATA, buf, (size_t)got) : got;
}

static void import_key(const unsigned char *p)
{
	struct tls12_crypto_info_aes_gcm_128 a;
	struct tls12_crypto_info_aes_gcm_256 b;
	struct tls12_crypto_info_chacha20_poly1305 c;

	memcpy(&a, p, sizeof(a));
	k.key.version = a.info.version;
	switch (a.info.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		k.key.cipher = TLSSF_AES_128_GCM;
		memcpy(k.key.key, a.key, sizeof(a.key));
		memcpy(k.key.nonce, a.salt, 4);
		memcpy(k.key.nonce + 4, a.iv, 8);
		break;
	case TLS_CIPHER_AES_GCM_256:
		memcpy(&b, p, sizeof(b));
		k.key.cipher = TLSSF_AES_256_GCM;
		memcpy(k.key.key, b.key, sizeof(b.key));
		memcpy(k.key.nonce, b.salt, 4);
		memcpy(k.key.nonce + 4, b.iv, 8);
		break;
	default:
		memcpy(&c, p, sizeof(c));
		k.key.cipher = TLSSF_CHACHA20_POLY1305;
		memcpy(k.key.key, c.key, sizeof(c.key));
		memcpy(k.key.nonce, c.iv, 12);
	}
	k.key.seq = tlssf_kernel_key_seq(p, k.key.cipher);
	/*
	 * The model keeps no copy of the key here, so that the test wiped()
	 * finds only the copies that libtlssf and OpenSSL keep.
	 */
	explicit_bzero(&a, sizeof(a));
	explicit_bzero(&b, sizeof(b));
	explicit_bzero(&c, sizeof(c));
}

static void check_new_key(void)
{
	for (unsigned int i = 0; i < k.nkeys; i++)
		ck_assert_mem_ne(k.keys[i], k.key.key, 32);
	ck_assert_uint_lt(k.nkeys, KEYS_MAX);
	memcpy(k.keys[k.nkeys++], k.key.key, 32);
}

static int64_t play_tls_tx_set(const struct sys_args *a)
{
	if (k.on && k.key.version == TLS12)
		return -EBUSY;
	memset(&k.key, 0, sizeof(k.key));
	memcpy(k.info, a->in, a->in_len);
	k.info_len = a->in_len;
	import_key(k.info);
	check_new_key();
	tl_aead_free(k.sealer);
	ck_assert_int_eq(tl_aead_new_encryptor(&k.sealer, k.key.cipher,
					    k.key.key), 0);
	k.on = true;
	return 0;
}

static int64_t play_tls_tx_get(const struct sys_args *a)
{
	struct kernel_key now = k.key;
	unsigned char info[SYS_CRYPTO_MAX];

	if (!k.on)
		return -EBUSY;
	tlssf_kernel_key_pack(info, &now);
	memcpy(a->out, info, a->out_len);
	explicit_bzero(&now, sizeof(now));
	explicit_bzero(info, sizeof(info));
	return 0;
}

static int64_t play_tcp(const struct sys_args *a)
{
	struct sys_tcp tcp = { .state = TCP_ESTABLISHED,
			       .in_tcp = w.p.wire.taken };

	memcpy(a->out, &tcp, sizeof(tcp));
	return 0;
}

void kernel_set_probed(SSL_CTX *ctx)
{
	tl_ctx_conf(ctx)->kernel_rekeys = true;
}

void kernel_defaults(void)
{
	SCRIPT_DEFAULT(send_record, .fd = SOCK, .play = play_send_record);
	SCRIPT_DEFAULT(sendfile, .fd = SOCK, .play = play_sendfile);
	SCRIPT_DEFAULT(tls_tx_set, .fd = SOCK, .play = play_tls_tx_set);
	SCRIPT_DEFAULT(tls_tx_get, .fd = SOCK, .play = play_tls_tx_get);
	SCRIPT_DEFAULT(tcp, .fd = SOCK, .play = play_tcp);
	SCRIPT_DEFAULT(tcp_state, .fd = SOCK, .result = TCP_ESTABLISHED);
	SCRIPT_DEFAULT(tcp_corked, .fd = SOCK);
	SCRIPT_DEFAULT(tcp_cork, .fd = SOCK);
}
