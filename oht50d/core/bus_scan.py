"""A scan with polling paused: any addresses, with any settings of the line (pure; owner: wire schedule while it runs).

It is asked instead of everybody else; a stop ends it. Bounded in addresses, settings, found modules and time.
"""

from collections.abc import Iterator

from attrs import evolve, field, frozen

from oht50d.codec.rtu import character_ns, encode_request, reply_length, silence_ns
from oht50d.core.address_probe import AddressProbe
from oht50d.core.wire_slots import Idle, Purpose, Slot
from oht50d.model.bus import ExchangeResult, ReadRegisters
from oht50d.model.errors import CommandRejected
from oht50d.model.line import LineSettings, Parity
from oht50d.model.modules import FoundModule, ScanProgress

MAX_LINES = 33
MAX_FOUND = 256
LIMIT_NS = 600_000_000_000
"""Bound on one scan. All addresses at the five speeds that modules know, with three parities, take three minutes."""
LEAST_NS = 5_000_000_000
UNASKED_NS = 10_000_000_000
"""Whoever follows a scan looks three times a second. After so long without a look he is gone, and the robot must not
stay unpolled for nobody; a slow network or a busy computer takes less."""
SLOW_BAUD = 38_400
SLOW_TIMEOUT_NS = 50_000_000
"""Below `SLOW_BAUD` a module gets this long to answer: its processor is as slow as its line."""
SLACK = 3
"""So many times the time for an empty bus: those who answer take longer than those who are not there."""

RECHECK_NS = 1_000_000

CANCELLED = "cancelled"
COMPLETE = "complete"
FOR_A_STOP = "ended early: a stop needed the bus"
PORT_LOST = "ended early: the port was lost"
TOO_MANY = f"ended early: more than {MAX_FOUND} answers"
OUT_OF_TIME = "ended early: it took too long"
UNASKED = "ended early: nobody asks for it any more"
UNDER_WAY = "a scan is under way: `oht50ctl modules scan --cancel` ends it"


def character_bits(line: LineSettings) -> int:
    """Bits of one character: start, eight data bits, parity if any, stop bits (serial line V1.02, section 2.5.1)."""
    return 9 + line.stop_bits + (line.parity is not Parity.NONE)


@frozen
class ScanOrder:
    """What to look for: addresses `first` to `last` with each of `lines`, in this order."""

    first: int
    last: int
    lines: tuple[LineSettings, ...] = field()

    @property
    def planned(self) -> int:
        """How many addresses and settings there are to ask."""
        return (self.last - self.first + 1) * len(self.lines)

    def expected_ns(self, timeout_ns: int) -> int:
        """What it takes on a bus where nobody answers."""
        addresses = self.last - self.first + 1
        return sum(addresses * _silent_ns(line, timeout_ns) for line in self.lines)


def check_order(order: ScanOrder, timeout_ns: int) -> None:
    """Raises CommandRejected for one that is senseless or takes too long."""
    if not 1 <= order.first <= order.last <= 247:
        raise CommandRejected("INVALID_COMMAND", "addresses go from 1 to 247", {"field": "first"})
    if not 1 <= len(order.lines) <= MAX_LINES:
        raise CommandRejected("INVALID_COMMAND", f"1 to {MAX_LINES} settings of the line", {"field": "baud"})
    if order.expected_ns(timeout_ns) > LIMIT_NS:
        why = f"that would take {order.expected_ns(timeout_ns) / 1e9:.0f} s, at most {LIMIT_NS / 1e9:.0f} s are allowed"
        raise CommandRejected("INVALID_COMMAND", why, {"field": "baud"})


