# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Run the requests of rfc.txt, each on its own connection.

# filled TEXT: print the text with the values of the words in braces.
filled()
{
	local t=$1

	t=${t//'{K}'/'HTTP/1.1\r\nHost: x\r\n'}
	t=${t//'{H}'/'Host: x\r\n'}
	t=${t//'{.}'/'\r\n\r\n'}
	t=${t//'{E}'/"$etag"}
	t=${t//'{D}'/"$changed"}
	t=${t//'{D-}'/"$before"}
	t=${t//'{D+}'/"$after"}
	printf '%s' "${t//'{L}'/"$letters"}"
}

# header_of NAME: print the value of a header of the first response
header_of() { sed -n "s/^$1: \(.*\)\r$/\1/Ip" "$work/rfc.head"; }

# Split the output: the first response into rfc.head and rfc.body, all that
# follows into rfc.rest.
divide()
{
	local all=$work/rfc.out head body

	sed '/^\r$/q' "$all" >"$work/rfc.head"
	head=$(stat -c %s "$work/rfc.head")
	body=$(header_of content-length)
	[[ $request != HEAD* && $code != 304 ]] || body=0
	part "$all" "$head" "${body:-0}" >"$work/rfc.body"
	tail -c +$((head + ${body:-0} + 1)) "$all" >"$work/rfc.rest"
	is 'bytes of the body' "${body:-0}" "$(stat -c %s "$work/rfc.body")"
}

# Check that the response matches the patterns of the field WANTS.
wanted()
{
	local rest="$wants & " want

	cat "$work/rfc.head" "$work/rfc.body" >"$work/rfc.answer"
	while [[ $rest ]]; do
		want=$(filled "${rest%%' & '*}")
		rest=${rest#*' & '}
		[[ $want ]] || continue
		if [[ $want = !* ]]; then
			! grep -aqE -- "${want#!}" "$work/rfc.answer"
		else
			grep -aqE -- "$want" "$work/rfc.answer"
		fi || fail "wanted: $want" || return 1
	done
}

# With "keep" the server answers the second request on the connection. With
# "close" it does not, and its first response has "Connection: close".
followed()
{
	local found

	found=$(head -c 12 "$work/rfc.rest" | tr -d '\0')
	if [[ $end = keep ]]; then
		is 'the second response' 'HTTP/1.1 200' "$found"
	else
		is 'the second response' '' "$found" &&
		is Connection close "$(header_of connection)"
	fi
}

one_point()
{
	printf '%b' "$request" >"$work/rfc.in"
	printf 'GET /f1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' \
		>>"$work/rfc.in"
	timeout "$limit" openssl s_client -quiet -connect "127.0.0.1:$port" \
		<"$work/rfc.in" >"$work/rfc.out" 2>/dev/null || true
	cat -v "$work/rfc.out"
	is status "HTTP/1.1 $code" "$(head -c 12 "$work/rfc.out")" &&
	divide && wanted && followed
}

prepare_points()
{
	printf 0123456789 >"$root/ten"
	touch -d '2024-06-01 12:00:00.123456789 UTC' "$root/ten"
	mkdir -p "$root/dir/in:ner" "$root/with-index/in"
	changed='Sat, 01 Jun 2024 12:00:00 GMT'
	before='Sat, 01 Jun 2024 11:59:59 GMT'
	after='Sat, 01 Jun 2024 12:00:01 GMT'
	letters=$(printf '%09000d' 0 | tr 0 a)
	etag=$(get -I "${url}ten" | sed -n 's/^ETag: \(.*\)\r$/\1/p')
}

# Run each line of rfc.txt as a case.
rfc_points()
{
	local section code end wants request etag=

	while IFS='|' read -r section code end wants request; do
		[[ $section = [0-9]* ]] || continue
		read -r code end <<<"$code $end"
		wants=${wants# } wants=${wants% }
		section="rfc ${section% }"
		chosen "$section" || continue
		[[ $etag ]] || prepare_points
		request=$(filled "${request# }")
		touch "$root/young"
		run_case one_point "$section"
	done <"$here/rfc.txt"
}
