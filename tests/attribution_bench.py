"""An adversary between the real bus owner and its modules, within what a serial line can do.

The replies of one unit come in the order of its requests. It may delay them by any time, lose, refuse, damage (so that
the CRC shows it) or repeat them in order, interleave those of different units, and put in frames of strangers; not of
the very unit, function and length that are asked for: nobody can tell those.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field, frozen
from bus_fakes import CHARACTER_NS, MS, Bench, Pieces, make_bench
from line_noise import flipped
from numbered_replies import NumberedReplies, Wrong

from oht50d.clock import now_ns
from oht50d.codec.rtu import crc16, reply_length
from oht50d.core.wire_schedule import Idle, Slot
from oht50d.model.bus import BusRequest
from oht50d.model.errors import LinkLost
from oht50d.model.motion import Cause, CauseCode, StopKind
from oht50d.model.registers import BlockReadings

MOST_LATE_NS = 2_000 * MS
AT_ONCE_NS = MS
STRANGERS = (0x01, 0x09, 0x20)
UNKNOWN_FUNCTIONS = (4, 2, 23)
UNUSED_COUNTS = (41, 60, 100)


@frozen(kw_only=True)
class Mix:
    """Shares of the replies that meet each fate, and how the slaves are."""

    late: float = 0.0
    """Time-out plus 0 to 2 s, by chance or aimed: held back until a later exchange with the unit is under way."""
    deaf: float = 0.5
    """Of the requests that reach a unit which still owes a reply; the others queue up behind it."""
    lost: float = 0.0
    refused: float = 0.0
    damaged: float = 0.0
    foreign: float = 0.0
    copied: float = 0.0
    copy_ms: tuple[float, float] = (0.0, 100.0)


CLEAN = Mix()
ROUGH = Mix(late=0.05, lost=0.01, refused=0.01, damaged=0.01, foreign=0.01)


@frozen
class Held:
    """A reply that its unit keeps back; `lateness_ns` beyond its time-out it comes with the next exchange."""

    adu: bytes
    timed_out_ns: int
    lateness_ns: int

    def is_due(self, at_ns: int, rng: random.Random) -> bool:
        return at_ns >= self.timed_out_ns and (
            rng.random() < 0.2 or at_ns >= self.timed_out_ns + self.lateness_ns
        )  # fmt: skip


@define(slots=False)
class Adversary:
    """One rule of the memory line; everything that it did is counted."""

    bench: Bench
    rng: random.Random
    mix: Mix
    slot: Slot | None = None
    counts: Counter[str] = field(factory=Counter)
    published: int = 0
    replies: NumberedReplies = field(init=False)
    _owed_until_ns: dict[int, int] = field(factory=dict)
    _held: dict[int, list[Held]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.replies = NumberedReplies(self.bench)

    def install(self) -> None:
        """Between the schedule and the line, and between the bus owner and those who read what it publishes."""
        schedule = self.bench.schedule
        choose = schedule.next

        def next_slot(at_ns: int) -> Slot | Idle:
            step = choose(at_ns)
            self.slot = step if isinstance(step, Slot) else None
            return step

        schedule.next = next_slot  # type: ignore[method-assign] # listens in
        self.replies.listen()
        self.bench.on_readings = self._note_published
        self.bench.rules.append(self)

    @property
    def exchanges(self) -> int:
        return self.bench.bus.status.transactions

    # -- the slaves and the way to them

    def __call__(self, request: BusRequest, honest: Pieces) -> Pieces:
        rng, mix, at_ns = self.rng, self.mix, now_ns()
        if not honest:
            return []
        ((delay_ns, honest_adu),) = honest
        adu = self.replies.reply(request, honest_adu, is_refused=rng.random() < mix.refused)
        released, held = self._released(request.unit), self._held[request.unit]
        is_owing = bool(held) or self._owed_until_ns.get(request.unit, 0) > at_ns
        if is_owing and rng.random() < mix.deaf:
            self.counts["unheard"] += 1
            return released
        if held or rng.random() < mix.late / 2:
            held.append(Held(adu, at_ns + self._timeout_ns(request), self._lateness_ns()))
            return released
        pieces = released + self._on_the_way(request, delay_ns, adu)
        if pieces:
            # What is late holds up everything that this unit says later.
            due_ns = at_ns + 8 * CHARACTER_NS + max(moment for moment, _ in pieces)
            self._owed_until_ns[request.unit] = max(due_ns, self._owed_until_ns.get(request.unit, 0))
            self.counts["late"] += self._owed_until_ns[request.unit] > at_ns + self._timeout_ns(request)
        return pieces

    def _released(self, unit: int) -> Pieces:
        """Replies that were held back come in the exchange that begins, before its own."""
        held = self._held.setdefault(unit, [])
        count = 0
        while count < len(held) and held[count].is_due(now_ns(), self.rng):
            count += 1
        released, held[:] = held[:count], held[count:]
        self.counts["late"] += count
        self.counts["aimed"] += count
        return [(AT_ONCE_NS * (number + 1), late.adu) for number, late in enumerate(released)]

    def _timeout_ns(self, request: BusRequest) -> int:
        """How long after its beginning the exchange with this request is over if nobody answers."""
        assert self.slot is not None
        return self.slot.timeout_ns + (8 + reply_length(request)) * CHARACTER_NS

    def _lateness_ns(self) -> int:
        """Up to 2 s, half of it short: the most dangerous time is that of the retries."""
        return self.rng.randrange(self.rng.choice((50 * MS, MOST_LATE_NS)))

    def _on_the_way(self, request: BusRequest, delay_ns: int, adu: bytes) -> Pieces:
        rng, mix = self.rng, self.mix
        fate = rng.random()
        if fate < mix.lost:
            self.counts["lost"] += 1
            return []
        fate -= mix.lost
        if 0 <= fate < mix.damaged:
            self.counts["damaged"] += 1
            return [(delay_ns, flipped(adu, rng))]
        fate -= mix.damaged
        if 0 <= fate < mix.late / 2:
            delay_ns = self._timeout_ns(request) - 8 * CHARACTER_NS + self._lateness_ns()
        fate -= mix.late / 2
        pieces = [(delay_ns, adu)]
        if 0 <= fate < mix.foreign:
            self.counts["foreign"] += 1
            self.bench.line.inject(self._stranger(request), now_ns() + rng.randrange(30 * MS))
        if rng.random() < mix.copied:
            self.counts["copied"] += 1
            low, high = mix.copy_ms
            pieces.append((delay_ns + round(rng.uniform(low, high) * MS), adu))
        return pieces

    def _stranger(self, request: BusRequest) -> bytes:
        """A whole frame that is no answer: another unit's, of another function, or of another length."""
        rng = self.rng
        unit, function, count = request.unit, 3, rng.choice((1, 8, 13))
        match rng.randrange(3):
            case 0:
                unit = rng.choice(STRANGERS)
            case 1:
                function = rng.choice(UNKNOWN_FUNCTIONS)
            case _:
                count = rng.choice(UNUSED_COUNTS)
        body = bytes((unit, function, 2 * count)) + rng.randbytes(2 * count)
        return body + crc16(body).to_bytes(2, "little")

    def _note_published(self, readings: BlockReadings) -> bool:
        self.published += 1
        self.replies.judge(readings)
        self.bench.readings.clear()
        return False


