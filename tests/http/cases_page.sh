# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Directory listings, file names of any bytes, error pages, permissions.

joined=$'\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae'	# Persian, with a ZWNJ
odd_names=(
	'sp ace' '  two  blanks ' '100%' 'x%41' '%2e%2e' '?#&+' 'a:b' '-dash'
	'<b>bold' '&amp;' "'quotes\"" 'back\slash' 'javascript:alert(1)'
	$'new\nline' $'tab\tbed' $'\x01\x1f\x7f' 'dots...' '~tilde' 'Füße.txt'
	'日本語.html' 'שלום' "$joined" $'\xf0\x9f\x8e\x89' $'\xc3'
	$'\xff\xfe bytes' $'\xe2\x80\xaetxt.exe' $'\xed\xa0\x80'
	"$(printf '%0255d' 0)"
)

# Create the files in the folder odd. The content of each file is its name.
make_odd()
{
	local name

	mkdir -p "$root/odd"
	for name in "${odd_names[@]}"; do
		printf '%s' "$name" >"$root/odd/$name"
	done
}

# links PAGE: print the relative links of a listing.
links() { sed -n 's/.*<a href="\.\/\([^"]*\)".*/\1/p' "$1"; }

# The listing has each file once, and the link leads to the file.
case_listing_any_name()
{
	local link

	make_odd
	get "${url}odd/" >"$work/page" || return 1
	for link in $(links "$work/page"); do
		get "${url}odd/$link" | sha || return 1
	done | sort >"$work/found"
	for link in "${odd_names[@]}"; do
		printf '%s' "$link" | sha
	done | sort | diff - "$work/found" &&
	grep -qF ">$joined<" "$work/page" &&
	! grep -qE '<b>|&amp;amp|alert\(1\)"|\xe2\x80\xae' "$work/page" &&
	iconv -f UTF-8 -t UTF-8 <"$work/page" >"$work/utf8" &&
	cmp "$work/page" "$work/utf8" && why="${#odd_names[@]} names"
}

case_listing_5000()
{
	mkdir "$root/many" &&
	(cd "$root/many" && seq -f 'file%g.txt' 5000 | xargs touch) &&
	get "${url}many/" >"$work/page" &&
	is entries 5000 "$(links "$work/page" | wc -l)" &&
	is order "$(seq -f 'file%g.txt' 5000 | sha)" \
		"$(links "$work/page" | sha)" &&
	grep -q '<footer>5000 entries</footer>' "$work/page" || return 1
	(cd "$root/many" && seq -f 'more%g.txt' 5001 | xargs touch) &&
	get "${url}many/" >"$work/page" &&
	is entries 10000 "$(links "$work/page" | wc -l)" &&
	grep -q '<footer>10000 entries shown; there are more' "$work/page"
}

# The listing leaves out hidden files, and what the server does not send:
# special files, and links that lead out of the root folder.
case_listing_leaves_out()
{
	mkdir "$root/mixed" "$root/mixed/sub" && cd "$root/mixed" &&
	touch file .hidden && mkfifo pipe && ln -s "$work/secret" secret &&
	ln -s "$work" up && ln -s ../f1 inside && ln -s none dangling &&
	cd - >/dev/null || return 1
	get "${url}mixed/" >"$work/page" &&
	is links 'sub/ file inside' "$(links "$work/page" | paste -sd ' ')" &&
	is hidden 200 "$(status "${url}mixed/.hidden")" &&
	is 'out of it' 404 "$(status "${url}mixed/up/secret")"
}

longer_names()
{
	local link

	mkdir "$root/ntfs/$1" && cp "$root/f1" "$root/ntfs/$1" &&
	get "${url}ntfs/" >"$work/page" && link=$(links "$work/page") &&
	is 'bytes of the link' 2296 "${#link}" &&
	same "$root/f1" "${url}ntfs/${link}f1" &&
	is listing 200 "$(status "${url}ntfs/$link")" &&
	is 'without slash' 404 "$(status "${url}ntfs/${link%/}")"
}

# In NTFS a name can have 255 characters, in other file systems 255 bytes.
case_listing_longer_names()
{
	command -v ntfs-3g >/dev/null || skip 'no ntfs-3g here' || return
	mkdir "$root/ntfs" && truncate -s 4M "$work/ntfs" &&
	mkntfs --fast --force --quiet "$work/ntfs" || return 1
	ntfs-3g "$work/ntfs" "$root/ntfs" ||
		skip 'ntfs-3g cannot mount here' || return
	longer_names "$(printf '日%.0s' {1..255})"
}

# dates PATH LAST-MODIFIED CHANGED: compare the header of the response, and the
# date in the listing.
dates()
{
	get -I "${url}$1" >"$work/head" &&
	is "Last-Modified of $1" "${2:+Last-Modified: $2}" \
		"$(grep -i '^Last-Modified' "$work/head" | tr -d '\r')" &&
	get "$url" >"$work/page" &&
	is "$1 in the listing" "$3" "$(sed -n \
		"s/.*<a href=\"\.\/$1\".*<td class=\"t\">//p" "$work/page")"
}

odd_times()
{
	dates before '' '' && dates after '' '' &&
	dates roman '' '100-01-01 00:00' &&
	dates old 'Wed, 31 Dec 1969 23:59:59 GMT' '1969-12-31 23:59'
}

