# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Slow, many and vanishing connections; signals.

on_ipv6()
{
	grep -q '^listening on https://\[::1\]:' "$log" &&
	same "$root/f16385" "${url}f16385"
}

case_ipv6()
{
	grep -qs . /proc/net/if_inet6 || skip 'no IPv6 here' || return
	with_server '--listen ::1' on_ipv6
}

case_options()
{
	local r=0

	"$binary" --help >/dev/null && "$binary" --version >/dev/null &&
	for o in --port=65536 --port=x --workers=0 --method=magic --cert=x \
		 --nonsense word; do
		r=0
		"$binary" "$o" >/dev/null 2>&1 || r=$?
		is "$o" 2 "$r" || return 1
	done
	r=0
	"$binary" --root "$work/none" >/dev/null 2>&1 || r=$?
	is 'missing root' 1 "$r"
}

# Another kind of client, and one that counts.
case_h2load_keep_alive()
{
	local n=10000

	command -v h2load >/dev/null || skip 'no h2load here' || return
	[ "$quick" = 0 ] || n=500
	[ -z "${TLSSF_FULL-}" ] || n=100000
	head -c 1000 /dev/urandom >"$root/f1000"
	timeout "$limit" h2load --h1 -n "$n" -c 20 "${url}f1000" >"$work/out" ||
		bad "ended with $?" || return 1
	cat "$work/out"
	why=$(sed -n 's/^finished in [^,]*, \(.*req\/s\).*/\1/p' "$work/out")
	why="$n requests, $why"
	grep -q "^requests: .* $n succeeded, 0 failed, 0 errored, 0 timeout" \
		"$work/out" &&
	grep -q "^status codes: $n 2xx" "$work/out" &&
	grep -q "($((n * 1000))) data" "$work/out"
}

# What is more than allowed waits; it is not refused.
crowd()
{
	local s1 s2 pid

	exec {s1}<>"/dev/tcp/127.0.0.1/$port" &&
	exec {s2}<>"/dev/tcp/127.0.0.1/$port" || return 1
	get -o "$work/out" "${url}f16385" {s1}>&- {s2}>&- &
	pid=$!
	sleep 1
	! grep -q f16385 "$log" || bad 'a third one was served' || return 1
	exec {s1}>&- {s2}>&-
	wait "$pid" && cmp "$work/out" "$root/f16385"
}

case_connection_limit() { with_server '--connections 2' crowd; }

# 16 MiB at 4 MiB/s
case_slow_client()
{
	local start=$SECONDS

	same "$root/mid" --limit-rate 4M "${url}mid" &&
	why="$((SECONDS - start)) s" && [ $((SECONDS - start)) -ge 2 ]
}

# The last answer, a slow reader, and input that the server never asked for:
# a close() without reading it would reset the connection and lose the tail.
case_lingering_close()
{
	{
		printf 'GET /mid HTTP/1.0\r\n\r\n'
		head -c 300000 /dev/zero
	} >"$work/in"
	timeout "$limit" openssl s_client -quiet -connect "127.0.0.1:$port" \
		<"$work/in" 2>/dev/null |
		{ head -c 1000000; sleep 2; cat; } >"$work/out" || true
	is SHA-256 "$(sha_of "$root/mid")" \
		"$(tail -c 16777216 "$work/out" | sha)"
}

parallel()
{
	local n=24 i pids=() wanted file=mid

	[ "$quick" = 0 ] || n=8
	[ -z "${TLSSF_FULL-}" ] || file=big
	wanted=$(sha_of "$root/$file")
	for ((i = 0; i < n; i++)); do
		get "$url$file" | sha >"$work/par.$i" &
		pids+=($!)
	done
	for ((i = 0; i < n; i++)); do
		wait "${pids[i]}" || return 1
		is "download $i" "$wanted" "$(cat "$work/par.$i")" || return 1
	done
	why="$n downloads of $(stat -c %s "$root/$file") bytes"
}

