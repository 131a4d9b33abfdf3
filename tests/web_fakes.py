"""A small house around the web room for its tests: a hub, a commander, a memory and accounts, all in memory."""

from collections.abc import Mapping, Sequence

import numpy as np
import trio
from attrs import define, evolve, field

from oht50d.clock import now_ns
from oht50d.metrics import Metrics
from oht50d.model.accounts import Account, Role
from oht50d.model.errors import CommandRejected
from oht50d.model.lidar import LidarHealth, LidarInfo, LidarLinkState, LidarPoint, LidarScan, LidarStatus
from oht50d.model.motion import (
    Cause,
    CauseCode,
    Decision,
    Direction,
    MachineState,
    StopKind,
    StopPhase,
    StopReport,
    ZoneHit,
)
from oht50d.model.registers import Access, DataType, ModuleKind, ModuleMap, Quality, Reading, RegisterSpec
from oht50d.model.snapshot import Authority, ModuleCounters, ModuleStatus, Snapshot, WireStatus
from oht50d.services.ports import Actor, Claim
from oht50d.web.app_config import WebConfig
from oht50d.web.one_time import OneTimeSignIn
from oht50d.web.tokens import TokenConfig, TokenService
from oht50d.web.web_ports import HealthCheck, HealthView, WebPorts

BOOT_ID = "boot-1"
KEY = bytes(range(32))
PASSWORD = "correct horse battery"
_MS = 1_000_000


def reading(name: str, address: int, role: str | None, value: float | str, unit: str, received_ns: int) -> Reading:
    """A good reading."""
    raw = round(value) if not isinstance(value, str) else 0
    return Reading(name, address, role, raw, value, unit, Quality.GOOD, received_ns - _MS, received_ns)


def _module(kind: ModuleKind, address: int, title: str, received_ns: int, *readings: Reading) -> ModuleStatus:
    return ModuleStatus(
        address=address,
        kind=kind,
        title=title,
        tag=kind.value[:4].upper(),
        is_mandatory=True,
        is_online=True,
        is_identified=True,
        last_valid_ns=received_ns,
        serial=1000 + address,
        firmware="1.2",
        problem="",
        counters=ModuleCounters(requests=100, replies=98, timeouts=2, noise=1, exceptions=0),
        readings={item.name: item for item in readings},
    )


def modules(at_ns: int) -> tuple[ModuleStatus, ...]:
    """Four modules that answer."""
    return (
        _module(
            ModuleKind.POWER,
            2,
            "Power",
            at_ns,
            reading("battery_voltage", 0, "battery.voltage", 26.1, "V", at_ns),
            reading("battery_current", 1, "battery.current", -1.5, "A", at_ns),
            reading("battery_soc", 2, "battery.soc", 81.0, "%", at_ns),
            reading("battery_temperature", 8, "battery.temperature", 24, "degC", at_ns),
        ),
        _module(
            ModuleKind.SAFETY,
            3,
            "Safety",
            at_ns,
            reading("estop_status", 1, "chain.open", False, "bool", at_ns),
            reading("distance_1", 0x10, None, 900, "mm", at_ns),
        ),
        _module(
            ModuleKind.TRAVEL, 4, "Travel motor", at_ns, reading("m1_speed", 5, "drive.1.actual_speed", 0, "%", at_ns)
        ),
        _module(
            ModuleKind.DOCK,
            5,
            "Dock and location",
            at_ns,
            reading("position_x", 0x30, "position.x", 1500, "mm", at_ns),
            reading("velocity_x", 0x33, "velocity.x", 0, "mm/s", at_ns),
        ),
    )


