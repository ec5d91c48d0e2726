# SPDX-License-Identifier: MIT
package Nginx;

# Starts an nginx with a configuration of the test, and provides a client for
# it. Environment variables:
#
#   TLSSF_NGINX_MODULE    the module to load; unset: nginx without the module
#   TLSSF_NGINX_MODE      value of the directive tlssf (default auto)
#   TLSSF_GUEST           set in an emulated machine: use smaller files
#   TLSSF_NGINX_WRAP      command to run nginx under, such as valgrind
#   TLSSF_NGINX           path of nginx (default /usr/sbin/nginx)
#   TLSSF_NGINX_PATIENCE  seconds that a single step may take
#   TLSSF_NGINX_KEEP      set: keep the folder of the test

use strict;
use warnings;
use Exporter 'import';
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::SSL;
use POSIX qw(:sys_wait_h);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(bytes_of range_of size_for);

our $module = $ENV{TLSSF_NGINX_MODULE} // '';
our $mode = $ENV{TLSSF_NGINX_MODE} // 'auto';
our $nginx = $ENV{TLSSF_NGINX} // '/usr/sbin/nginx';
our $guest = $ENV{TLSSF_GUEST} // '';
our $kernel = $guest && $module && $mode ne 'off';
# Timeout in seconds: a server or client that needs longer for a step has hung,
# even on a slow and busy machine.
our $patience = 600;

$SIG{PIPE} = 'IGNORE';

# ---- content ----

# bytes_of(N, SEED): N bytes in which no two parts are the same.
sub bytes_of {
	my ($n, $seed) = @_;
	my $text = '';
	for (my $i = 0; length($text) < $n; $i++) {
		$text .= sprintf("%s %08x %s\n", $seed // 'x', $i,
			'.-' x (($i * 7) % 500));
	}
	return substr($text, 0, $n);
}

sub size_for {
	my ($host, $in_guest) = @_;
	return $guest ? $in_guest : $host;
}

# ---- the server ----

# A free port below the range of ephemeral ports: otherwise one of the many
# clients here could get the port before nginx binds it.
sub free_port {
	for (1 .. 200) {
		my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
			LocalPort => 10000 + int rand 20000, Listen => 1);
		return $s->sockport if $s;
	}
	die "no port: $!";
}

# new(http => TEXT, server => TEXT, listen => TEXT, ...): configure, do not
# start.
sub new {
	my ($class, %o) = @_;
	my $dir = tempdir('tlssf-nginx.XXXXXX', TMPDIR => 1, CLEANUP => 0);
	my $self = bless { dir => $dir, files => {}, asked => {},
		owner => $$, %o }, $class;

	mkdir "$dir/$_" for qw(html logs tmp);
	$self->{port} = free_port();
	$self->{plain} = free_port();
	system("openssl req -x509 -newkey ec -pkeyopt " .
		"ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost " .
		"-days 2 -keyout $dir/key.pem -out $dir/cert.pem " .
		">$dir/logs/openssl 2>&1") == 0 or die 'openssl failed';
	$self->configure;
	return $self;
}

sub file {
	my ($self, $name, $content) = @_;
	my ($folder) = "$self->{dir}/html/$name" =~ m{(.*)/};
	system('mkdir', '-p', $folder);
	open(my $f, '>', "$self->{dir}/html/$name") or die "$name: $!";
	binmode $f;
	print $f $content;
	close $f;
	$self->{files}{$name} = $content;
	return $content;
}

