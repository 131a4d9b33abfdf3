"""What the services and the web need of the outside, as protocols (no state; `app/house.py` joins them to drivers)."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import frozen

from oht50d.model.accounts import Account, Role
from oht50d.model.lidar import LidarScan
from oht50d.model.motion import Decision, Direction, StopKind, StopReport
from oht50d.model.records import Row
from oht50d.model.snapshot import Snapshot


@frozen
class Actor:
    """Who acts: `name` for people, `origin` for the record (http, ws, socket, physical); `uid` on the local socket."""

    name: str
    role: Role
    origin: str
    uid: int | None = None
    address: str = ""


@frozen
class Claim:
    """What a motion command or reset must carry to prove that it speaks of this boot and this authority."""

    boot_id: str
    epoch: int


class SnapshotSource(Protocol):
    """The hub's newest snapshot; a slow reader skips and never queues."""

    def current(self) -> Snapshot: ...

    async def newer_than(self, version: int) -> Snapshot:
        """The newest snapshot whose version is above `version`; waits for one if there is none."""
        ...


class ScanSource(Protocol):
    """The hub's newest whole turn."""

    def current_scan(self) -> LidarScan | None: ...


class HistoryReader(Protocol):
    """Reads the spool; every call is bounded in rows and time and raises StoreError."""

    async def telemetry(
        self, *, start_utc: str | None, end_utc: str | None, interval_s: float, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Rows ascending by time: utc, boot_id, seq, values; thinned to one row per `interval_s`."""
        ...

    async def events(self, *, limit: int, before_seq: int | None = None) -> Sequence[Mapping[str, object]]:
        """Events descending by seq: seq, boot_id, utc, kind, severity, message, actor, details."""
        ...


class RecordSink(Protocol):
    """The recorder's producer side."""

    def record(self, row: Row) -> None:
        """Never blocks and never raises; what cannot be kept becomes a GapRow."""
        ...

    async def record_durably(self, row: Row) -> None:
        """Returns when the row is committed; raises StoreError if that takes over a second or fails."""
        ...


class WirePort(Protocol):
    """The bus owner as the guardian and the commander see it; every method is synchronous and never blocks."""

    def take_over(self, decision: Decision) -> None:
        """The newest decision replaces the older one; the wire acknowledges by `adopted_sequence`."""
        ...

    def trip(self, kind: StopKind, decision: Decision) -> None:
        """Start or escalate a stop at once: served at the next bus slot."""
        ...

    @property
    def stop_report(self) -> StopReport | None: ...


class Commander(Protocol):
    """Everything a person or a machine may ask of the robot. All but `stop` raise CommandRejected.

    Codes: INVALID_COMMAND, CONFLICT (boot_id or epoch), INSUFFICIENT_PERMISSIONS, ROBOT_BUSY, SAFETY_VIOLATION,
    ESTOP_ACTIVE, NOT_READY, MODULE_OFFLINE, SYSTEM_ERROR.
    """

    async def stop(self, actor: Actor | None, source: str) -> Mapping[str, object]:
        """STOP: never refused. Trips the latch synchronously before its first await.

        Answers {command_id, number, status, outcome, phase, persisted, repeats, detected_ms, first_frame_ms,
        output_zero_ms, standstill_ms (after detection; None: not reached), message}; waits at most 500 ms for the
        read-back.
        """
        ...

    def hold_reset(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """The reset button goes down: {hold_id, hold_s}. The clock that counts is the daemon's."""
        ...

    async def release_reset(self, actor: Actor, claim: Claim, hold_id: str) -> Mapping[str, object]:
        """The reset button is released; acts only if held one second or longer: {state, cleared, epoch}."""
        ...

    def arm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """Take authority: {holder, epoch, boot_id}."""
        ...

    def disarm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """Give authority back (S2 if moving)."""
        ...

    def press_jog(
        self, actor: Actor, claim: Claim, direction: Direction, speed_mm_s: float | None
    ) -> Mapping[str, object]:
        """A new press of a jog button: opens the lease; {nonce, lease_ms, duty_ratio, expected_speed_mm_s}."""
        ...

    def renew_jog(self, actor: Actor, claim: Claim, nonce: int) -> None:
        """Echo of the newest nonce; an old one does not extend the lease (raises CONFLICT)."""
        ...

    def release_jog(self, actor: Actor) -> None:
        """The button is up: S2. Never refused."""
        ...

    def release_holder(self, actor: Actor) -> None:
        """The holder's connection is gone: its jog ends; authority stays and never passes on motion."""
        ...


class Accounts(Protocol):
    """User accounts (argon2id, lock-out; one hash at a time in a thread)."""

    async def verify(self, username: str, password: str) -> Account | None:
        """The account, or None for a wrong name or password; raises CommandRejected RATE_LIMITED while locked out."""
        ...

    async def get(self, username: str) -> Account | None: ...

    async def add(self, username: str, password: str, role: Role) -> Account:
        """Raises CommandRejected INVALID_COMMAND (details.field) for a bad name or a password under 12 characters."""
        ...

    async def names(self) -> Sequence[Account]: ...
