"""What the wire schedule answers with: the exchange to make now, or how long there is none (no state)."""

import enum

from attrs import frozen

from oht50d.core.stop_frames import StopFrame
from oht50d.model.bus import BusRequest, ReadRegisters
from oht50d.model.registers import RegisterBlock


class Purpose(enum.Enum):
    """Why a slot of the wire is used."""

    STOP = "stop"
    IDENTIFY = "identify"
    POLL = "poll"
    MOTION = "motion"
    SET_UP = "set_up"
    FENCE = "fence"


@frozen
class Slot:
    """One exchange to make now; only a stop's own exchange may not be abandoned for a stop."""

    request: BusRequest
    purpose: Purpose
    timeout_ns: int
    stop_frame: StopFrame | None = None
    block: RegisterBlock | None = None

    @property
    def may_be_abandoned(self) -> bool:
        return self.purpose is not Purpose.STOP


def read_of(block: RegisterBlock) -> ReadRegisters:
    """The request that reads a block."""
    return ReadRegisters(block.unit, block.first, block.count)


@frozen
class Idle:
    """Nothing to send before `until_ns`."""

    until_ns: int


@frozen(kw_only=True)
class WireTimes:
    """Reply time-outs in nanoseconds (DECISIONS, reply time-out).

    `stop_ns` is for the first attempt of a stop's write: the next actuator does not wait for a silent one (SAFETY.md,
    Stopping: 10 ms after the earliest time of a reply, which is t3.5).
    """

    stop_ns: int = 11_750_000
    safety_ns: int
    other_ns: int
    probe_ns: int
    max_late_ns: int