sub configure {
	my ($self, %o) = @_;
	my ($dir, $load, $tlssf, $log) = ($self->{dir}, '', '', '- - -');
	%$self = (%$self, %o);
	my $workers = $self->{workers} // 1;
	my $server = $self->{server} // '';
	my $http = $self->{http} // '';
	my $main = $self->{main} // '';

	if ($module) {
		$load = "load_module $module;";
		$tlssf = 'tlssf ' . ($self->{mode} // $mode) . ';';
		$log = '$tlssf_method $tlssf_reason $tlssf_bytes';
	}
	# Directives of the module are written as %%TLSSF ...;%% in tests.
	for ($server, $http) {
		$module ? s/%%(.*?)%%/$1/g : s/%%.*?%%//g;
	}
	open(my $f, '>', "$dir/nginx.conf") or die $!;
	print $f <<"END";
$load
daemon @{[$self->{daemon} // 'off']};
user root;
pid $dir/logs/nginx.pid;
error_log $dir/logs/error.log notice;
worker_processes $workers;
worker_shutdown_timeout 600s;
$main
events {
	worker_connections 1024;
}
http {
	default_type application/octet-stream;
	types { text/plain txt; text/html html; }
	sendfile on;
	tcp_nopush on;
	log_format test '\$request_uri|\$status|\$body_bytes_sent|$log';
	access_log $dir/logs/access.log test;
	client_body_temp_path $dir/tmp/body;
	proxy_temp_path $dir/tmp/proxy;
	fastcgi_temp_path $dir/tmp/fastcgi;
	uwsgi_temp_path $dir/tmp/uwsgi;
	scgi_temp_path $dir/tmp/scgi;
	ssl_certificate $dir/cert.pem;
	ssl_certificate_key $dir/key.pem;
	ssl_protocols TLSv1.2 TLSv1.3;
	$tlssf
	$http
	server {
		listen 127.0.0.1:$self->{port} ssl @{[$self->{listen} // '']};
		listen 127.0.0.1:$self->{plain};
		server_name localhost;
		root $dir/html;
		$server
	}
}
END
	close $f;
	return $self;
}

sub start {
	my ($self) = @_;
	my @wrap = split ' ', $self->{wrap} // $ENV{TLSSF_NGINX_WRAP} // '';
	my $pid = fork // die "fork: $!";

	if (!$pid) {
		open(STDERR, '>>', "$self->{dir}/logs/stderr");
		open(STDOUT, '>&', \*STDERR);
		# an absolute path, because a binary upgrade executes it again
		exec(@wrap, $nginx, '-p', $self->{dir}, '-c',
			"$self->{dir}/nginx.conf") or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$self->{owner} = $$;
	if ($self->{daemon}) {
		waitpid($pid, 0);
		$self->{pid} = $self->wait_for(sub {
			$self->read_log('nginx.pid') =~ /^(\d+)/ && $1;
		});
	}
	my $end = time + $patience;
	while (time < $end) {
		if (IO::Socket::INET->new(PeerAddr => '127.0.0.1',
				PeerPort => $self->{port})) {
			return $self;
		}
		last if $self->ended;
		sleep 0.05;
	}
	die "nginx did not start:\n" . $self->read_log('stderr') .
		$self->read_log('error.log');
}

# Returns undef if nginx runs, otherwise its exit status, or 0 for a daemon,
# whose status is unknown.
sub ended {
	my ($self) = @_;
	return kill(0, $self->{pid}) ? undef : 0 if $self->{daemon};
	return waitpid($self->{pid}, WNOHANG) == $self->{pid} ? $? : undef;
}

# Stop nginx by a signal. Returns the exit status.
sub stop {
	my ($self, $signal) = @_;
	my ($pid, $end, $status) = ($self->{pid}, time + $patience);

	return unless $pid;
	kill($signal // 'QUIT', $pid);
	while (time < $end) {
		$status = $self->ended;
		last if defined $status;
		sleep 0.05;
	}
	if (!defined $status) {
		kill('KILL', $pid);
		waitpid($pid, 0);
		$status = 'killed';
	}
	delete $self->{pid};
	return $status;
}

# Run the last tests: nginx exits with 0, and its logs have no errors.
sub finish {
	my ($self, %o) = @_;
	my $allow = $o{allow} // qr/(?!)/;

	is($self->stop, 0, 'nginx ends with status 0');
	my @bad = grep { /\[(alert|emerg|crit)\]/ && !/$allow/ }
		split /\n/, $self->read_log('error.log');
	is(join("\n", @bad), '', 'nothing alarming in the error log');
	# valgrind's errors are in stderr; the workers' exit status is unknown.
	@bad = grep { /^==\d+==/ } split /\n/, $self->read_log('stderr');
	is(join("\n", @bad), '', 'nothing from valgrind');
}

sub DESTROY {
	my ($self) = @_;
	local $?;

	return if $self->{owner} != $$;
	$self->stop('TERM');
	system('rm', '-rf', $self->{dir}) unless $ENV{TLSSF_NGINX_KEEP};
}

# Run nginx -t. Returns its status and output.
sub check_config {
	my ($self) = @_;
	my $dir = $self->{dir};
	my $out = `$nginx -t -p $dir -c $dir/nginx.conf 2>&1`;
	return ($? >> 8, $out);
}

# ---- logs ----

sub read_log {
	my ($self, $name) = @_;
	open(my $f, '<', "$self->{dir}/logs/$name") or return '';
	local $/;
	return <$f> // '';
}

sub wait_for {
	my ($self, $what) = @_;
	my $end = time + $patience;
	while (time < $end) {
		my $found = $what->();
		return $found if $found;
		sleep 0.02;
	}
	return;
}

# Returns the newest log line of a path as { status, sent, method, reason,
# bytes }. nginx may write it after the response, so wait for as many lines as
# there were requests.
sub logged {
	my ($self, $path) = @_;
	my $line = $self->wait_for(sub {
		my @found = grep { (split /\|/)[0] eq $path }
			split /\n/, $self->read_log('access.log');
		return @found >= ($self->{asked}{$path} // 1) && $found[-1];
	}) or return {};
	my (undef, $status, $sent, $how) = split /\|/, $line;
	my ($method, $reason, $bytes) = split / /, $how;
	return { status => $status, sent => $sent, method => $method,
		reason => $reason, bytes => $bytes };
}

# ---- the client ----

# connect(rcvbuf => N, SSL_... => ...): returns a new client connection.
sub connect {
	my ($self, %o) = @_;
	my $buffer = delete $o{rcvbuf};
	my $s = IO::Socket::INET->new(Proto => 'tcp') or die "socket: $!";

	setsockopt($s, SOL_SOCKET, SO_RCVBUF, pack('i', $buffer)) if $buffer;
	connect($s, Socket::pack_sockaddr_in($self->{port},
		Socket::inet_aton('127.0.0.1'))) or die "connect: $!";
	setsockopt($s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
	IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0,
		SSL_hostname => 'localhost', %o)
		or die "handshake: $IO::Socket::SSL::SSL_ERROR";
	return bless { s => $s, in => '', eof => 0,
		asked => $self->{asked} }, 'Nginx::Client';
}

# get(PATH, headers => {...}, method => ...): send a request on a new
# connection.
sub get {
	my ($self, $path, %o) = @_;
	my $tls = delete $o{tls} // {};
	my $c = $self->connect(%$tls);
	$c->request($path, close => 1, %o);
	return $c->response(%o);
}

sub range_of {
	my ($content, $first, $last) = @_;
	return substr($content, $first, $last - $first + 1);
}

package Nginx::Client;

use Time::HiRes qw(sleep time);

sub request {
	my ($self, $path, %o) = @_;
	my $method = $o{method} // 'GET';
	my $version = $o{version} // '1.1';
	my $text = "$method $path HTTP/$version\r\nHost: localhost\r\n";
	my %headers = %{$o{headers} // {}};

	$self->{asked}{$path}++;
	$text .= "$_: $headers{$_}\r\n" for sort keys %headers;
	$text .= "Connection: close\r\n" if $o{close};
	return $self->write("$text\r\n" . ($o{body} // ''));
}

sub write {
	my ($self, $text) = @_;
	while (length $text) {
		my $n = syswrite($self->{s}, $text) or return 0;
		substr($text, 0, $n, '');
	}
	return 1;
}

# Read more bytes. Returns false at the end. Then {clean} is true if
# close_notify came.
sub more {
	my ($self) = @_;
	my $n;

	return 0 if $self->{eof};
	local $SIG{ALRM} = sub { die "the client had to wait too long\n" };
	alarm $Nginx::patience;
	sleep $self->{pause} if $self->{pause};
	$n = sysread($self->{s}, $self->{in}, $self->{chunk} // 65536,
		length $self->{in});
	alarm 0;
	return 1 if $n;
	$self->{eof} = 1;
	$self->{clean} = defined $n && (Net::SSLeay::get_shutdown(
		$self->{s}->_get_ssl_object) & 2) != 0;
	return 0;
}

sub till {
	my ($self, $test) = @_;
	until ($test->()) {
		$self->more or return 0;
	}
	return 1;
}

# Read and remove n bytes, or fewer at the end of the stream.
sub take {
	my ($self, $n) = @_;
	$self->till(sub { length $self->{in} >= $n });
	return substr($self->{in}, 0, $n, '');
}

sub line {
	my ($self) = @_;
	$self->till(sub { index($self->{in}, "\n") >= 0 }) or return;
	my $line = substr($self->{in}, 0, index($self->{in}, "\n") + 1, '');
	$line =~ s/\r?\n$//;
	return $line;
}

sub chunked {
	my ($self) = @_;
	my ($body, $size) = ('');
	while (defined(my $line = $self->line)) {
		$size = hex $line;
		$body .= $self->take($size);
		$self->line;
		return $body unless $size;
	}
	return $body . ' (cut)';
}

# Read a response. Returns { status, headers, body, whole, clean }. "whole" is
# true if the body has the announced length.
sub response {
	my ($self, %o) = @_;
	my %r = (headers => {}, whole => 1, body => '');
	my $start = $self->line // return { status => 0, body => '' };

	($r{status}) = $start =~ m{^HTTP/1\.[01] (\d+)};
	while (defined(my $line = $self->line)) {
		last if $line eq '';
		my ($name, $value) = split /:\s*/, $line, 2;
		$r{headers}{lc $name} = $value;
	}
	my $length = $r{headers}{'content-length'};
	if (($o{method} // '') eq 'HEAD' || $r{status} =~ /^(304|204)$/) {
		$r{body} = '';
	} elsif (($r{headers}{'transfer-encoding'} // '') eq 'chunked') {
		$r{body} = $self->chunked;
	} elsif (defined $length) {
		$r{body} = $self->take($length);
		$r{whole} = length $r{body} == $length;
	} else {
		$r{body} = $self->rest;
	}
	if ($o{close}  || ($r{headers}{connection} // '') eq 'close') {
		$r{extra} = length $self->rest;
		$r{clean} = $self->{clean};
	}
	return \%r;
}

sub rest {
	my ($self) = @_;
	1 while $self->more;
	return substr($self->{in}, 0, length $self->{in}, '');
}

# Close by a TCP reset, without close_notify.
sub abort {
	my ($self) = @_;
	setsockopt($self->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(),
		pack('ii', 1, 0));
	$self->{s}->close(SSL_no_shutdown => 1, SSL_fast_shutdown => 1);
}

sub close {
	my ($self) = @_;
	$self->{s}->close;
}

1;
