"""The frames that a stop sequence is made of: one write and its read-back a step and actuator (no state of its own)."""

from typing import assert_never

from attrs import define, frozen

from oht50d.core.actuators import Actuators, ReadBack
from oht50d.core.safety_config import StopStep
from oht50d.model.bus import BusRequest, ReadRegisters


@frozen
class StopFrame:
    """A write of a stop sequence or its read-back; `is_first` for the first attempt of a write."""

    request: BusRequest
    step: StopStep
    is_read_back: bool
    is_first: bool = False


@define
class StopItem:
    """One write of a sequence: what it must read back as, and how far it got (owner: the stop that holds it)."""

    step: StopStep
    write: BusRequest
    read: ReadRegisters
    expected: tuple[int, ...]
    masks: tuple[int, ...]
    drive: int | None = None
    attempts: int = 0
    silences: int = 0
    is_echoed: bool = False
    is_verified: bool = False
    first_sent_ns: int | None = None
    next_ns: int = 0

    def write_frame(self) -> StopFrame:
        return StopFrame(self.write, self.step, is_read_back=False, is_first=self.attempts == 0)

    def wanted_frame(self) -> StopFrame:
        """The read-back once the write was echoed, the write itself before."""
        return StopFrame(self.read, self.step, is_read_back=True) if self.is_echoed else self.write_frame()

    def is_shown_by(self, words: tuple[int, ...]) -> bool:
        """True if a read-back says what was written; bits that a register's type leaves open do not count."""
        return tuple(word & mask for word, mask in zip(words, self.masks, strict=True)) == self.expected

    def start_again(self) -> None:
        """Nothing that was sent or read before counts any more."""
        self.is_echoed = self.is_verified = False
        self.attempts = self.silences = self.next_ns = 0
        self.first_sent_ns = None


def stop_items(step: StopStep, actuators: Actuators) -> list[StopItem]:
    """The writes of one step, every actuator that it concerns; none for a step that waits."""
    match step:
        case StopStep.SETPOINT_ZERO:
            return [
                _item(step, drive.demand_zero(), drive.read_demand(), (0, 0), drive.output_masks[1:], drive.number)
                for drive in actuators.drives
            ]
        case StopStep.DRIVES_OFF:
            return [
                _item(
                    step,
                    drive.output(enable=False, setpoint=0, linear_input=0),
                    drive.read_output(),
                    (0, 0, 0),
                    drive.output_masks,
                    drive.number,
                )
                for drive in actuators.drives
            ]
        case StopStep.BRAKE_ON:
            brake = actuators.brake
            return [_item(step, brake.apply(), brake.read(), (brake.apply().word,), (brake.mask,))]
        case StopStep.AWAIT_STANDSTILL | StopStep.HOLD:
            return []
    assert_never(step)


def _item(
    step: StopStep,
    write: BusRequest,
    read: ReadBack,
    expected: tuple[int, ...],
    masks: tuple[int, ...],
    drive: int | None = None,
) -> StopItem:
    """What is read beside the words that were written does not count."""
    return StopItem(step, write, read.request, read.padded(expected), read.padded(masks), drive)
