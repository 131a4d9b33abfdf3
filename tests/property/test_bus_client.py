"""The bus client as a state machine: line, schedule and fence against replies at any time, stops, and lost ports.

The real bus owner runs on the memory line under the mock clock; what is asserted is what crosses the line and what is
told to those who asked.
"""

import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
from attrs import define, field
from bus_fakes import CHARACTER_NS, DOCK, MS, POWER, SAFETY, SILENCE_NS, TRAVEL, Bench, Pieces, make_bench
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from line_noise import flipped
from numbered_replies import NumberedReplies
from stepped_trio import SteppedTrio

from oht50d.clock import now_ns
from oht50d.codec.rtu import crc16
from oht50d.core.wire_schedule import Idle, Purpose, Slot
from oht50d.model.bus import BusRequest, ExchangeResult, Failure, ReadRegisters
from oht50d.model.errors import LinkLost
from oht50d.model.motion import Cause, CauseCode, StopKind
from oht50d.model.registers import BlockReadings

KNOWN = {None, Failure.SILENT, Failure.NOISE, Failure.MISMATCH, Failure.ABANDONED}
"""How an exchange may end on the line; nobody who asked hears of anything else but FENCED."""

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time; under the tracer they would take six times as long and show no line that others do not."""
FATES = st.sampled_from(["prompt", "prompt", "late", "late", "lost", "damaged", "refused", "foreign", "split"])
DELAYS_MS = st.sampled_from([0, 1, 5, 24, 26, 30, 49, 51, 60, 100, 250, 700, 2050])
STOP_WITHIN_NS = 40 * MS
"""A reply that has begun, of 40 registers at most, the silences, and some noise."""
UNITS = st.sets(st.sampled_from([POWER, SAFETY, TRAVEL, DOCK]), max_size=2)


@define(slots=False)
class Client:
    """One bus owner with its modules, and everything that must not happen as a list of words."""

    bench: Bench
    replies: NumberedReplies
    fates: deque[tuple[str, int]] = field(factory=deque)
    silent: set[int] = field(factory=set)
    outstanding: Slot | None = None
    permit_ends_ns: int = 0
    exchanges: int = 0
    faults: list[str] = field(factory=list)
    rng: random.Random = field(factory=lambda: random.Random(1))

    def __call__(self, request: BusRequest, honest: Pieces) -> Pieces:
        """The rule of the memory line."""
        self._check_frame(request)
        fate, delay_ms = self.fates.popleft() if self.fates else ("prompt", 0)
        if not honest or request.unit in self.silent:
            return []
        ((at_ns, adu),) = honest
        frame = self.replies.reply(request, adu, is_refused=fate == "refused")
        at_ns += delay_ms * MS if fate == "late" else 0
        match fate:
            case "lost":
                return []
            case "damaged":
                return [(at_ns, flipped(frame, self.rng))]
            case "foreign":
                body = bytes((0x09, 3, 2, self.rng.randrange(256), 7))
                self.bench.line.inject(body + crc16(body).to_bytes(2, "little"), now_ns() + delay_ms * MS)
            case "split":
                half = len(frame) // 2
                return [(at_ns, frame[:half]), (at_ns + delay_ms * MS, frame[half:])]
        return [(at_ns, frame)]

    def _check_frame(self, request: BusRequest) -> None:
        slot = self.outstanding
        if slot is None or slot.request != request:
            self.faults.append(f"{request} was sent and nobody asked for it")
        elif slot.purpose is Purpose.MOTION and self.bench.is_motion(request):
            if now_ns() >= self.permit_ends_ns:
                self.faults.append(f"{request} was sent after the permit")
            if self.bench.schedule.sequencer.is_active:
                self.faults.append(f"{request} was sent during a stop")

    def listen(self) -> None:
        schedule = self.bench.schedule
        choose, complete, opened = schedule.next, schedule.complete, schedule.open

        def next_slot(at_ns: int) -> Slot | Idle:
            step = choose(at_ns)
            if isinstance(step, Slot):
                if self.outstanding is not None:
                    self.faults.append(f"{step.request} while {self.outstanding.request} is outstanding")
                self.outstanding = step
            return step

        def take(slot: Slot, result: ExchangeResult) -> BlockReadings | None:
            self.exchanges += 1
            if slot is not self.outstanding or result.request != slot.request:
                self.faults.append(f"{result.request} ended twice")
            if result.failure not in KNOWN or (result.reply is None) is (result.failure is None):
                self.faults.append(f"{result} is no known end")
            self.outstanding = None
            return complete(slot, result)

        def open_again(at_ns: int, cause: Cause) -> None:
            self.outstanding = None
            opened(at_ns, cause)

        schedule.next, schedule.complete = next_slot, take  # type: ignore[method-assign] # listens in
        schedule.open = open_again  # type: ignore[method-assign] # listens in
        self.replies.listen()
        self.bench.on_readings = self._note_published
        self.bench.rules.append(self)

    def _note_published(self, readings: BlockReadings) -> bool:
        self.replies.judge(readings)
        self.bench.readings.clear()
        return False

    async def run(self) -> None:
        while True:
            with suppress(LinkLost):
                await self.bench.bus.run()
            await trio.sleep(0.2)

    def is_well(self) -> bool:
        """Every module is known, no stop is under way."""
        schedule = self.bench.schedule
        return not schedule.sequencer.is_active and all(link.is_identified for link in schedule.links.values())


@asynccontextmanager
async def world() -> AsyncIterator[Client]:
    bench = make_bench()
    bench.do_replies_outlive_the_port = True
    client = Client(bench, NumberedReplies(bench))
    client.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        yield client
        nursery.cancel_scope.cancel()


class BusClientMachine(RuleBasedStateMachine):
    """Each rule lets some virtual time pass."""

    @initialize(is_settled=st.booleans())
    def begin(self, is_settled: bool) -> None:
        self.trio = SteppedTrio(world)
        if is_settled:
            self.trio.do(self.client.bench.settle)

    @property
    def client(self) -> Client:
        return self.trio.subject

    def wait(self, milliseconds: int) -> None:
        self.trio.do(partial(trio.sleep, milliseconds / 1000))

    @rule(fates=st.lists(st.tuples(FATES, DELAYS_MS), min_size=1, max_size=12), milliseconds=st.integers(1, 300))
    def exchanges(self, fates: list[tuple[str, int]], milliseconds: int) -> None:
        self.client.fates.extend(fates)
        self.wait(milliseconds)

    @rule(silent=UNITS, milliseconds=st.integers(1, 400))
    def modules_come_and_go(self, silent: set[int], milliseconds: int) -> None:
        self.client.silent = silent
        self.wait(milliseconds)

    @rule(life_ms=st.integers(1, 150), count=st.integers(1, 8))
    def the_guardian_permits(self, life_ms: int, count: int) -> None:
        async def grant() -> None:
            for sequence in range(count):
                self.client.permit_ends_ns = now_ns() + life_ms * MS
                self.client.bench.grant(life_ns=life_ms * MS, sequence=sequence + 1)
                await trio.sleep(0.03)

        self.trio.do(grant)

    @rule(kind=st.sampled_from([StopKind.S0, StopKind.S1]), microseconds=st.integers(0, 60_000))
    def somebody_stops_it(self, kind: StopKind, microseconds: int) -> None:
        async def stop() -> None:
            await trio.sleep(microseconds / 1e6)
            bench, at_ns = self.client.bench, now_ns()
            is_new = bench.bus.trip_causes(kind, (Cause(CauseCode.OPERATOR_STOP, at_ns, "a test"),))
            lines = list(bench.lines)
            await trio.sleep(STOP_WITHIN_NS / 1e9)
            if is_new and bench.lines == lines and bench.bus.status.is_open:
                frames = [request for request in bench.line.frames_since(at_ns) if not bench.is_motion(request)]
                assert any(not isinstance(request, ReadRegisters) for request in frames), "the stop was kept waiting"

        self.trio.do(stop)

    @rule(microseconds=st.integers(0, 60_000), milliseconds=st.integers(1, 500))
    def the_port_is_lost(self, microseconds: int, milliseconds: int) -> None:
        async def hang_up() -> None:
            await trio.sleep(microseconds / 1e6)
            if self.client.bench.lines:
                self.client.bench.line.hang_up()
            await trio.sleep(milliseconds / 1000)

        self.trio.do(hang_up)

    @rule()
    def all_is_well_again(self) -> None:
        """Whatever happened: modules that answer in time are known and heard within some seconds."""
        self.client.fates.clear()
        self.client.silent = set()
        self.trio.do(lambda: self.client.bench.until(self.client.is_well, limit_s=6.0))
        before = self.client.replies.judged
        self.wait(300)
        assert self.client.replies.judged > before + 20

    @invariant()
    def nothing_forbidden_has_happened(self) -> None:
        client = self.client
        assert client.faults == []
        assert client.replies.wrong == {}
        assert client.bench.bus.status.early_frames == 0
        for line in client.bench.lines:
            assert min(line.quiet_ns, default=SILENCE_NS) >= SILENCE_NS - CHARACTER_NS

    def teardown(self) -> None:
        if hasattr(self, "trio"):
            self.trio.close()


BusClientMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestBusClient = BusClientMachine.TestCase
