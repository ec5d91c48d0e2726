# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Requests and responses.

case_start_lines()
{
	grep -q '^probe: library=' "$log" &&
	grep -qE '^listening on https://127\.0\.0\.1:[0-9]+/$' "$log"
}

case_whole_files()
{
	local f

	for f in f1 f16383 f16384 f16385 f200000 numbers.txt; do
		same "$root/$f" "$url$f" || return 1
	done
}

# gnutls VERSION: download with the client of GnuTLS. The client exits at the
# end of its input, so the input stays open. It writes its output byte by byte,
# so the file must be small.
gnutls()
{
	local hold

	rm -f "$work/hold" && mkfifo "$work/hold"
	exec {hold}<>"$work/hold"
	printf 'GET /f200000 HTTP/1.0\r\n\r\n' >&"$hold"
	timeout "$limit" gnutls-cli --insecure -p "$port" 127.0.0.1 \
		--logfile=/dev/null --priority \
		"NORMAL:-VERS-ALL:+VERS-TLS$1" <"$work/hold"
	exec {hold}>&-
}

case_gnutls_client()
{
	local version

	command -v gnutls-cli >/dev/null || skip 'no gnutls-cli here' || return
	for version in 1.2 1.3; do
		is "SHA-256 by GnuTLS, TLS $version" \
			"$(sha_of "$root/f200000")" \
			"$(gnutls $version | tail -c 200000 | sha)" || return 1
	done
}

case_empty_file()
{
	local size

	size=$(get -o "$work/out" -w '%{http_code} %{size_download}' \
		"${url}empty") && is answer '200 0' "$size"
}

case_big_file()
{
	local line size

	size=$(stat -c %s "$root/big")
	same "$root/big" "${url}big" && line=$(log_of big) || return 1
	why="$size bytes, method=$(field method "$line")"
	why+=" reason=$(field reason "$line")"
	grep -qF "\" 200 $size method=" <<<"$line" || fail "log: $line"
}

# one_range FILE SPEC FIRST LENGTH: download the range SPEC, and compare it with
# LENGTH bytes at FIRST.
one_range()
{
	local size found

	size=$(stat -c %s "$root/$1")
	found=$(get -H "Range: bytes=$2" -D "$work/head" "$url$1" | sha) &&
	is "$1 bytes=$2" "$(part "$root/$1" "$3" "$4" | sha)" "$found" &&
	is status 'HTTP/1.1 206' "$(head -c 12 "$work/head")" &&
	is header "bytes $3-$(($3 + $4 - 1))/$size" "$(sed -n \
		's/^Content-Range: \(.*\)\r$/\1/p' "$work/head")"
}

case_ranges()
{
	one_range f200000 0-0 0 1 &&
	one_range f200000 5-9 5 5 &&
	one_range f200000 16000-33000 16000 17001 &&
	one_range f200000 150000- 150000 50000 &&
	one_range f200000 199999- 199999 1 &&
	one_range f200000 100-99999999999999999999999 100 199900 &&
	one_range f200000 -1 199999 1 &&
	one_range f200000 -70000 130000 70000 &&
	one_range f200000 -999999999 0 200000 &&
	one_range big 1000001- 1000001 $(($(stat -c %s "$root/big") - 1000001))
}

case_range_beyond_4_gib()
{
	local first=4294967290

	truncate -s 5G "$root/huge" &&
	printf 'edge of 32 bits' | dd of="$root/huge" bs=1 seek="$first" \
		conv=notrunc status=none &&
	one_range huge "$first-$((first + 99999))" "$first" 100000
}

case_ranges_ignored()
{
	local r

	for r in bytes=9-5 bytes=a-b bytes= bytes=- bytes=0-1,4-3 bytes=--5 \
		 'bytes=0-1 x' items=0-1 0-1; do
		is "$r" 200 "$(status -H "Range: $r" "${url}f16385")" &&
		same "$root/f16385" -H "Range: $r" "${url}f16385" || return 1
	done
	same "$root/f16385" -H 'Range: bytes=0-1' -H 'Range: bytes=2-3' \
		"${url}f16385" &&
	same "$root/f16385" -H 'Range: bytes=0-1' -H 'If-Range: "x"' \
		"${url}f16385"
}

