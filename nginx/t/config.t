# SPDX-License-Identifier: MIT
# Directives, invalid configurations, variables, and the notice in the log at
# start.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

plan skip_all => 'the module is not loaded' unless $Nginx::module;

# refused(NAME, SERVER, MESSAGE): check that nginx -t fails with that message.
sub refused {
	my ($name, $server, $message) = @_;
	my ($status, $out) = Nginx->new(server => $server)->check_config;
	is($status, 1, "$name: refused");
	like($out, $message, "$name: why");
}

refused('an unknown mode', 'tlssf yes;', qr/invalid value "yes" in .*conf:/);
refused('no mode', 'tlssf;', qr/invalid number of arguments in "tlssf"/);
refused('two modes', 'tlssf on; tlssf off;', qr/"tlssf" directive is duplicate/);
refused('kernel by a number', 'tlssf_kernel 1;',
	qr/invalid value "1" in "tlssf_kernel" directive/);
refused('kernel in a location', 'location / { tlssf_kernel off; }',
	qr/"tlssf_kernel" directive is not allowed here/);
refused('tlssf in if', 'if ($args) { tlssf on; }',
	qr/"tlssf" directive is not allowed here/);

# accepted(NAME, MODE, SERVER, WARNING): check that nginx -t succeeds with that
# warning, or without any output.
sub accepted {
	my ($name, $mode, $server, $warning) = @_;
	my ($status, $out) = Nginx->new(mode => $mode, server => $server)
		->check_config;
	is($status, 0, "$name: accepted");
	$out =~ s/^nginx: .*(syntax is ok|test is successful)\n//mg;
	$warning ? like($out, $warning, "$name: warning")
		 : is($out, '', "$name: no warning");
}

my $impossible = $Nginx::guest ? undef :
	qr/\[warn\] .*: "tlssf on", but the kernel cannot seal: .*user space/;
accepted('auto', 'auto', '');
accepted('off', 'off', 'tlssf_kernel off;');
accepted('on', 'on', '', $impossible);
accepted('on in one location', 'auto', 'location /x { tlssf on; }',
	$impossible);
accepted('on without the kernel', 'on', 'tlssf_kernel off;',
	qr/\[warn\] .*: "tlssf on" in a server with "tlssf_kernel off"/);

# ---- the notice ----

my $t = Nginx->new(mode => 'auto', http => 'gzip_types text/plain;',
	listen => 'http2', server => <<'END');
location /off/ { tlssf off; alias html/; }
location /on/ { tlssf on; alias html/; }
location /plain/ { sendfile off; alias html/; }
location /aio/ { aio threads; alias html/; }
location /text { return 200 text; }
END
$t->file('small', bytes_of(2000));
$t->file('large', bytes_of(400000));
$t->start;
my $notice = $Nginx::guest ?
	qr/kernel TLS works; TLSv1\.2:.*AES.*; TLSv1\.3:.*KeyUpdate: (yes|no)/ :
	qr/kernel TLS is impossible: .*/;
# nginx opens its ports before it writes the notice.
my $said = $t->wait_for(sub { $t->read_log('error.log') =~ /(.*libtlssf .*\n)/
	&& $1; });
like($said,
	qr/\[notice\] .*: libtlssf \d+\.\d+\.\d+, OpenSSL 3\.\S+ .*, $notice/,
	'the notice at start');

# The module must not load a second libssl into the process.
open(my $maps, '<', "/proc/$t->{pid}/maps") or die $!;
my %libssl = map { m{(/\S*libssl\S*)} ? ($1 => 1) : () } <$maps>;
is(scalar(keys %libssl), 1, 'one libssl: ' . join ' ', keys %libssl);

# ---- variables ----

my $large = $Nginx::guest ? 'ktls none' : 'userspace ulp_absent';
for my $case (['/large', $large, 1],
	['/small', 'nginx small', 0],
	['/off/large', 'nginx off', 0],
	['/plain/large', 'nginx sendfile_off', 0],
	['/aio/large', 'nginx aio', 0],
	['/on/small', $Nginx::guest ? 'userspace not_yet'
				    : 'userspace ulp_absent', 1],
	['/text', 'nginx small', 0]) {
	my ($path, $want, $ours) = @$case;
	my $r = $t->get($path);
	my $log = $t->logged($path);
	is($r->{status}, 200, "$path: status");
	is("$log->{method} $log->{reason}", $want, "$path: method and reason");
	$ours ? cmp_ok($log->{bytes}, '>', $log->{sent}, "$path: bytes")
	      : is($log->{bytes}, 0, "$path: no bytes");
}
my $plain = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$t->{plain}");
print $plain "GET /large HTTP/1.0\r\n\r\n";
my $size = 0;
$size += length while <$plain>;
cmp_ok($size, '>', 400000, 'without TLS: sent');
my $line = $t->wait_for(sub { (split /\n/, $t->read_log('access.log'))[7] });
is($line, '/large|200|400000|- - -', 'without TLS: no method');

$t->finish;
done_testing;
