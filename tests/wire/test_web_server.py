"""The web server on a real port: what a stranger's bytes may do to it and what they may not."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from web_fakes import FakeHouse

from oht50d.app.web_server import serve_web
from oht50d.web.app import create_app

LIMIT_S = 30.0
STOP = b"POST /api/v1/robot/emergency-stop"
UPGRADE = b" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BROKEN = (
    STOP + UPGRADE + b"x\r\n\r\n",
    STOP + UPGRADE + b"////\r\n\r\n",
    STOP + UPGRADE + b"\xff\r\n\r\n",
    STOP + b" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    STOP + b"?\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    STOP + b" HTTP/1.1\r\nHost: [bad\r\nOrigin: http://[bad\r\n\r\n",
    STOP + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    PREFACE + b"\xff" * 64,
    PREFACE + b"\x00\x00\x04\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    PREFACE + b"\x00\x00\x05\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff\xff",
    b"\x16\x03\x01\x02\x00" + b"\x00" * 100,
    b"\x00" * 10_000,
)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[FakeHouse, int]]:
    """A house behind a real listener."""
    house = FakeHouse()
    stopping = trio.Event()
    with trio.fail_after(LIMIT_S), socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as nursery:
            app = create_app(house.ports)
            nursery.start_soon(lambda: serve_web(app, listener, house.ports.config, stopping.wait))
            yield house, listener.getsockname()[1]
            stopping.set()


async def say(port: int, said: bytes) -> bytes:
    """The first bytes of the answer; empty if the connection was closed or nothing came within a second."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(said)
        with trio.move_on_after(1):
            try:
                return await stream.receive_some(4096)
            except trio.BrokenResourceError:
                return b""
    return b""


@pytest.mark.parametrize("said", BROKEN)
async def test_a_strangers_bytes_end_no_connection_but_their_own(said: bytes) -> None:
    async with serving() as (house, port):
        await say(port, said)
        assert (await say(port, STOP + b" HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert house.commander.stops[-1] == (None, "http")
