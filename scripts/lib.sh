# shellcheck shell=bash
# Functions and settings for the scripts that build something or run tests.
# shellcheck disable=SC2034 # the scripts use the variables

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The folder for everything that is built.
out=${TLSSF_BUILD:-$top/build}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# require_writable DIR: create the folder; exit if that is impossible.
require_writable() {
	mkdir -p "$1" 2>/dev/null || true
	[[ -w $1 ]] ||
		die "cannot write to $1; set TLSSF_BUILD to another folder"
}

# ---- the status line: the bottom line of a terminal; none in a log file ----

status_loop=''	# the process that prints the status line

# show_status COMMAND...: until hide_status, print the output of the command in
# the status line, once a second.
show_status() {
	[[ -t 1 && ${TERM-dumb} != dumb ]] || return 0
	# End with the script ($$), even if the script is killed.
	while kill -0 $$ 2>/dev/null; do
		printf '\r\e[K%.*s' "$(($(tput cols || echo 80) - 1))" "$("$@")"
		sleep 1
	done &
	status_loop=$!
}

hide_status() {
	[[ $status_loop ]] || return 0
	kill "$status_loop" 2>/dev/null || true
	wait "$status_loop" 2>/dev/null || true
	status_loop=''
	printf '\r\e[K'
}

# print_line TEXT: print a line of output above the status line.
print_line() {
	printf '%s%s\n' "${status_loop:+$'\r\e[K'}" "$*"
}

# time_left SECONDS DONE ALL: print ", about TIME left", estimated from the
# SECONDS that DONE of ALL steps took. Prints nothing while DONE is 0.
time_left() {
	[[ $2 -gt 0 ]] || return 0
	echo ", about $(duration $(($1 * ($3 - $2) / $2))) left"
}

# duration SECONDS: print the time as text, in seconds or in minutes.
duration() {
	if [[ $1 -lt 90 ]]; then
		echo "$1 s"
	else
		echo "$((($1 + 30) / 60)) min"
	fi
}

# main_error LOG: print the first line that reports an error, otherwise the last
# line.
main_error() {
	awk '
	function found(line) {
		sub(/^ +/, "", line)
		print line
		done = 1
		exit
	}
	/:[FE]:|: failed: |^(not ok|FAIL|fail) |[Ee]rror: |^E: / { found($0) }
	cmake && NF { found($0) }
	/^CMake Error/ { cmake = 1 }
	NF { last = $0 }
	END { if (!done) print last }' "$1"
}

# need PACKAGE...: install the Debian packages that are missing.
need() {
	local package missing=() root=() apt
	if ! command -v apt-get >/dev/null; then
		echo "${0##*/}: no apt-get here, so nothing is installed;" \
			"needed (names of Debian packages): $*" >&2
		return
	fi
	while read -r package; do
		[[ $(dpkg-query -Wf '${db:Status-Status}' "$package" \
			2>/dev/null) == installed* ]] || missing+=("$package")
	done < <(printf '%s\n' "$@" | sort -u)
	[[ ${#missing[@]} -gt 0 ]] || return 0
	if [[ $(id -u) != 0 ]]; then
		command -v sudo >/dev/null || die "neither root nor sudo;" \
			"as root: apt-get install ${missing[*]}"
		root=(sudo)
	fi
	echo "installing: ${missing[*]}"
	apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq
		-o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
	"${root[@]}" "${apt[@]}" update || die 'apt-get update failed'
	"${root[@]}" bash -c "$without_services" - "$policy" "${apt[@]}" \
		install -y --no-install-recommends "${missing[@]}" \
		>/dev/null || die "apt-get install ${missing[*]} failed"
}

# When a Debian package with a server such as nginx is installed, it starts the
# server, unless the script policy-rc.d forbids that (see invoke-rc.d(8)). A
# policy-rc.d that the system already has stays in force.
policy=/usr/sbin/policy-rc.d
# A script with the arguments POLICY COMMAND...: create the file POLICY, which
# forbids services, run the command, remove the file. The lock lets only one
# such script run at a time: otherwise the first to end would remove the file of
# the other. The shell handles a signal only after the command has ended. After
# a SIGKILL the file remains, but it forbids nothing when the lock is free.
# shellcheck disable=SC2016 # the inner shell expands these
without_services='
	dir=${1%/*}
	exec 9<"$dir" && flock 9 || exit
	if [[ ! -e $1 ]] || grep -q "^# of libtlssf" "$1"; then
		trap "exit 143" TERM INT HUP
		trap "rm -f \"$1\"" EXIT
		printf "#!/bin/sh\n# of libtlssf: %s\n%s\n" \
			"forbids services while it is installing" \
			"flock -n $dir true || exit 101" >"$1" &&
			chmod 755 "$1" || exit
	fi
	"${@:2}" 9<&-'

# The packages to build the library; build_packages also for the examples.
library_packages=(gcc libc6-dev make cmake pkg-config libssl-dev)
build_packages=("${library_packages[@]}" libhttp-parser-dev)
# The packages to build the nginx module, and those to test it.
nginx_packages=("${library_packages[@]}" nginx nginx-dev)
nginx_test_packages=(nginx perl libio-socket-ssl-perl openssl curl iproute2
	procps nghttp2-client)

# build DIR CMAKE-OPTION...: configure and build the source tree in DIR.
build() {
	local dir=$1
	shift
	cmake -S "$top" -B "$dir" "$@" && cmake --build "$dir" -j "$(nproc)"
}

# find_debian [--update] SUITE [PACKAGE...]: set `system` to the folder of a
# Debian system of that release, made by tests/vm/root if necessary. On failure,
# set `why`. The status is 77 if debootstrap or apt-get failed.
find_debian() {
	local found status=0 errors
	errors=$(mktemp)
	found=$("$top/tests/vm/root" "$@" 2>"$errors") || status=$?
	cat "$errors" >&2
	why=$(grep -E '^E: |rror' "$errors" || tail -n 3 "$errors")
	why=${why//$'\n'/; }
	rm "$errors"
	system=${found#*$'\t'}
	return "$status"
}

# The last line of every test program.
summary='^[A-Za-z0-9_./-]+: [0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$'

# Timeout in seconds: a test program that needs longer has hung, even on a slow
# and busy machine. With TLSSF_FULL the tests use long lists of sizes.
hang=$([[ ${TLSSF_FULL-} ]] && echo 14400 || echo 3600)

# run_program NAME COMMAND...: run a test program. If the program has no summary
# line, or "0 failed" in that line although its exit status is not 0, print a
# summary line with a failure.
run_program() {
	local name=$1 status=0 from=$SECONDS log last
	shift
	log=$(mktemp)
	timeout -k 5 "$hang" "$@" 2>&1 | tee "$log" || status=$?
	last=$(grep -E "$summary" "$log" | tail -n 1 || true)
	rm "$log"
	if [[ -z $last && $status = 77 ]]; then
		echo "$name: 0 passed, 0 failed, 1 skipped"
	elif [[ -z $last || ($status != 0 && $last == *', 0 failed'*) ]]; then
		echo "$name: failed: exit status $status after \"$last\""
		echo "$name: 0 passed, 1 failed, 0 skipped"
	fi
	echo "$name: $((SECONDS - from)) s"
}
