# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Functions for the test scripts. A script sets `suite`, its name, before it
# includes this file.

# Timeout in seconds: a server that needs longer to start, or a client that
# needs longer to end, has hung, even on a slow and busy machine.
hang=600
passed=0 failed=0 skipped=0
# Processes of the current test. cleanup() ends them.
server='' clients=()
work=$(mktemp -d "${TMPDIR:-/tmp}/tlssf-$suite.XXXXXX")
export PATH=$PATH:/usr/sbin:/sbin

cleanup() {
	local pid
	for pid in "${clients[@]}" $server; do
		kill -CONT "$pid" 2>/dev/null || true
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	server='' clients=()
}
trap 'cleanup; rm -rf --one-file-system "$work"' EXIT

# check NAME COMMAND...: run one test. The exit status 0 means passed, 77
# skipped (the last line of the output is the reason), any other failed; then
# the output is printed.
check() {
	local name=$1 r=0
	shift
	"$@" >"$work/log" 2>&1 || r=$?
	case $r in
	0) passed=$((passed + 1)) ;;
	77)
		skipped=$((skipped + 1))
		echo "skipped: $suite: $name: $(tail -n 1 "$work/log")"
		;;
	*)
		failed=$((failed + 1))
		echo "$suite: failed: $name"
		tail -n 40 "$work/log" | sed 's/^/    /'
		[[ ! -s $work/out ]] ||
			tail -n 12 "$work/out" | sed 's/^/    out: /'
		;;
	esac
}

# check_alone NAME COMMAND...: run one test, then end its processes.
check_alone() {
	check "$@"
	cleanup
}

finish() {
	echo "$suite: $passed passed, $failed failed, $skipped skipped"
	[[ $failed -eq 0 ]]
}

# skip_all WHY: exit, because none of the tests can run here.
skip_all() {
	echo "skipped: $suite: $1"
	echo "$suite: 0 passed, 0 failed, 1 skipped"
	exit 77
}

# is WHAT WANTED FOUND: succeed if the last two arguments are equal.
is() {
	[[ $2 == "$3" ]] || { echo "$1: wanted '$2', found '$3'"; return 1; }
}

# wait_for COMMAND...: repeat the command until it succeeds.
wait_for() {
	local end=$((SECONDS + hang))
	until "$@"; do
		((SECONDS < end)) || { echo "timeout: $*"; return 1; }
		sleep 0.1
	done
}

# Create $work/cert and $work/key.
certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-days 2 -subj /CN=localhost -keyout "$work/key" \
		-out "$work/cert" 2>/dev/null
}
