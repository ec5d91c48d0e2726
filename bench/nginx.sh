# shellcheck shell=bash
# Starts the servers of bench/nginx, bench/nginx-count and bench/servers.
# shellcheck disable=SC2034 # used there

work=$(mktemp -d)
servers=()
declare -A url pid ports

# shellcheck disable=SC2317 # called by trap
cleanup() {
	local server
	for server in "${servers[@]}"; do
		kill "$server" 2>/dev/null || true
	done
	wait
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# prepare SIZE...: make a certificate, and a file of each size
prepare() {
	local size
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
		-nodes -days 2 -subj /CN=localhost -keyout "$work/key" \
		-out "$work/cert" 2>/dev/null
	chmod 755 "$work"
	mkdir "$work/files"
	for size; do
		head -c "$size" /dev/urandom >"$work/files/$size"
	done
}

# up NAME PORT COMMAND...: start a server, and wait until it responds
up() {
	local name=$1 i
	"${@:3}" >"$work/$name.log" 2>&1 &
	servers+=($!)
	pid[$name]=$!
	ports[$name]=$2
	url[$name]=https://127.0.0.1:$2
	for ((i = 0; i < 400; i++)); do
		! curl -sk -o /dev/null "${url[$name]}/" || return 0
		sleep 0.05
	done
	cat "$work/$name.log" >&2
	die "$name did not start"
}

# serve NAME PORT LOAD [LINE [WRAPPER...]]: start nginx as a single process,
# whose CPU time is that of a worker. LOAD becomes the first line of the
# configuration, and LINE a line in the server block.
serve() {
	local name=$1 port=$2 load=$3 line=${4-}
	mkdir "$work/$name"
	cat >"$work/$name.conf" <<-END
	$load
	daemon off;
	master_process off;
	pid $work/$name/pid;
	error_log $work/$name/error;
	events { }
	http {
		access_log off;
		client_body_temp_path $work/$name;
		proxy_temp_path $work/$name;
		fastcgi_temp_path $work/$name;
		uwsgi_temp_path $work/$name;
		scgi_temp_path $work/$name;
		sendfile on;
		tcp_nopush on;
		keepalive_requests 1000000;
		server {
			listen 127.0.0.1:$port ssl;
			ssl_certificate $work/cert;
			ssl_certificate_key $work/key;
			ssl_protocols TLSv1.2 TLSv1.3;
			root $work/files;
			$line
		}
	}
	END
	up "$name" "$port" "${@:5}" /usr/sbin/nginx -p "$work" \
		-c "$work/$name.conf"
}
