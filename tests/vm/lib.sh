# shellcheck shell=bash
# Functions and settings for fetch, root, inside and tests/install/clean.
# shellcheck disable=SC2034 # the scripts use the variables

cache=$(realpath -m "${TLSSF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tlssf}")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
PATH+=:/usr/sbin:/sbin
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

die() {
	echo "tests/vm/${0##*/}: $*" >&2
	exit 125
}

# install_missing COMMAND=PACKAGE...: install the packages whose command is
# missing.
install_missing() {
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

# Print the URL of the Debian archive that this machine uses.
archive() {
	local site
	# shellcheck disable=SC2016 # apt expands these
	site=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' \
		'Created-By: Packages' |
		awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
	[ -n "$site" ] || die "apt knows no Debian archive (apt-get update?)"
	echo "$site"
}

# copy_network_setup ROOT: copy the settings with which apt in the system ROOT
# reaches the Debian archive as apt on this machine does.
copy_network_setup() {
	apt-config dump Acquire | "${as_root[@]}" install -m 644 /dev/stdin \
		"$1/etc/apt/apt.conf.d/00machine" &&
		"${as_root[@]}" cp /etc/resolv.conf /etc/hosts "$1/etc/"
}
