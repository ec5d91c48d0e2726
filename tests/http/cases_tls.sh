# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# TLS versions, ciphers, certificates, and the option --method.

# one_cipher NAME CURL-OPTION...: download with the cipher NAME and the TLS
# version $version; set `why` to the method and the reason.
one_cipher()
{
	local line

	ln -f "$root/f200000" "$root/by-$1"
	same "$root/f200000" "${@:2}" "${url}by-$1" &&
	line=$(log_of "by-$1") || return 1
	why="method=$(field method "$line") reason=$(field reason "$line")"
	is cipher "$1" "$(field cipher "$line")" &&
	is version "$version" "$(field tls "$line")"
}

case_tls12_aes128_gcm_sha256()
{
	version=TLSv1.2 one_cipher AES128-GCM-SHA256 --tls-max 1.2 \
		--ciphers AES128-GCM-SHA256
}

case_tls12_ecdhe_rsa_aes256_gcm_sha384()
{
	version=TLSv1.2 one_cipher ECDHE-RSA-AES256-GCM-SHA384 --tls-max 1.2 \
		--ciphers ECDHE-RSA-AES256-GCM-SHA384
}

case_tls13()
{
	version=TLSv1.3 one_cipher TLS_AES_256_GCM_SHA384 --tlsv1.3
}

case_tls13_chacha20()
{
	version=TLSv1.3 one_cipher TLS_CHACHA20_POLY1305_SHA256 --tlsv1.3 \
		--tls13-ciphers TLS_CHACHA20_POLY1305_SHA256
}

# The process has loaded only the TLS library that the server reports.
case_tls_library_alone()
{
	local wanted='^libssl\.so\.[1-9][0-9.]*$'

	! grep -q '^probe: library="BoringSSL"' "$log" ||
		wanted='^libssl\.so\.0$'
	why=$(sed -n 's|.*/\(libssl\.so.*\)$|\1|p' "/proc/$server/maps" |
		sort -u | paste -sd ' ')
	[[ $why =~ $wanted ]]
}

case_tls12_cbc_in_user_space()
{
	version=TLSv1.2 one_cipher ECDHE-RSA-AES128-SHA --tls-max 1.2 \
		--ciphers ECDHE-RSA-AES128-SHA &&
	is method 'method=userspace reason=cipher' "$why"
}

verified()
{
	local found

	found=$(curl -sS --max-time "$limit" --cacert "$work/cert.pem" \
		"https://localhost:$port/f16385" \
		--resolve "localhost:$port:127.0.0.1" | sha) &&
	is SHA-256 "$(sha_of "$root/f16385")" "$found"
}

case_certificate_from_files()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test \
		-addext subjectAltName=DNS:localhost \
		-keyout "$work/key.pem" -out "$work/cert.pem" &&
	with_server "--cert $work/cert.pem --key $work/key.pem" verified
}

alpn()
{
	openssl s_client -connect "127.0.0.1:$port" -alpn "$1" </dev/null \
		2>/dev/null | grep -E '^(ALPN protocol:|No ALPN)'
}

case_alpn()
{
	is both 'ALPN protocol: http/1.1' "$(alpn h2,http/1.1)" &&
	! alpn h2
}

# If a method requested by name is impossible, no other method is used, and the
# download fails.
impossible()
{
	local line

	if get --tls-max 1.2 --ciphers ECDHE-RSA-AES128-SHA \
		-o "$work/out" "${url}f200000"; then
		fail 'CBC was delivered'
		return 1
	fi
	line=$(log_of f200000) || return 1
	why="error=$(field error "$line")"
	[ -n "$(field error "$line")" ] && grep -q '" 200 0 ' <<<"$line"
}

case_ssl_sendfile_impossible()
{
	with_server '--method ssl_sendfile' impossible
}

case_ktls_impossible() { with_server '--method ktls' impossible; }

# named METHOD: check that the download uses the method, or fails with a reason.
named()
{
	local line

	if same "$root/f200000" "${url}f200000"; then
		line=$(log_of f200000) &&
		is method "$1" "$(field method "$line")" || return 1
		why='possible'
	else
		line=$(log_of f200000) || return 1
		why="impossible: error=$(field error "$line")"
		[ -n "$(field error "$line")" ]
	fi
}

case_named_ssl_sendfile()
{
	with_server '--method ssl_sendfile' named ssl_sendfile
}

case_named_ktls() { with_server '--method ktls' named ktls; }

case_named_userspace()
{
	with_server '--method userspace' named userspace &&
	is it possible "$why"
}
