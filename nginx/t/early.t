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

# A client that is slow to complete its handshake: what nginx sends is held back
# until that is more than a handshake, so the response has begun. Without it the
# client's Finished may be there when nginx reads the request, and then it is no
# longer early to $ssl_early_data. Returns the port; one connection.
sub slow_client {
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
		Listen => 1) or die "no port: $!";
	my $pid = fork // die "fork: $!";
	return ($listener->sockport, $pid) if $pid;

	my $client = $listener->accept or POSIX::_exit(1);
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $t->{port}) or POSIX::_exit(1);
	my ($held, $begun) = ('', 0);
	my $both = IO::Select->new($client, $server);
	while (my @ready = $both->can_read($Nginx::patience)) {
		for my $s (@ready) {
			sysread($s, my $bytes, 65536) or POSIX::_exit(0);
			if ($s == $client) {
				print $server $bytes;
				next;
			}
			$held .= $bytes;
			$begun ||= length $held > 8192;
			print $client substr($held, 0, length $held, '')
				if $begun;
		}
	}
	POSIX::_exit(1);
}

# client(REQUESTS, EXPECTED BYTES, OPTION...): what comes back
sub client {
	my ($send, $bytes, @options) = @_;
	my ($out, $end) = ('', time + $Nginx::patience);
	open(my $f, '>', "$dir/request") or die;
	print $f $send;
	close $f;
	# its input stays open, or it would leave before the answer
	my ($port, $relay) = slow_client();
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

my $out = client($request, 600000 + 200, '-sess_in', "$dir/session",
	'-early_data', "$dir/request");
like($out, qr/^X-Early: 1\r$/m, 'the request came in early data');
my ($head, $body) = split /\r\n\r\n/, $out, 2;
ok(($body // '') eq $large, 'a file in answer to early data');

$t->finish;
done_testing;
