"""Registers for a technician: list, read and write by name, within SAFETY's rule on motion frames (no own state).

Every write and every refused one is recorded with the uid, the word before, the word after and the outcome, also when
the asker has gone meanwhile. What may be written is the motion gate's to say: nobody is above it, and a dry run asks it
too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, assert_never

import trio

from oht50d.clock import now_ns
from oht50d.core.errands import NOT_SERVED
from oht50d.core.local_rights import LocalRight, Peer
from oht50d.core.register_names import RegisterNames, Space, Target, UnknownName
from oht50d.core.register_value import WrongValue, word_of_text
from oht50d.model.bus import (
    BusRequest,
    ReadCoils,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadRequest,
    WriteRegister,
)
from oht50d.model.errands import Errand, ErrandOutcome, ErrandResult, ReadErrand, WriteErrand
from oht50d.model.errors import CommandRejected
from oht50d.model.records import EventRow, Severity
from oht50d.model.registers import DataType, RegisterSpec
from oht50d.services.local_desk import Operation
from oht50d.services.local_views import Tree
from oht50d.services.ports import RecordSink, SnapshotSource
from oht50d.services.register_views import view_list, view_polled, view_read, view_write

_Record = Callable[[Target | None, str, int | None, str], None]
"""(target if there is one, what it was called, word if there is one, why it is refused)."""
MAX_NAMES = 16
MAX_NAME_LENGTH = 100
READ_LIMIT_S = 3.0
WRITE_LIMIT_S = 6.0


class ErrandQueue(Protocol):
    """See `core/errands.py`."""

    def submit(self, errand: Errand, on_done: Callable[[ErrandResult], None]) -> Callable[[], None] | None: ...

    def note_rejected(self) -> None: ...


class RegisterDesk:
    """Its `operations` join those of the local desk: reg_list, reg_get, reg_set, reg_dry_run."""

    def __init__(
        self,
        *,
        names: RegisterNames,
        errands: ErrandQueue,
        wake: Callable[[], None],
        refusal: Callable[[BusRequest], str | None],
        snapshots: SnapshotSource,
        records: RecordSink,
        utc_now: Callable[[], str],
    ) -> None:
        """`wake` tells the bus owner that there is something to do; `refusal` is the motion gate's."""
        self._names = names
        self._errands = errands
        self._wake = wake
        self._refusal = refusal
        self._snapshots = snapshots
        self._records = records
        self._utc_now = utc_now
        self.operations: Mapping[str, Operation] = {
            "reg_list": Operation(LocalRight.READ, self._list),
            "reg_get": Operation(LocalRight.READ, self._get),
            "reg_dry_run": Operation(LocalRight.READ, self._dry_run),
            "reg_set": Operation(LocalRight.ADMINISTER, self._set),
        }

    async def _list(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        word = request.get("module")
        modules = self._names.modules
        if word is not None:
            modules = self._names.modules_called(str(word))
            if not modules:
                known = [module.kind.value for module in self._names.modules]
                raise CommandRejected("NOT_FOUND", f"no module is called {word}", {"field": "module", "known": known})
        return view_list(modules, self._snapshots.current(), now_ns())

    async def _get(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        """`max_age_s` lets a value that was polled so recently stand for a new reading."""
        targets = self._targets(request)
        max_age_s = request.get("max_age_s", 0)
        if isinstance(max_age_s, bool) or not isinstance(max_age_s, int | float) or not 0 <= max_age_s <= 60:
            raise _invalid("max_age_s", "max_age_s is a number of seconds, 0 to 60")
        snapshot = self._snapshots.current()
        found: list[Tree] = []
        with trio.move_on_after(READ_LIMIT_S) as limit:
            for target in targets:
                polled = view_polled(target, snapshot, now_ns(), max_age_s)
                found.append(polled or await self._read(target, limit.deadline))
        found += [view_read(target, _not_served(), snapshot, now_ns()) for target in targets[len(found) :]]
        return {"registers": found}

    async def _read(self, target: Target, deadline_s: float) -> Tree:
        self._require_open()
        result = await self._run(ReadErrand(_read_request(target)), deadline_s)
        return view_read(target, result, self._snapshots.current(), now_ns())

    async def _dry_run(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        """Everything that a write would be judged by; nothing is sent and nothing recorded."""
        target, spec, word = self._judged(request, _record_nothing)
        return view_write(target, spec, word, None, self._snapshots.current(), now_ns())

    async def _set(self, peer: Peer, request: Mapping[str, object]) -> Tree:
        target, spec, word = self._judged(request, partial(self._note_refusal, peer))
        write = WriteRegister(target.unit, target.address, word)
        errand = WriteErrand(write, 0xFF if spec.data_type is DataType.UINT8 else 0xFFFF, spec.is_readable)
        ends_s = trio.current_time() + WRITE_LIMIT_S
        result = await self._run(errand, ends_s, partial(self._note, peer, target, word))
        return view_write(target, spec, word, result, self._snapshots.current(), now_ns())

    def _judged(self, request: Mapping[str, object], record: _Record) -> tuple[Target, RegisterSpec, int]:
        """What may be written: the map first, then the motion gate, then whether anything can be sent at all, then
        whether the module is who it should be."""
        name, target = request.get("name"), None
        try:
            target = self._target(name, Space.HOLDING.value)
            spec, word = _wanted(target, request.get("value"))
        except CommandRejected as refused:
            record(target, str(name or "an unnamed register")[:MAX_NAME_LENGTH], None, refused.message)
            raise
        refusal = self._refusal(WriteRegister(target.unit, target.address, word))
        if refusal is None:
            self._require_open()
            refusal = self._unfit(target)
        if spec is not None and refusal is None:
            return target, spec, word
        refusal = refusal or "it is in no map"
        record(target, target.label, None if spec is None else word, refusal)
        raise _refused(target, refusal)

    async def _run(
        self, errand: Errand, deadline_s: float, note: Callable[[ErrandResult], None] | None = None
    ) -> ErrandResult:
        """Queue it and wait for its end; `note` hears of the end also when nobody waits any more."""
        ended, ends = trio.Event(), list[ErrandResult]()

        def take(result: ErrandResult) -> None:
            ends.append(result)
            ended.set()
            if note is not None:
                note(result)

        withdraw = self._errands.submit(errand, take)
        if withdraw is None:
            raise CommandRejected("ROBOT_BUSY", "too many registers are being asked for; try again in a second")
        self._wake()
        try:
            with trio.move_on_at(deadline_s):
                await ended.wait()
        finally:
            withdraw()
        return ends[0]

    # -- what was asked for

    def _targets(self, request: Mapping[str, object]) -> Sequence[Target]:
        names = request.get("names")
        if not isinstance(names, list) or not 1 <= len(names) <= MAX_NAMES:
            raise _invalid("names", f"names is a list of 1 to {MAX_NAMES} registers")
        return [self._target(name, request.get("space", Space.HOLDING.value)) for name in names]

    def _target(self, name: object, space: object) -> Target:
        spaces = {member.value: member for member in Space}
        if not isinstance(space, str) or space not in spaces:
            raise _invalid("space", f"space is one of {', '.join(spaces)}")
        if not isinstance(name, str) or not name or len(name) > MAX_NAME_LENGTH:
            raise _invalid("name", "a register is a name or a number such as 0x05:0x0033")
        try:
            return self._names.find(name, spaces[space])
        except UnknownName as unknown:
            raise CommandRejected("NOT_FOUND", str(unknown), {"field": "name"}) from None

    def _unfit(self, target: Target) -> str | None:
        """A module that has not proved who it is may be another one."""
        for module in self._snapshots.current().modules:
            if module.address != target.unit or not module.is_identified:
                continue
            if module.trust.trust.is_inhibiting:
                return f"the module at {target.unit:#04x} has not been accepted: {module.trust.note}"
            return None
        return f"the module at {target.unit:#04x} has not been identified"

    def _require_open(self) -> None:
        refusal = self._snapshots.current().wire.refusal
        if refusal:
            raise CommandRejected("NOT_READY", refusal)

    def _note_refusal(self, peer: Peer, target: Target | None, called: str, word: int | None, why: str) -> None:
        """A write that was refused before anything was queued."""
        self._errands.note_rejected()
        self._record(peer, target, called, word, ErrandResult(ErrandOutcome.REJECTED, why))

    def _note(self, peer: Peer, target: Target, word: int | None, result: ErrandResult) -> None:
        self._record(peer, target, target.label, word, result)

    def _record(self, peer: Peer, target: Target | None, called: str, word: int | None, result: ErrandResult) -> None:
        spec = target.specs[0] if target is not None and target.count == 1 else None
        name = called if spec is None else spec.name
        place = name if target is None else f"{name} of {target.unit:#04x}"
        is_done = result.outcome is ErrandOutcome.VERIFIED
        details = {
            "uid": peer.uid, "pid": peer.pid, "origin": "socket", "unit": target and target.unit,
            "address": target and target.address, "register": name, "wanted": word, "before": result.before,
            "after": result.after, "outcome": result.outcome.value, "was_sent": result.was_sent,
            "is_echoed": result.is_echoed, "reason": result.reason,
        }  # fmt: skip
        message = f"Register {place} written: {result.outcome.value}"
        if result.outcome is ErrandOutcome.REJECTED:
            message = f"Write of {place} rejected: {result.reason}"
        severity = Severity.INFO if is_done else Severity.WARNING
        self._records.record(
            EventRow(
                self._utc_now(), now_ns(), "bus.register.write", severity, message, actor=f"uid:{peer.uid}",
                details=details,
            )
        )  # fmt: skip


def _read_request(target: Target) -> ReadRequest:
    place = (target.unit, target.address, target.count)
    match target.space:
        case Space.HOLDING:
            return ReadRegisters(*place)
        case Space.INPUT:
            return ReadInputRegisters(*place)
        case Space.COIL:
            return ReadCoils(*place)
        case Space.DISCRETE:
            return ReadDiscreteInputs(*place)
        case _:
            assert_never(target.space)


def _wanted(target: Target, value: object) -> tuple[RegisterSpec | None, int]:
    """The register that the map knows there, if any, and the word that it is to hold."""
    if target.count != 1:
        raise _invalid("name", "one register is written at a time")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not 1 <= len(str(value)) <= 100:
        raise _invalid("value", "value is a number or a word")
    (spec,) = target.specs
    try:
        return spec, 0 if spec is None else word_of_text(spec, str(value), is_raw=target.is_raw)
    except WrongValue as wrong:
        raise _invalid("value", str(wrong)) from None


def _record_nothing(_target: Target | None, _called: str, _word: int | None, _why: str) -> None:
    """A dry run leaves no trace."""


def _not_served() -> ErrandResult:
    return ErrandResult(ErrandOutcome.FAILED, NOT_SERVED)


def _refused(target: Target, why: str) -> CommandRejected:
    place = f"{target.unit:#04x}:{target.address:#06x}"
    return CommandRejected("SAFETY_VIOLATION", f"{target.label} ({place}) is not written: {why}", {"field": "name"})


def _invalid(field: str, why: str) -> CommandRejected:
    return CommandRejected("INVALID_COMMAND", why, {"field": field})
