"""A field bus of memory for the mock clock: four modules behind a `ByteLink` that keeps the times of all bytes."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio
from attrs import define, field

from oht50d.clock import now_ns
from oht50d.codec.registers import load_module_map
from oht50d.codec.rtu import ModbusServer, character_ns, encode_reply, silence_ns
from oht50d.core.actuators import Actuators, find_actuators
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import Slot, WireSchedule, WireTimes
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.field_bus import FieldBus
from oht50d.drivers.serial_port import SerialPortConfig
from oht50d.model.bus import BusRequest, ExchangeResult, WriteRegister, WriteRegisters
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.line import LineSettings
from oht50d.model.motion import Decision, Direction, MotionDemand, Permit, StopReport
from oht50d.model.registers import BlockReadings, ModuleMap
from oht50d.sim.modbus_slaves import SlaveModule

MS = 1_000_000
BAUD = 115_200
CHARACTER_NS = character_ns(BAUD)
SILENCE_NS = silence_ns(BAUD)
POWER, SAFETY, TRAVEL, DOCK = 0x02, 0x03, 0x04, 0x05
MAP_DIR = Path(__file__).resolve().parents[1] / "config" / "modules"

Pieces = list[tuple[int, bytes]]
"""Bytes and when they arrive, in nanoseconds after the last byte of the request."""
Rule = Callable[[BusRequest, Pieces], Pieces | None]
"""What happens to a request whose honest answer would be `Pieces`; None: this rule does not care."""


def shipped_maps(travel: str = "travel_motor") -> tuple[ModuleMap, ...]:
    names = ("power", "safety", travel, "dock")
    return tuple(load_module_map((MAP_DIR / f"{n}.toml").read_text(), file=f"{n}.toml") for n in names)


@define(slots=False)
class MemoryLine:
    """The ByteLink: strict modules answer `turnaround_ns` after t3.5; `rules` change that."""

    modules: dict[int, SlaveModule]
    rules: list[Rule] = field(factory=list)
    turnaround_ns: int = MS
    sent: list[tuple[int, BusRequest]] = field(factory=list)
    settings: list[tuple[int, LineSettings]] = field(factory=list)
    """Every change of the port's settings."""
    unknown_speeds: set[int] = field(factory=set)
    """Speeds that its driver refuses."""
    quiet_ns: list[int] = field(factory=list)
    """For every frame sent: how long no byte had been on the line."""
    drained: int = 0
    device: str = "memory"
    warning: str = ""
    is_current: bool = True
    """Whether the port's name still stands for this line."""
    is_closed: bool = False
    has_hung_up: bool = False
    is_stuck: bool = False
    """It takes no more bytes."""
    _incoming: list[tuple[int, bytes]] = field(factory=list)
    _answered_ns: dict[int, int] = field(factory=dict)
    _last_byte_ns: int = -(10**9)
    _news: trio.Event = field(factory=trio.Event)

    def send_now(self, data: bytes) -> int:
        self._require_line()
        if self.is_stuck:
            return 0
        at_ns = now_ns()
        (request,) = ModbusServer().receive_data(data)
        assert isinstance(request, BusRequest)
        arrived = [moment for moment, _ in self._incoming if moment <= at_ns]
        self._last_byte_ns = max([self._last_byte_ns, *arrived])
        self.sent.append((at_ns, request))
        self.quiet_ns.append(at_ns - self._last_byte_ns)
        self._last_byte_ns = at_ns + len(data) * CHARACTER_NS
        for delay_ns, piece in self._answer(request):
            # A serial device answers in order: nothing overtakes a reply of the same unit that is late.
            at_ns = max(self._last_byte_ns + delay_ns, self._answered_ns.get(request.unit, 0))
            self._answered_ns[request.unit] = at_ns
            self.inject(piece, at_ns)
        return len(data)

    async def send_all(self, data: bytes) -> None:
        assert self.is_stuck, f"{len(data)} bytes left, although everything was taken"
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int = 4096) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            self._require_line()
            if due := self._take_due():
                return due
            self._news = trio.Event()
            next_ns = min((moment for moment, _ in self._incoming), default=None)
            with trio.move_on_at(float("inf") if next_ns is None else next_ns / 1e9):
                await self._news.wait()

    def drain_input(self) -> bytes:
        self._require_line()
        octets = self._take_due()
        self.drained += len(octets)
        return octets

    def reconfigure(self, line: LineSettings) -> None:
        self._require_line()
        if line.baud in self.unknown_speeds:
            raise LinkError(f"memory cannot be set to {line}", cause="config")
        self.settings.append((now_ns(), line))
        self._take_due()

    def close(self) -> None:
        self.is_closed = True

    def inject(self, octets: bytes, at_ns: int | None = None) -> None:
        """Bytes that arrive at `at_ns` (now if None)."""
        self._incoming.append((now_ns() if at_ns is None else at_ns, octets))
        self._incoming.sort(key=lambda entry: entry[0])
        self._news.set()

    def inherit(self, before: "MemoryLine") -> None:
        """Modules do not notice that a port was closed: what they still owe comes to the next one."""
        self._answered_ns = before._answered_ns
        self._incoming = [entry for entry in before._incoming if entry[0] > now_ns()]

    def hang_up(self) -> None:
        self.has_hung_up = True
        self._news.set()

    def frames_since(self, at_ns: int) -> list[BusRequest]:
        return [request for moment, request in self.sent if moment >= at_ns]

    def sent_times(self, wanted: BusRequest) -> list[int]:
        return [moment for moment, request in self.sent if request == wanted]

    def _require_line(self) -> None:
        if self.has_hung_up or self.is_closed:
            raise LinkLost("memory has hung up", cause="lost", remedy="plug it in")

    def _take_due(self) -> bytes:
        # Half a nanosecond of mercy: the mock clock counts in floating-point seconds.
        due = [entry for entry in self._incoming if entry[0] <= now_ns() + 1]
        self._incoming = [entry for entry in self._incoming if entry[0] > now_ns() + 1]
        if due:
            self._last_byte_ns = max(self._last_byte_ns, due[-1][0])
        return b"".join(octets for _, octets in due)

    def _answer(self, request: BusRequest) -> Pieces:
        module = self.modules.get(request.unit)
        honest: Pieces = []
        if module is not None:
            adu = encode_reply(module.answer(request))
            honest = [(SILENCE_NS + self.turnaround_ns + len(adu) * CHARACTER_NS, adu)]
        for rule in self.rules:
            changed = rule(request, honest)
            if changed is not None:
                return changed
        return honest


