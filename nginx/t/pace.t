# SPDX-License-Identifier: MIT
# Limits and slow clients: limit_rate, sendfile_max_chunk, aio, directio, slow
# and aborting clients, send_timeout, lingering close, a file that shrinks.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = Nginx->new(server => <<'END');
location /rate/ { limit_rate 150k; alias html/; }
location /after/ { limit_rate 70k; limit_rate_after 200k; alias html/; }
location /chunk/ { sendfile_max_chunk 20k; alias html/; }
location /nochunk/ { sendfile_max_chunk 0; alias html/; }
location /threads/ { aio threads; alias html/; }
location /direct/ { directio 4k; alias html/; }
location /copy/ { sendfile off; alias html/; }
location /buffers/ { output_buffers 1 3k; postpone_output 0; alias html/; }
location /impatient/ { send_timeout 1s; reset_timedout_connection on;
	alias html/; }
location /linger/ { lingering_close always; lingering_timeout 2s; alias html/; }
location /body/ { client_max_body_size 1k; error_page 413 /mid; }
END
my $mid = $t->file('mid', bytes_of(400000));
my $big = $t->file('big', bytes_of(size_for(12 << 20, 6 << 20)));
$t->start;

sub same {
	my ($name, $r, $body, $status) = @_;
	ok($r->{status} == ($status // 200) && $r->{body} eq $body, $name) or
		diag("status $r->{status}, " . length($r->{body}) .
			' bytes of ' . length($body));
	ok($r->{clean}, "$name, then close_notify");
}

# seconds(NAME, PATH, BODY, LEAST): check that the download takes more than
# LEAST seconds.
sub seconds {
	my ($name, $path, $body, $least) = @_;
	my $start = time;
	same($name, $t->get($path), $body);
	cmp_ok(time - $start, '>', $least, "$name takes its time");
}

# nginx adds the rate to the limit at the start and whenever the second of its
# clock changes. Here it does so three times, so at least one second passes.
seconds('limit_rate', '/rate/mid', $mid, 1);
seconds('limit_rate_after', '/after/mid', $mid, 1);
same($_, $t->get("/$_/big"), $big) for qw(chunk nochunk threads copy buffers);
SKIP: {
	# in a virtual machine, the files are on a file system of the host
	skip 'directio: this file system reads through the page cache only', 4
		if system("dd if=$t->{dir}/html/big of=/dev/null bs=4096 " .
			'iflag=direct 2>/dev/null');
	same('direct', $t->get('/direct/big'), $big);
	same('directio, range', $t->get('/direct/big',
		headers => { Range => 'bytes=4097-300000' }),
		range_of($big, 4097, 300000), 206);
}

# ---- slow and aborting clients ----

for my $version ('TLSv1_2', 'TLSv1_3') {
	my $c = $t->connect(rcvbuf => 4096, SSL_version => $version);
	$c->request('/mid', close => 1);
	sleep 1;	# until the server has filled all buffers
	same("$version, a reader that sleeps first", $c->response, $mid);
	$c = $t->connect(rcvbuf => 4096, SSL_version => $version);
	@$c{qw(chunk pause)} = (16000, 0.02);
	$c->request('/mid', close => 1);
	same("$version, a slow reader", $c->response, $mid);
}

# A client that reads nothing is reset after send_timeout, although the timer
# for retry_ms may expire many times before that.
my $c = $t->connect(rcvbuf => 4096);
$c->request('/impatient/big', close => 1);
ok($t->wait_for(sub { $t->logged('/impatient/big')->{status} }),
	'a peer that reads nothing: the request ends');
my $got = $c->rest;
cmp_ok(length $got, '<', length $big, 'it got less than all');
ok(!$c->{clean}, 'and no close_notify');

# Clients that abort at different times.
for my $i (1 .. size_for(30, 8)) {
	$c = $t->connect(rcvbuf => 20000);
	$c->request('/big');
	$c->take($i * 20000) if $i % 3;
	$c->abort;
}
same('after peers that vanished', $t->get('/mid'), $mid);

# ---- end of the connection ----

same('lingering_close always', $t->get('/linger/mid'), $mid);
# nginx responds before it reads the request body; the body still arrives.
$c = $t->connect;
$c->request('/body/', method => 'POST', close => 1, body => 'x' x 300000,
	headers => { 'Content-Length' => 300000 });
same('lingering close with a body', $c->response, $mid, 413);

# A file that shrinks while it is sent: the stream ends without close_notify.
$c = $t->connect(rcvbuf => 4096);
$c->request('/copy/mid', close => 1);
$c->response;
my $name = "$t->{dir}/html/shrinks";
$t->file('shrinks', $big);
$c = $t->connect(rcvbuf => 4096);
$c->request('/shrinks', close => 1);
$c->take(1000);
truncate $name, 200000;
$got = $c->rest;
cmp_ok(length $got, '<', length $big, 'a file that shrinks: less arrives');
ok(!$c->{clean}, 'a file that shrinks: no close_notify');
same('afterwards', $t->get('/mid'), $mid);

$t->finish(allow => qr/shrinks/);
done_testing;
