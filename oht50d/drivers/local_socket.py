"""The local socket: one JSON object a line each way over a Unix stream, the peer known by its credentials.

State: `serve_local` owns the listener, its file and the table of its clients. Every client has an idle and a write
time-out, a line has 64 KiB at most, and with 16 clients the one idle longest makes room, so that a STOP gets in.
Sources: unix(7) and socket(7) (SO_PEERCRED, SO_PEERGROUPS), asm-generic/socket.h for the number of SO_PEERGROUPS.
"""

import errno
import grp
import json
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from attrs import define, field, frozen, validators

from oht50d.clock import now_ns
from oht50d.core.local_rights import Peer
from oht50d.model.errors import LinkError
from oht50d.model.units import Duration

Handler = Callable[[Peer, dict[str, object]], Awaitable[dict[str, object]]]

MAX_LINE_BYTES = 65_536
MAX_REPLY_BYTES = 1_048_576
_SO_PEERGROUPS = 59
_MAX_GROUPS = 65_536
_MODE = 0o660
_IDLE = Duration.parse("60s")
_WRITE = Duration.parse("5s")
_ANSWER = Duration.parse("10s")

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class LocalSocketConfig:
    """Where it listens, for whom, and its bounds."""

    path: str = "/run/oht50d/control.sock"
    group: str = "oht50-tech"
    max_clients: int = field(default=16, validator=validators.in_(range(1, 65)))
    idle: Duration = field(default=_IDLE, validator=validators.gt(Duration(0)))
    write: Duration = field(default=_WRITE, validator=validators.gt(Duration(0)))
    answer: Duration = field(default=_ANSWER, validator=validators.gt(Duration(0)))


@define(eq=False)
class _Client:
    """One connection: `scope` ends it; it may be evicted only while it waits for a line."""

    scope: trio.CancelScope
    since_ns: int
    is_idle: bool = True
    buffer: bytearray = field(factory=bytearray)


def group_id(name: str) -> int | None:
    """The number of a group, None when it does not exist."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


async def serve_local(
    config: LocalSocketConfig, handler: Handler, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; the file is removed at the end. Raises LinkError when the path cannot be had."""
    sock = _listen(config)
    own = _inode(config.path)
    clients: set[_Client] = set()
    try:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        serve = partial(_serve_client, config=config, handler=handler, clients=clients)
        await trio.serve_listeners(serve, [listener], task_status=_Started(task_status))
    finally:
        sock.close()
        _remove_own(config.path, own)


class _Started:
    """Hides the listeners: nobody else may use them."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, _listeners: object = None) -> None:
        self._task_status.started()


def peer_of(sock: trio.socket.SocketType) -> Peer:
    """The credentials of the process at the other end, as they were when it connected."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return Peer(pid, uid, gid, frozenset({gid, *_supplementary(sock, uid, gid)}))


def _supplementary(sock: trio.socket.SocketType, uid: int, gid: int) -> tuple[int, ...]:
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
        return struct.unpack(f"{len(packed) // 4}I", packed)
    except OSError:
        # A kernel before 4.13, or more groups than fit: the account's groups, which the process may have dropped.
        return _account_groups(uid, gid)


def _account_groups(uid: int, gid: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)[:_MAX_GROUPS])
    except (KeyError, OSError):
        return ()


