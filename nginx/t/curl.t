# SPDX-License-Identifier: MIT
# curl: whole files, ranges, interrupted and resumed downloads.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

my $t = Nginx->new;
my $size = size_for(9 << 20, 3 << 20);
my $big = $t->file('big', bytes_of($size, 'big'));
my $small = $t->file('small', bytes_of(7000, 'small'));
$t->start;

my $got = "$t->{dir}/got";
# HTTP/1.1 only; http2.t tests HTTP/2
my $curl = "curl -sSk --http1.1 --max-time $Nginx::patience";
my $url = "https://127.0.0.1:$t->{port}";

sub got {
	open(my $f, '<', $got) or return 'nothing';
	binmode $f;
	local $/;
	my $content = <$f>;
	close $f;
	unlink $got;
	return $content;
}

for my $version ('--tls-max 1.2', '--tlsv1.3') {
	my $c = "$curl $version";

	is(`$c -o $got -w '%{http_code} %{num_connects}' $url/big`, '200 1',
		"$version: status");
	ok(got() eq $big, "$version: every byte");

	for my $range (['0-0', 0, 1], ['16383-16384', 16383, 2],
		['1000001-2900000', 1000001, 1900000],
		['-70000', $size - 70000, 70000],
		[($size - 1) . '-', $size - 1, 1]) {
		my ($spec, $from, $count) = @$range;
		is(`$c -o $got -w '%{http_code}' -r $spec $url/big`, 206,
			"$version: range $spec: status");
		ok(got() eq substr($big, $from, $count),
			"$version: range $spec: bytes");
	}

	# interrupt: the reader of the pipe exits after $part bytes
	for my $part (1, 100000, 1500000) {
		system("$c $url/big 2>>$t->{dir}/logs/curl | " .
			"head -c $part >$got");
		is(-s $got, $part, "$version: stopped after $part bytes");
		is(`$c -C - -o $got -w '%{http_code} %{size_download}' \\
			$url/big`, '206 ' . ($size - $part),
			"$version: resumed there");
		ok(got() eq $big, "$version: then it is whole");
	}

	# several files on one connection
	my @order = qw(big small small big small);
	is(`$c -w '%{stderr}%{num_connects} ' \\
		@{[map { "$url/$_" } @order]} 2>&1 >$got`, '1 0 0 0 0 ',
		"$version: one connection");
	ok(got() eq join('', map { $_ eq 'big' ? $big : $small } @order),
		"$version: five files");
}

$t->finish;
done_testing;
