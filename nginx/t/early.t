# SPDX-License-Identifier: MIT
# Early data (0-RTT), by openssl s_client: a request in it, and a file back.
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

# Between client and server, for one connection: BETWEEN(BY_CLIENT, BYTES, CLIENT,
# SERVER) hands on what comes. Returns the port, and the process to end.
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

# A client that is slow to complete its handshake: what nginx sends is held back
# until that is more than a handshake, so the response has begun. Without it the
# client's Finished may be there when nginx reads the request, and then it is no
# longer early to $ssl_early_data.
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

# The records at the beginning of BYTES that are whole.
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

# A network that is late: the request and EndOfEarlyData come together, and
# Finished a second behind. When nginx answers, data is not early any more, but
# the handshake goes on.
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

# client(REQUEST, EXPECTED BYTES, PORT, RELAY, OPTION...): what comes back
sub client {
	my ($send, $bytes, $port, $relay, @options) = @_;
	my ($out, $end) = ('', time + $Nginx::patience);
	open(my $f, '>', "$dir/request") or die;
	print $f $send;
	close $f;
	# its input stays open, or it would leave before the answer
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

# A session first; its ticket comes with the first bytes.
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
