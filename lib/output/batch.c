/* SPDX-License-Identifier: MIT */
/*
 * A batch holds encrypted records until the socket accepts them. Batches,
 * plaintext buffers and structs unreported come from a cache of the thread. An
 * idle connection holds none of them, and a busy connection allocates nothing
 * per call.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

struct cache {			/* of one thread: one object of each kind */
	struct batch *small, *large;
	unsigned char *plain;
	struct unreported *unreported;
	bool registered;	/* free_cache() runs at thread exit */
};

static _Thread_local struct cache cache;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static bool exit_key_made;

static void free_cache(void *arg)
{
	struct cache *c = arg;

	free(c->small);
	free(c->large);
	free(c->plain);
	free(c->unreported);
	memset(c, 0, sizeof(*c));
}

static void create_exit_key(void)
{
	exit_key_made = pthread_key_create(&exit_key, free_cache) == 0;
}

/*
 * Register free_cache() for the exit of this thread. If that fails, nothing may
 * be cached, since nothing would free it.
 */
static bool ensure_registered(void)
{
	if (cache.registered)
		return true;
	pthread_once(&exit_once, create_exit_key);
	if (!exit_key_made || pthread_setspecific(exit_key, &cache))
		return false;
	cache.registered = true;
	return true;
}

/*
 * The main thread may exit without running the destructor of exit_key, so its
 * cache is freed here.
 */
__attribute__((destructor)) static void free_last_cache(void)
{
	free_cache(&cache);
}

/* Returns the place in the cache for a batch of this size, or NULL. */
static struct batch **slot_for(size_t cap)
{
	if (cap == BATCH_SMALL + BATCH_SLACK)
		return &cache.small;
	if (cap == BATCH_LARGE + BATCH_SLACK)
		return &cache.large;
	return NULL;
}

static void clear(struct batch *b)
{
	b->head = b->used = 0;
	b->nmarks = b->next_mark = 0;
}

struct batch *tlssf_batch_get(size_t target)
{
	size_t size = target > BATCH_SMALL ? BATCH_LARGE : BATCH_SMALL;
	size_t cap = size + BATCH_SLACK;
	struct batch **slot = slot_for(cap);
	struct batch *b = *slot;

	*slot = NULL;
	if (!b)
		b = malloc(sizeof(*b) + cap);
	if (!b)
		return NULL;
	b->cap = cap;
	clear(b);
	return b;
}

void tlssf_batch_put(struct batch *b)
{
	struct batch **slot;

	if (!b)
		return;
	slot = slot_for(b->cap);
	if (slot && !*slot && ensure_registered())
		*slot = b;
	else
		free(b);
}

/* A batch rarely grows, since its slack has room for one full record. */
unsigned char *tlssf_batch_room(struct batch **batch, size_t len)
{
	struct batch *b = *batch;

	if (len > b->cap - b->used) {
		size_t cap = b->used + len + BATCH_SLACK;

		b = realloc(b, sizeof(*b) + cap);
		if (!b)
			return NULL;
		b->cap = cap;
		*batch = b;
	}
	return b->data + b->used;
}

int tlssf_batch_append(struct batch **batch, const void *in, size_t len)
{
	unsigned char *end = tlssf_batch_room(batch, len);

	if (!end)
		return -ENOMEM;
	memcpy(end, in, len);
	(*batch)->used += len;
	return 0;
}

struct batch *tlssf_batch_shrink_to_fit(struct batch *b)
{
	size_t unsent = b->used - b->head;
	struct batch *small;
	unsigned int i;

	if (b->cap == BATCH_SMALL + BATCH_SLACK ||
	    unsent > BATCH_SMALL + BATCH_SLACK)
		return b;
	small = tlssf_batch_get(BATCH_SMALL);
	if (!small)
		return b;
	memcpy(small->data, b->data + b->head, unsent);
	small->used = unsent;
	for (i = b->next_mark; i < b->nmarks; i++) {
		struct mark *m = &small->marks[small->nmarks++];

		*m = b->marks[i];
		m->end = m->end > b->head ? m->end - b->head : 0;
	}
	tlssf_batch_put(b);
	return small;
}

/* If all marks are in use, the last mark is extended. */
void tlssf_batch_mark(struct batch *b, size_t plain)
{
	if (b->nmarks < BATCH_MARKS) {
		b->marks[b->nmarks++] = (struct mark){ b->used, plain };
	} else {
		b->marks[b->nmarks - 1].end = b->used;
		b->marks[b->nmarks - 1].plain += plain;
	}
}

size_t tlssf_batch_plaintext_written(struct batch *b)
{
	size_t plain = 0;

	while (b->next_mark < b->nmarks &&
	       b->marks[b->next_mark].end <= b->head)
		plain += b->marks[b->next_mark++].plain;
	return plain;
}

unsigned char *tlssf_plaintext_buffer_get(void)
{
	unsigned char *plain = cache.plain;

	cache.plain = NULL;
	return plain ? plain : malloc(PLAIN_SIZE);
}

void tlssf_plaintext_buffer_put(unsigned char *plain)
{
	if (plain && !cache.plain && ensure_registered())
		cache.plain = plain;
	else
		free(plain);
}

struct unreported *tlssf_unreported_get(void)
{
	struct unreported *unreported = cache.unreported;

	cache.unreported = NULL;
	return unreported ? unreported : malloc(sizeof(*unreported));
}

void tlssf_unreported_put(struct unreported *unreported)
{
	if (unreported && !cache.unreported && ensure_registered())
		cache.unreported = unreported;
	else
		free(unreported);
}
