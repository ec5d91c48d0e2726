/* SPDX-License-Identifier: MIT */
/*
 * The other end of a test: a connection of the program `peer`, which is plain
 * OpenSSL whatever the test is linked with, and knows nothing of libtlssf. It
 * does nothing until told, so an idle peer is a stalled reader; each command
 * is answered by one report.
 */
#ifndef TLSSF_TEST_PEER_H
#define TLSSF_TEST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* In all test data, so that plaintext on the wire can be seen. */
#define MARKER		"<tlssf plaintext>"
#define MARKER_LEN	(sizeof(MARKER) - 1)

/* The peer opens the TCP connection, whoever is the TLS client. */
struct peer_conf {
	unsigned short port;	/* on 127.0.0.1 */
	int version;		/* TLS1_2_VERSION ...; 0: any */
	const char *cipher;	/* OpenSSL's name; NULL: any */
	int rcvbuf;		/* SO_RCVBUF before connect; 0: default */
	int max_fragment;	/* RFC 6066, 4: 1 is 512 bytes ...; 0: none */
	const char *name;	/* server name indication; NULL: none */
	bool server;		/* the peer is the TLS server */
	int tickets;		/* that it sends, TLS 1.3: as given + 1; 0: 2 */
	bool resume;		/* offer the newest session that any client of
				 * this program was given */
	unsigned int early;	/* with that many zeros of early data */
};

enum peer_op {
	PEER_READ,	/* until n more bytes have come, or the end */
	PEER_WRITE,	/* n bytes of SSL_write */
	PEER_KEY_UPDATE, /* n: SSL_KEY_UPDATE_REQUESTED or _NOT_REQUESTED */
	PEER_NOTIFY,	/* send close_notify */
	PEER_FIN,	/* shutdown(SHUT_WR) without close_notify */
	PEER_CLOSE,	/* close() without close_notify */
	PEER_RESET,	/* close() with a TCP reset */
	PEER_RENEGOTIATE, /* ask for a new handshake, TLS 1.2 */
};

struct peer_command {
	int op;			/* enum peer_op */
	uint64_t n;
	/* PEER_READ */
	unsigned int stall_us;	/* nothing at all for so long */
	size_t chunk;		/* then bytes per SSL_read; 0: 16 KiB */
	unsigned int pause_us;	/* and a pause after each */
	uint64_t update_every;	/* and a KeyUpdate request every so many */
};

#define PEER_ALL UINT64_MAX	/* PEER_READ until the end */

enum peer_end {
	END_NONE,	/* still open */
	END_NOTIFY,	/* close_notify: the stream is complete */
	END_ALERT,	/* fatal alert received, see alert_in */
	END_BROKEN,	/* the peer itself gave up, see alert_out */
	END_EOF,	/* FIN without close_notify */
	END_RESET,
	END_TIMEOUT,	/* nothing came for PEER_PATIENCE seconds */
	END_FAILED,	/* something else */
};

#define PEER_PATIENCE	300	/* only a hang takes longer */

struct peer_report {
	uint64_t bytes;		/* read since the last report */
	unsigned char sha[32];	/* SHA-256 of those */
	uint64_t total;		/* bytes read since the handshake */
	uint64_t records;	/* protected records read, of any type */
	uint64_t key_records;	/* of those, since the last KeyUpdate */
	uint64_t data_records;	/* application data */
	size_t max_record;	/* longest body on the wire, as sealed */
	unsigned int nonce_repeats; /* explicit nonces seen twice (TLS 1.2) */
	unsigned int markers;	/* MARKER seen on the wire, unprotected */
	unsigned int records_in_data; /* data records that hold a record */
	unsigned int updates;	/* KeyUpdates received */
	bool resumed, early;	/* was the session, the early data accepted? */
	int end;		/* enum peer_end */
	int alert_in;		/* last alert received and sent, -1: none */
	int alert_out;
	int result;		/* of the command: 0, or -1 */
};

struct peer {
	pid_t pid;		/* 0: never started */
	int handle;		/* pidfd: the process, dead or alive */
	int control;
};

/*
 * Start the program that the peers of this process and its children are forked
 * from. Otherwise each process starts one of its own at its first peer.
 */
int peer_prepare(void);
/* Start a peer; it connects at once. 0 or -errno. */
int peer_start(struct peer *p, const struct peer_conf *conf);
/* Give a command, without waiting. 0 or -errno. */
int peer_tell(struct peer *p, const struct peer_command *command);
/* Wait for the report: first of the handshake, then one for each command. */
int peer_hear(struct peer *p, struct peer_report *report);
/* End it: safe to repeat, and on a peer that was never started. */
void peer_stop(struct peer *p);

/* ---- between the tests and the program ---- */

#define PEER_PROGRAM	"peer"	/* beside the test program */
#define PEER_TEXT	64

/* With it goes the control socket of the new connection. */
struct peer_request {
	struct peer_conf conf;	/* whose texts are these: */
	char cipher[PEER_TEXT], name[PEER_TEXT];
};

/* The first message back; with it goes the pidfd. */
struct peer_hello {
	pid_t pid;
};

#endif
