/* SPDX-License-Identifier: MIT */
/* A connection on a non-blocking socket, for any event loop. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>

#include "setup.h"

struct conn;

/* When to call conn_run() again: at one of these events, or so much later. */
struct wait {
	short events;		/* POLLIN, POLLOUT, or 0: the time alone */
	int ms;
};

/* Takes the socket over; NULL: no memory, and the socket is closed. */
struct conn *conn_new(const struct setup *conf, int s);
void conn_free(struct conn *c);

/* Do what can be done now. false: it is over, free it. */
bool conn_run(struct conn *c, struct wait *wait);

#endif
