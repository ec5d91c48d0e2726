# shellcheck shell=bash
# What fetch, root and inside share.
# shellcheck disable=SC2034 # used there

cache=$(realpath -m "${TLSSF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tlssf}")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
PATH+=:/usr/sbin:/sbin
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

die() {
	echo "tests/vm/${0##*/}: $*" >&2
	exit 125
}

# need COMMAND=PACKAGE...: install the packages whose command is missing.
need() {
	local pair missing=()
	for pair; do
		command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "please install: ${missing[*]}"
	echo "tests/vm/${0##*/}: installing ${missing[*]}" >&2
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 \
		install -y --no-install-recommends "${missing[@]}" \
		>/dev/null || die "cannot install ${missing[*]}"
}

# Where this machine gets Debian from.
archive() {
	local site
	# shellcheck disable=SC2016 # apt expands these
	site=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' \
		'Created-By: Packages' |
		awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
	[ -n "$site" ] || die "apt knows no Debian archive (apt-get update?)"
	echo "$site"
}

# like_this_machine ROOT: reach the archive as this machine does.
like_this_machine() {
	apt-config dump Acquire | "${as_root[@]}" install -m 644 /dev/stdin \
		"$1/etc/apt/apt.conf.d/00machine" &&
		"${as_root[@]}" cp /etc/resolv.conf /etc/hosts "$1/etc/"
}
