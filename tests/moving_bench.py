"""A robot that jogs for ever on the control bench, over a noisy line, with a keeper of its modules' silences.

The keeper judges for itself, from what was published and when, how long each module that matters for motion has not
been heard; a test holds its verdicts against those of the real guardian and kernel.
"""

import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field, frozen
from bus_fakes import DOCK, MS, SAFETY, TRAVEL, Pieces
from control_bench import ANNA, RESET_BUTTON, Control, make_control, running_control
from line_noise import flipped
from numbered_replies import NumberedReplies

from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_request
from oht50d.model.bus import BusRequest
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import CauseCode, Decision, Direction, StopReport
from oht50d.model.registers import BlockReadings

LIMIT_NS = 150 * MS
"""SAFETY.md, Inputs: loss while moving."""
MATTERS = {
    SAFETY: ("chain.open",),
    TRAVEL: ("drive.1.actual_speed", "drive.2.actual_speed"),
    DOCK: ("velocity.x",),
}
"""The modules whose silence stops a moving robot, and by which readings they are heard."""
LOST = {SAFETY: CauseCode.SAFETY_LOST, TRAVEL: CauseCode.TRAVEL_LOST, DOCK: CauseCode.POSITION_LOST}
SPEED_MM_S, OUTPUT = 60, 10
EXCHANGE_NS = 20 * MS
MAX_SILENCES = 20


@frozen(kw_only=True)
class Noise:
    """Chances of damage to a frame, request or reply: for every frame, and for every byte of it."""

    frame: float = 0.0
    byte: float = 0.0

    def hits(self, length: int, rng: random.Random) -> bool:
        return rng.random() < 1 - (1 - self.frame) * (1 - self.byte) ** length


QUIET = Noise()


@frozen
class Silence:
    """From one valid reply of a module to the next."""

    unit: int
    began_ns: int
    ended_ns: int

    @property
    def lasted_ns(self) -> int:
        return self.ended_ns - self.began_ns


@define(slots=False)
class Keeper:
    """What the modules that matter have let hear; `breaches` are where the kernel's verdict was another."""

    control: Control
    heard_ns: dict[str, int] = field(factory=dict)
    silences: list[Silence] = field(factory=list)
    losses: Counter[int] = field(factory=Counter)
    """By unit: how often its loss was a cause to stop."""
    breaches: list[str] = field(factory=list)
    longest_ns: Counter[int] = field(factory=Counter)
    _was_moving: bool = False
    _stepped_ns: int = 0

    def since_ns(self, unit: int) -> int:
        """When the oldest of the readings came by which a module is heard."""
        return min(self.heard_ns.get(role, 0) for role in MATTERS[unit])

    def note_readings(self, readings: BlockReadings) -> None:
        roles = {spec.role for spec in readings.block.specs}
        for unit, needed in MATTERS.items():
            if readings.block.unit != unit or not roles & set(needed):
                continue
            before_ns = self.since_ns(unit)
            self.heard_ns |= {role: readings.received_ns for role in needed if role in roles}
            if self.since_ns(unit) > before_ns and self._was_moving:
                silence = Silence(unit, before_ns, readings.received_ns)
                self.silences = [*self.silences[-MAX_SILENCES:], silence]

    def note_step(self, decision: Decision, _lateness_ns: int) -> None:
        """Every step that judges a robot in motion: lost is who was not heard for 150 ms, and nobody else."""
        at_ns = now_ns()
        if self._was_moving:
            codes = {cause.code for cause in decision.stop_causes}
            for unit, code in LOST.items():
                self._note_verdict(unit, self._silence_ns(unit, at_ns), is_lost=code in codes)
        self._was_moving = self.control.bench.schedule.drive_line.is_energised
        self._stepped_ns = at_ns

    def _silence_ns(self, unit: int, at_ns: int) -> int:
        """How long a module has not been heard: now, or at most since the last step."""
        ended = [s.lasted_ns for s in self.silences if s.unit == unit and s.ended_ns > self._stepped_ns]
        return max([at_ns - self.since_ns(unit), *ended])

    def _note_verdict(self, unit: int, silence_ns: int, *, is_lost: bool) -> None:
        self.losses[unit] += is_lost
        self.longest_ns[unit] = max(self.longest_ns[unit], silence_ns)
        if is_lost is not (silence_ns > LIMIT_NS):
            verdict = "lost" if is_lost else "not lost"
            self.breaches.append(f"{unit:#04x}: {verdict} after {silence_ns / MS:.6f} ms")


@define(slots=False)
class NoisyLine:
    """The rule of the memory line: damage by chance, and modules that are silent for a while."""

    rng: random.Random
    replies: NumberedReplies
    noise: Noise = QUIET
    mute_until_ns: dict[int, int] = field(factory=dict)
    drops: dict[int, int] = field(factory=dict)
    """By unit: how many of its next exchanges find it silent."""
    damaged_ns: deque[int] = field(factory=lambda: deque(maxlen=200))
    damaged: int = 0
    frames: int = 0

    def __call__(self, request: BusRequest, honest: Pieces) -> Pieces | None:
        if now_ns() < self.mute_until_ns.get(request.unit, 0) or not honest:
            return []
        if self.drops.get(request.unit, 0) > 0:
            self.drops[request.unit] -= 1
            return []
        ((at_ns, adu),) = honest
        frame = self.replies.reply(request, adu)
        self.frames += 2
        if self.noise.hits(len(encode_request(request)), self.rng):
            # The module hears rubbish and says nothing.
            self._note_damage()
            return []
        if self.noise.hits(len(frame), self.rng):
            self._note_damage()
            frame = flipped(frame, self.rng)
        return [(at_ns, frame)]

    def _note_damage(self) -> None:
        self.damaged += 1
        self.damaged_ns.append(now_ns())