case_parallel_one_worker() { parallel; }
case_parallel_four_workers() { with_server '--workers 4' parallel; }

# quiet: a second with (nearly) no work done
quiet()
{
	local before

	before=$(ticks)
	sleep 1
	spent=$(($(ticks) - before))
	[ "$spent" -le 5 ]
}

# While a connection waits, the processor must not work for it.
case_no_spin()
{
	local pid v r=0

	for v in 1.2 1.3; do
		rm -f "$work/spin"
		"${curl[@]}" --limit-rate 20M --tls-max "$v" -o "$work/spin" \
			"${url}sparse" &
		pid=$!
		wait_for test -s "$work/spin" || r=1
		kill -STOP "$pid"
		wait_for quiet || r=1
		why+="${why:+, }TLS $v: $spent of $(getconf CLK_TCK) ticks"
		kill -KILL "$pid"
		wait "$pid" || true
	done
	rm -f "$work/spin"
	return "$r"
}

case_abort_in_the_middle()
{
	local line pid

	ln -f "$root/sparse" "$root/aborted"
	rm -f "$work/aborted"
	"${curl[@]}" --limit-rate 1M -o "$work/aborted" "${url}aborted" &
	pid=$!
	wait_for test -s "$work/aborted" || return 1
	kill -KILL "$pid"
	! wait "$pid" && line=$(log_of aborted) || return 1
	why="error=$(field error "$line")"
	is error peer_gone "$(field error "$line")" &&
	same "$root/f200000" "${url}f200000"
}

# Clients that connect and say nothing, or nonsense, or leave half-way.
case_no_handshake()
{
	local i

	for i in 1 2 3 4 5; do
		exec {s1}<>"/dev/tcp/127.0.0.1/$port" &&
		exec {s2}<>"/dev/tcp/127.0.0.1/$port" || return 1
		printf 'GET / HTTP/1.0\r\n\r\n' >&"$s1"
		exec {s1}>&- {s2}>&-
	done
	timeout "$limit" openssl s_client -connect "127.0.0.1:$port" -tls1_1 \
		</dev/null && return 1
	same "$root/f1" "${url}f1"
}

# ends COMMAND...: and is not stopped by us
ends()
{
	local r=0

	timeout "$limit" "$@" >/dev/null 2>&1 || r=$?
	[ "$r" -ne 124 ] || bad "$1: no end after $limit s"
}

# A reader that stops reading: its output is a pipe that nobody empties.
stalled()
{
	local pid line hold

	ln -f "$root/sparse" "$root/stalled"
	mkfifo "$work/full"
	exec {hold}<>"$work/full"
	printf 'GET /stalled HTTP/1.0\r\n\r\n' >"$work/in.stalled"
	timeout "$limit" openssl s_client -quiet -connect "127.0.0.1:$port" \
		<"$work/in.stalled" >"$work/full" 2>/dev/null {hold}>&- &
	pid=$!
	line=$(log_of stalled)
	exec {hold}>&-
	wait "$pid" || true
	is error timeout "$(field error "$line")"
}

# A byte now and then does not prolong the time for a request.
dripping()
{
	local i

	is status 408 "$({
		printf 'GET /'
		for ((i = 0; i < 6 * seconds; i++)); do
			sleep 0.5
			printf x 2>/dev/null || break
		done
	} | timeout "$limit" openssl s_client -quiet \
		-connect "127.0.0.1:$port" 2>/dev/null |
		sed -n '1s/^HTTP\/1.1 \([0-9]*\) .*/\1/p')"
}

no_handshake()
{
	local s

	exec {s}<>"/dev/tcp/127.0.0.1/$port" && ends cat <&"$s"
}

no_request()
{
	ends openssl s_client -quiet -connect "127.0.0.1:$port" \
		</dev/null
}

half_a_request()
{
	is status 408 "$(raw_status 'GET / HTTP/1.1\r\nHos')"
}