def boot_snapshot(at_ns: int) -> Snapshot:
    """SAFE after boot, everything online, nothing near."""
    boot = Cause(CauseCode.BOOT, at_ns - 3_000 * _MS)
    return Snapshot(
        version=1,
        taken_ns=at_ns,
        taken_utc="2030-01-31T12:00:00.000Z",
        robot_id="OHT-50-001",
        is_simulated=True,
        state=MachineState.SAFE,
        is_latched=True,
        latched_causes=(boot,),
        decision=Decision(1, at_ns, None, None, None, (), (boot, Cause(CauseCode.NO_AUTHORITY, at_ns))),
        authority=Authority(BOOT_ID, 1, None, None),
        modules=modules(at_ns),
        wire=WireStatus(True, "/dev/pts/7", "", "", True, at_ns, 1234, 0, 1, at_ns),
        lidar=LidarStatus(
            LidarLinkState.SCANNING,
            info=LidarInfo(0x28, 1, 29, 7, "AB" * 16),
            health=LidarHealth(0, 0),
            last_byte_ns=at_ns,
            last_turn_ns=at_ns,
            turn_period_ns=125 * _MS,
            samples=4000,
            is_simulated=True,
        ),
        sectors=(None,) * 24,
        stop=None,
        last_stops=(),
        velocity_mm_s=0.0,
        position_mm=1500.0,
        speed_limit_mm_s=0.0,
        is_commissioned=False,
        jog_nonce=None,
    )


def with_obstacle(snapshot: Snapshot) -> Snapshot:
    """The same with a person 0.4 m ahead: stop zone violated, one stop verified."""
    at_ns = snapshot.taken_ns
    points = (LidarPoint(354.0, 452.0), LidarPoint(0.0, 430.0), LidarPoint(6.0, 448.0))
    hit = ZoneHit("stop", 500.0, 0, 430.0, points, at_ns - 40 * _MS)
    watch = ZoneHit("slow", 1000.0, 1, 810.0, (LidarPoint(20.0, 810.0),), at_ns - 60 * _MS)
    cause = Cause(CauseCode.ZONE_STOP, at_ns - 900 * _MS, "0.43 m ahead, limit 0.50 m", hit)
    stop = StopReport(
        number=3,
        kind=StopKind.S1,
        causes=(cause,),
        phase=StopPhase.STANDSTILL,
        detected_ns=at_ns - 900 * _MS,
        first_frame_ns=at_ns - 893 * _MS,
        output_zero_ns=at_ns - 861 * _MS,
        standstill_ns=at_ns - 610 * _MS,
        predicted_ms=620.0,
    )
    return evolve(
        snapshot,
        decision=evolve(snapshot.decision, inhibits=(cause, *snapshot.decision.inhibits), hits=(hit, watch)),
        last_stops=(stop,),
    )


def room_scan(at_ns: int, number: int, *, has_person: bool = True) -> LidarScan:
    """A corridor 3 m by 8 m, with a person 0.43 m ahead."""
    angles = np.arange(0, 360, 0.9, dtype=np.float32)
    radians = np.radians(angles)
    walls = np.minimum(
        1500 / np.maximum(np.abs(np.sin(radians)), 1e-3), 4000 / np.maximum(np.abs(np.cos(radians)), 1e-3)
    )
    is_person = (angles > 352) | (angles < 8)
    distances = np.where(is_person & has_person, 430, walls).astype(np.float32)
    distances[100:110] = 0
    return LidarScan(angles, distances, np.full(len(angles), 47, np.uint8), at_ns - 125 * _MS, at_ns, number)


def module_map() -> ModuleMap:
    """Three registers of the power module, one of them never read, one write only."""

    def spec(address: int, name: str, access: Access) -> RegisterSpec:
        return RegisterSpec(address, name, DataType.UINT16, 0.1, "V", access, f"What {name} is")

    return ModuleMap(
        kind=ModuleKind.POWER,
        title="Power",
        tag="POWR",
        type_code=2,
        address=2,
        is_mandatory=True,
        is_actuator=False,
        registers=(
            spec(0, "battery_voltage", Access.RO),
            spec(0x30, "charge_request", Access.WO),
            spec(0x40, "rail_12v", Access.RW),
        ),
    )


class FakeHub:
    """SnapshotSource and ScanSource over one mutable cell."""

    def __init__(self, snapshot: Snapshot, scan: LidarScan | None = None) -> None:
        self._snapshot = snapshot
        self.scan = scan
        self._published = trio.Event()

    def current(self) -> Snapshot:
        return self._snapshot

    def current_scan(self) -> LidarScan | None:
        return self.scan

    async def newer_than(self, version: int) -> Snapshot:
        while self._snapshot.version <= version:
            await self._published.wait()
        await trio.lowlevel.checkpoint()
        return self._snapshot

    def publish(self, **changes: object) -> Snapshot:
        """The next version with `changes`."""
        self._snapshot = evolve(self._snapshot, version=self._snapshot.version + 1, **changes)  # type: ignore[arg-type]  # a test helper
        self._published.set()
        self._published = trio.Event()
        return self._snapshot


