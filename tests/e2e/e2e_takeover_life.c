/* SPDX-License-Identifier: MIT */
/*
 * After a takeover: fork(), SSL_dup(), SSL_clear(), SSL_free(), and a
 * descriptor number that belongs to another socket.
 */
#include "e2e_takeover.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct link second;

static void open_taken(int i)
{
	struct link_conf conf = tk_conf(versions[i % 2]);

	link_open(&tk, &conf);
	tk_take_over(&tk);
}

/* ---- another process ---- */

/* The child has all keys, and must not use any of them. */
static int child(void)
{
	for (int i = 0; i < 2; i++) {
		ERR_clear_error();
		if (SSL_write(tk.ssl, "child", 5) > 0)
			return 1;
		if (tlssf_send(tk.ssl, tk_file.fd, 0, 1000) != TLSSF_ERROR ||
		    errno != EPERM)
			return 2;
		if (tlssf_shutdown(tk.ssl) != TLSSF_ERROR)
			return 3;
	}
	ERR_clear_error();
	if (SSL_shutdown(tk.ssl) > 0)
		return 4;
	SSL_free(tk.ssl);
	return 0;
}

START_TEST(forked)
{
	int status;
	pid_t pid;

	open_taken(_i);
	pid = fork();
	if (pid == 0)
		_exit(child());
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	tk_ends_well(&tk);
}
END_TEST

/* ---- SSL_dup(), SSL_free() ---- */

#ifndef OPENSSL_IS_BORINGSSL	/* BoringSSL has no SSL_dup() */
/* SSL_dup() of a connected SSL returns the SSL itself. */
START_TEST(duplicated)
{
	SSL *copy;

	open_taken(_i);
	copy = SSL_dup(tk.ssl);
	ck_assert_ptr_nonnull(copy);
	SSL_free(copy);
	write_all(&tk, "one", 3);
	copy = SSL_dup(tk.ssl);
	SSL_free(tk.ssl);
	tk.ssl = copy;
	tk_ends_well(&tk);
}
END_TEST
#endif

/* After SSL_free() without a shutdown the peer sees no close_notify. */
START_TEST(freed)
{
	open_taken(_i);
	SSL_free(tk.ssl);
	tk.ssl = NULL;
	close(tk.fd);
	tk.fd = 0;
	expect_end(&tk, END_EOF);
}
END_TEST

/* After the shutdown of TLS the application may use the socket as before. */
START_TEST(socket_goes_on)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	open_taken(_i);
	shutdown_all(&tk);
	SSL_free(tk.ssl);
	tk.ssl = NULL;
	ck_assert_int_eq(getsockopt(tk.fd, IPPROTO_TCP, TCP_INFO, &info,
				    &len), 0);
	ck_assert(info.tcpi_state == TCP_ESTABLISHED ||
		  info.tcpi_state == TCP_CLOSE_WAIT);
}
END_TEST

/* ---- the descriptor number of another socket ---- */

/* The socket of `second` gets the descriptor number that `tk` had. */
static void reuse_number(struct link_conf *conf)
{
	link_open(&second, conf);
	ck_assert_int_eq(dup2(second.fd, tk.fd), tk.fd);
	close(second.fd);
	second.fd = tk.fd;
	tk.fd = 0;
}

/* The old connection is freed late, and must not touch the new socket. */
START_TEST(number_reused)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);

	open_taken(_i);
	conf.no_handshake = true;
	reuse_number(&conf);
	SSL_free(tk.ssl);
	tk.ssl = NULL;
	expect_end(&tk, END_EOF);
	SSL_set_fd(second.ssl, second.fd);
	link_handshake(&second);
	tk_take_over(&second);
	tk_ends_well(&second);
	link_close(&second);
}
END_TEST

/* The test uses the same SSL on another socket with that descriptor number. */
enum { SAME_BIO, NEW_FD, NEW_FD_FIRST, N_ORDERS };

START_TEST(cleared)
{
	struct link_conf conf = tk_conf(versions[_i % 2]);
	int order = _i / 2;

	open_taken(_i);
	conf.no_handshake = true;
	reuse_number(&conf);
	if (order == NEW_FD_FIRST)
		ck_assert_int_eq(SSL_set_fd(tk.ssl, second.fd), 1);
	ck_assert_int_eq(SSL_clear(tk.ssl), 1);
	if (order == NEW_FD)
		ck_assert_int_eq(SSL_set_fd(tk.ssl, second.fd), 1);
	SSL_free(second.ssl);
	second.ssl = tk.ssl;
	tk.ssl = NULL;
	expect_end(&tk, END_EOF);
	link_handshake(&second);
	tk_take_over(&second);
	tk_ends_well(&second);
	link_close(&second);
}
END_TEST

void add_life_tests(TCase *tc)
{
	tcase_add_loop_test(tc, forked, 0, 2);
#ifndef OPENSSL_IS_BORINGSSL
	tcase_add_loop_test(tc, duplicated, 0, 2);
#endif
	tcase_add_loop_test(tc, freed, 0, 2);
	tcase_add_loop_test(tc, socket_goes_on, 0, 2);
	tcase_add_loop_test(tc, number_reused, 0, 2);
	tcase_add_loop_test(tc, cleared, 0, 2 * N_ORDERS);
}
