# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# What the tests of tlssf-probe share.

passed=0 failed=0 skipped=0 server='' status=0
work=$(mktemp -d)
export PATH=$PATH:/usr/sbin:/sbin

cleanup() {
	if [[ $server ]]; then
		kill -CONT "$server" 2>/dev/null || true
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	server=''
}
trap 'cleanup; rm -rf "$work"' EXIT

# check NAME COMMAND...: 0 passes, 77 skips, all else fails.
check() {
	local name=$1 r=0
	shift
	"$@" >"$work/log" 2>&1 || r=$?
	cleanup
	case $r in
	0) passed=$((passed + 1)) ;;
	77)
		skipped=$((skipped + 1))
		echo "skipped: $name: $(tail -n 1 "$work/log")"
		;;
	*)
		failed=$((failed + 1))
		echo "probe: failed: $name"
		tail -n 40 "$work/log" | sed 's/^/    /'
		;;
	esac
}

finish() {
	echo "$1: $passed passed, $failed failed, $skipped skipped"
	[[ $failed -eq 0 ]]
}

# is WHAT WANTED FOUND
is() {
	[[ $2 == "$3" ]] || { echo "$1: wanted '$2', found '$3'"; return 1; }
}

# json STATUS COMMAND...: its output to $work/json, its exit status as wanted.
json() {
	local want=$1
	shift
	status=0
	"$@" >"$work/json" || status=$?
	is "exit status of $*" "$want" "$status" ||
		{ cat "$work/json"; return 1; }
}

# member NAME: from $work/json; each of ours is on a line of its own.
member() {
	sed -n "s/^ *\"$1\": //p" "$work/json" | sed 's/,$//; s/^"\(.*\)"$/\1/'
}

# why METHOD: the reason on the connection.
why() {
	sed -n "s/^ *\"why_not\": .*\"$1\": \"\([a-z_]*\)\".*/\1/p" \
		"$work/json"
}

# features: what is in $work/json, in the words of tests/vm/kernels.txt.
features() {
	local version
	for version in 12 13; do
		sed -n "/^  \"tls$version\"/,/^  }/s/^ *\"\(.*\)\": {\"tx\": \"yes\", \"errno\": 0, \"verified\": true}.*/tls$version-\1/p" \
			"$work/json" | tr -d '\n' |
			sed 's/tls1/ &/g; s/-AES-\([0-9]*\)-\([GC]CM\)/-aes\1\L\2/g
				s/ChaCha20-Poly1305/chacha20/g'
	done
	[[ $(member zerocopy_ro) != yes ]] || printf ' zerocopy-ro'
	[[ $(member rekey) != yes ]] || printf ' rekey'
	[[ $(member max_payload_len) != yes ]] || printf ' max-payload-len'
}

sorted() {
	# shellcheck disable=SC2086 # a list of words
	printf '%s\n' $1 | sort | paste -sd ' '
}

# serve OPTION...: openssl s_server on a free port; sets server and port.
serve() {
	local i
	[[ -s $work/cert ]] || openssl req -x509 -newkey ec \
		-pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj /CN=localhost -keyout "$work/key" -out "$work/cert" \
		2>/dev/null
	openssl s_server -accept 127.0.0.1:0 -key "$work/key" \
		-cert "$work/cert" -quiet -naccept 100 "$@" \
		>"$work/server" 2>&1 </dev/zero &
	server=$!
	for ((i = 0; i < 200; i++)); do
		port=$(listening "$server")
		[[ -z $port ]] || return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	cat "$work/server"
	return 1
}

# listening PID: the port of its listening socket, by /proc.
listening() {
	local inode
	inode=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' \
		2>/dev/null | sed 's/[^0-9]//g' | paste -sd '|')
	[[ $inode ]] || return 0
	printf '%d\n' "0x$(awk -v inode="^($inode)\$" \
		'$4 == "0A" && $10 ~ inode { sub(/.*:/, "", $2); print $2; exit }' \
		/proc/net/tcp)" 2>/dev/null | grep -v '^0$' || true
}
