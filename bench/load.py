"""A load generator in a process of its own: raw sockets and one selector, so that the server is what is measured.

    python bench/load.py PORT TOKEN SECONDS --connections 10             as fast as it goes
    python bench/load.py PORT TOKEN SECONDS --rate 17 --sockets 10       17 requests a second and 10 WebSocket clients

Prints one JSON line: requests, latencies in ms, bytes of the WebSocket clients, first and last monotonic nanosecond.
"""

import argparse
import json
import os
import selectors
import socket
import struct
import time

PATH = "/api/v1/robot/status"
TOPICS = ("robot_status", "safety", "telemetry", "lidar")
LIMIT_S = 20.0


class HttpClient:
    """One keep-alive connection: a request, its whole answer, its latency."""

    def __init__(self, port: int, token: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._request = f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self._answer = b""
        self._sent_ns = 0
        self.latencies_ms: list[float] = []
        self.body_bytes = 0
        self.is_busy = False

    def send(self) -> None:
        self.is_busy = True
        self._sent_ns = time.monotonic_ns()
        self.socket.send(self._request)

    def receive(self) -> bool:
        """True once the answer is whole; RuntimeError unless it is a 200."""
        octets = self.socket.recv(65_536)
        if not octets:
            raise RuntimeError("the server has hung up")
        self._answer += octets
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return False
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(self._answer[:300].decode())
        self.latencies_ms.append((time.monotonic_ns() - self._sent_ns) / 1e6)
        self.body_bytes = len(body)
        self._answer = b""
        self.is_busy = False
        return True


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, number = line.partition(b":")
        if name.lower() == b"content-length":
            return int(number)
    raise RuntimeError(f"no content-length: {head!r}")


def open_websocket(port: int, token: str) -> socket.socket:
    """A client that has subscribed to every topic and only reads from then on."""
    client = socket.create_connection(("127.0.0.1", port), LIMIT_S)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    place = f"GET /ws?token={token} HTTP/1.1\r\nHost: bench\r\n"
    client.sendall(f"{place}Upgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(1)
    if b" 101 " not in answer:
        raise RuntimeError(answer.decode())
    for topic in TOPICS:
        client.sendall(_masked(json.dumps({"type": "subscribe", "subscription_type": topic}).encode()))
    client.setblocking(False)
    return client


def _masked(text: bytes) -> bytes:
    mask = os.urandom(4)
    return struct.pack("!BB", 0x81, 0x80 | len(text)) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text))


class Load:
    """All clients on one selector; `interval_s` is None for as fast as it goes."""

    def __init__(self, clients: list[HttpClient], sockets: list[socket.socket], interval_s: float | None) -> None:
        self._clients = clients
        self._interval_s = interval_s
        self._selector = selectors.DefaultSelector()
        self._due_ns = 0
        self.websocket_bytes = 0
        for client in clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        for websocket in sockets:
            self._selector.register(websocket, selectors.EVENT_READ, websocket)

    def run(self, seconds: float) -> tuple[int, int]:
        """First and last monotonic nanosecond."""
        began_ns = time.monotonic_ns()
        ends_ns = began_ns + round(seconds * 1e9)
        if self._interval_s is None:
            for client in self._clients:
                client.send()
        while (now := time.monotonic_ns()) < ends_ns:
            if self._interval_s is not None:
                self._send_if_due(now, self._interval_s)
            for key, _ in self._selector.select(0.001 if self._interval_s else 0.1):
                self._receive(key.data)
        return began_ns, time.monotonic_ns()

    def _send_if_due(self, now: int, interval_s: float) -> None:
        if now >= self._due_ns and not self._clients[0].is_busy:
            self._due_ns = max(self._due_ns + round(interval_s * 1e9), now)
            self._clients[0].send()

    def _receive(self, client: HttpClient | socket.socket) -> None:
        if isinstance(client, socket.socket):
            self.websocket_bytes += len(client.recv(1 << 20))
        elif client.receive() and self._interval_s is None:
            client.send()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("token")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--sockets", type=int, default=0)
    arguments = parser.parse_args()
    sockets = [open_websocket(arguments.port, arguments.token) for _ in range(arguments.sockets)]
    clients = [HttpClient(arguments.port, arguments.token) for _ in range(arguments.connections)]
    interval_s = None if arguments.rate is None else 1 / arguments.rate
    load = Load(clients, sockets, interval_s)
    began_ns, ended_ns = load.run(arguments.seconds)
    latencies_ms = [latency for client in clients for latency in client.latencies_ms]
    answer = {
        "requests": len(latencies_ms),
        "latencies_ms": latencies_ms,
        "body_bytes": clients[0].body_bytes,
        "websocket_bytes": load.websocket_bytes,
        "began_ns": began_ns,
        "ended_ns": ended_ns,
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
