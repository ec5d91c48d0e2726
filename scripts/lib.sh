# shellcheck shell=bash
# What scripts/demo, scripts/check and tests/vm/guest-suite share.
# shellcheck disable=SC2034 # used there

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is built goes here.
out=${TLSSF_BUILD:-$top/build}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# writable DIR: make it, or say what else to do.
writable() {
	mkdir -p "$1" 2>/dev/null || true
	[[ -w $1 ]] ||
		die "cannot write to $1; set TLSSF_BUILD to another folder"
}

# ---- what goes on: the bottom line of a terminal, nothing in a log ----

ticker=''

# show COMMAND...: keep there what it prints, until hide
show() {
	[[ -t 1 && ${TERM-dumb} != dumb ]] || return 0
	# $$: not beyond the end of the script, whatever that was
	while kill -0 $$ 2>/dev/null; do
		printf '\r\e[K%.*s' "$(($(tput cols || echo 80) - 1))" "$("$@")"
		sleep 1
	done &
	ticker=$!
}

hide() {
	[[ $ticker ]] || return 0
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	ticker=''
	printf '\r\e[K'
}

# say TEXT: a line above it
say() {
	printf '%s%s\n' "${ticker:+$'\r\e[K'}" "$*"
}

# left SECONDS DONE ALL: that much was done in that time, what about the rest?
left() {
	[[ $2 -gt 0 ]] || return 0
	span ", about" $(($1 * ($3 - $2) / $2)) " left"
}

# span BEFORE SECONDS AFTER: as people say it
span() {
	if [[ $2 -lt 90 ]]; then
		echo "$1 $2 s$3"
	else
		echo "$1 $((($2 + 30) / 60)) min$3"
	fi
}

# essence LOG: the line that tells most of what went wrong
essence() {
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
			"Debian's names of what is needed: $*" >&2
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

# Debian starts a server when it is installed: nginx on port 80, for one. This
# file forbids that (Debian's policy-rc.d); the system may have its own.
policy=/usr/sbin/policy-rc.d
# The arguments are that file and a command to run while it is there. One at a
# time, or the first to end would take it from the other. A signal is heard when
# the command has ended; a file that a kill has left forbids nothing any more.
# shellcheck disable=SC2016 # its own shell expands these
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

# A compiler, and what the library needs; the tools and the examples need more.
library_packages=(gcc libc6-dev make cmake pkg-config libssl-dev)
build_packages=("${library_packages[@]}" libhttp-parser-dev)
# What the nginx module is built with, and its tests run with.
nginx_packages=("${library_packages[@]}" nginx nginx-dev)
nginx_test_packages=(nginx perl libio-socket-ssl-perl openssl curl iproute2
	procps nghttp2-client)

# build DIR CMAKE-OPTION...: configure and build the tree into DIR.
build() {
	local dir=$1
	shift
	cmake -S "$top" -B "$dir" "$@" && cmake --build "$dir" -j "$(nproc)"
}

# debian SUITE [PACKAGE...]: set system, the folder of such a Debian; status 77
# where it cannot be installed, and why.
debian() {
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

# The line with which every test program ends.
summary='^[A-Za-z0-9_./-]+: [0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$'

# Seconds after which a test program hangs, however slow and busy the machine
# is: an hour, and four for the long lists.
hang=$([[ ${TLSSF_FULL-} ]] && echo 14400 || echo 3600)

# program NAME COMMAND...: run a test program. One that dies before its last
# line, or says "0 failed" with a bad status, gets a line that says so.
program() {
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
