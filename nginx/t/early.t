# SPDX-License-Identifier: MIT
# Early data (0-RTT), by openssl s_client: a request in it, and a file back.
use strict;
use warnings;
use FindBin;
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

# client(REQUESTS, EXPECTED BYTES, OPTION...): what comes back
sub client {
	my ($send, $bytes, @options) = @_;
	my ($out, $end) = ('', time + $Nginx::patience);
	open(my $f, '>', "$dir/request") or die;
	print $f $send;
	close $f;
	# its input stays open, or it would leave before the answer
	my $pid = open2(my $from, my $to, 'openssl', 's_client', '-connect',
		"127.0.0.1:$t->{port}", '-tls1_3', '-quiet', @options);
	while (length $out < $bytes && time < $end) {
		my $rin = '';
		vec($rin, fileno $from, 1) = 1;
		next unless select($rin, undef, undef, 1);
		sysread($from, $out, 65536, length $out) or last;
	}
	kill 'TERM', $pid;
	waitpid $pid, 0;
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