# parts FILE TYPE BOUNDARY FIRST-LAST...: print the expected body of a response
# of type multipart/byteranges.
parts()
{
	local file=$root/$1 type=$2 boundary=$3 r size

	size=$(stat -c %s "$file")
	for r in "${@:4}"; do
		printf '\r\n--%s\r\nContent-Type: %s\r\n' "$boundary" "$type"
		printf 'Content-Range: bytes %s/%s\r\n\r\n' "$r" "$size"
		part "$file" "${r%-*}" $((${r#*-} - ${r%-*} + 1))
	done
	printf '\r\n--%s--\r\n' "$boundary"
}

case_several_ranges()
{
	local size boundary

	size=$(stat -c %s "$root/big")
	get -H "Range: bytes=0-0,1000001-1500000,20000-20000, -70000" \
		-D "$work/head" -o "$work/out" "${url}big" &&
	is status 'HTTP/1.1 206' "$(head -c 12 "$work/head")" || return 1
	boundary=$(sed -n 's/^Content-Type: .*boundary=\(.*\)\r$/\1/p' \
		"$work/head")
	parts big application/octet-stream "$boundary" 0-0 1000001-1500000 \
		20000-20000 "$((size - 70000))-$((size - 1))" |
		cmp - "$work/out" &&
	log_of big | grep -q "\" 206 $(stat -c %s "$work/out") "
}

# unsatisfiable FILE SPEC: check that the response to the range is 416.
unsatisfiable()
{
	local size

	size=$(stat -c %s "$root/$1")
	get -H "Range: bytes=$2" -o /dev/null -D "$work/head" "$url$1" &&
	is "$1 $2" 'HTTP/1.1 416' "$(head -c 12 "$work/head")" &&
	grep -q "^Content-Range: bytes \*/$size"$'\r$' "$work/head"
}

case_range_416()
{
	unsatisfiable f16385 16385- && unsatisfiable f16385 99999-100000 &&
	unsatisfiable f16385 -0 && unsatisfiable empty 0- &&
	unsatisfiable f16385 99999999999999999999999-
}

case_head()
{
	get -I "${url}f200000" >"$work/head" &&
	grep -q $'^Content-Length: 200000\r$' "$work/head" &&
	is 'range on HEAD' 200 "$(status -I -r 0-1 "${url}f200000")" &&
	is 'missing file' 404 "$(status -I "${url}none")"
}

case_404()
{
	is missing 404 "$(status "${url}none")" &&
	is 'file as directory' 404 "$(status "${url}f1/")" &&
	is 'below a file' 404 "$(status "${url}f1/x")"
}

case_index()
{
	same "$root/with-index/index.html" "${url}with-index/" &&
	same "$root/with-index/index.html" -L "${url}with-index"
}

case_fifo_does_not_hang()
{
	mkfifo "$root/fifo" && is status 404 "$(status "${url}fifo")"
}

# The server responds before it has read the request body. The client must get
# the response, so the server must not reset the connection.
case_405_with_a_body()
{
	local i

	for i in 1 2 3 4 5; do
		is "upload $i" 405 "$(status -H Expect: \
			--data-binary "@$root/big" "${url}f1")" || return 1
	done
	is 'expect' 405 "$(status -H 'Expect: 100-continue' \
		--data-binary "@$root/big" "${url}f1")"
}

case_keep_alive()
{
	local found

	found=$(get -w '%{http_code}/%{num_connects} ' -o "$work/o1" \
		"${url}f16385" -o "$work/o2" "${url}none" -o "$work/o3" \
		"${url}empty" -o "$work/o4" "${url}f200000") &&
	is 'status/connects' '200/1 404/0 200/0 200/0 ' "$found" &&
	cmp "$work/o1" "$root/f16385" && cmp "$work/o4" "$root/f200000"
}

case_http_1_0_closes()
{
	local found

	found=$(get --http1.0 -w '%{num_connects} ' -o "$work/o1" "${url}f1" \
		-o "$work/o2" "${url}f1") &&
	is connects '1 1 ' "$found" && cmp "$work/o2" "$root/f1"
}

# The bodies consist of lines of digits, the headers do not.
case_pipelined()
{
	local g='GET /numbers.txt HTTP/1.1\r\nHost: x\r\n' n=$root/numbers.txt

	raw "$g\r\n${g}Range: bytes=0-1\r\n\r\nHEAD /big HTTP/1.1\r\n%b$g%b" \
		'Host: x\r\n\r\n' 'Connection: close\r\n\r\n' >"$work/out"
	is responses 4 "$(grep -ao 'HTTP/1.1 20[06]' "$work/out" | wc -l)" &&
	is bodies "$({ cat "$n"; printf '1\n'; cat "$n"; } | sha)" \
		"$(grep -a '^[0-9]*$' "$work/out" | sha)"
}

case_many_pipelined()
{
	local n=300 i

	for ((i = 0; i < n; i++)); do
		printf 'GET /f1 HTTP/1.1\r\nHost: x\r\n\r\n'
	done >"$work/in"
	printf 'GET /f1 HTTP/1.0\r\n\r\n' >>"$work/in"
	exchange <"$work/in" >"$work/out"
	is responses $((n + 1)) "$(grep -ao 'HTTP/1.1 200' "$work/out" | wc -l)"
}

case_request_in_pieces()
{
	local piece

	is status 200 "$({
		for piece in 'GE' 'T /f' '1 HTTP/1.1\r' '\nHo' 'st: x\r\nCo' \
			     'nnection: clo' 'se\r\n' '\r' '\n'; do
			# shellcheck disable=SC2059
			printf "$piece"
			sleep 0.1
		done
	} | exchange | first_status)"
}

case_encoded_names()
{
	local name

	for name in 'sp ace' '100%' 'x%41' 'Füße' '?#&+'; do
		printf '%s' "$name" >"$root/$name"
	done
	same "$root/sp ace" "${url}sp%20ace" &&
	same "$root/100%" "${url}100%25" &&
	same "$root/x%41" "${url}x%2541" &&
	same "$root/Füße" "${url}F%C3%BC%c3%9fe" &&
	same "$root/?#&+" "${url}%3F%23&+?query=1" &&
	is 'decoded twice' 404 "$(status "${url}x%252541")" &&
	is 'encoded slash' 404 "$(status "${url}with-index%2Findex.html")"
}

# no_escape PATH: check that the response does not contain the secret file.
no_escape()
{
	local code

	code=$(get -o "$work/out" -w '%{http_code}' "$url$1") &&
	case $code in
	403 | 404) ! grep -q secret "$work/out" ;;
	*) fail "$1: $code" ;;
	esac
}

