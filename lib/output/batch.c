/* SPDX-License-Identifier: MIT */
/*
 * A batch holds sealed records on their way to the socket. Batches, the plaintext
 * buffer and the note of what was sealed unreported come from a per-thread cache, so an
 * idle connection keeps none and a busy one allocates nothing per call.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

struct cache {
	struct batch *small, *large;
	unsigned char *plain;
	struct unreported *unreported;
	bool registered;	/* freed at thread exit */
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

static void make_key(void)
{
	exit_key_made = pthread_key_create(&exit_key, free_cache) == 0;
}

/* Without a way to free it at thread exit nothing may be cached. */
static bool may_cache(void)
{
	if (cache.registered)
		return true;
	pthread_once(&exit_once, make_key);
	if (!exit_key_made || pthread_setspecific(exit_key, &cache))
		return false;
	cache.registered = true;
	return true;
}

/* The main thread may end without running the key's destructor. */
__attribute__((destructor)) static void free_last_cache(void)
{
	free_cache(&cache);
}

static struct batch **slot_for(size_t cap)
{
	if (cap == BATCH_SMALL + BATCH_SLACK)
		return &cache.small;
	if (cap == BATCH_LARGE + BATCH_SLACK)
		return &cache.large;
	return NULL;
}

static void empty(struct batch *b)
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
	empty(b);
	return b;
}

void tlssf_batch_put(struct batch *b)
{
	struct batch **slot;

	if (!b)
		return;
	slot = slot_for(b->cap);
	if (slot && !*slot && may_cache())
		*slot = b;
	else
		free(b);
}

/* Growing is for rare records only: the slack holds any other. */
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
	unsigned char *at = tlssf_batch_room(batch, len);

	if (!at)
		return -ENOMEM;
	memcpy(at, in, len);
	(*batch)->used += len;
	return 0;
}

struct batch *tlssf_batch_shrink_to_fit(struct batch *b)
{
	size_t rest = b->used - b->head;
	struct batch *small;
	unsigned int i;

	if (b->cap == BATCH_SMALL + BATCH_SLACK ||
	    rest > BATCH_SMALL + BATCH_SLACK)
		return b;
	small = tlssf_batch_get(BATCH_SMALL);
	if (!small)
		return b;
	memcpy(small->data, b->data + b->head, rest);
	small->used = rest;
	for (i = b->next_mark; i < b->nmarks; i++) {
		struct mark *m = &small->marks[small->nmarks++];

		*m = b->marks[i];
		m->end = m->end > b->head ? m->end - b->head : 0;
	}
	tlssf_batch_put(b);
	return small;
}

/* When the marks run out, the last one takes over what follows it. */
void tlssf_batch_mark(struct batch *b, size_t plain)
{
	if (b->nmarks < BATCH_MARKS)
		b->marks[b->nmarks++] = (struct mark){ b->used, plain };
	else {
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
	if (plain && !cache.plain && may_cache())
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
	if (unreported && !cache.unreported && may_cache())
		cache.unreported = unreported;
	else
		free(unreported);
}
