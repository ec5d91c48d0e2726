# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Functions for the cases: results, the server, clients.

passed=0 failed=0 skipped=0
server='' url='' port='' log=''
limit=600	# seconds for one wait; what takes longer hangs
work=$(mktemp -d "${TMPDIR:-/tmp}/tlssf-http.XXXXXX")
root=$work/root
mkdir "$root"

# ---- results ----

# run_case FUNCTION [NAME]: run one case. The exit status 0 means passed, 77
# skipped (see skip()), any other failed.
run_case()
{
	local name=${2:-${1#case_}} r=0

	why=''
	"$1" >"$work/case.out" 2>&1 || r=$?
	# A case runs in this shell, so that its variables remain.
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

# cases_of FILE: print the names of the functions of the cases, in the order of
# the file.
cases_of()
{
	sed -n 's/^\(case_[a-z0-9_]*\)().*/\1/p' "$1"
}

# A case may set `why`: it is printed with the result.
skip() { why=$*; return 77; }

# fail TEXT: print the reason of a failure.
fail() { echo "$*"; return 1; }

# is WHAT WANTED FOUND: succeed if the last two arguments are equal.
is()
{
	[ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"
}

# ---- the server ----

# wait_for COMMAND...: repeat the command until it succeeds.
wait_for()
{
	local end=$((SECONDS + limit))

	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# start_server OPTION...: start tlssf-httpd; set `server`, `url`, `port`, `log`.
start_server()
{
	log=$work/log.$((++servers))
	: >"$log"
	"${prefix[@]}" "$binary" --root "$root" --port 0 "$@" >"$log" \
		2>"$log.err" &
	server=$!
	wait_for grep -q '^listening on ' "$log" ||
		{ fail 'the server did not start'; cat "$log.err"; return 1; }
	url=$(sed -n 's/^listening on //p' "$log")
	port=${url##*:} port=${port%/}
}
servers=0
prefix=()	# a command that runs the server, such as strace

# End the server by SIGTERM. It must exit with status 0 and without a sanitizer
# error.
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

# with_server "OPTIONS" COMMAND...: run the command with a server of its own.
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

# log_of PATH: wait for a log line of the path, and print the newest.
log_of()
{
	wait_for grep -qF " /$1 HTTP" "$log" || return 1
	grep -F " /$1 HTTP" "$log" | tail -n 1
}

# field NAME LINE: print the value of a field in a log line
field() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$2"; }

# Print the server's CPU time in ticks, and the number of its file descriptors.
ticks() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }
fds() { find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l; }

# ---- clients ----

# The array is for downloads in the background: $! is then the process of curl,
# but with the function get() it is a shell.
curl=(curl -sSk --http1.1 --path-as-is --max-time "$limit")
get() { "${curl[@]}" "$@"; }

# status OPTION... URL: print the status code of the response
status() { get -o /dev/null -w '%{http_code}' "$@"; }

# exchange: send the standard input on a new connection, print all that the
# server sends.
exchange()
{
	timeout "$limit" openssl s_client -quiet -connect "127.0.0.1:$port" \
		2>/dev/null || true
}

# Print the status code of the first response in the standard input.
first_status() { sed -n '1s/^HTTP\/1.1 \([0-9]*\) .*/\1/p'; }

# raw FORMAT [ARG...]: send a text, formatted by printf, and print the
# responses.
raw()
{
	# shellcheck disable=SC2059
	printf "$@" | exchange
}

raw_status() { raw "$@" | first_status; }

# need_client: client.c, or skip
need_client() { [ -n "$client" ] || skip 'client.c was not compiled'; }

sha() { sha256sum | cut -d' ' -f1; }
sha_of() { sha <"$1"; }

# part FILE OFFSET LENGTH: print a part of a file.
part()
{
	dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" bs=64K \
		status=none
}

# same FILE OPTION... URL: check that the download has the SHA-256 of the file.
same()
{
	local file=$1 found

	shift
	found=$(get "$@" | sha) || return 1
	is "SHA-256 of ${*: -1}" "$(sha_of "$file")" "$found"
}