class BusScan:
    """One scan; `line` says how the port must be set for what it asks next."""

    def __init__(self, order: ScanOrder, timeout_ns: int, now_ns: int) -> None:
        self._order = order
        self._timeout_ns = timeout_ns
        self._ends_ns = now_ns + min(LIMIT_NS, max(LEAST_NS, SLACK * order.expected_ns(timeout_ns)))
        self._looked_ns = now_ns
        self._places = self._all_places()
        self._line = order.lines[0]
        self._probe: AddressProbe | None = AddressProbe(order.first)
        self._found: list[FoundModule] = []
        self._asked = 0
        self._end = ""
        next(self._places)

    @property
    def line(self) -> LineSettings:
        return self._line

    @property
    def is_over(self) -> bool:
        return bool(self._end)

    def progress(self) -> ScanProgress:
        """Where it stands, for people."""
        at = "" if self._probe is None else f"{self._probe.address:#04x} at {self._line}"
        return ScanProgress(
            is_running=not self.is_over,
            asked=self._asked,
            planned=self._order.planned,
            at="" if self.is_over else at,
            found=tuple(self._found),
            end=self._end,
        )

    def note_looked(self, now_ns: int) -> None:
        """Somebody asks for its progress."""
        self._looked_ns = now_ns

    def finish(self, why: str) -> None:
        """It is over; the first reason stands."""
        self._end = self._end or why

    # -- slots

    def next_slot(self, now_ns: int) -> Slot | None:
        """The next question; None when it is over."""
        if now_ns >= self._ends_ns:
            self.finish(OUT_OF_TIME)
        elif now_ns - self._looked_ns >= UNASKED_NS:
            self.finish(UNASKED)
        request = None if self.is_over or self._probe is None else self._probe.next_request()
        if request is None:
            return None
        return Slot(request, Purpose.SEARCH, line_timeout_ns(self._line, self._timeout_ns))

    def complete(self, slot: Slot, result: ExchangeResult) -> None:
        """Take the outcome of a question."""
        probe = self._probe
        if probe is None or probe.address != slot.request.unit:
            return
        probe.complete(result)
        if probe.is_over:
            self._conclude(probe)

    def refuse(self, slot: Slot, why: str) -> None:
        """A read is never refused; if one were, the scan could not go on."""
        self.finish(why)

    def wakeup_ns(self, now_ns: int) -> int | None:
        """It always has something to ask."""
        return None if self.is_over else now_ns

    def note_unexpected(self, unit: int, now_ns: int) -> None:
        """Bytes came, most likely of `unit`, that nobody waited for."""
        if self._probe is not None and self._probe.address == unit:
            self._probe.note_unexpected(now_ns)

    # -- helpers

    def _conclude(self, probe: AddressProbe) -> None:
        self._asked += 1
        if probe.found is not None:
            self._found.append(evolve(probe.found, line=self._line))
        if len(self._found) > MAX_FOUND:
            self.finish(TOO_MANY)
        place = next(self._places, None)
        if place is None:
            self._probe = None
            self.finish(COMPLETE)
        else:
            self._line, address = place
            self._probe = AddressProbe(address)

    def _all_places(self) -> Iterator[tuple[LineSettings, int]]:
        for line in self._order.lines:
            for address in range(self._order.first, self._order.last + 1):
                yield line, address


def line_timeout_ns(line: LineSettings, timeout_ns: int) -> int:
    """How long a module may take to begin its reply with these settings."""
    return max(timeout_ns, SLOW_TIMEOUT_NS) if line.baud < SLOW_BAUD else timeout_ns


def _silent_ns(line: LineSettings, timeout_ns: int) -> int:
    """One question that nobody answers, with the silence before it."""
    request = ReadRegisters(1, 0x0100, 9)
    characters = len(encode_request(request)) + reply_length(request)
    per_character_ns = character_ns(line.baud, character_bits(line))
    return characters * per_character_ns + line_timeout_ns(line, timeout_ns) + silence_ns(line.baud)


class PollingPause:
    """The scan that has the wire instead of the polls, and what becomes of it; the last one stays to be looked at."""

    def __init__(self) -> None:
        self.scan: BusScan | None = None
        self.is_on = False
        """From the beginning of a scan until the polls have the wire again."""

    @property
    def line(self) -> LineSettings | None:
        """How the port must be set for what goes out next; None: as always."""
        return self.scan.line if self.is_on and self.scan is not None and not self.scan.is_over else None

    def progress(self) -> ScanProgress | None:
        """The scan under way or the last one. It is running until the polls have the wire again: before that nobody
        can be told lost."""
        return None if self.scan is None else evolve(self.scan.progress(), is_running=self.is_on)

    def begin(self, scan: BusScan) -> None:
        """Raises CommandRejected while there is one."""
        if self.is_on:
            raise CommandRejected("ROBOT_BUSY", UNDER_WAY)
        self.scan, self.is_on = scan, True

    def end(self, why: str) -> bool:
        """No more questions; True if polling has paused until now."""
        was_on, self.is_on = self.is_on, False
        if self.scan is not None:
            self.scan.finish(why)
        return was_on

    def next_slot(self, now_ns: int) -> Slot | Idle | None:
        """The scan's next question; None if the polls have the wire. Its questions differ in shape by themselves, and
        replies to another setting of the line are no replies: they need no fence."""
        scan = self.scan
        if scan is None or scan.is_over:
            return None
        slot = scan.next_slot(now_ns)
        return Idle(now_ns + RECHECK_NS) if slot is None else evolve(slot, source=scan)
