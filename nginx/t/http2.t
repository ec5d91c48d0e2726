# SPDX-License-Identifier: MIT
# HTTP/2 is left to nginx, and stays right; by curl.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

plan skip_all => 'no curl with HTTP/2 here'
	unless `curl --version 2>/dev/null` =~ /HTTP2/;
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
# HTTP/1.1 on the same port, for clients that want that.
ok($t->get('/f4')->{body} eq $t->{files}{f4}, 'HTTP/1.1 beside it');
if ($Nginx::module && $Nginx::mode ne 'off') {
	my $log = $t->logged('/f5');
	is("$log->{method} $log->{reason} $log->{bytes}",
		'nginx http_version 0', 'the log says so');
}

$t->finish;
done_testing;