@define
class FakeCommander:
    """A commander with a latch, an epoch, a hold and a jog lease; enough state to be asked about."""

    hub: FakeHub
    stops: list[tuple[str | None, str]] = field(factory=list)
    outcome: str = "verified"
    error: Exception | None = None
    stop_takes_s: float = 0.0
    held_since_ns: int | None = None
    jog: Direction | None = None
    nonce: int = 0
    renewed: list[int] = field(factory=list)
    released_holders: list[str] = field(factory=list)

    async def stop(self, actor: Actor | None, source: str) -> Mapping[str, object]:
        self.stops.append((None if actor is None else actor.name, source))
        if self.error is not None:
            raise self.error
        await trio.sleep(self.stop_takes_s)
        phases = {"verified": "standstill", "acknowledged": "stopping", "sent": "sending"}
        return {
            "command_id": f"stop-{len(self.stops)}",
            "number": len(self.stops),
            "status": "executed",
            "outcome": self.outcome,
            "phase": phases.get(self.outcome, "not_confirmed"),
            "persisted": True,
            "repeats": 0,
            "detected_ms": 0.0,
            "first_frame_ms": 4.1,
            "output_zero_ms": 21.0,
            "standstill_ms": 240.0,
            "message": "",
        }

    def hold_reset(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        self._check(claim)
        self.held_since_ns = now_ns()
        return {"hold_id": "hold-1", "hold_s": 1.0}

    async def release_reset(self, actor: Actor, claim: Claim, hold_id: str) -> Mapping[str, object]:
        self._check(claim)
        if hold_id != "hold-1" or self.held_since_ns is None:
            raise CommandRejected("INVALID_COMMAND", "there is no such hold", {"field": "hold_id"})
        held_ns, self.held_since_ns = now_ns() - self.held_since_ns, None
        if held_ns < 1_000 * _MS:
            raise CommandRejected("INVALID_COMMAND", "hold it for one second", {"field": "hold_id"})
        self.hub.publish(
            state=MachineState.IDLE,
            is_latched=False,
            latched_causes=(),
            decision=evolve(self.hub.current().decision, inhibits=()),
        )
        return {"state": "IDLE", "cleared": ["boot"], "epoch": 2}

    def arm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        self._check(claim)
        epoch = self.hub.current().authority.epoch + 1
        self.hub.publish(authority=Authority(BOOT_ID, epoch, actor.name, now_ns()))
        return {"holder": actor.name, "epoch": epoch, "boot_id": BOOT_ID}

    def disarm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        self._check(claim)
        self.hub.publish(authority=Authority(BOOT_ID, claim.epoch + 1, None, None))
        return {"holder": None, "epoch": claim.epoch + 1, "boot_id": BOOT_ID}

    def press_jog(
        self, actor: Actor, claim: Claim, direction: Direction, speed_mm_s: float | None
    ) -> Mapping[str, object]:
        self._check(claim)
        if self.hub.current().authority.holder != actor.name:
            raise CommandRejected("CONFLICT", "take control first")
        self.jog, self.nonce = direction, 1
        self.hub.publish(jog_nonce=1, state=MachineState.MOVE)
        return {"nonce": 1, "lease_ms": 180, "duty_ratio": 0.04, "expected_speed_mm_s": None}

    def renew_jog(self, actor: Actor, claim: Claim, nonce: int) -> None:
        if nonce != self.nonce:
            raise CommandRejected("CONFLICT", "an old nonce")
        self.renewed.append(nonce)

    def release_jog(self, actor: Actor) -> None:
        if self.jog is not None:
            self.jog = None
            self.hub.publish(jog_nonce=None, state=MachineState.IDLE)

    def release_holder(self, actor: Actor) -> None:
        self.released_holders.append(actor.name)
        self.release_jog(actor)

    def issue_nonce(self) -> None:
        """What the daemon does each 100 ms while the lease is held."""
        self.nonce += 1
        self.hub.publish(jog_nonce=self.nonce)

    def _check(self, claim: Claim) -> None:
        authority = self.hub.current().authority
        if claim != Claim(authority.boot_id, authority.epoch):
            raise CommandRejected("CONFLICT", "another boot or epoch", {"epoch": authority.epoch})


@define
class FakeHistory:
    """Remembers what it was asked for."""

    asked: list[Mapping[str, object]] = field(factory=list)
    error: Exception | None = None

    async def telemetry(
        self, *, start_utc: str | None, end_utc: str | None, interval_s: float, limit: int
    ) -> Sequence[Mapping[str, object]]:
        if self.error is not None:
            raise self.error
        self.asked.append({"start": start_utc, "end": end_utc, "interval_s": interval_s, "limit": limit})
        return [{"utc": "2030-01-31T12:00:00.000Z", "boot_id": BOOT_ID, "seq": 1, "values": {"battery_level": 81.0}}]

    async def events(self, *, limit: int, before_seq: int | None = None) -> Sequence[Mapping[str, object]]:
        row = {"boot_id": BOOT_ID, "utc": "2030-01-31T12:00:01.000Z", "actor": "oht50d", "details": {}}
        rows = [
            {"seq": 2, "kind": "safety.zone.breached", "severity": "warning", "message": "Stop zone violated", **row},
            {"seq": 1, "kind": "robot.boot", "severity": "info", "message": "The daemon has started", **row},
        ]
        return [item for item in rows if before_seq is None or int(str(item["seq"])) < before_seq][:limit]


@define
class FakeAccounts:
    """ops, boss and eyes, all with PASSWORD; five failures lock."""

    accounts: dict[str, Account] = field(
        factory=lambda: {
            name: Account(name, role, True)
            for name, role in (("ops", Role.OPERATOR), ("boss", Role.ADMIN), ("eyes", Role.VIEWER))
        }
    )
    failures: dict[str, int] = field(factory=dict)

    async def verify(self, username: str, password: str) -> Account | None:
        if self.failures.get(username, 0) >= 5:
            raise CommandRejected("RATE_LIMITED", f"{username} is locked for 30 min", {"retry_after_s": 1800})
        if username in self.accounts and password == PASSWORD:
            return self.accounts[username]
        self.failures[username] = self.failures.get(username, 0) + 1
        return None

    async def get(self, username: str) -> Account | None:
        return self.accounts.get(username)

    async def add(self, username: str, password: str, role: Role) -> Account:
        self.accounts[username] = Account(username, role, True)
        return self.accounts[username]

    async def names(self) -> Sequence[Account]:
        return tuple(self.accounts.values())


@define
class FakeHouse:
    """Everything joined; call it inside Trio."""

    config: WebConfig = field(factory=WebConfig)
    token_config: TokenConfig = field(factory=TokenConfig)
    is_ready: bool = True
    hub: FakeHub = field(init=False)
    commander: FakeCommander = field(init=False)
    history: FakeHistory = field(factory=FakeHistory)
    accounts: FakeAccounts = field(factory=FakeAccounts)
    one_time: OneTimeSignIn = field(init=False)
    ports: WebPorts = field(init=False)
    wall_s: float = 1_900_000_000.0

    def __attrs_post_init__(self) -> None:
        self.hub = FakeHub(boot_snapshot(now_ns()))
        self.commander = FakeCommander(self.hub)
        self.one_time = OneTimeSignIn(now_ns)
        metrics = Metrics(version="0.1.0")
        metrics.watch(self.hub.current, now_ns)
        self.ports = WebPorts(
            snapshots=self.hub,
            scans=self.hub,
            commander=self.commander,
            history=self.history,
            accounts=self.accounts,
            tokens=TokenService(KEY, BOOT_ID, self.token_config, now_ns=now_ns, wall_s=lambda: self.wall_s),
            one_time=self.one_time,
            health=self.health,
            metrics=metrics,
            module_maps={2: module_map()},
            config=self.config,
        )

    def health(self) -> HealthView:
        cause = "" if self.is_ready else "the port /dev/ttyOHT485 is absent"
        remedy = "" if self.is_ready else "Plug in the RS485 adapter."
        return HealthView(True, self.is_ready, True, {"bus": HealthCheck(self.is_ready, cause, remedy)})

    def token(self, username: str = "ops") -> str:
        """An access token."""
        return self.ports.tokens.issue(self.accounts.accounts[username]).access_token

    def headers(self, username: str = "ops") -> dict[str, str]:
        """The header that signs a request in."""
        return {"Authorization": f"Bearer {self.token(username)}"}