# In tmpfs the seconds of a time have 64 bits; the calendar date of some is out
# of range.
case_any_time()
{
	local r=0 dir

	dir=$(mktemp -d /dev/shm/tlssf-http.XXXXXX) ||
		skip 'no /dev/shm here' || return
	touch -d @-1 "$dir/old" && touch -d '100-01-01 UTC' "$dir/roman" &&
	touch -d @-70000000000000000 "$dir/before" &&
	touch -d @70000000000000000 "$dir/after" &&
	with_server "--root $dir" odd_times || r=1
	rm -r "$dir"
	return "$r"
}

no_listing()
{
	is listing 403 "$(status "${url}dir/")" &&
	is index 200 "$(status "${url}with-index/")"
}

case_no_listing() { with_server --no-listing no_listing; }

forbidden()
{
	is file 403 "$(status "${url}locked")" &&
	is directory 403 "$(status "${url}closed/")" &&
	is 'file in it' 403 "$(status "${url}closed/f")" &&
	is index 403 "$(status "${url}locked-index/")" &&
	is other 200 "$(status "${url}f1")"
}

case_forbidden()
{
	local r=0

	mkdir -p "$root/closed" "$root/locked-index"
	touch "$root/closed/f" "$root/locked" "$root/locked-index/index.html"
	chmod 0 "$root/closed" "$root/locked" "$root/locked-index/index.html"
	# root can read all files, so run the server as another user
	[ "$(id -u)" != 0 ] || prefix=(setpriv --reuid=65534 --regid=65534
		--clear-groups)
	if "${prefix[@]}" "$binary" --version; then
		with_server '' forbidden || r=1
	else
		skip "nobody cannot run $binary" || r=$?
	fi
	prefix=()
	chmod 755 "$root/closed"
	return "$r"
}

# The memory for listings that clients do not read is limited. At the limit the
# server responds 503 to requests for listings, but still sends files.
case_pages_are_bounded()
{
	local i pids=() r=0

	mkdir "$root/long" &&
	(cd "$root/long" && seq -f "%0200g" 10000 | xargs touch) || return 1
	for i in {1..8}; do
		"${curl[@]}" --limit-rate 1 -o "$work/slow.$i" "${url}long/" &
		pids+=($!)
	done
	wait_for grep -q '"GET /long/ HTTP/1.1" 503 ' "$log" &&
	get -D "$work/head" -o "$work/out" "${url}long/" &&
	is listing 'HTTP/1.1 503' "$(head -c 12 "$work/head")" &&
	grep -q '^Retry-After: 1' "$work/head" &&
	is file 200 "$(status "${url}f1")" || r=1
	kill "${pids[@]}" 2>/dev/null
	wait "${pids[@]}" || true
	wait_for listed && return "$r"
}

# dots SEGMENT COUNT: the listing is that of the root, not a larger one
dots()
{
	local path

	path=$(printf "${1//%/%%}%.0s" $(seq "$2")) &&
	get "$url$path" >"$work/page" &&
	cmp "$work/root.page" "$work/page"
}

case_listing_without_dot_segments()
{
	get "$url" >"$work/root.page" &&
	dots ./ 2000 && dots ../ 1300 && dots %2e/ 1000 && dots / 2000 &&
	dots dir/%2E./ 500
}

# A heading links to each directory, but not without limit.
case_listing_of_deep_directory()
{
	local path size

	path=$(printf 'd/%.0s' {1..1000})
	mkdir -p "$root/deep" && (cd "$root/deep" && mkdir -p "$path") &&
	size=$(get "${url}deep/$path" | wc -c) && why="$size bytes" &&
	[ "$size" -lt 40000 ]
}

# peak: of the server's memory, in KiB
peak() { awk '/^VmHWM:/ { print $2 }' "/proc/$server/status"; }

random_requests()
{
	local count=3000 before after most max=16384

	[ "$quick" = 0 ] || count=300
	[ -z "${TLSSF_FULL-}" ] || count=10000
	"$client" random "$port" 300 1 "$max" &&
	before=$(peak) &&
	most=$("$client" random "$port" "$count" 2 "$max") &&
	after=$(peak) || return 1
	why="$count requests, answers up to $most bytes, memory"
	why+=" +$((after - before)) KiB"
	[ $((after - before)) -lt 32768 ]
}

# Requests of random bytes and random paths: small answers, bounded memory.
case_random_requests()
{
	local r=0

	need_client || return
	mkdir -p "$work/random/dir" && ln -sfn . "$work/random/loop" &&
	echo 1 >"$work/random/one" || return 1
	# AddressSanitizer keeps what is freed
	prefix=(env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:quarantine_size_mb=4")
	with_server "--root $work/random" random_requests || r=1
	prefix=()
	return "$r"
}

listed() { [ "$(status "${url}long/")" = 200 ]; }

case_error_pages()
{
	local code

	for code in "404 none" "301 dir" "416 f1 -r9-"; do
		# shellcheck disable=SC2086
		set -- $code
		get "${@:3}" -D "$work/head" "$url$2" >"$work/page" &&
		is status "HTTP/1.1 $1" "$(head -c 12 "$work/head")" &&
		grep -q "^<h1>$1 " "$work/page" &&
		grep -q "^Content-Security-Policy: default-src 'none'" \
			"$work/head" || return 1
	done
}
