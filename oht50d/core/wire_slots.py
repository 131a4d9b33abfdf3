"""What the wire schedule answers with: the exchange to make now, or how long there is none (no state)."""

import enum
from typing import Protocol

from attrs import field, frozen

from oht50d.core.exchange_times import LineSpeed
from oht50d.core.stop_frames import StopFrame
from oht50d.model.bus import BusRequest, ExchangeResult, ReadRegisters
from oht50d.model.registers import RegisterBlock

LEAST_WAIT_NS = 5_000_000


class Purpose(enum.Enum):
    """Why a slot of the wire is used."""

    STOP = "stop"
    IDENTIFY = "identify"
    POLL = "poll"
    MOTION = "motion"
    SET_UP = "set_up"
    FENCE = "fence"
    ERRAND = "errand"
    """Somebody outside asked for a register, or for one to be written."""
    SEARCH = "search"
    """Looking for modules that nobody has bound."""


class SlotSource(Protocol):
    """Somebody outside the schedule who wants the wire now and then; pure, time is an argument.

    What it asks for passes the fence and the motion gate; it is not asked while a stop is under way.
    """

    def next_slot(self, now_ns: int) -> "Slot | None":
        """The exchange that it wants now; asking does not commit it: `complete` tells what was made."""
        ...

    def complete(self, slot: "Slot", result: ExchangeResult) -> None:
        """The outcome of one of its slots."""
        ...

    def refuse(self, slot: "Slot", why: str) -> None:
        """One of its slots cannot go out: the motion gate or the fence does not let it."""
        ...

    def wakeup_ns(self, now_ns: int) -> int | None:
        """When it should be asked again; None: not before something else happens."""
        ...


@frozen
class Slot:
    """One exchange to make now; only a stop's own exchange may not be abandoned for a stop."""

    request: BusRequest
    purpose: Purpose
    timeout_ns: int
    stop_frame: StopFrame | None = None
    block: RegisterBlock | None = None
    source: SlotSource | None = field(default=None, eq=False)
    delayed: "Slot | None" = None
    """What waits for this probe of the fence."""

    @property
    def may_be_abandoned(self) -> bool:
        return self.purpose is not Purpose.STOP


def read_of(block: RegisterBlock) -> ReadRegisters:
    """The request that reads a block."""
    return block.request


@frozen
class Idle:
    """Nothing to send before `until_ns`."""

    until_ns: int


@frozen(kw_only=True)
class WireTimes:
    """Reply time-outs in nanoseconds (DECISIONS, reply time-out); they count from the end of a request.

    `probe_ns` is different: the whole exchange with a module that may be dead, silence after it included. `stop_ns` is
    for the first attempt of a stop's write: the next actuator does not wait for a silent one (SAFETY.md, Stopping: 10
    ms after the earliest time of a reply, which is t3.5). `turnaround_ns` is assumed of a module until enough of its
    replies were measured. `has_numbered_replies` is a property of the transport: a reply names its request there, so a
    late one needs no fence.
    """

    stop_ns: int = 11_750_000
    safety_ns: int
    other_ns: int
    probe_ns: int
    has_numbered_replies: bool = False
    turnaround_ns: int = 2_000_000
    speed: LineSpeed = field(factory=lambda: LineSpeed.of_baud(115_200))

    def probe_wait_ns(self, request: BusRequest) -> int:
        """`Slot.timeout_ns` of a probe; at least 5 ms, however slow the line is."""
        return max(LEAST_WAIT_NS, self.speed.wait_ns(request, self.probe_ns))
