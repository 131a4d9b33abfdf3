"""Asking one address who is there, with a handful of reads (pure; owner: whoever searches).

Function 3 only, so that probing never writes (SAFETY.md, Latch, reset, authority). Source of the registers: the lists
in `domain/registers` (tag 0x00F8 and 0x00F9, serial number 0x00FB and 0x00FC low word first, device id 0x0100, type
0x0104, firmware 0x0105) and DOMAIN, section 3 (presence probe 0x0000).
"""

import enum
from typing import Any

from attrs import evolve

from oht50d.core.fence import IDENTITY_COUNT, IDENTITY_FIRST
from oht50d.model.bus import ExceptionReply, ExchangeResult, Failure, Hint, ReadRegisters, ReadReply
from oht50d.model.modules import FoundModule, FoundState

DAMAGED_LIMIT = 3
"""So many damaged replies to one question are no noise any more; each try has another length (fence)."""
MAX_EXCHANGES = 16
"""Bound on one address, abandoned and repeated exchanges included."""
OF_A_GATEWAY = frozenset({10, 11})
"""Exceptions by which a gateway says that nobody is there (application protocol V1.1b3, section 7)."""
NO_SERIALS = frozenset({0, 0xFFFFFFFF})
"""What an empty memory reads as: no serial number."""

GARBLED = "damaged replies: two modules at one address, or another baud rate or parity"
TWICE = "more comes than was asked for: two modules at one address"
NAMELESS = "it answers and does not say who it is"
BROKEN_OFF = "it stopped answering"


class _Step(enum.Enum):
    """The questions, each only if the one before it leaves something open: first register, and how many in each try.

    Neighbours differ in length, so that no reply passes for the next one's.
    """

    IDENTITY = (IDENTITY_FIRST, (IDENTITY_COUNT, 8, 7))
    TYPE = (0x0104, (2, 3, 4))
    PRESENCE = (0x0000, (1, 2, 3))
    TAG = (0x00F8, (8, 7, 6))
    SERIAL = (0x00FB, (2, 3, 4))


_REFUSED = {
    _Step.IDENTITY: _Step.TYPE,
    _Step.TYPE: _Step.PRESENCE,
    _Step.PRESENCE: None,
    _Step.TAG: _Step.SERIAL,
    _Step.SERIAL: None,
}


def serial_of(low: int, high: int) -> int | None:
    """The serial number out of its two words; None for what an empty memory reads as."""
    serial = high << 16 | low
    return None if serial in NO_SERIALS else serial


def version_text(word: int) -> str:
    """A revision as it is told: 0x0101 is 1.01."""
    return f"{word >> 8}.{word & 0xFF:02d}"


class AddressProbe:
    """One address: `next_request` asks, `complete` judges, until `is_over`."""

    def __init__(self, address: int) -> None:
        self.address = address
        self._step: _Step | None = _Step.IDENTITY
        self._exchanges = 0
        self._damaged = 0
        self._found: FoundModule | None = None
        self._suspicion = ""
        self.is_conclusive = True
        """False if it ended without an answer because the wire was needed for something else, or heard only itself."""

    @property
    def is_over(self) -> bool:
        return self._step is None

    @property
    def found(self) -> FoundModule | None:
        """Who is there; None if nobody answered (so far). A clean reply in between does not clear a suspicion."""
        if self._found is None or not self._suspicion:
            return self._found
        return evolve(self._found, state=FoundState.GARBLED, problem=self._suspicion)

    def next_request(self) -> ReadRegisters | None:
        """The next question; None when it is over."""
        if self._step is None:
            return None
        first, counts = self._step.value
        return ReadRegisters(self.address, first, counts[self._damaged])

    def complete(self, result: ExchangeResult) -> None:
        """Take the outcome of the question that was asked."""
        if self._step is None:
            return
        self._exchanges += 1
        reply, at_ns = result.reply, result.ended_ns
        if isinstance(reply, ReadReply):
            self._damaged = 0
            self._learn(self._step, reply.words, at_ns)
        elif isinstance(reply, ExceptionReply) and reply.code not in OF_A_GATEWAY:
            self._damaged = 0
            self._refused(self._step, at_ns)
        elif result.hint is Hint.ECHO:
            self._step = None
            self.is_conclusive = self._found is not None
        else:
            self._failed(result.failure or Failure.SILENT, at_ns)
        if self._exchanges >= MAX_EXCHANGES and self._step is not None:
            self._step = None
            self.is_conclusive = self._found is not None

    def note_unexpected(self, now_ns: int) -> None:
        """Bytes came from this address that nobody had asked for."""
        self._tell(now_ns)
        self._suspicion = self._suspicion or TWICE

    def _learn(self, step: _Step, words: tuple[int, ...], at_ns: int) -> None:
        match step:
            case _Step.IDENTITY:
                self._identify(words[4], words[5], at_ns)
                self._tell(at_ns, device_id=words[0] & 0xFF)
            case _Step.TYPE:
                self._identify(words[0], words[1], at_ns)
            case _Step.PRESENCE:
                self._tell(at_ns, problem=NAMELESS)
                self._step = None
            case _Step.TAG:
                self._tell(at_ns, tag=_tag(words[0], words[1]), serial=serial_of(words[3], words[4]))
                self._step = None
            case _Step.SERIAL:
                self._tell(at_ns, serial=serial_of(words[0], words[1]))
                self._step = None

    def _identify(self, type_word: int, firmware_word: int, at_ns: int) -> None:
        self._tell(at_ns, state=FoundState.IDENTIFIED, type_code=type_word, firmware=version_text(firmware_word))
        self._step = _Step.TAG

    def _refused(self, step: _Step, at_ns: int) -> None:
        """A refusal proves that somebody is there."""
        self._tell(at_ns)
        self._step = _REFUSED[step]
        if step is _Step.PRESENCE:
            self._tell(at_ns, problem=NAMELESS)

    def _failed(self, failure: Failure, at_ns: int) -> None:
        """Silence ends it; damage is asked again; what was cut short by the bus owner says nothing."""
        if failure is Failure.SILENT:
            if self._found is not None:
                self._tell(at_ns, problem=self._found.problem or BROKEN_OFF)
            self._step = None
        elif failure in (Failure.NOISE, Failure.MISMATCH):
            self._damaged += 1
            if self._damaged >= DAMAGED_LIMIT:
                self._tell(at_ns)
                self._suspicion = GARBLED
                self._step = None

    def _tell(self, at_ns: int, **changes: Any) -> None:
        """Somebody is there; `changes` are what is known of him now."""
        before = self._found or FoundModule(address=self.address, state=FoundState.PRESENT, seen_ns=at_ns)
        self._found = evolve(before, seen_ns=at_ns, **changes)


def _tag(first: int, second: int) -> str | None:
    """Four letters, or None if they are none."""
    text = "".join(chr(half) for word in (first, second) for half in (word >> 8, word & 0xFF))
    return text.strip() if text.isascii() and text.isprintable() and text.strip() else None
