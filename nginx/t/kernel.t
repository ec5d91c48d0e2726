# SPDX-License-Identifier: MIT
# Kernel TLS is used: checked by the access log, by the kernel's counters and by
# the socket's state. The kernel encrypts but does not decrypt. Nothing is lost
# while records are queued in the kernel.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

plan skip_all => 'this kernel has no TLS, or nothing is to use it'
	unless $Nginx::kernel && -e '/proc/net/tls_stat';

my $t = Nginx->new(server => 'location /user/ { alias html/; }');
my $big = $t->file('big', bytes_of(2000000));
my %small = map { $_ => $t->file("s$_", bytes_of($_, $_)) } 1, 5000, 15000;
$t->start;

# counted(NAME): returns a counter of /proc/net/tls_stat, such as TlsTxSw or
# TlsRxSw.
sub counted {
	my ($name) = @_;
	open(my $f, '<', '/proc/net/tls_stat') or die;
	my ($n) = map { /^$name\s+(\d+)/ } <$f>;
	return $n;
}

for my $version ('TLSv1_2', 'TLSv1_3') {
	my ($tx, $rx) = (counted('TlsTxSw'), counted('TlsRxSw'));
	my $c = $t->connect(SSL_version => $version, rcvbuf => 20000);
	$c->request('/big');
	$c->till(sub { length $c->{in} > 500000 });
	my $socket = `ss -tinH 'sport = :$t->{port}' 2>/dev/null`;
	like($socket, qr/tcp-ulp-tls.*txconf: sw/,
		"$version: the server's socket, in flight");
	unlike($socket, qr/rxconf: sw/, "$version: not the receiving side");
	ok($c->response->{body} eq $big, "$version: every byte");
	my $log = $t->logged('/big');
	is("$log->{method} $log->{reason}", 'ktls none', "$version: log");
	# more than one is possible: libtlssf may have probed the kernel
	cmp_ok(counted('TlsTxSw'), '>', $tx, "$version: the kernel counts it");
	is(counted('TlsRxSw'), $rx, "$version: it receives nothing");

	# then small files by the kernel: header and file in one record
	for my $size (sort keys %small) {
		$c->request("/s$size");
		ok($c->response->{body} eq $small{$size},
			"$version: $size bytes after it");
		is($t->logged("/s$size")->{method}, 'ktls', 'by the kernel');
	}
	$c->request('/nothing', close => 1);
	my $r = $c->response;
	is($r->{status}, 404, "$version: an error page, at the end");
	ok($r->{clean}, "$version: then close_notify");

	$c = $t->connect(SSL_version => $version, rcvbuf => 4000);
	$c->request('/big', close => 1);
	select(undef, undef, undef, 3);	# the server waits for the client
	$r = $c->response;
	ok($r->{body} eq $big, "$version: nothing is lost on close");
	ok($r->{clean}, "$version: nor close_notify");
}

$t->finish;

# ---- "tlssf_kernel off", and OpenSSL's own kernel TLS ----

$t = Nginx->new(http => 'tlssf_kernel off;');
$t->file('big', $big);
$t->start;
ok($t->get('/big')->{body} eq $big, 'tlssf_kernel off');
is($t->logged('/big')->{method}, 'userspace', 'tlssf_kernel off: method');
$t->finish;

$t = Nginx->new(http => 'ssl_conf_command Options KTLS;');
$t->file('big', $big);
$t->file('s5000', $small{5000});
$t->start;
my $c = $t->connect(SSL_version => 'TLSv1_2');
for my $name ('s5000', 'big', 's5000') {
	$c->request("/$name");
	ok($c->response->{body} eq $t->{files}{$name},
		"OpenSSL's kernel TLS: $name");
	is($t->logged("/$name")->{method}, 'ssl_sendfile', 'its method');
}
$c->request('/s5000', close => 1);
ok($c->response->{clean}, "OpenSSL's kernel TLS: close_notify");
$t->finish;

done_testing;
