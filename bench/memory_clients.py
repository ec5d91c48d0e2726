# SPDX-License-Identifier: MIT
"""memory_clients.py PORT PID idle|active|stalled N: open N connections to
tlssf-httpd, keep them in that state, and print by how much the resident memory
of the server has grown."""
import re
import selectors
import socket
import ssl
import sys
import time

PORT, PID, KIND, COUNT = (int(sys.argv[1]), int(sys.argv[2]), sys.argv[3],
                          int(sys.argv[4]))
PATH = {"idle": "small", "active": "middle", "stalled": "large"}[KIND]
REQUEST = f"GET /{PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
SECONDS = 20    # of downloads; also the limit of the wait in settled()

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def resident():
    with open(f"/proc/{PID}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024


def settled():
    """The server's memory, as soon as it has not changed for a second."""
    end = time.monotonic() + SECONDS
    last = resident()
    while time.monotonic() < end:
        time.sleep(1)
        now = resident()
        if now == last:
            break
        last = now
    return last


def connect():
    plain = socket.socket()
    if KIND == "stalled":
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", PORT))
    sock = context.wrap_socket(plain)
    sock.settimeout(60)
    return sock


def response(sock):
    """Read one complete response."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
    while left > 0:
        left -= len(sock.recv(min(left, 65536)))


def read_on(socks):
    """Download on all connections, again and again, for SECONDS. Returns the
    maximum of the server's memory."""
    selector = selectors.DefaultSelector()
    left = {}
    for sock in socks:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        left[sock] = 0
        sock.send(REQUEST)
    end, highest = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            sock = key.fileobj
            try:
                data = sock.recv(16384)
            except ssl.SSLWantReadError:
                continue
            if not data:
                sys.exit("memory_clients.py: the server closed a connection")
            if not left[sock]:      # the next response begins
                head, data = data.split(b"\r\n\r\n", 1)
                left[sock] = int(re.search(
                    rb"(?i)content-length: (\d+)", head)[1])
            left[sock] -= len(data)
            if not left[sock]:
                sock.send(REQUEST)
        highest = max(highest, resident())
    return highest


response_first = connect()          # allocates what all connections share
response_first.send(REQUEST.replace(PATH.encode(), b"middle"))
response(response_first)
before = settled()
socks = []
for _ in range(COUNT):
    socks.append(connect())
    if KIND != "active":
        socks[-1].send(REQUEST)
    if KIND == "idle":
        response(socks[-1])
after = read_on(socks) if KIND == "active" else settled()
print(f"{COUNT} {KIND}: {(after - before) / COUNT:.0f} bytes each, "
      f"{after / (1 << 20):.1f} MiB resident")