@define(slots=False)
class MovingRobot:
    """Jogging, and started again after each stop; `moved_ns` is how long the drives were energised."""

    control: Control
    line: NoisyLine
    keeper: Keeper
    starts: int = 0
    moved_ns: int = 0
    stops: list[StopReport] = field(factory=list)
    """The newest report of every stop since the first start."""
    stops_for_one: int = 0
    """Stops for the loss of a module with less than two damaged frames in the time that counts."""

    @property
    def is_moving(self) -> bool:
        return self.control.bench.schedule.drive_line.is_energised

    async def jog_for_ever(self) -> None:
        while True:
            with suppress(CommandRejected):
                await self._recover()
                await self._hold()
            await trio.sleep(0.05)

    async def _recover(self) -> None:
        """The button is up, the latch is reset at the vehicle, control is taken again."""
        control = self.control
        control.commander.release_jog(ANNA)
        while control.bench.schedule.sequencer.is_active:  # noqa: ASYNC110 - mock time costs nothing
            await trio.sleep(0.05)
        while control.kernel.latch.is_tripped:
            control.set_safety(RESET_BUTTON, 1)
            await trio.sleep(1.4)
            control.set_safety(RESET_BUTTON, 0)
            await trio.sleep(0.6)
        if control.kernel.authority.holder != ANNA.name:
            control.commander.arm(ANNA, control.claim)

    async def _hold(self) -> None:
        """Press, and echo each nonce, as long as the lease lives."""
        control = self.control
        control.commander.press_jog(ANNA, control.claim, Direction.FORWARD, None)
        self.starts += 1
        while (nonce := control.kernel.lease.nonce) is not None:
            with suppress(CommandRejected):  # a newer nonce was due in this moment
                control.commander.renew_jog(ANNA, control.claim, nonce)
            began_ns = now_ns()
            await trio.sleep(0.0203)
            self.moved_ns += (now_ns() - began_ns) if self.is_moving else 0

    async def moving(self, seconds: float = 0.3) -> None:
        """Wait until it has been on its way for a while."""
        since_ns = now_ns()
        while now_ns() - since_ns < seconds * 1e9:
            await trio.sleep(0.01)
            since_ns = since_ns if self.is_moving else now_ns()

    def note_stop(self, report: StopReport) -> None:
        if self.stops and self.stops[-1].number == report.number:
            self.stops[-1] = report
        elif self.starts:
            self.stops.append(report)
            since_ns = report.detected_ns - LIMIT_NS - EXCHANGE_NS
            damaged = sum(since_ns <= at_ns for at_ns in self.line.damaged_ns)
            is_loss = any(cause.code in LOST.values() for cause in report.causes)
            self.stops_for_one += is_loss and damaged < 2

    def told(self) -> str:
        """The run in a line."""
        causes = ", ".join(f"{code.value} {count}" for code, count in self.causes.items()) or "none"
        return (
            f"{self.control.bench.bus.status.transactions:,} exchanges, {self.moved_ns / 1e9:.0f} s in motion, "
            f"{self.line.damaged:,} of {self.line.frames:,} frames damaged, {self.line.replies.judged:,} outcomes "
            f"judged, {len(self.line.replies.wrong)} wrong; stops: {causes}"
        )

    @property
    def causes(self) -> Counter[CauseCode]:
        """Why it was stopped, other than by the button: all causes of all stops."""
        found = Counter(cause.code for report in self.stops for cause in report.causes)
        del found[CauseCode.JOG_RELEASED]
        return found


def _drive(control: Control) -> None:
    """A carriage without mass: it moves while both drives are on and have a demand."""
    travel, dock = control.bench.modules[TRAVEL], control.bench.modules[DOCK]

    def is_driven() -> bool:
        image = travel.image
        return bool(image[0x01] and image[0x11] and (image[0x02] or image[0x03]))

    travel.sources = {address: lambda: OUTPUT * is_driven() for address in (0x06, 0x16)}
    dock.sources = {0x33: lambda: SPEED_MM_S * is_driven()}


def _listen(robot: MovingRobot) -> None:
    control, keeper = robot.control, robot.keeper
    accept: Callable[[BlockReadings], bool] = control.bench.on_readings

    def publish(readings: BlockReadings) -> bool:
        keeper.note_readings(readings)
        robot.line.replies.judge(readings)
        control.bench.readings.clear()
        control.store.rows.clear()
        return accept(readings)

    control.bench.on_readings = publish
    accept_stop: Callable[[StopReport], None] = control.bench.on_report

    def publish_stop(report: StopReport) -> None:
        robot.note_stop(report)
        control.bench.reports.clear()
        accept_stop(report)

    control.bench.on_report = publish_stop
    control.guardian.on_step = keeper.note_step


@asynccontextmanager
async def moving_robot(seed: int, noise: Noise = QUIET, travel: str = "travel_motor") -> AsyncIterator[MovingRobot]:
    """On its way over a line that is still clean; then with `noise`."""
    async with running_control(make_control(travel=travel)) as control:
        line = NoisyLine(random.Random(seed), NumberedReplies(control.bench))
        robot = MovingRobot(control, line, Keeper(control))
        _drive(control)
        _listen(robot)
        line.replies.listen()
        control.bench.rules.append(line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(robot.jog_for_ever)
            await robot.moving()
            line.noise = noise
            yield robot
            nursery.cancel_scope.cancel()
