"""Slaves on the memory line whose every reply says which request it answers, and an adversary between them and the bus.

Attribution is decided by words: a register without a role, and the upper byte of every 8-bit register (which no decoder
looks at), carry the number of the request. What is published under a request must carry that request's words.

The adversary keeps what a serial line keeps: the replies of one unit come in the order of its requests. It may delay
them by any time, lose, damage (so that the CRC shows it) or repeat them in order, interleave those of different units,
and put in frames of strangers; not of the very unit, function and length that are asked for: nobody can tell those.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field, frozen
from bus_fakes import CHARACTER_NS, MS, Bench, Pieces, make_bench

from oht50d.clock import now_ns
from oht50d.codec.rtu import crc16, encode_reply, reply_length
from oht50d.core.stop_frames import StopFrame
from oht50d.core.wire_schedule import Idle, Slot
from oht50d.model.bus import BusRequest, ExceptionReply, ExchangeResult, ReadRegisters, ReadReply
from oht50d.model.errors import LinkLost
from oht50d.model.motion import Cause, CauseCode, StopKind
from oht50d.model.registers import BlockReadings, DataType, RegisterSpec

MOST_LATE_NS = 2_000 * MS
AT_ONCE_NS = MS
MAX_ASKED = 1000
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
REFUSALS = (4, 5, 6, 8, 10, 11)
"""Exception codes: which one comes says which request is refused."""


def flipped(octets: bytes, rng: random.Random) -> bytes:
    """Damage that a CRC-16 always shows in frames of this length: 1 to 3 bits, or one burst of at most 16 bits.

    Bits count in the order of the line, the lowest of each byte first. Of random rubbish one frame in 65,536 passes.
    """
    number, bits = int.from_bytes(octets, "little"), 8 * len(octets)
    if rng.random() < 0.5:
        for bit in rng.sample(range(bits), rng.randint(1, 3)):
            number ^= 1 << bit
    else:
        length = rng.randint(2, min(16, bits))
        burst = 1 | 1 << (length - 1) | rng.getrandbits(length)
        number ^= burst << rng.randint(0, bits - length)
    return number.to_bytes(len(octets), "little")


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


@frozen
class Asked:
    """A request as the slaves got it and the words that answer it and no other."""

    number: int
    request: BusRequest
    words: tuple[int, ...]
    refusal: int = field(init=False)

    @refusal.default
    def _make_refusal(self) -> int:
        return REFUSALS[self.number % len(REFUSALS)]


@frozen
class Wrong:
    """Words that were told under a request which they do not answer; `owner` is the one that they do answer."""

    request: BusRequest
    sent_ns: int
    owner: Asked | None

    @property
    def is_same_block(self) -> bool:
        return self.owner is not None and self.owner.request == self.request


@define(slots=False)
class Adversary:
    """One rule of the memory line; everything that it did is counted."""

    bench: Bench
    rng: random.Random
    mix: Mix
    slot: Slot | None = None
    counts: Counter[str] = field(factory=Counter)
    wrong: dict[int, Wrong] = field(factory=dict)
    """By the time of the request."""
    published: int = 0
    _asked: dict[int, Asked] = field(factory=dict)
    _number: int = 0
    _owed_until_ns: dict[int, int] = field(factory=dict)
    _held: dict[int, list[Held]] = field(factory=dict)

    def install(self) -> None:
        """Between the schedule and the line, and between the bus owner and those who read what it publishes."""
        schedule, sequencer = self.bench.schedule, self.bench.schedule.sequencer
        choose, complete, complete_poll = schedule.next, sequencer.complete, schedule.polls.complete

        def next_slot(at_ns: int) -> Slot | Idle:
            step = choose(at_ns)
            self.slot = step if isinstance(step, Slot) else None
            return step

        def take_poll(slot: Slot, result: ExchangeResult) -> BlockReadings | None:
            self._judge_reply(result)
            return complete_poll(slot, result)

        def complete_stop(frame: StopFrame, result: ExchangeResult) -> None:
            if frame.is_read_back:
                self._judge_reply(result)
            complete(frame, result)

        schedule.next = next_slot  # type: ignore[method-assign] # listens in
        schedule.polls.complete = take_poll  # type: ignore[method-assign] # listens in
        sequencer.complete = complete_stop  # type: ignore[method-assign] # listens in
        self.bench.on_readings = self._note_published
        self.bench.rules.append(self)

    @property
    def exchanges(self) -> int:
        return self.bench.bus.status.transactions

    # -- the slaves and the way to them

    def __call__(self, request: BusRequest, honest: Pieces) -> Pieces:
        self._number += 1
        rng, mix, at_ns = self.rng, self.mix, now_ns()
        if not honest:
            return []
        ((delay_ns, adu),) = honest
        if isinstance(request, ReadRegisters):
            adu = self._answer(request, at_ns)
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

    def _answer(self, request: ReadRegisters, at_ns: int) -> bytes:
        asked = self._asked[at_ns] = Asked(self._number, request, self._words(request))
        while len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        if self.rng.random() < self.mix.refused:
            self.counts["refused"] += 1
            return encode_reply(ExceptionReply(request.unit, 3, asked.refusal))
        return encode_reply(ReadReply(request.unit, asked.words))

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

    def _words(self, request: ReadRegisters) -> tuple[int, ...]:
        module = self.bench.modules[request.unit]
        span = range(request.address, request.address + request.count)
        return tuple(self._word(module.map.by_address[a], module.word(a)) if a in module.image else 0 for a in span)

    def _word(self, spec: RegisterSpec, word: int) -> int:
        if spec.role is None and not spec.is_writable:
            return (self._number + 31 * spec.address) & 0xFFFF
        if spec.data_type is DataType.UINT8:
            number = self._number >> 8 if spec.address % 3 == 0 else self._number
            return (number & 0xFF) << 8 | word
        return word

    # -- attribution

    def _note_published(self, readings: BlockReadings) -> None:
        self.published += 1
        self._judge(readings.block.request, readings.words, readings.requested_ns)
        self.bench.readings.clear()

    def _judge_reply(self, result: ExchangeResult) -> None:
        """An outcome as those get it who asked."""
        if isinstance(result.reply, ReadReply):
            self._judge(result.request, result.reply.words, result.sent_ns)
        elif isinstance(result.reply, ExceptionReply):
            self.counts["refusals attributed"] += 1
            if result.reply.code != self._asked[result.sent_ns].refusal:
                self.wrong[result.sent_ns] = Wrong(result.request, result.sent_ns, None)

    def _judge(self, request: BusRequest, words: tuple[int, ...], sent_ns: int) -> None:
        """What carries a request's time must carry its words, and that request must be the one under way."""
        self.counts["judged"] += 1
        asked = self._asked[sent_ns]
        if asked.request == request and asked.words == words and asked.number == self._number:
            return
        owner = next((other for other in self._asked.values() if other.words == words), None)
        self.wrong[sent_ns] = Wrong(request, sent_ns, owner)


@define
class Tally:
    """Of one run: what was published of how many exchanges in how long."""

    counts: Counter[str]
    wrong: list[Wrong]
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
            f"{self.bus_s:.0f} s of bus time, {self.published:,} blocks published, {self.counts['judged']:,} outcomes "
            f"judged, {len(self.wrong)} wrong"
        )


async def tally(seed: int, mix: Mix, is_enough: Callable[[Adversary, float], bool]) -> Tally:
    """Run until `is_enough(adversary, seconds of bus time)`."""
    async with adversarial_bus(seed, mix) as adversary:
        began_ns, before, at_first = now_ns(), adversary.published, adversary.exchanges
        while not is_enough(adversary, (now_ns() - began_ns) / 1e9):  # noqa: ASYNC110 - mock time costs nothing
            await trio.sleep(0.1)
        return Tally(
            adversary.counts, list(adversary.wrong.values()), adversary.published - before,
            adversary.exchanges - at_first, (now_ns() - began_ns) / 1e9,
        )  # fmt: skip


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
