# SPDX-License-Identifier: MIT
# Many concurrent clients with random behaviour: single and pipelined requests,
# ranges, small receive buffers, pauses, aborts. Every byte is compared. With
# TLSSF_NGINX_STRESS (seconds) the seed is printed; TLSSF_SEED sets the seed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TLSSF_NGINX_STRESS} // size_for(15, 30);
my $seed = $ENV{TLSSF_SEED} // time ^ $$;
diag("TLSSF_SEED=$seed") if $ENV{TLSSF_NGINX_STRESS};

my $t = Nginx->new(workers => 2, http => <<'END', server => <<'END2');
keepalive_requests 200;
gzip_types text/plain;
END
location /rate/ { limit_rate 2m; alias html/; }
location /chunk/ { sendfile_max_chunk 30k; alias html/; }
location /off/ { %%tlssf off;%% alias html/; }
location /on/ { %%tlssf on;%% alias html/; }
location /copy/ { sendfile off; alias html/; }
location /ssi/ { ssi on; ssi_types application/octet-stream; alias html/; }
END2
my @names;
for my $size (0, 1, 500, 9000, 16384, 33000, 100000, 260000,
	size_for(2500000, 500000)) {
	push @names, "f$size";
	$t->file("f$size", bytes_of($size, $size));
}
my @places = ('', 'rate/', 'chunk/', 'off/', 'on/', 'copy/', 'ssi/');
$t->start;

my $doing = '';	# the request in progress, for error messages

sub any { return $_[int rand @_] }

# Returns a random request and the expected response.
sub draw {
	my $name = any(@names);
	my $content = $t->{files}{$name};
	my $want = { path => '/' . any(@places) . $name, status => 200,
		body => $content };
	if (rand() < 0.3 && length $content > 1 && $want->{path} !~ /ssi/) {
		my $first = int rand length $content;
		my $last = $first + int rand(length($content) - $first);
		$want->{headers} = { Range => "bytes=$first-$last" };
		$want->{body} = range_of($content, $first, $last);
		$want->{status} = 206;
	}
	return $want;
}

# One connection from start to end. Returns a text if something was wrong.
sub one_connection {
	my @buffer = rand() < 0.3 ? (rcvbuf => any(5000, 12000, 30000)) : ();
	my $c = $t->connect(
		SSL_version => any('TLSv1_2', 'TLSv1_3'),
		@buffer);

	$doing = '';
	$c->{chunk} = any(1000, 4096, 16384, 100000);
	$c->{pause} = 0.002 if $c->{chunk} > 10000 && rand() < 0.2;
	for (1 .. any(1, 2, 5, 10)) {
		my @burst = map { draw() } 1 .. any(1, 1, 1, 4, 12);
		my $text = '';
		for (@burst) {
			$text .= "GET $_->{path} HTTP/1.1\r\nHost: x\r\n";
			$text .= "Range: $_->{headers}{Range}\r\n"
				if $_->{headers};
			$text .= "\r\n";
		}
		$c->write($text) or return;	# closed while idle
		if (rand() < 0.05) {
			# fewer than the bytes of the response
			$c->take(int rand 100 + length $burst[0]{body});
			$c->abort;
			return;
		}
		for my $i (0 .. $#burst) {
			$doing = "$burst[$i]{path} " . ($burst[$i]{headers} ?
				$burst[$i]{headers}{Range} : '') .
				", $i of $#burst, chunk $c->{chunk} @buffer";
			my $r = $c->response;
			return if !$r->{status} && !$i;
			next if $r->{status} == $burst[$i]{status} &&
				$r->{body} eq $burst[$i]{body};
			return "$burst[$i]{path}: status $r->{status}, " .
				length($r->{body}) . ' of ' .
				length($burst[$i]{body}) . ' bytes';
		}
	}
	$c->close;
	return;
}

my (%child, @pids, $served);
for my $n (1 .. size_for(8, 4)) {
	pipe(my $from, my $to) or die;
	my $pid = fork // die;
	if (!$pid) {
		srand($seed + $n);
		my ($end, $done, $wrong) = (time + $seconds, 0);
		# three on the slowest machine, too
		while ((time < $end || $done < 3) && !$wrong) {
			$wrong = eval { one_connection() };
			$wrong = "$doing: $@" if $@;
			$done++;
		}
		syswrite($to, "$done " . ($wrong // ''));
		POSIX::_exit(0);
	}
	close $to;
	push @pids, $pid;
	$child{$n} = $from;
}
for my $n (sort keys %child) {
	my ($done, $wrong) = split / /, readline($child{$n}) // '0 died', 2;
	is($wrong, '', "client $n: $done connections");
	$served += $done;
}
waitpid $_, 0 for @pids;
cmp_ok($served, '>', size_for(20, 4), "$served connections");

$t->finish;
done_testing;
