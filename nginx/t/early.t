# SPDX-License-Identifier: MIT
# Early data (0-RTT): openssl s_client sends a request in early data and gets a
# file.
use strict;
use warnings;
use FindBin;
use IO::Select;
use IO::Socket::INET;
use IPC::Open2;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

my $t = Nginx->new(http => 'ssl_early_data on;', server => <<'END');
add_header X-Early $ssl_early_data;
END
my $large = $t->file('large', bytes_of(600000));
my $dir = $t->{dir};
$t->start;

# relay(BETWEEN): a process that relays one connection between client and
# server. It calls BETWEEN(FROM_CLIENT, BYTES, CLIENT, SERVER), which has to
# forward the bytes. Returns the relay's port and its process ID.
sub relay {
	my ($between) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
		Listen => 1) or die "no port: $!";
	my $pid = fork // die "fork: $!";
	return ($listener->sockport, $pid) if $pid;

	my $client = $listener->accept or POSIX::_exit(1);
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $t->{port}) or POSIX::_exit(1);
	my $both = IO::Select->new($client, $server);
	while (my @ready = $both->can_read($Nginx::patience)) {
		for my $s (@ready) {
			sysread($s, my $bytes, 65536) or POSIX::_exit(0);
			$between->($s == $client, $bytes, $client, $server);
		}
	}
	POSIX::_exit(1);
}

# Delays the client's Finished until nginx has begun its response: holds back
# the output of nginx until it has more bytes than a handshake. Otherwise
# Finished could arrive before nginx reads the request, and $ssl_early_data
# would be empty.
sub slow_client {
	my ($held, $begun) = ('', 0);
	return relay(sub {
		my ($by_client, $bytes, $client, $server) = @_;
		return print $server $bytes if $by_client;
		$held .= $bytes;
		$begun ||= length $held > 8192;
		print $client substr($held, 0, length $held, '') if $begun;
	});
}

# records(BYTES): returns the complete records at the start of BYTES.
sub records {
	my ($bytes) = @_;
	my @found;
	while (length $bytes >= 5) {
		my $n = 5 + unpack('x3 n', $bytes);
		last if length $bytes < $n;
		push @found, substr($bytes, 0, $n, '');
	}
	return @found;
}

# Sends the request and EndOfEarlyData to nginx together, and Finished a second
# later. When nginx responds, early data has ended but the handshake has not.
sub late_network {
	my ($hello, $held, $complete) = (0, '', 0);
	return relay(sub {
		my ($by_client, $bytes, $client, $server) = @_;
		return print $client $bytes if !$by_client;
		return print $server $bytes if $complete;
		$held .= $bytes;
		my @all = records($held);
		if (!$hello && @all) {
			$hello = 1;
			print $server substr($held, 0, length shift @all, '');
		}
		# the request, EndOfEarlyData, Finished
		return if grep({ /^\x17/ } @all) < 3;
		$complete = 1;
		print $server substr($held, 0, -length $all[-1], '');
		sleep 1;
		print $server $held;
	});
}

# client(REQUEST, LENGTH, PORT, RELAY, OPTION...): send REQUEST. Returns the
# bytes that arrive, at least LENGTH if possible.
sub client {
	my ($send, $bytes, $port, $relay, @options) = @_;
	my ($out, $end) = ('', time + $Nginx::patience);
	open(my $f, '>', "$dir/request") or die;
	print $f $send;
	close $f;
	# s_client exits at the end of its input, so keep its input open
	my $pid = open2(my $from, my $to, 'openssl', 's_client', '-connect',
		"127.0.0.1:$port", '-tls1_3', '-quiet', @options);
	while (length $out < $bytes && time < $end) {
		my $rin = '';
		vec($rin, fileno $from, 1) = 1;
		next unless select($rin, undef, undef, 1);
		sysread($from, $out, 65536, length $out) or last;
	}
	kill 'TERM', $pid, $relay;
	waitpid $_, 0 for $pid, $relay;
	return $out;
}

# First a connection to get a session; its ticket comes with the first bytes.
my $request = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
my $c = "openssl s_client -connect 127.0.0.1:$t->{port} -tls1_3 " .
	"-sess_out $dir/session -ign_eof";
system("printf 'HEAD / HTTP/1.0\\r\\n\\r\\n' | timeout $Nginx::patience $c " .
	">/dev/null 2>&1");
ok(-s "$dir/session", 'a session to resume');

my @early = ('-sess_in', "$dir/session", '-early_data', "$dir/request");
my $out = client($request, 600000 + 200, slow_client(), @early);
like($out, qr/^X-Early: 1\r$/m, 'the request came in early data');
my ($head, $body) = split /\r\n\r\n/, $out, 2;
ok(($body // '') eq $large, 'a file in answer to early data');

$out = client($request, 600000 + 150, late_network(), @early);
(undef, $body) = split /\r\n\r\n/, $out, 2;
ok(($body // '') eq $large, 'a file before the handshake is complete');

$t->finish;
done_testing;
