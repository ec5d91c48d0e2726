# SPDX-License-Identifier: MIT
# Headless Chromium loads a page with many pictures, scripts and style sheets,
# small and large. The page checks that each of them had its effect, fetches
# each again to compare its SHA-256, and reports the outcome by a request whose
# query string contains it. HTTP/1.1, on as many connections as the browser
# opens.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/../lib";
use Nginx;
use POSIX qw(setsid);
use Test::More;

my $t = Nginx->new(server => <<'END');
location / { types { text/html html; text/css css; text/javascript js;
	image/bmp bmp; } }
location /outcome { return 204; }
END

# picture(WIDTH, HEIGHT, SEED): an uncompressed picture without repeated
# content.
sub picture {
	my ($width, $height, $seed) = @_;
	my $size = (($width * 3 + 3) & ~3) * $height;
	return 'BM' . pack('VvvV', 54 + $size, 0, 0, 54) . pack('VllvvVVllVV',
		40, $width, $height, 1, 24, 0, $size, 2835, 2835, 0, 0) .
		bytes_of($size, $seed);
}

# A truncated file must have no effect on the page: the last line of a script
# increments a counter, the last line of a style sheet sets a width.
my (%sum, @tags);
sub add {
	my ($name, $content, $tag) = @_;
	$sum{$name} = sha256_hex($t->file($name, $content));
	push @tags, $tag;
}
sub comment { return '/* ' . bytes_of(@_) =~ tr{*/}{+|}r . " */\n" }

my ($small, $large) = (80, 3);
for my $i (1 .. $small + $large) {
	my $n = $i > $small ? 2000000 + $i * 100000 : ($i * 397) % 40000;
	my $side = $i > $small ? 1000 + $i : 2 + $i;
	add("p$i.bmp", picture($side, $side, $i), "<img src=p$i.bmp>");
	add("s$i.js", comment($n, $i) . "ran++;\n",
		"<script src=s$i.js></script>");
	add("c$i.css", comment($n, $i) . "#c$i { width: ${i}px }\n",
		"<link rel=stylesheet href=c$i.css><p id=c$i></p>");
}
my $manifest = join ', ', map { "'$_': '$sum{$_}'" } sort keys %sum;
my $expected = keys(%sum) / 3;
my $tags = join "\n", @tags;
$t->file('page.html', <<"END");
<!doctype html><title>many files</title><script>let ran = 0;</script>
$tags
<script>
const sums = { $manifest };
const bad = [];

async function sum(name) {
	const got = await (await fetch(name, { cache: 'no-store' }))
		.arrayBuffer();
	const sum = await crypto.subtle.digest('SHA-256', got);
	return [...new Uint8Array(sum)].map(
		b => b.toString(16).padStart(2, '0')).join('');
}

async function compare(name) {
	try {
		if (await sum(name) != sums[name])
			bad.push(name);
	} catch (error) {
		bad.push(`\${name}: \${error}`);
	}
}

function on_page() {
	const pictures = [...document.images].filter(
		i => i.complete && i.naturalWidth > 2);
	const styles = [...document.querySelectorAll('p')].filter(
		p => getComputedStyle(p).width == `\${p.id.slice(1)}px`);
	return `\${pictures.length} \${ran} \${styles.length}`;
}

onload = async () => {
	const names = Object.keys(sums);
	await Promise.all(names.map(compare));
	fetch('/outcome?' + encodeURIComponent(`\${on_page()}, ` +
		`\${names.length} compared, bad: \${bad.slice(0, 5)}`));
};
</script>
END
$t->start;

# Chromium has many processes, so start it in a process group of its own.
my $browser = fork // die "fork: $!";
if (!$browser) {
	setsid;
	open(STDOUT, '>', "$t->{dir}/logs/chromium");
	open(STDERR, '>&', \*STDOUT);
	$ENV{HOME} = $t->{dir};
	exec(qw(chromium --headless=new --no-sandbox --disable-gpu
		--disable-dev-shm-usage --ignore-certificate-errors
		--no-first-run --remote-debugging-port=0),
		"--user-data-dir=$t->{dir}/profile",
		"https://127.0.0.1:$t->{port}/page.html")
		or POSIX::_exit(127);
}
my $outcome = $t->wait_for(sub {
	my ($said) = $t->read_log('access.log') =~ m{^/outcome\?(\S+)\|204}m;
	return $said;
}) // 'nothing';
kill 'TERM', -$browser;
waitpid $browser, 0;
kill 'KILL', -$browser;

$outcome =~ s/%([0-9A-F]{2})/chr hex $1/ge;
is($outcome, "$expected $expected $expected, " . keys(%sum) .
	' compared, bad: ', 'pictures, scripts and styles at work, all equal')
	or diag($outcome eq 'nothing' ? $t->read_log('chromium') : '');
my @log = split /\n/, $t->read_log('access.log');
my @few = grep {
	my $name = $_;
	2 > grep { m{^/\Q$name\E\|200\|} } @log;
} sort keys %sum;
is("@few", '', 'each was asked for by the page, and by its script');
if ($Nginx::module && $Nginx::mode ne 'off') {
	my $ours = grep { m{^/[pcs]\d+\.\w+\|200\|\d{5,}\|userspace} } @log;
	cmp_ok($ours, '>=', 2 * 3 * $large, "by libtlssf: $ours");
}

$t->finish;
done_testing;
