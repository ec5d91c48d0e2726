# SPDX-License-Identifier: MIT
# nginx sends HTTP/2 itself; curl and h2load check that it still works.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

plan skip_all => 'no curl with HTTP/2, or no h2load, here'
	unless `curl --version 2>/dev/null` =~ /HTTP2/ &&
		`h2load --version 2>/dev/null` =~ /nghttp2/;
my $t = Nginx->new(listen => 'http2');
my @names = map { "f$_" } 1 .. 12;
$t->file($names[$_], bytes_of(($_ * 97003) % 900001, $_)) for 0 .. $#names;
$t->start;

my $dir = $t->{dir};
mkdir "$dir/got";
for my $tls ('--tls-max 1.2', '--tlsv1.3') {
	my $urls = join ' ', map {
		"https://127.0.0.1:$t->{port}/$_ -o $dir/got/$_" } @names;
	my $said = `curl -sk --http2 --parallel --max-time $Nginx::patience \\
		$tls -w '%{http_version} ' $urls 2>>$dir/logs/curl`;
	is($said, '2 ' x @names, "$tls: all by HTTP/2");
	my $wrong = grep { system('cmp', '-s', "$dir/got/$_",
		"$dir/html/$_") } @names;
	is($wrong, 0, "$tls: all files the same");
	my $part = `curl -sSk --http2 $tls -r 70000-99999 \\
		https://127.0.0.1:$t->{port}/$names[3]`;
	ok($part eq range_of($t->{files}{$names[3]}, 70000, 99999),
		"$tls: a range");
}

# 4 connections with 20 concurrent streams each. Each file is requested the same
# number of times.
my ($total, $bytes) = (size_for(480, 48), 0);
my $urls = join ' ', map { "https://127.0.0.1:$t->{port}/$_" } @names;
$bytes += length($t->{files}{$_}) * $total / @names for @names;
my $said = `timeout $Nginx::patience h2load -n $total -c 4 -m 20 \\
	$urls 2>>$dir/logs/h2load`;
like($said, qr/^Application protocol: h2$/m, 'h2load: by HTTP/2');
like($said, qr/, $total succeeded, 0 failed, 0 errored, 0 timeout$/m,
	"h2load: $total requests");
like($said, qr/^status codes: $total 2xx, 0 3xx, 0 4xx, 0 5xx$/m,
	'h2load: each 200');
like($said, qr/\($bytes\) data$/m, "h2load: $bytes bytes");

# The log lines of all requests so far.
my $responses = 2 * (@names + 1) + $total;
my @log;
$t->wait_for(sub { (@log = split /\n/, $t->read_log('access.log')) ==
	$responses });
my %how;
$how{(split /\|/)[3]}++ for @log;
my $how = join ', ', map { "$how{$_} x \"$_\"" } sort keys %how;
is($how, "$responses x \"" . ($Nginx::module ?
	($Nginx::mode eq 'off' ? 'nginx off 0' : 'nginx http_version 0') :
	'- - -') . '"', 'method, reason and bytes in the log');
note("$responses responses, $bytes bytes to h2load; method, reason, bytes " .
	"by libtlssf: $how");

# A client can still use HTTP/1.1 on the same port.
ok($t->get('/f4')->{body} eq $t->{files}{f4}, 'HTTP/1.1 beside it');

$t->finish;
done_testing;