# 160 KiB/s: libtlssf gets rid of nothing for longer than the time-out, since a
# full send buffer counts as writable only when a third of it is free. But TCP
# moves on, so it is the client that ends this.
very_slow()
{
	local line

	ln -f "$root/mid" "$root/very-slow"
	printf 'GET /very-slow HTTP/1.0\r\n\r\n' >"$work/in.slow"
	timeout $((3 * seconds)) openssl s_client -quiet -connect "127.0.0.1:$port" \
		<"$work/in.slow" 2>/dev/null |
		while [ "$(head -c 16384 | wc -c)" -gt 0 ]; do
			sleep 0.1
		done || true
	line=$(log_of very-slow) &&
	is error peer_gone "$(field error "$line")"
}

# All at the same time.
timeouts()
{
	local job jobs=() r=0

	for job in no_handshake no_request half_a_request dripping very_slow \
		   stalled; do
		{ $job || bad "$job"; } &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || r=1
	done
	return "$r"
}

# An emulated machine needs seconds for a handshake alone, and a busy one may
# leave the client alone for a while.
case_timeouts()
{
	local seconds=6

	[ "$quick" = 0 ] || seconds=12
	with_server "--timeout $seconds" timeouts
}

# The file becomes shorter than its Content-Length.
case_file_truncated()
{
	local pid line r=0

	truncate -s 256M "$root/shrinks"
	"${curl[@]}" --limit-rate 4M -o "$work/shrunk" "${url}shrinks" &
	pid=$!
	wait_for test -s "$work/shrunk" && truncate -s 1M "$root/shrinks"
	wait "$pid" || r=$?
	[ "$r" -ne 0 ] || bad 'the client took it for complete' || return 1
	line=$(log_of shrinks) &&
	is error file_truncated "$(field error "$line")"
}

refuses() { ! status "${url}f1" >/dev/null; }

# in_flight: begin a download, and again if it has ended before we look.
in_flight()
{
	for name in mid{1..20}; do
		ln -f "$root/mid" "$root/$name"
		"${curl[@]}" --limit-rate 4M -o "$work/$name" "$url$name" &
		pid=$!
		wait_for test -s "$work/$name" || return 1
		grep -qF " /$name " "$log" || return 0
		wait "$pid" || return 1
	done
	bad 'never in flight'
}

# SIGTERM: the download in flight is finished, nothing new is accepted.
stops()
{
	local pid name

	in_flight || return 1
	kill -TERM "$server"
	wait_for refuses || bad 'still accepting' || return 1
	wait "$pid" &&
	is SHA-256 "$(sha_of "$root/mid")" "$(sha_of "$work/$name")" &&
	log_of "$name" | grep -q '" 200 16777216 '
}

case_sigterm_in_flight() { with_server '' stops; }

# Transfers that do not end are cut off, visibly.
cut_off()
{
	local pid r=0 line

	rm -f "$work/cut"
	"${curl[@]}" --limit-rate 1M -o "$work/cut" "${url}sparse" &
	pid=$!
	wait_for test -s "$work/cut"
	kill -TERM "$server"
	wait "$pid" || r=$?
	[ "$r" -ne 0 ] || return 1
	line=$(log_of sparse) &&
	is error server_stopped "$(field error "$line")"
}

case_sigterm_grace_is_bounded() { with_server '' cut_off; }

# A second signal does not wait for downloads.
twice()
{
	local pid r=0

	rm -f "$work/cut"
	"${curl[@]}" --limit-rate 1M -o "$work/cut" "${url}sparse" &
	pid=$!
	wait_for test -s "$work/cut"
	kill -TERM "$server"
	wait_for refuses || return 1
	kill -TERM "$server"
	wait "$server" || r=$?
	wait "$pid" && return 1
	is 'exit status' 143 "$r" && server=''
}

case_sigterm_twice() { with_server '' twice; }

no_sockets() { [ "$(fds)" -le "$idle_fds" ]; }

# All connections are closed; what remains is what it started with.
case_no_descriptor_leaks()
{
	wait_for no_sockets || bad "$(ls -l "/proc/$server/fd")"
}
