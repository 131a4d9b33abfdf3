"""The desk behind the local socket: turns a request of a known peer into an act or a view (no state of its own).

Every act is done under the peer's uid. No person-related reset exists here: the local socket is not the local console,
because it may be a session from afar (SAFETY, Latch, reset, authority). Registers cannot be written here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from oht50d.clock import now_ns
from oht50d.core.local_rights import LocalRight, Peer, rights_of
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.records import EventRow, Severity
from oht50d.services.local_views import Tree, view_modules, view_registers, view_status
from oht50d.services.ports import Accounts, Actor, Commander, HistoryReader, RecordSink, SnapshotSource

_MAX_EVENTS = 500


@frozen
class Operation:
    """What an operation needs and what carries it out."""

    right: LocalRight
    act: Callable[[Peer, Mapping[str, object]], Awaitable[Tree]]


class LocalDesk:
    """Call it with a peer and {"op": ..., ...}: {"ok": true, "data": {...}} or {"ok": false, "error": {...}}.

    Operations: stop; status, modules, registers(address), events(limit, before_seq); user_add(username, password,
    role), user_list; `further` are those of other desks. `technicians_gid` is the group that may read; None when it
    does not exist.
    """

    def __init__(
        self,
        *,
        snapshots: SnapshotSource,
        commander: Commander,
        history: HistoryReader,
        accounts: Accounts,
        records: RecordSink,
        technicians_gid: int | None,
        utc_now: Callable[[], str],
        hints: Callable[[], Sequence[str]] = tuple,
        further: Sequence[Mapping[str, Operation]] = (),
    ) -> None:
        self._snapshots = snapshots
        self._commander = commander
        self._history = history
        self._accounts = accounts
        self._records = records
        self._technicians_gid = technicians_gid
        self._utc_now = utc_now
        self._hints = hints
        self._operations: Mapping[str, Operation] = {
            "stop": Operation(LocalRight.STOP, self._stop),
            "status": Operation(LocalRight.READ, self._status),
            "modules": Operation(LocalRight.READ, self._modules),
            "registers": Operation(LocalRight.READ, self._registers),
            "events": Operation(LocalRight.READ, self._events),
            "user_add": Operation(LocalRight.ADMINISTER, self._user_add),
            "user_list": Operation(LocalRight.ADMINISTER, self._user_list),
        }
        for operations in further:
            self._operations = {**self._operations, **operations}

    async def __call__(self, peer: Peer, request: Mapping[str, object]) -> dict[str, object]:
        """Answer one request; never raises for anything that a peer can send."""
        try:
            name = request.get("op")
            operation = self._operations.get(name) if isinstance(name, str) else None
            if operation is None:
                raise CommandRejected(
                    "INVALID_COMMAND", "no such operation", {"field": "op", "known": [*self._operations]}
                )
            if operation.right not in rights_of(peer, self._technicians_gid):
                raise _refusal(peer, str(name), operation.right)
            return {"ok": True, "data": await operation.act(peer, request)}
        except CommandRejected as refusal:
            return _error(refusal.code, refusal.message, refusal.details)
        except StoreError as problem:
            return _error("SYSTEM_ERROR", f"The memory cannot be read: {problem}", {})

    async def _stop(self, peer: Peer, _request: Mapping[str, object]) -> Tree:
        outcome = dict(await self._commander.stop(_actor(peer), f"socket uid {peer.uid}"))
        if not outcome.get("repeats"):  # the commander folds repeats while latched; so does the record
            self._note(peer, "robot.stop.requested", Severity.WARNING, "STOP over the local socket")
        return outcome

    async def _status(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        return view_status(self._snapshots.current(), now_ns()) | {"hints": list(self._hints())}

    async def _modules(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        return {"modules": view_modules(self._snapshots.current(), now_ns())}

    async def _registers(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        address = _integer(request, "address", 1, 247)
        snapshot = self._snapshots.current()
        for module in snapshot.modules:
            if module.address == address:
                now = now_ns()
                return {**next(one for one in view_modules(snapshot, now) if one["address"] == address),
                        "registers": view_registers(module, now)}  # fmt: skip
        known = [module.address for module in snapshot.modules]
        raise CommandRejected(
            "NOT_FOUND", f"no module has address {address:#04x}", {"field": "address", "known": known}
        )

    async def _events(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        limit = _integer(request, "limit", 1, _MAX_EVENTS) if "limit" in request else 20
        before_seq = _integer(request, "before_seq", 1, 2**62) if request.get("before_seq") is not None else None
        return {"events": [dict(event) for event in await self._history.events(limit=limit, before_seq=before_seq)]}

    async def _user_add(self, peer: Peer, request: Mapping[str, object]) -> Tree:
        username, password = _text(request, "username"), _text(request, "password")
        role_name = _text(request, "role").upper()
        if role_name not in Role.__members__:
            known = [role.name.lower() for role in Role]
            raise CommandRejected("INVALID_COMMAND", f"role is one of {', '.join(known)}", {"field": "role"})
        account = await self._accounts.add(username, password, Role[role_name])
        self._note(peer, "user.added", Severity.INFO, f"User {account.username} added", role=account.role.name.lower())
        return {"username": account.username, "role": account.role.name.lower()}

    async def _user_list(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        accounts = await self._accounts.names()
        users = [
            {"username": one.username, "role": one.role.name.lower(), "is_active": one.is_active} for one in accounts
        ]
        return {"users": users}

    def _note(self, peer: Peer, kind: str, severity: Severity, message: str, **details: object) -> None:
        credentials = {"uid": peer.uid, "pid": peer.pid, "origin": "socket"}
        row = EventRow(
            self._utc_now(), now_ns(), kind, severity, message, actor=_name(peer), details=credentials | details
        )
        self._records.record(row)


def _name(peer: Peer) -> str:
    return f"uid:{peer.uid}"


def _actor(peer: Peer) -> Actor:
    """The least role: on this socket STOP is the only command, and it asks for none."""
    return Actor(_name(peer), Role.VIEWER, "socket", uid=peer.uid)


def _refusal(peer: Peer, name: str, right: LocalRight) -> CommandRejected:
    need = "root" if right is LocalRight.ADMINISTER else "root or a member of oht50-tech"
    return CommandRejected("INSUFFICIENT_PERMISSIONS", f"{name} needs {need}; you are uid {peer.uid}")


def _integer(request: Mapping[str, object], field: str, least: int, most: int) -> int:
    found = request.get(field)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise CommandRejected("INVALID_COMMAND", f"{field} is a whole number {least}..{most}", {"field": field})
    return found


def _text(request: Mapping[str, object], field: str) -> str:
    found = request.get(field)
    if not isinstance(found, str) or not found:
        raise CommandRejected("INVALID_COMMAND", f"{field} is missing", {"field": field})
    return found


def _error(code: str, message: str, details: Mapping[str, object]) -> dict[str, object]:
    return {"ok": False, "error": {"code": code, "message": message, "details": dict(details)}}