def _listen(config: LocalSocketConfig) -> socket.socket:
    _clear_stale(config.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(config.path)
        # Before listen() nobody can connect, so the file is never open to more than it should be.
        Path(config.path).chmod(_MODE)
        gid = group_id(config.group)
        if gid is not None:
            _give_to_group(config, gid)
        sock.listen(config.max_clients)
        sock.setblocking(False)
    except OSError as problem:
        sock.close()
        raise LinkError(
            f"cannot listen on {config.path}: {problem.strerror}",
            cause="permission" if problem.errno in (errno.EACCES, errno.EPERM) else "config",
            remedy=f"Check that the directory of {config.path} exists and belongs to the daemon's user.",
        ) from problem
    return sock


def _give_to_group(config: LocalSocketConfig, gid: int) -> None:
    try:
        os.chown(config.path, -1, gid)
    except PermissionError:
        _log.warning("the local socket is for root and the daemon only: the daemon is no member of %s", config.group)


def _clear_stale(path: str) -> None:
    """Remove a socket that nobody serves; raises LinkError for a living one and for anything that is no socket."""
    try:
        mode = Path(path).lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise LinkError(f"{path} is no socket", cause="config", remedy=f"Move {path} away.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except OSError as problem:
            raise LinkError(f"{path} cannot be probed: {problem.strerror}", cause="permission") from problem
    raise LinkError(f"{path} is served by another process", cause="held", remedy="Stop the other oht50d first.")


def _remove_own(path: str, own: tuple[int, int] | None) -> None:
    if own is not None and _inode(path) == own:
        with suppress(OSError):
            Path(path).unlink()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _serve_client(
    stream: trio.SocketStream, *, config: LocalSocketConfig, handler: Handler, clients: set[_Client]
) -> None:
    with trio.CancelScope() as scope:
        client = _Client(scope, now_ns())
        if not _make_room(clients, config.max_clients):
            await _reply(stream, error_reply("ROBOT_BUSY", "too many clients"), config.write)
            await trio.aclose_forcefully(stream)
            return
        clients.add(client)
        try:
            peer = peer_of(stream.socket)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                await _converse(stream, client, peer, config, handler)
        finally:
            clients.discard(client)
            await trio.aclose_forcefully(stream)


def _make_room(clients: set[_Client], most: int) -> bool:
    if len(clients) < most:
        return True
    idle = [client for client in clients if client.is_idle]
    if not idle:
        return False
    oldest = min(idle, key=lambda client: client.since_ns)
    oldest.scope.cancel()
    clients.discard(oldest)
    return True


async def _converse(
    stream: trio.SocketStream, client: _Client, peer: Peer, config: LocalSocketConfig, handler: Handler
) -> None:
    while True:
        client.is_idle, client.since_ns = True, now_ns()
        with trio.fail_after(config.idle.s):
            line = await _receive_line(stream, client.buffer)
        client.is_idle = False
        if line is None:
            return
        if len(line) > MAX_LINE_BYTES:
            await _reply(stream, error_reply("INVALID_COMMAND", "a line is at most 64 KiB"), config.write)
            return
        await _reply(stream, await _answer(line, peer, config, handler), config.write)


async def _receive_line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """The next line without its end; None at the end of the stream; longer than the bound when it is too long."""
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > MAX_LINE_BYTES:
            return bytes(buffer)
        chunk = await stream.receive_some(4096)
        if not chunk:
            return None
        buffer += chunk
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return line


async def _answer(line: bytes, peer: Peer, config: LocalSocketConfig, handler: Handler) -> dict[str, object]:
    try:
        request = json.loads(line)
        json.dumps(request, ensure_ascii=False).encode()  # a lone surrogate is legal JSON and no text
    except (ValueError, RecursionError):
        return error_reply("INVALID_COMMAND", "a line is one JSON object")
    if not isinstance(request, dict):
        return error_reply("INVALID_COMMAND", "a line is one JSON object")
    try:
        with trio.fail_after(config.answer.s):
            return await handler(peer, request)
    except trio.TooSlowError:
        return error_reply("SYSTEM_ERROR", f"no answer within {config.answer}")
    except Exception:  # noqa: BLE001 - a defect in one answer must not take the STOP of the other clients away
        _log.exception("the local socket could not answer uid %d", peer.uid)
        return error_reply("SYSTEM_ERROR", "the daemon could not answer; see its log")


async def _reply(stream: trio.SocketStream, reply: dict[str, object], write: Duration) -> None:
    encoded = json.dumps(reply, default=str).encode() + b"\n"
    if len(encoded) > MAX_REPLY_BYTES:
        encoded = json.dumps(error_reply("INVALID_COMMAND", "the answer is too long; ask for less")).encode() + b"\n"
    with trio.fail_after(write.s):
        await stream.send_all(encoded)


def error_reply(code: str, message: str) -> dict[str, object]:
    """A refusal in the form that `oht50ctl` reads."""
    return {"ok": False, "error": {"code": code, "message": message, "details": {}}}
