/* SPDX-License-Identifier: MIT */
/* A connection on a non-blocking socket, for any event loop. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>

#include "setup.h"

struct conn;

/* When to call conn_run() again: at an event, or after `ms`. */
struct wait {
	short events;		/* POLLIN, POLLOUT, or 0: wait for ms only */
	int ms;			/* milliseconds */
};

/* Takes ownership of `s`. Returns NULL, and closes `s`, on failure. */
struct conn *conn_new(const struct setup *conf, int s);
void conn_free(struct conn *c);

/*
 * Make all the progress that is possible without blocking. Returns false when
 * the connection has ended: call conn_free().
 */
bool conn_run(struct conn *c, struct wait *wait);

#endif
