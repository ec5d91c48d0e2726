/* SPDX-License-Identifier: MIT */
/*
 * The other end of a test: one connection of the program `peer`, which is plain
 * OpenSSL, whatever the test is linked with, and does not use libtlssf. A peer
 * acts only on commands, so without one it does not read. It answers each
 * command with one report.
 */
#ifndef TLSSF_TEST_PEER_H
#define TLSSF_TEST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All test data has this text, so that plaintext on the wire is detected. */
#define MARKER		"<tlssf plaintext>"
#define MARKER_LEN	(sizeof(MARKER) - 1)

/* The peer opens the TCP connection, even when it is the TLS server. */
struct peer_conf {
	unsigned short port;	/* of the listener on 127.0.0.1 */
	int version;		/* TLS1_2_VERSION ...; 0: any */
	const char *cipher;	/* OpenSSL's name; NULL: any */
	int rcvbuf;		/* SO_RCVBUF before connect; 0: default */
	int max_fragment;	/* RFC 6066, 4: 1 is 512 bytes ...; 0: none */
	const char *name;	/* server name indication; NULL: none */
	bool server;		/* the peer is the TLS server */
	int tickets;	/* TLS 1.3 tickets to send, plus 1; 0: default */
	/*
	 * offer the newest session that any client of this program has received
	 */
	bool resume;
	unsigned int early;	/* bytes of early data (zeros) to send */
};

enum peer_op {
	PEER_READ,	/* until n more bytes have arrived, or the end */
	PEER_WRITE,	/* n bytes of SSL_write */
	PEER_KEY_UPDATE, /* n: SSL_KEY_UPDATE_REQUESTED or _NOT_REQUESTED */
	PEER_NOTIFY,	/* send close_notify */
	PEER_FIN,	/* shutdown(SHUT_WR) without close_notify */
	PEER_CLOSE,	/* close() without close_notify */
	PEER_RESET,	/* close() with a TCP reset */
	PEER_RENEGOTIATE, /* request a renegotiation, TLS 1.2 */
};

struct peer_command {
	int op;			/* enum peer_op */
	uint64_t n;
	/* for PEER_READ: */
	unsigned int stall_us;	/* pause before the first SSL_read() */
	size_t chunk;		/* bytes for each SSL_read(); 0: 16 KiB */
	unsigned int pause_us;	/* pause after each SSL_read() */
	/* request a KeyUpdate after so many bytes; 0: never */
	uint64_t update_every;
};

#define PEER_ALL UINT64_MAX	/* PEER_READ until the end */

enum peer_end {
	END_NONE,	/* the connection is still open */
	END_NOTIFY,	/* close_notify: the stream is complete */
	END_ALERT,	/* fatal alert received, see alert_in */
	END_BROKEN,	/* the peer's own TLS has failed, see alert_out */
	END_EOF,	/* FIN without close_notify */
	END_RESET,
	END_TIMEOUT,	/* no byte arrived for PEER_PATIENCE seconds */
	END_FAILED,	/* something else */
};

#define PEER_PATIENCE	300	/* only a hang takes longer */

struct peer_report {
	uint64_t bytes;		/* read since the last report */
	unsigned char sha[32];	/* of those bytes */
	uint64_t total;		/* bytes read since the handshake */
	uint64_t records;	/* encrypted records read, of any type */
	uint64_t key_records;	/* of those, since the last KeyUpdate */
	uint64_t data_records;	/* application data */
	size_t max_record; /* longest record on the wire, without its header */
	unsigned int nonce_repeats; /* explicit nonces seen twice (TLS 1.2) */
	unsigned int markers;	/* MARKERs seen on the wire in plaintext */
	/* data records whose plaintext is a TLS record */
	unsigned int records_in_data;
	unsigned int updates;	/* KeyUpdates received */
	/* whether the session was resumed and the early data accepted */
	bool resumed, early;
	int end;		/* enum peer_end */
	int alert_in;		/* last alert received and sent, -1: none */
	int alert_out;
	int result;		/* of the command: 0, or -1 */
};

struct peer {
	pid_t pid;		/* 0: never started */
	int handle;		/* pidfd of its process */
	int control;
};

/*
 * Start the program that forks the peers for this process and its children.
 * Otherwise each process starts one at its first peer.
 */
int peer_prepare(void);
/* Start a peer, which connects at once. Returns 0 or -errno. */
int peer_start(struct peer *p, const struct peer_conf *conf);
/* Send a command, and do not wait. Returns 0 or -errno. */
int peer_send(struct peer *p, const struct peer_command *command);
/*
 * Wait for a report. The first is about the handshake; then comes one for each
 * command.
 */
int peer_receive(struct peer *p, struct peer_report *report);
/* End the peer. May be called twice, and for a peer that was never started. */
void peer_stop(struct peer *p);

/* ---- messages between the test and the program ---- */

#define PEER_PROGRAM	"peer"	/* in the folder of the test program */
#define PEER_TEXT	64

/* The first message, sent with the control socket of the new connection. */
struct peer_request {
	struct peer_conf conf;	/* its strings are copied here: */
	char cipher[PEER_TEXT], name[PEER_TEXT];
};

/* The answer, sent with the pidfd of the new process. */
struct peer_hello {
	pid_t pid;
};

#endif
