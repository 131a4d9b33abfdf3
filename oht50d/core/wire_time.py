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
    """Nanoseconds by what they went into."""

    __slots__ = ("characters", "dead", "idle", "second", "silence", "waiting")

    def __init__(self, second: int) -> None:
        self.second = second
        self.characters = self.silence = self.waiting = self.idle = self.dead = 0

    def add(self, characters: int, silence: int, waiting: int, idle: int, dead: int) -> None:
        self.characters += characters
        self.silence += silence
        self.waiting += waiting
        self.idle += idle
        self.dead += dead

    @property
    def total(self) -> int:
        return self.characters + self.silence + self.waiting + self.idle


class WireTime:
    """Since the start, and of each of the last WINDOW_S seconds."""

    def __init__(self, character_ns: int, silence_ns: int) -> None:
        self._character_ns = character_ns
        self._silence_ns = silence_ns
        self._all = _Sums(0)
        self._seconds: deque[_Sums] = deque(maxlen=WINDOW_S)
        self._ended_ns: int | None = None

    def add(self, sent_ns: int, ended_ns: int, octets: int, *, is_dead: bool) -> None:
        """One exchange; what lies between it and the one before is silence as far as the book asks for it."""
        gap_ns = 0 if self._ended_ns is None else max(0, sent_ns - self._ended_ns)
        spent_ns = max(0, ended_ns - sent_ns)
        characters_ns = min(spent_ns, octets * self._character_ns)
        silence_ns = min(gap_ns, self._silence_ns)
        waiting_ns = spent_ns - characters_ns
        sums = (characters_ns, silence_ns, waiting_ns, gap_ns - silence_ns, waiting_ns if is_dead else 0)
        self._all.add(*sums)
        self._second_of(ended_ns).add(*sums)
        self._ended_ns = ended_ns

    def since_start(self, now_ns: int) -> WireShares | None:
        """Over all of it, the pause until now included."""
        return self._shares([self._all], now_ns)

    def recent(self, now_ns: int) -> WireShares | None:
        """Over the last WINDOW_S seconds, the pause until now included."""
        oldest = now_ns // _SECOND_NS - WINDOW_S
        return self._shares([sums for sums in self._seconds if sums.second > oldest], now_ns)

    def _second_of(self, at_ns: int) -> _Sums:
        second = at_ns // _SECOND_NS
        if not self._seconds or self._seconds[-1].second != second:
            self._seconds.append(_Sums(second))
        return self._seconds[-1]

    def _shares(self, parts: list[_Sums], now_ns: int) -> WireShares | None:
        if self._ended_ns is None:
            return None
        whole = _Sums(0)
        for sums in parts:
            whole.add(sums.characters, sums.silence, sums.waiting, sums.idle, sums.dead)
        whole.idle += max(0, now_ns - self._ended_ns)
        total = whole.total or 1
        return WireShares(
            whole.characters / total, whole.silence / total, whole.waiting / total, whole.idle / total,
            whole.dead / total, whole.total / 1e9,
        )  # fmt: skip
