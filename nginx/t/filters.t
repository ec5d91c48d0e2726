# SPDX-License-Identifier: MIT
# Modules that change or generate responses: gzip, SSI, charset, slice,
# auth_request; proxied responses through memory, temporary files and the cache.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Nginx;
use Test::More;

my $t = Nginx->new(http => <<'END', server => <<'END2');
proxy_cache_path tmp/cache keys_zone=cache:1m;
gzip_types text/plain;
gzip_min_length 100;
END
location /gzip/ { gzip on; alias html/; }
location /ssi/ { ssi on; ssi_types text/plain; alias html/; }
location /charset/ {
	charset utf-8; source_charset koi8-r; charset_types text/plain;
	charset_map koi8-r utf-8 { 80 E282AC; }
	alias html/;
}
location /memory/ {
	proxy_pass http://127.0.0.1:PLAIN/;
	proxy_max_temp_file_size 0;
}
location /temp/ {
	proxy_pass http://127.0.0.1:PLAIN/;
	proxy_buffers 4 4k; proxy_buffer_size 4k; proxy_busy_buffers_size 8k;
}
location /unbuffered/ {
	proxy_pass http://127.0.0.1:PLAIN/;
	proxy_buffering off;
}
location /cached/ {
	proxy_pass http://127.0.0.1:PLAIN/;
	proxy_cache cache; proxy_cache_valid 1h; proxy_cache_key $uri;
	add_header X-Cache $upstream_cache_status;
}
location /slice/ {
	slice 100k;
	proxy_pass http://127.0.0.1:PLAIN/;
	proxy_cache cache; proxy_cache_valid 200 206 1h;
	proxy_cache_key s$uri$slice_range;
	proxy_set_header Range $slice_range; proxy_http_version 1.1;
}
location /auth/ { auth_request /allowed; alias html/; }
location /allowed { return 204; }
location /denied/ { auth_request /forbidden; alias html/; }
location /forbidden { return 403; }
location /accel/ { proxy_pass http://127.0.0.1:PLAIN/redirect/; }
location /redirect/ { add_header X-Accel-Redirect /internal/large.txt;
	return 200; }
location /internal/ { internal; alias html/; }
location /mirror/ { mirror /mirrored; alias html/; }
location /mirrored { return 204; }
END2

$t->{server} =~ s/PLAIN/$t->{plain}/g;
# charset_map is allowed in the http block only
$t->{server} =~ s/\tcharset_map .*\n//;
$t->{http} .= "charset_map koi8-r utf-8 { 80 E282AC; }\n";
$t->configure;
my $small = $t->file('small.txt', bytes_of(3000));
my $large = $t->file('large.txt', bytes_of(size_for(3 << 20, 700000)));
my $mid = $t->file('mid.txt', bytes_of(150000));
$t->file('page.txt', "begin <!--#include file=\"large.txt\" --> middle " .
	'<!--#include virtual="/ssi/small.txt" --> ' .
	"and <!--#include virtual=\"/temp/mid.txt\" --> end\n");
$t->file('letters.txt', "\x80" x 50000);
$t->start;

my $c;	# one connection for all tests, so that its keys are taken over early

# same(NAME, PATH, BODY, HEADERS): request PATH on a new and on the old
# connection.
sub same {
	my ($name, $path, $body, $headers) = @_;
	for my $connection ('new', 'kept') {
		my $r;
		if ($connection eq 'new') {
			$r = $t->get($path, headers => $headers);
			ok($r->{clean}, "$name: then close_notify");
		} else {
			$c //= $t->connect;
			$c->request($path, headers => $headers);
			$r = $c->response;
		}
		my $got = $r->{body};
		if (($r->{headers}{'content-encoding'} // '') eq 'gzip') {
			require Compress::Zlib;
			$got = Compress::Zlib::memGunzip($got);
		}
		ok($r->{status} == 200 && $got eq $body,
			"$name, $connection connection") or
			diag("status $r->{status}, " . length($got) .
				' bytes of ' . length($body));
	}
}

my $zip = { 'Accept-Encoding' => 'gzip' };
same('plain file', '/large.txt', $large);
same('gzip', '/gzip/large.txt', $large, $zip);
same('gzip, small', '/gzip/small.txt', $small, $zip);
same('gzip not wanted', '/gzip/large.txt', $large);
same('SSI', '/ssi/page.txt', "begin $large middle $small and $mid end\n");
same('charset', '/charset/letters.txt', "\xe2\x82\xac" x 50000);
same('proxied, in memory', '/memory/large.txt', $large);
same('proxied, in files', '/temp/large.txt', $large);
same('proxied, unbuffered', '/unbuffered/mid.txt', $mid);
same('cache', "/cached/$_", $t->{files}{$_})
	for qw(large.txt mid.txt small.txt large.txt small.txt);
is($t->get('/cached/large.txt')->{headers}{'x-cache'}, 'HIT', 'from the cache');
same('slices', '/slice/large.txt', $large);
same('auth_request', '/auth/large.txt', $large);
is($t->get('/denied/large.txt')->{status}, 403, 'auth_request denies');
same('X-Accel-Redirect', '/accel/x', $large);
same('mirror', '/mirror/large.txt', $large);

my $r = $t->get('/cached/large.txt', headers =>
	{ Range => 'bytes=100000-299999' });
is($r->{status}, 206, 'a range of a cached file');
ok($r->{body} eq range_of($large, 100000, 299999), 'its bytes');

if ($Nginx::module && $Nginx::mode ne 'off') {
	cmp_ok($t->logged('/cached/large.txt')->{bytes}, '>', 199999,
		'cache files go by libtlssf');
	is($t->logged('/gzip/large.txt')->{status}, 200, 'gzip is logged');
}

$t->finish;
done_testing;
