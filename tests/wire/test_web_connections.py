"""Connections that are kept: the next request on one is read or the connection is ended, whoever holds others."""

import json
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import trio
from attrs import mutable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from test_web_server import STOP, serving

from oht50d.app.web_connections import ConnectionTable
from oht50d.web.app_config import WebConfig

HEAD = b" HTTP/1.1\r\nHost: a\r\n"
STOP_REQUEST = STOP + HEAD + b"Content-Length: 0\r\n\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


async def answer(stream: trio.SocketStream, until: bytes = b"", *, limit_s: float = 3) -> bytes:
    """Everything up to `until` or, without it, to the end of the connection."""
    heard = b""
    with trio.fail_after(limit_s):
        while not until or until not in heard:
            more = await stream.receive_some(65_536)
            if not more:
                break
            heard += more
    return heard


REFUSED_EARLY = (
    (b"POST /api/v1/auth/logout" + HEAD + b"Content-Length: 2\r\n\r\n", b"{}"),
    (b"POST /api/v1/auth/logout" + HEAD + b"Content-Length: 60000\r\n\r\n", b" " * 60_000),
    (b"POST /nowhere" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    (b"POST /nowhere" + HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"{}"),
    (STOP + HEAD + b"Content-Length: 2\r\n\r\n", b"{}"),
)


@pytest.mark.parametrize(("head", "body"), REFUSED_EARLY)
@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.2])
async def test_stop_is_read_behind_a_request_that_was_answered_before_its_body_came(
    head: bytes, body: bytes, wait_s: float
) -> None:
    async with serving() as (house, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(head)
            await trio.sleep(wait_s)
            await stream.send_all(body)
            await trio.sleep(0.05)
            before = len(house.commander.stops)
            await stream.send_all(STOP_REQUEST)
            heard = await answer(stream, b'"success":true')
            assert b"HTTP/1.1 200" in heard
            await trio.sleep(0.05)
            assert len(house.commander.stops) > before or head.startswith(STOP)


@pytest.mark.parametrize(
    "said",
    [
        b"GET /health" + HEAD + b"Connection: close\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"POST /nowhere" + HEAD + b"Content-Length: 2\r\n\r\n",
        b"POST /nowhere" + HEAD + b"Content-Length: 100000000\r\n\r\n" + b" " * 200_000,
        b"GET /health" + HEAD + b"Connection: close\r\n\r\n" + STOP_REQUEST,
        b"GET /health\r\n\r\n",
    ],
)
async def test_a_connection_that_takes_no_more_requests_is_ended(said: bytes) -> None:
    async with serving() as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(said)
            assert (await answer(stream)).startswith(b"HTTP/1.1 ")


async def test_requests_sent_at_once_are_answered_in_turn() -> None:
    async with serving() as (house, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all((b"POST /nowhere" + HEAD + b"Content-Length: 2\r\n\r\n{}") * 3 + STOP_REQUEST)
            heard = await answer(stream, b'"success":true')
        assert heard.count(b"HTTP/1.1 404") == 3
        assert house.commander.stops == [(None, "http")]


async def test_idle_connections_give_way_to_a_stop_and_websockets_stay() -> None:
    async with serving() as (house, port), trio.open_nursery() as nursery:
        watcher = await trio.open_tcp_stream("127.0.0.1", port)
        await watcher.send_all(b"GET /ws?token=%b" % house.token().encode() + HEAD + UPGRADE)
        assert b"connection_established" in await answer(watcher, b"connection_established")
        idle: list[trio.SocketStream] = []

        async def connect() -> None:
            idle.append(await trio.open_tcp_stream("127.0.0.1", port))

        for _ in range(30):
            async with trio.open_nursery() as some:
                for _ in range(10):
                    some.start_soon(connect)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(STOP_REQUEST)
            assert (await answer(stream, b'"success":true', limit_s=1)).startswith(b"HTTP/1.1 200")
        assert house.commander.stops == [(None, "http")]
        ended = 0
        for one in idle:
            with trio.move_on_after(0.001), _gone():
                ended += not await one.receive_some(1)
        assert ended >= 300 - ConnectionTable(house.ports.config).most_per_address
        await watcher.send_all(b"\x81\x80\x00\x00\x00\x00")  # an empty message: a client that is still heard
        assert b"error" in await answer(watcher, b"error")
        for one in [watcher, *idle]:
            await one.aclose()
        nursery.cancel_scope.cancel()


def _gone() -> AbstractContextManager[None]:
    return suppress(trio.BrokenResourceError)


@pytest.mark.parametrize("head", [b"", b"POST", b"POST /nowhere" + HEAD])
async def test_a_head_that_never_ends_holds_no_connection(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oht50d.app.web_server.KEEP_ALIVE_S", 0.3)
    async with serving() as (_, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(head)
        with suppress(trio.BrokenResourceError):
            assert await answer(stream) == b""


@mutable(eq=False)
class FakeMember:
    """A connection as the table sees one."""

    address: str = "a"
    is_idle: bool = True
    is_websocket: bool = False
    has_ended: bool = False

    def end(self) -> None:
        self.has_ended = True


def crowd(table: ConnectionTable, count: int, **kinds: object) -> list[FakeMember]:
    members = [FakeMember(**kinds) for _ in range(count)]  # type: ignore[arg-type]  # flags by name
    for member in members:
        table.enter(member)
    return members


def test_the_oldest_idle_connection_of_the_address_that_holds_the_most_gives_way() -> None:
    table = ConnectionTable(WebConfig())
    assert (table.most, table.most_per_address) == (256, 128)
    few = crowd(table, 28, address="few")
    busy = crowd(table, 100, address="many", is_idle=False)
    many = crowd(table, 28, address="many")
    other = crowd(table, 100, address="other")
    table.mark_used(many[0])
    crowd(table, 1, address="new")
    assert [member for member in few + busy + many + other if member.has_ended] == [many[1]]


def test_requests_give_way_before_websockets_and_one_address_cannot_crowd_out_another() -> None:
    table = ConnectionTable(WebConfig())
    sockets = crowd(table, 64, is_idle=False, is_websocket=True)
    requests = crowd(table, 64, is_idle=False)
    other = crowd(table, 1, address="b")
    crowd(table, 64, is_idle=False, is_websocket=True)
    assert all(member.has_ended for member in requests)
    assert not any(member.has_ended for member in sockets + other)
    crowd(table, 1)
    assert [member for member in sockets if member.has_ended] == sockets[:1]


def said_no(heard: bytes, status: int, field: str) -> bool:
    """An answer in the API's words that names the field."""
    head, _, body = heard.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    return head.startswith(b"HTTP/1.1 %d" % status) and bool(error["code"]) and error["details"]["field"] == field


@pytest.mark.parametrize(
    ("said", "status", "field"),
    [
        (b"GET /api/v1/robot/status" + HEAD + UPGRADE, 400, "Upgrade"),
        (b"GET /nowhere" + HEAD + UPGRADE, 404, "path"),
        (b"GET /ws" + HEAD + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", 400, "Upgrade"),
        (b"GET http://[::bad/health" + HEAD + b"\r\n", 400, "path"),
        (b"GET ?x" + HEAD + b"\r\n", 400, "path"),
        (b"CONNECT a:80" + HEAD + b"\r\n", 400, "path"),
        (b"GET /\xff" + HEAD + b"\r\n", 400, "request"),
        (b"GET /ws" + HEAD + b"Connection: close\r\n\r\n", 400, "Upgrade"),
        (b"GET /api/v1/robot/status" + HEAD + b"Connection: close\r\n\r\n", 401, "Authorization"),
        (b"DELETE /health" + HEAD + b"Connection: close\r\n\r\n", 405, "method"),
        (b"GET /health HTTP/1.1\r\n\r\n", 400, "request"),
        (b"GET /health" + HEAD + b"Content-Length: x\r\n\r\n", 400, "request"),
        (b"GET /health" + HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n", 431, "headers"),
        (
            b"POST /api/v1/auth/login" + HEAD + b"Connection: close\r\nContent-Length: 70000\r\n\r\n" + b" " * 70_000,
            413,
            "body",
        ),
        (b"POST /api/v1/auth/login" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "request"),
    ],
)
async def test_what_cannot_be_a_request_is_refused_in_words(
    said: bytes, status: int, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (_, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(said)
        assert said_no(await answer(stream), status, field)
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "WARNING"]


@pytest.mark.parametrize("pieces", [1, 2, 40])
async def test_frames_right_behind_the_handshake_are_heard(pieces: int) -> None:
    async with serving() as (house, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        ping = b'{"type":"ping","sent":1}'
        frame = b"\x81" + bytes([0x80 | len(ping)]) + b"\x00" * 4 + ping
        await stream.send_all(b"GET /ws?token=%b" % house.token().encode() + HEAD + UPGRADE + frame * pieces)
        heard = b""
        while heard.count(b'"pong"') < pieces:
            heard += await answer(stream, b'"pong"')
        assert heard.startswith(b"HTTP/1.1 101")
