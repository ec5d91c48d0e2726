# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Functions for the tests of tlssf-probe.

. "$(dirname "${BASH_SOURCE[0]}")/../support/lib.sh"
status=0

# json STATUS COMMAND...: write the output to $work/json and compare the exit
# status.
json() {
	local want=$1
	shift
	status=0
	"$@" >"$work/json" || status=$?
	is "exit status of $*" "$want" "$status" ||
		{ cat "$work/json"; return 1; }
}

# member NAME: print the value of a member of $work/json. tlssf-probe prints
# each of these members on a line of its own.
member() {
	sed -n "s/^ *\"$1\": //p" "$work/json" | sed 's/,$//; s/^"\(.*\)"$/\1/'
}

# why_not METHOD: print the reason why the connection cannot use the method.
why_not() {
	sed -n "s/^ *\"why_not\": .*\"$1\": \"\([a-z_]*\)\".*/\1/p" \
		"$work/json"
}

# features: print the features of the kernel in $work/json, in the words of
# tests/vm/kernels.txt.
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

# sorted WORDS: print the words, which are one argument, in alphabetical order.
sorted() {
	# shellcheck disable=SC2086 # a list of words
	printf '%s\n' $1 | sort | paste -sd ' '
}

# serve OPTION...: start openssl s_server on a free port; set `server` and
# `port`.
serve() {
	[[ -s $work/cert ]] || certificate
	openssl s_server -accept 127.0.0.1:0 -key "$work/key" \
		-cert "$work/cert" -quiet -naccept 100 "$@" \
		>"$work/server" 2>&1 </dev/zero &
	server=$!
	wait_for is_listening || { cat "$work/server"; return 1; }
}

is_listening() {
	port=$(listening "$server")
	[[ $port ]]
}

# listening PID: print the port of the process's listening socket, from /proc.
listening() {
	local inode
	inode=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' \
		2>/dev/null | sed 's/[^0-9]//g' | paste -sd '|')
	[[ $inode ]] || return 0
	printf '%d\n' "0x$(awk -v inode="^($inode)\$" \
		'$4 == "0A" && $10 ~ inode { sub(/.*:/, "", $2); print $2; exit }' \
		/proc/net/tcp)" 2>/dev/null | grep -v '^0$' || true
}
