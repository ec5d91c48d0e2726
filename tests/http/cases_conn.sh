# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Many, slow and aborted connections; signals.

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

# Download with h2load, which counts its requests and bytes.
case_h2load_keep_alive()
{
	local n=10000

	command -v h2load >/dev/null || skip 'no h2load here' || return
	[ "$quick" = 0 ] || n=500
	[ -z "${TLSSF_FULL-}" ] || n=100000
	head -c 1000 /dev/urandom >"$root/f1000"
	timeout "$limit" h2load --h1 -n "$n" -c 20 "${url}f1000" >"$work/out" ||
		fail "ended with $?" || return 1
	cat "$work/out"
	why=$(sed -n 's/^finished in [^,]*, \(.*req\/s\).*/\1/p' "$work/out")
	why="$n requests, $why"
	grep -q "^requests: .* $n succeeded, 0 failed, 0 errored, 0 timeout" \
		"$work/out" &&
	grep -q "^status codes: $n 2xx" "$work/out" &&
	grep -q "($((n * 1000))) data" "$work/out"
}

# begin_download PATH: sets pipe and pid. The download is in flight until
# end_download: the client writes to a pipe that nobody reads.
begin_download()
{
	rm -f "$work/pipe.$1" "$work/got.$1"
	mkfifo "$work/pipe.$1"
	ln -f "$root/mid" "$root/$1"
	get "$url$1" >"$work/pipe.$1" &
	pid=$!
	exec {pipe}<"$work/pipe.$1"
	dd bs=1 count=1 status=none <&"$pipe" >"$work/got.$1" &&
	is 'the first byte' 1 "$(stat -c %s "$work/got.$1")"
}

# end_download PATH PIPE PID: read the rest; all of the file must arrive.
end_download()
{
	local fd=$2

	cat <&"$fd" >>"$work/got.$1"
	exec {fd}<&-
	wait "$3" && cmp "$work/got.$1" "$root/mid"
}

# A connection above the limit waits while responses are in flight.
crowd()
{
	local pipe pid pipe1 pid1 third

	begin_download crowd1 && pipe1=$pipe pid1=$pid &&
	begin_download crowd2 || return 1
	get -o "$work/out" "${url}f16385" &
	third=$!
	sleep 1
	! grep -q f16385 "$log" || fail 'a third one was served' || return 1
	end_download crowd1 "$pipe1" "$pid1" &&
	wait "$third" && cmp "$work/out" "$root/f16385" &&
	end_download crowd2 "$pipe" "$pid"
}

case_connection_limit() { with_server '--connections 2' crowd; }

# A new client is served while others hold connections without a request. Their
# time-outs do not help: these last an hour.
waiting_ones_give_way()
{
	local pipe pid holder r=0

	begin_download flight || return 1
	"$client" hold "$port" "$1" "$2" >"$work/held" 2>&1 &
	holder=$!
	wait_for grep -q "^holding $2" "$work/held" &&
	same "$root/f16385" "${url}f16385" &&
	same "$root/f200000" "${url}f200000" &&
	kill -0 "$holder" || r=1
	end_download flight "$pipe" "$pid" || r=1
	kill "$holder"
	wait "$holder" || true
	cat "$work/held"
	return "$r"
}

# gives_way KIND COUNT
gives_way()
{
	local n=$2

	need_client || return
	[ "$quick" = 0 ] || n=300
	[ "$(ulimit -Hn)" -ge $((n + 100)) ] ||
		skip "only $(ulimit -Hn) descriptors" || return
	with_server '--timeout 3600 --connections 100' \
		waiting_ones_give_way "$1" "$n" && why="$n connections"
}

case_half_open_connections_give_way() { gives_way silent 2000; }
case_unfinished_handshakes_give_way() { gives_way handshake 2000; }
case_idle_connections_give_way() { gives_way idle 300; }
case_unfinished_requests_give_way() { gives_way half 300; }
case_lingering_connections_give_way() { gives_way linger 300; }
case_keep_alive_connections_give_way() { gives_way keep 300; }

# The client has read a whole response, and does not close: the server does,
# although the time-out for slow peers is an hour.
case_lingering_ends()
{
	need_client || return
	with_server '--timeout 3600' timeout "$limit" "$client" linger "$port" \
		/mid
}

# The limit of descriptors limits the connections: then no file lacks one.
few_descriptors()
{
	local holder r=0

	why=$(grep '^--connections: ' "$log.err") &&
	is limit '--connections: 20 instead of 1024, because RLIMIT_NOFILE is 64' \
		"$why" || return 1
	"$client" hold "$port" silent 100 >"$work/held" 2>&1 &
	holder=$!
	# fewer downloads than connections, so that none gives way to another
	wait_for grep -q '^holding 100' "$work/held" &&
	quick=1 parallel || r=1
	kill "$holder"
	wait "$holder" || true
	return "$r"
}