class MockTimer:
    """The bus owner's timer on Trio's own clock, which stands still while a task runs."""

    lead_ns = 0

    async def wait_until_ns(self, deadline_ns: int) -> None:
        # Floating-point seconds may be a nanosecond early.
        await trio.sleep_until((deadline_ns + 1) / 1e9)

    def hold_until_ns(self, deadline_ns: int) -> int:
        at_ns = now_ns()
        assert at_ns >= deadline_ns
        return at_ns


@define(slots=False)
class Bench:
    """The real bus owner and schedule on memory lines, with everything that it published."""

    maps: tuple[ModuleMap, ...]
    actuators: Actuators
    schedule: WireSchedule
    modules: dict[int, SlaveModule]
    lines: list[MemoryLine] = field(factory=list)
    rules: list[Rule] = field(factory=list)
    readings: list[BlockReadings] = field(factory=list)
    reports: list[StopReport] = field(factory=list)
    do_replies_outlive_the_port: bool = False
    on_open: Callable[[], Awaitable[None]] | None = None
    on_readings: Callable[[BlockReadings], bool] = field(default=lambda _readings: False)
    on_report: Callable[[StopReport], None] = field(default=lambda _report: None)
    on_exchange: Callable[[Slot, ExchangeResult], None] = field(default=lambda _slot, _result: None)
    bus: FieldBus = field(init=False)

    @property
    def line(self) -> MemoryLine:
        return self.lines[-1]

    async def open_port(self, _config: SerialPortConfig) -> MemoryLine:
        if self.on_open is not None:
            await self.on_open()
        line = MemoryLine(self.modules, self.rules)
        if self.lines and self.do_replies_outlive_the_port:
            line.inherit(self.line)
        self.lines.append(line)
        return line

    def publish(self, readings: BlockReadings) -> bool:
        self.readings.append(readings)
        return self.on_readings(readings)

    def publish_stop(self, report: StopReport) -> None:
        self.reports.append(report)
        self.on_report(report)

    async def until(self, is_reached: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Let mock time pass until it is so; fails after `limit_s` of mock time."""
        with trio.fail_after(limit_s):
            while not is_reached():  # noqa: ASYNC110 - mock time costs nothing and a condition has no event
                await trio.sleep(0.001)

    async def settle(self) -> None:
        """Until the S0 of the opening is verified and every module has proved who it is."""
        links = self.schedule.links.values()
        await self.until(lambda: not self.schedule.sequencer.is_active and all(k.is_identified for k in links))

    def record(self, slot: Slot, result: ExchangeResult) -> None:
        self.on_exchange(slot, result)

    def words_of(self, unit: int, first: int) -> list[tuple[int, ...]]:
        """The words of every published reply of one block."""
        return [r.words for r in self.readings if r.block.unit == unit and r.block.first == first]

    def grant(self, duty_ratio: float = 0.04, life_ns: int = 150 * MS, sequence: int = 1) -> Decision:
        """Take over a permit with a demand, as the guardian would, once."""
        at_ns = now_ns()
        permit = Permit(sequence, at_ns, at_ns + life_ns, Direction.FORWARD, 100.0, 0.04)
        demand = MotionDemand(Direction.FORWARD, duty_ratio)
        decision = Decision(sequence, at_ns, permit, demand, None, (), ())
        self.bus.take_over(decision)
        return decision

    def is_motion(self, request: BusRequest) -> bool:
        """A frame that could make something move."""
        if isinstance(request, WriteRegisters):
            return any(request.words)
        return isinstance(request, WriteRegister) and request != self.actuators.brake.apply()


def make_bench(
    times_ms: Sequence[int] = (25, 50, 25), travel: str = "travel_motor", config: SafetyConfig | None = None
) -> Bench:
    """`times_ms`: reply time-outs of the safety module, of the others, and of probes."""
    maps = shipped_maps(travel)
    actuators = find_actuators(maps, released_word=1)
    safety_ns, other_ns, probe_ns = (moment * MS for moment in times_ms)
    times = WireTimes(safety_ns=safety_ns, other_ns=other_ns, probe_ns=probe_ns)
    schedule = WireSchedule(maps, actuators, config or SafetyConfig(), times)
    modules = {
        m.address: SlaveModule(m, {}, {}, {s.address: (s.default or 0) & 0xFFFF for s in m.registers}) for m in maps
    }
    bench = Bench(maps, actuators, schedule, modules)
    bus_config = BusConfig(serial=SerialPortConfig(port="/dev/ttyMEMORY", baud=BAUD))
    bench.bus = FieldBus(
        bus_config, schedule, MockTimer(), bench.open_port, bench.publish, bench.publish_stop,
        record=bench.record,
    )  # fmt: skip
    return bench