@define
class Tally:
    """Of one run: what was published of how many exchanges in how long."""

    counts: Counter[str]
    wrong: list[Wrong]
    judged: int
    refusals: int
    published: int
    exchanges: int
    bus_s: float

    @property
    def rate(self) -> float:
        """Blocks published a second of bus time."""
        return self.published / self.bus_s

    def told(self) -> str:
        return (
            f"{self.counts['late']:,} late replies ({self.counts['aimed']:,} aimed), {self.exchanges:,} exchanges in "
            f"{self.bus_s:.0f} s of bus time, {self.published:,} blocks published, {self.judged:,} outcomes "
            f"judged, {len(self.wrong)} wrong"
        )


async def tally(seed: int, mix: Mix, is_enough: Callable[[Adversary, float], bool]) -> Tally:
    """Run until `is_enough(adversary, seconds of bus time)`."""
    async with adversarial_bus(seed, mix) as adversary:
        began_ns, before, at_first = now_ns(), adversary.published, adversary.exchanges
        while not is_enough(adversary, (now_ns() - began_ns) / 1e9):  # noqa: ASYNC110 - mock time costs nothing
            await trio.sleep(0.1)
        return Tally(
            counts=adversary.counts,
            wrong=list(adversary.replies.wrong.values()),
            judged=adversary.replies.judged,
            refusals=adversary.replies.refusals,
            published=adversary.published - before,
            exchanges=adversary.exchanges - at_first,
            bus_s=(now_ns() - began_ns) / 1e9,
        )


@asynccontextmanager
async def adversarial_bus(seed: int, mix: Mix) -> AsyncIterator[Adversary]:
    """The real bus owner and schedule against it, from a clean start."""
    rng = random.Random(seed)
    bench = make_bench()
    bench.do_replies_outlive_the_port = True
    adversary = Adversary(bench, rng, CLEAN)
    adversary.install()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_open, bench)
        await bench.settle()
        adversary.mix = mix
        nursery.start_soon(stir, bench, rng)
        yield adversary
        nursery.cancel_scope.cancel()


async def keep_open(bench: Bench) -> None:
    """As the supervisor does: a port that is lost is opened again."""
    while True:
        with suppress(LinkLost):
            await bench.bus.run()
        await trio.sleep(0.2)


async def stir(bench: Bench, rng: random.Random) -> None:
    """Permits that are renewed for a while, stops, and a port that is lost, at random."""
    while True:
        await trio.sleep(rng.uniform(0.1, 1.5))
        if rng.random() < 0.02:
            bench.line.hang_up()
        elif rng.random() < 0.2:
            kind = rng.choice((StopKind.S0, StopKind.S1))
            bench.bus.trip_causes(kind, (Cause(CauseCode.OPERATOR_STOP, now_ns(), "a test"),))
        elif not bench.schedule.sequencer.is_active:
            for sequence in range(rng.randint(1, 20)):
                bench.grant(sequence=sequence + 1)
                await trio.sleep(0.05)
