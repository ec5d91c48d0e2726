# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# What the cases share: a server to talk to, clients, verdicts.

passed=0 failed=0 skipped=0
server='' url='' port='' log=''
limit=600	# seconds for any single wait: only what hangs takes so long
work=$(mktemp -d "${TMPDIR:-/tmp}/tlssf-http.XXXXXX")
root=$work/root
mkdir "$root"

# ---- verdicts ----

# run_case FUNCTION [NAME]: 0 passes, 77 skips (said by skip()), all else fails.
run_case()
{
	local name=${2:-${1#case_}} r=0

	why=''
	"$1" >"$work/case.out" 2>&1 || r=$?
	# a case runs in this shell: what it started is known here
	case $r in
	0) passed=$((passed + 1)) && echo "ok    $name${why:+: $why}" ;;
	77) skipped=$((skipped + 1)) && echo "skip  $name: $why" ;;
	*)
		failed=$((failed + 1))
		why+=${why:+; }$(tail -n 1 "$work/case.out" | cut -c1-200)
		echo "FAIL  $name${why:+: $why}"
		sed 's/^/      | /' "$work/case.out"
		[ -z "$log" ] || tail -n 5 "$log" | sed 's/^/      log: /'
		;;
	esac
}

# The cases of a file, in its order.
cases_of()
{
	sed -n 's/^\(case_[a-z0-9_]*\)().*/\1/p' "$1"
}

skip() { why=$*; return 77; }
# Cases say what they saw by setting `why`, failed checks say it by this.
bad() { echo "$*"; return 1; }

is() # is WHAT WANTED FOUND
{
	[ "$2" = "$3" ] || bad "$1: wanted '$2', found '$3'"
}

# ---- the server ----

# wait_for COMMAND...: until it succeeds.
wait_for()
{
	local end=$((SECONDS + limit))

	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# start_server OPTION...: sets server, url, port, log.
start_server()
{
	log=$work/log.$((++servers))
	: >"$log"
	"${prefix[@]}" "$binary" --root "$root" --port 0 "$@" >"$log" \
		2>"$log.err" &
	server=$!
	wait_for grep -q '^listening on ' "$log" ||
		{ bad 'the server did not start'; cat "$log.err"; return 1; }
	url=$(sed -n 's/^listening on //p' "$log")
	port=${url##*:} port=${port%/}
}
servers=0
prefix=()

# Ask it to end; it must do so with status 0 and without a sanitizer's word.
stop_server()
{
	local r=0

	[ -n "$server" ] || return 0
	kill -TERM "$server" 2>/dev/null || true
	wait "$server" || r=$?
	server=''
	is 'exit status of the server' 0 "$r" || { cat "$log.err"; return 1; }
	! grep -E 'Sanitizer|runtime error' "$log.err"
}

# with_server "OPTIONS" COMMAND...: a server of its own for one case.
with_server()
{
	local saved=("$server" "$url" "$port" "$log") options r=0

	read -ra options <<<"$1"
	shift
	start_server "${options[@]}" && "$@" || r=$?
	stop_server || r=1
	[ "$r" -eq 0 ] || tail -n 5 "$log"
	server=${saved[0]} url=${saved[1]} port=${saved[2]} log=${saved[3]}
	return "$r"
}

# The newest log line about a path, waited for.
log_of()
{
	wait_for grep -qF " /$1 HTTP" "$log" || return 1
	grep -F " /$1 HTTP" "$log" | tail -n 1
}

# field NAME LINE: its value
field() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$2"; }

ticks() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }
fds() { find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l; }

# ---- clients ----

# An array too: a function in the background is a shell, kill finds no curl.
curl=(curl -sSk --http1.1 --path-as-is --max-time "$limit")
get() { "${curl[@]}" "$@"; }

# status OPTION... URL: of the answer
status() { get -o /dev/null -w '%{http_code}' "$@"; }

# raw FORMAT [ARG...]: printf this down a connection, print all that comes.
raw()
{
	# shellcheck disable=SC2059
	printf "$@" | timeout "$limit" openssl s_client -quiet \
		-connect "127.0.0.1:$port" 2>/dev/null || true
}

raw_status() { raw "$@" | sed -n '1s/^HTTP\/1.1 \([0-9]*\) .*/\1/p'; }

sha() { sha256sum | cut -d' ' -f1; }
sha_of() { sha <"$1"; }

# part FILE OFFSET LENGTH
part()
{
	dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" bs=64K \
		status=none
}

# same FILE OPTION... URL: the download has the file's SHA-256
same()
{
	local file=$1 found

	shift
	found=$(get "$@" | sha) || return 1
	is "SHA-256 of ${*: -1}" "$(sha_of "$file")" "$found"
}
