"""The local socket on a real Unix stream: credentials, bounds, time-outs, a stale file and a living one."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from oht50d.core.local_rights import Peer
from oht50d.drivers.local_socket import MAX_LINE_BYTES, Handler, LocalSocketConfig, group_id, serve_local
from oht50d.model.errors import LinkError
from oht50d.model.units import Duration

LIMIT_S = 30.0
NO_GROUP = "oht50-no-such-group"


async def echo(peer: Peer, request: dict[str, object]) -> dict[str, object]:
    """Says who asked what."""
    await trio.lowlevel.checkpoint()
    if request.get("op") == "defect":
        raise ZeroDivisionError("a planted defect")
    if request.get("op") == "sleep":
        await trio.sleep_forever()
    filler = "x" * int(str(request.get("filler", 0)))
    return {"ok": True, "data": {"uid": peer.uid, "pid": peer.pid, "groups": sorted(peer.groups), "filler": filler}}


@asynccontextmanager
async def serving(path: Path, handler: Handler = echo, **settings: object) -> AsyncIterator[LocalSocketConfig]:
    config = LocalSocketConfig(path=str(path), group=NO_GROUP, **settings)  # type: ignore[arg-type]  # settings vary by test
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_local(config, handler, task_status=task_status))
            yield config
            nursery.cancel_scope.cancel()


async def reply_to(stream: trio.abc.Stream, line: bytes) -> dict[str, object]:
    await stream.send_all(line)
    return await next_reply(stream)


async def next_reply(stream: trio.abc.Stream) -> dict[str, object]:
    received = b""
    while not received.endswith(b"\n"):
        chunk = await stream.receive_some()
        assert chunk, f"closed after {received[:80]!r}"
        received += chunk
    reply = json.loads(received)
    assert isinstance(reply, dict)
    return reply


def code_of(reply: dict[str, object]) -> object:
    error = reply["error"]
    assert isinstance(error, dict)
    return error["code"]


async def test_the_peer_is_who_the_kernel_says(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        reply = await reply_to(stream, b'{"op": "who", "uid": 4711}\n')
        assert reply["data"] == {
            "uid": os.getuid(), "pid": os.getpid(), "groups": sorted({os.getgid(), *os.getgroups()}), "filler": "",
        }  # fmt: skip
        assert (await reply_to(stream, b'{"op": "again"}\n'))["ok"] is True


async def test_the_file_is_for_owner_and_group_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"\n", b"\xff\xfe\n", b"[" * 50_000 + b"\n"])
async def test_what_is_no_object_gets_an_error_and_the_line_stays(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "s"), await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        assert code_of(await reply_to(stream, line)) == "INVALID_COMMAND"
        assert (await reply_to(stream, b"{}\n"))["ok"] is True


async def test_requests_in_pieces_and_in_a_row(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        for byte in b'{"op": "slow"}':
            await stream.send_all(bytes([byte]))
        assert (await reply_to(stream, b"\n"))["ok"] is True


@pytest.mark.parametrize("ending", [b"", b"\n"])
async def test_a_line_too_long_is_refused_and_closed(tmp_path: Path, ending: bytes) -> None:
    async with serving(tmp_path / "s"), await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        assert code_of(await reply_to(stream, b"x" * (MAX_LINE_BYTES + 4096) + ending)) == "INVALID_COMMAND"
        with suppress(trio.BrokenResourceError):  # what it did not read makes the kernel reset the connection
            assert await stream.receive_some() == b""


async def test_an_answer_too_long_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        assert code_of(await reply_to(stream, b'{"filler": 2000000}\n')) == "INVALID_COMMAND"
        assert (await reply_to(stream, b'{"filler": 200000}\n'))["ok"] is True


async def test_a_defect_or_a_hang_in_one_answer_leaves_the_others(tmp_path: Path) -> None:
    unix = str(tmp_path / "s")
    async with serving(tmp_path / "s", answer=Duration.parse("300ms")), await trio.open_unix_socket(unix) as stream:
        assert code_of(await reply_to(stream, b'{"op": "defect"}\n')) == "SYSTEM_ERROR"
        assert code_of(await reply_to(stream, b'{"op": "sleep"}\n')) == "SYSTEM_ERROR"
        assert (await reply_to(stream, b"{}\n"))["ok"] is True


async def test_an_idle_client_is_closed(tmp_path: Path) -> None:
    unix = str(tmp_path / "s")
    async with serving(tmp_path / "s", idle=Duration.parse("200ms")), await trio.open_unix_socket(unix) as stream:
        await stream.send_all(b'{"op": "unfinished')
        assert await stream.receive_some() == b""


async def test_a_client_that_does_not_read_is_closed(tmp_path: Path) -> None:
    unix = str(tmp_path / "s")
    async with serving(tmp_path / "s", write=Duration.parse("200ms")), await trio.open_unix_socket(unix) as deaf:
        await deaf.send_all(b'{"filler": 1000000}\n')
        async with await trio.open_unix_socket(str(tmp_path / "s")) as stream:
            assert (await reply_to(stream, b"{}\n"))["ok"] is True
        await trio.sleep(1.0)
        received = 0
        while chunk := await deaf.receive_some():
            received += len(chunk)
        assert received < 1_000_000


async def test_one_more_client_takes_the_place_of_the_idle_one(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", max_clients=3), trio.open_nursery() as nursery:
        streams = [await trio.open_unix_socket(str(tmp_path / "s")) for _ in range(3)]
        for stream in streams:
            await reply_to(stream, b"{}\n")
        newest = await trio.open_unix_socket(str(tmp_path / "s"))
        assert (await reply_to(newest, b"{}\n"))["ok"] is True
        assert await streams[0].receive_some() == b""
        assert (await reply_to(streams[1], b"{}\n"))["ok"] is True
        for stream in (*streams, newest):
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_when_all_are_busy_one_more_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", max_clients=2):
        busy = [await trio.open_unix_socket(str(tmp_path / "s")) for _ in range(2)]
        for stream in busy:
            await stream.send_all(b'{"op": "sleep"}\n')
        await trio.sleep(0.3)
        async with await trio.open_unix_socket(str(tmp_path / "s")) as stream:
            assert code_of(await next_reply(stream)) == "ROBOT_BUSY"
        for stream in busy:
            await stream.aclose()


async def test_a_stale_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    async with serving(path), await trio.open_unix_socket(str(path)) as stream:
        assert (await reply_to(stream, b"{}\n"))["ok"] is True


async def test_a_living_one_and_a_file_are_left_alone(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as config:
        with pytest.raises(LinkError) as held:
            await serve_local(config, echo)
        assert held.value.cause == "held"
        async with await trio.open_unix_socket(config.path) as stream:
            assert (await reply_to(stream, b"{}\n"))["ok"] is True
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(LinkError) as other:
        await serve_local(LocalSocketConfig(path=str(tmp_path / "file")), echo)
    assert other.value.cause == "config"
    assert (tmp_path / "file").read_text() == "keep me"


async def test_a_missing_directory_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(LinkError) as missing:
        await serve_local(LocalSocketConfig(path=str(tmp_path / "no" / "s")), echo)
    assert "directory" in missing.value.remedy


def test_groups_by_name() -> None:
    assert group_id("root") == 0
    assert group_id(NO_GROUP) is None