escapes()
{
	local p

	for p in ../secret %2e%2e/secret .%2E/secret dir/../../secret \
		 dir/%2e%2e/%2e%2e/secret ..%2fsecret dir/..%2f..%2fsecret \
		 /../secret ./../secret out outdir/secret outdir \
		 "%2e%2e$work/secret" "/$work/secret" f1%00 %00 \
		 ..%00 %252e%252e/secret ..%5csecret; do
		no_escape "$p" || return 1
	done
}

case_no_escape()
{
	ln -s "$work/secret" "$root/out" && ln -s .. "$root/outdir" &&
	ln -s f1 "$root/inside" && escapes &&
	same "$root/f1" "${url}inside" &&
	is 'as sent' 404 "$(raw_status 'GET /../secret HTTP/1.0\r\n\r\n')" &&
	is 'absolute URL' 200 \
		"$(raw_status 'GET https://x/f1 HTTP/1.0\r\n\r\n')"
}

# Do the same as case_no_escape without openat2(2). The server then opens the
# folders of a path one by one.
without_openat2()
{
	escapes && same "$root/f200000" "${url}f200000" &&
	same "$root/with-index/index.html" "${url}with-index//" &&
	is 'file as directory' 404 "$(status "${url}f1/")" &&
	is 'any symbolic link' 404 "$(status "${url}inside")"
}

case_no_escape_without_openat2()
{
	local r=0

	command -v strace >/dev/null || skip 'no strace here' || return
	strace -o /dev/null true || skip 'strace does not work' || return
	# -D makes strace the child process, so that $server is the server.
	# LeakSanitizer does not work in a traced process.
	prefix=(env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0" strace -D
		-f -o "$work/strace" -e trace=openat2
		-e inject=openat2:error=ENOSYS)
	with_server '' without_openat2 || r=1
	prefix=()
	[ "$r" = 0 ] && grep -q 'ENOSYS.*INJECTED' "$work/strace"
}

case_log_is_escaped()
{
	raw 'GET /"\\log HTTP/1.0\r\n\r\n' >"$work/out"
	wait_for grep -qF '"GET /\x22\x5clog HTTP/1.0" 404' "$log"
}