case_descriptor_limit()
{
	local r=0

	need_client || return
	command -v prlimit >/dev/null || skip 'no prlimit here' || return
	prefix=(prlimit --nofile=32:64)
	with_server '' few_descriptors || r=1
	prefix=(prlimit --nofile=64:4096)
	with_server '--connections 2000' limit_is_raised || r=1
	prefix=()
	return "$r"
}

limit_is_raised()
{
	is limit 4096 "$(awk '/^Max open files/ { print $4 }' \
		"/proc/$server/limits")" &&
	! grep '^--connections' "$log.err"
}

# 16 MiB at 4 MiB/s
case_slow_client()
{
	local start=$SECONDS

	same "$root/mid" --limit-rate 4M "${url}mid" &&
	why="$((SECONDS - start)) s" && [ $((SECONDS - start)) -ge 2 ]
}

# A slow client sends more data after the last request. If the server called
# close() without reading them, TCP would reset the connection, and the end of
# the response would be lost.
case_lingering_close()
{
	{
		printf 'GET /mid HTTP/1.0\r\n\r\n'
		head -c 300000 /dev/zero
	} >"$work/in"
	exchange <"$work/in" |
		{ head -c 1000000; sleep 2; cat; } >"$work/out" || true
	is SHA-256 "$(sha_of "$root/mid")" \
		"$(tail -c 16777216 "$work/out" | sha)"
}

# A client that asks for new keys around each step of the end of a response. The
# server cannot answer any more, and must read the requests all the same.
case_keys_requested_at_the_end()
{
	local n=100

	need_client || return
	[ "$quick" = 0 ] || n=16
	head -c 8M "$root/sparse" | openssl enc -aes-128-ctr -K 0 -iv 0 \
		>"$root/rekeyed" 2>/dev/null
	"$client" rekey "$port" /rekeyed "$root/rekeyed" "$n" && why="$n of $n"
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

# Succeed if the server uses almost no CPU time in one second.
quiet()
{
	local before

	before=$(ticks)
	sleep 1
	spent=$(($(ticks) - before))
	[ "$spent" -le 5 ]
}

# A connection that waits for the client must not use CPU time.
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

# Clients that connect and send nothing, or no TLS, or an unsupported version.
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

# ends COMMAND...: check that the command ends before the time limit.
ends()
{
	local r=0

	timeout "$limit" "$@" >/dev/null 2>&1 || r=$?
	[ "$r" -ne 124 ] || fail "$1: no end after $limit s"
}

# The client stops reading, because its output is a pipe that nobody reads.
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

# A client that sends single bytes does not extend the timeout of a request.
dripping()
{
	local i

	is status 408 "$({
		printf 'GET /'
		for ((i = 0; i < 6 * seconds; i++)); do
			sleep 0.5
			printf x 2>/dev/null || break
		done
	} | exchange | first_status)"
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

# A client that reads 160 KiB/s. libtlssf sends nothing for longer than the
# timeout, because a full send buffer becomes writable only when a third of it
# is free. The server must not end the connection, because TCP makes progress;
# the client ends it.
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

# Run all cases of the timeout at the same time.
timeouts()
{
	local job jobs=() r=0

	for job in no_handshake no_request half_a_request dripping very_slow \
		   stalled; do
		{ $job || fail "$job"; } &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || r=1
	done
	return "$r"
}

# The timeout must be long: an emulated machine needs seconds for a handshake,
# and on a busy machine the client may not run for a while.
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
	[ "$r" -ne 0 ] || fail 'the client reported no error' || return 1
	line=$(log_of shrinks) &&
	is error file_truncated "$(field error "$line")"
}

refuses() { ! status "${url}f1" >/dev/null; }

# Start a download that is still running when the function returns; set `name`
# and `pid`. If a download ends too early, start another one.
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
	fail 'each download ended too early'
}

# After SIGTERM the running download is completed, and new connections are
# refused.
stops()
{
	local pid name

	in_flight || return 1
	kill -TERM "$server"
	wait_for refuses || fail 'still accepting' || return 1
	wait "$pid" &&
	is SHA-256 "$(sha_of "$root/mid")" "$(sha_of "$work/$name")" &&
	log_of "$name" | grep -q '" 200 16777216 '
}

case_sigterm_in_flight() { with_server '' stops; }

# After SIGTERM a download that takes too long is truncated, and the client
# reports an error.
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

# After a second SIGTERM the server does not wait for downloads.
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

# After all connections have ended, the server has as many file descriptors as
# at the start.
case_no_descriptor_leaks()
{
	wait_for no_sockets || fail "$(ls -l "/proc/$server/fd")"
}
