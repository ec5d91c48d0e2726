# SPDX-License-Identifier: MIT
# Reload, binary upgrade and graceful shutdown during downloads: no bytes are
# lost.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = Nginx->new(workers => 2, daemon => 'on');
my $big = $t->file('big', bytes_of(size_for(12 << 20, 3 << 20)));
my $mid = $t->file('mid', bytes_of(200000));
$t->start;

sub pid_of {
	my ($name) = @_;
	my $pid = $t->read_log($name);
	chomp $pid;
	return $pid;
}

# Start downloads and read the first bytes of each.
sub begin {
	my @c;
	for my $i (1 .. 6) {
		my $c = $t->connect(rcvbuf => 20000,
			SSL_version => $i % 2 ? 'TLSv1_2' : 'TLSv1_3');
		$c->request('/big', close => $i > 3);
		$c->till(sub { length $c->{in} > $i * 1000 });
		push @c, $c;
	}
	return @c;
}

sub complete {
	my ($name, @c) = @_;
	for my $i (0 .. $#c) {
		my $r = $c[$i]->response;
		ok($r->{status} == 200 && $r->{body} eq $big,
			"$name: download $i is whole");
		ok($r->{clean}, "$name: download $i, close_notify") if $i > 2;
	}
}

# Returns the process IDs of a master's workers.
sub workers {
	my ($master) = @_;
	return sort split ' ', `pgrep -P $master`;
}

# ---- reload ----

my @c = begin();
my @old = workers($t->{pid});
kill 'HUP', $t->{pid};
ok($t->wait_for(sub { my %is = map { $_ => 1 } workers($t->{pid});
	grep { !{ map { $_ => 1 } @old }->{$_} } keys %is }),
	'reload: new workers');
ok($t->get('/mid')->{body} eq $mid, 'reload: new connections are served');
complete('reload', @c);
ok($t->wait_for(sub { my %is = map { $_ => 1 } workers($t->{pid});
	!grep { $is{$_} } @old }), 'reload: the old workers end');

# ---- reload under load ----

my @children;
for my $seed (1 .. 4) {
	my $pid = fork // die;
	if (!$pid) {
		my ($wrong, $end) = (0, time + size_for(6, 12));
		while (time < $end) {
			my $c = $t->connect;
			for my $i (1 .. 3) {
				$c->request('/mid', close => $i == 3);
				my $r = $c->response;
				# The old worker may close an idle connection
				# at any time, but not during a response.
				last if !$r->{status} && $i > 1;
				$wrong++ if $r->{body} ne $mid;
			}
		}
		POSIX::_exit($wrong > 200 ? 200 : $wrong);
	}
	push @children, $pid;
}
for (1 .. size_for(8, 3)) {
	sleep size_for(0.6, 3);
	kill 'HUP', $t->{pid};
}
for my $pid (@children) {
	waitpid $pid, 0;
	is($? >> 8, 0, 'reload under load: every response is whole');
}

# ---- binary upgrade ----

@c = begin();
my $first = $t->{pid};
kill 'USR2', $first;
ok($t->wait_for(sub { -e "$t->{dir}/logs/nginx.pid.oldbin" &&
	pid_of('nginx.pid') && pid_of('nginx.pid') != $first }),
	'upgrade: a second master');
my $second = pid_of('nginx.pid');
kill 'WINCH', $first;
ok($t->get('/mid')->{body} eq $mid, 'upgrade: the new binary serves');
complete('upgrade', @c);
kill 'QUIT', $first;
ok($t->wait_for(sub { !kill 0, $first }), 'upgrade: the old master ends');
ok($t->get('/mid')->{body} eq $mid, 'upgrade: served without it');
kill 'QUIT', $second;
ok($t->wait_for(sub { !kill 0, $second }), 'upgrade: the new master ends');
delete $t->{pid};

# ---- graceful end ----

$t->start;
@c = begin();
kill 'QUIT', $t->{pid};
sleep 0.5;
complete('end', @c);

$t->finish;
done_testing;
