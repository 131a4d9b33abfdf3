"""What the time of the wire goes into: characters, silences, waiting, idling (owner: `BusStats`; time is an argument).

The four shares tile the time from the first exchange on. `dead` is the part of the waiting that was spent on modules
that had not answered before either.
"""

from collections import deque

from attrs import frozen

WINDOW_S = 10
_SECOND_NS = 1_000_000_000


@frozen
class WireShares:
    """Shares of a span of time: `characters`, `silence`, `waiting` and `idle` add up to 1; `dead` is part of the
    waiting; None before the first exchange."""

    characters: float
    silence: float
    waiting: float
    idle: float
    dead: float
    span_s: float


class _Sums:
    """Nanoseconds of one second, or of all of them, by what they went into."""

    __slots__ = ("characters", "dead", "idle", "second", "silence", "waiting")

    def __init__(self, second: int) -> None:
        self.second = second
        self.characters = self.silence = self.waiting = self.idle = self.dead = 0

    def add(self, other: "_Sums") -> None:
        self.characters += other.characters
        self.silence += other.silence
        self.waiting += other.waiting
        self.idle += other.idle
        self.dead += other.dead

    @property
    def total(self) -> int:
        return self.characters + self.silence + self.waiting + self.idle


class WireTime:
    """Since the start, and of each of the last WINDOW_S seconds."""

    def __init__(self, character_ns: int, silence_ns: int) -> None:
        self._character_ns = character_ns
        self._silence_ns = silence_ns
        self._closed = _Sums(-1)
        self._now = _Sums(-1)
        self._seconds: deque[_Sums] = deque(maxlen=WINDOW_S)
        self._ended_ns: int | None = None

    def add(self, sent_ns: int, ended_ns: int, octets: int, *, is_dead: bool) -> None:
        """One exchange; what lies between it and the one before is silence as far as the book asks for it."""
        sums = self._now
        if sums.second != ended_ns // _SECOND_NS:
            sums = self._next_second(ended_ns // _SECOND_NS)
        if self._ended_ns is not None and sent_ns > self._ended_ns:
            gap_ns = sent_ns - self._ended_ns
            sums.silence += gap_ns if gap_ns < self._silence_ns else self._silence_ns
            sums.idle += gap_ns - self._silence_ns if gap_ns > self._silence_ns else 0
        self._ended_ns = ended_ns
        waiting_ns = ended_ns - sent_ns - octets * self._character_ns
        if waiting_ns < 0:
            sums.characters += ended_ns - sent_ns
            return
        sums.characters += octets * self._character_ns
        sums.waiting += waiting_ns
        if is_dead:
            sums.dead += waiting_ns

    def _next_second(self, second: int) -> _Sums:
        self._closed.add(self._now)
        self._now = _Sums(second)
        self._seconds.append(self._now)
        return self._now

    def since_start(self, now_ns: int) -> WireShares | None:
        """Over all of it, the pause until now included."""
        return self._shares([self._closed, self._now], now_ns)

    def recent(self, now_ns: int) -> WireShares | None:
        """Over the last WINDOW_S seconds, the pause until now included."""
        oldest = now_ns // _SECOND_NS - WINDOW_S
        return self._shares([sums for sums in self._seconds if sums.second > oldest], now_ns)

    def _shares(self, parts: list[_Sums], now_ns: int) -> WireShares | None:
        if self._ended_ns is None:
            return None
        whole = _Sums(0)
        for sums in parts:
            whole.add(sums)
        whole.idle += max(0, now_ns - self._ended_ns)
        total = whole.total or 1
        return WireShares(
            whole.characters / total, whole.silence / total, whole.waiting / total, whole.idle / total,
            whole.dead / total, whole.total / 1e9,
        )  # fmt: skip
