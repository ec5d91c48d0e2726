# SPDX-License-Identifier: MIT
# Files: sizes, versions and ciphers, ranges, keep-alive, pipelining,
# close_notify.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

my $big = size_for(20 << 20, 3 << 20);
my @sizes = (0, 1, 1000, 16000, 16383, 16384, 16385, 40000, 131072, 300001);
my $t = Nginx->new(http => 'keepalive_requests 1000;', server => <<'END');
location /type/ { types { text/plain bin; } }
location /error/ { error_page 404 /f40000; }
location /named/ { error_page 404 = @named; }
location @named { rewrite ^ /f131072 break; }
location /try/ { try_files $uri /f16385; }
location /off/ { %%tlssf off;%% alias html/; }
END
my %file = map { $_ => $t->file("f$_", bytes_of($_, $_)) } @sizes;
$t->file('big', bytes_of($big, 'big'));
$t->start;

# same(NAME, RESPONSE, BODY, STATUS): check status and body.
sub same {
	my ($name, $r, $body, $status) = @_;
	my $good = $r->{status} == ($status // 200) && $r->{body} eq $body;
	ok($good, $name) or diag("status $r->{status}, " .
		length($r->{body}) . ' bytes of ' . length($body));
}

# ---- sizes, each on its own connection, with close_notify ----

for my $size (@sizes) {
	my $r = $t->get("/f$size");
	same("$size bytes", $r, $file{$size});
	ok($r->{clean}, "$size bytes, then close_notify");
}

# ---- versions and ciphers ----

for my $case (['TLSv1_2', 'ECDHE-ECDSA-AES128-GCM-SHA256'],
	['TLSv1_2', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
	['TLSv1_2', 'ECDHE-ECDSA-CHACHA20-POLY1305'],
	['TLSv1_2', 'ECDHE-ECDSA-AES128-SHA'],
	['TLSv1_3', '']) {
	my ($version, $cipher) = @$case;
	my %tls = (SSL_version => $version);
	$tls{SSL_cipher_list} = $cipher if $cipher;
	my $r = $t->get('/big', tls => \%tls);
	same("$version $cipher", $r, $t->{files}{big});
	ok($r->{clean}, "$version $cipher, then close_notify");
	my $log = $t->logged('/big');
	is($log->{sent}, $big, 'bytes in the access log');
	next unless $Nginx::module && $Nginx::mode ne 'off';
	is($log->{method}, $Nginx::kernel && $cipher !~ /SHA$/ ?
		'ktls' : 'userspace', "$version $cipher: method");
	cmp_ok($log->{bytes}, '>', $big, 'all of it by libtlssf');
}

# ---- other kinds of responses ----

my $r = $t->get('/f40000', method => 'HEAD');
is($r->{headers}{'content-length'}, 40000, 'HEAD: length');
is($r->{extra}, 0, 'HEAD: no body');
$r = $t->get('/f40000');
my $tag = $r->{headers}{etag};
$r = $t->get('/f40000', headers => { 'If-None-Match' => $tag });
is("$r->{status} $r->{extra}", '304 0', 'not modified');
same('HTTP/1.0', $t->get('/f300001', version => '1.0'), $file{300001});
same('error_page with a file', $t->get('/error/no'), $file{40000}, 404);
same('error_page with a named location', $t->get('/named/no'), $file{131072});
same('try_files', $t->get('/try/no'), $file{16385});
is($t->get('/no')->{status}, 404, 'nginx\'s own error page');

# ---- ranges ----

for my $range ([0, 0], [5, 9], [16000, 33000], [250000, 300000],
	[300000, 300000]) {
	my ($first, $last) = @$range;
	$r = $t->get('/f300001', headers =>
		{ Range => "bytes=$first-$last" });
	same("range $first-$last", $r, range_of($file{300001}, $first, $last),
		206);
	is($r->{headers}{'content-range'}, "bytes $first-$last/300001",
		'its header');
}
same('the last 70000', $t->get('/f300001', headers =>
	{ Range => 'bytes=-70000' }), substr($file{300001}, -70000), 206);
is($t->get('/f1000', headers => { Range => 'bytes=2000-' })->{status}, 416,
	'beyond the end');

# multipart(CONTENT, BOUNDARY, [FIRST, LAST]...): returns the expected body
sub multipart {
	my ($content, $boundary, @ranges) = @_;
	my ($text, $size) = ('', length $content);
	for (@ranges) {
		my ($first, $last) = @$_;
		$text .= "\r\n--$boundary\r\n" .
			"Content-Type: application/octet-stream\r\n" .
			"Content-Range: bytes $first-$last/$size\r\n\r\n" .
			range_of($content, $first, $last);
	}
	return "$text\r\n--$boundary--\r\n";
}

for my $ranges ([[0, 0], [2, 2]], [[0, 99999], [150000, 150001],
	[160000, 299999]], [[100, 199], [0, 50]]) {
	my $spec = join ',', map { "$_->[0]-$_->[1]" } @$ranges;
	$r = $t->get('/f300001', headers => { Range => "bytes=$spec" });
	my ($boundary) = $r->{headers}{'content-type'} =~ /boundary=(.*)/;
	same("ranges $spec", $r,
		multipart($file{300001}, $boundary, @$ranges), 206);
}

# ---- one connection, many requests ----

my $c = $t->connect;
for my $round (1 .. size_for(20, 5)) {
	for my $size (@sizes) {
		$c->request("/f$size");
		$r = $c->response;
		next if $r->{status} == 200 && $r->{body} eq $file{$size};
		fail("keep-alive, round $round, $size bytes");
	}
}
$c->request('/big');
same('keep-alive, big', $c->response, $t->{files}{big});
# libtlssf has taken over the keys, so it sends even where "tlssf off" is set
for my $path ('/off/f1000', '/off/f300001', '/f1', '/no', '/f40000') {
	my ($size) = $path =~ /f(\d+)/;
	$c->request($path);
	$r = $c->response;
	same("keep-alive after big, $path", $r,
		$size ? $file{$size} : $r->{body}, $size ? 200 : 404);
}

$c = $t->connect;
my @order = map { $sizes[($_ * 7) % @sizes] } 1 .. 40;
$c->write(join '', map { "GET /f$_ HTTP/1.1\r\nHost: x\r\n\r\n" } @order);
my $wrong = 0;
for my $size (@order) {
	$r = $c->response;
	$wrong++ if $r->{status} != 200 || $r->{body} ne $file{$size};
}
is($wrong, 0, '40 pipelined requests');

# ---- small receive buffer ----

for my $version ('TLSv1_2', 'TLSv1_3') {
	$c = $t->connect(rcvbuf => 2048, SSL_version => $version);
	$c->{chunk} = 5000;
	$c->request('/f300001', close => 1);
	$r = $c->response;
	same("$version, a receive buffer of 2048 bytes", $r, $file{300001});
	ok($r->{clean}, "$version, then close_notify");
}

$t->finish;
done_testing;
