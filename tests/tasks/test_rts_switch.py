"""RTS around a frame on a modelled line: no bit leaves into a line that is not driven, and nothing stays driven.

The model is a transmitter of memory under the mock clock: bytes leave one after the other at the line's speed.
"""

import pytest
import trio
from attrs import define, field
from bus_fakes import MockTimer
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.codec.rtu import character_ns
from oht50d.drivers.rs485_direction import RtsSwitch
from oht50d.drivers.serial_settings import DirectionControl, SerialPortConfig
from oht50d.model.errors import LinkLost

CONFIG = SerialPortConfig(port="/dev/ttyMEMORY", baud=19_200, direction=DirectionControl.RTS)
CHARACTER_NS = character_ns(CONFIG.baud)
FRAME = bytes(range(40))


@define(slots=False)
class Transmitter:
    """What the switch needs of a port (`PortControl`), with a transmitter that begins `lateness_ns` after the write."""

    lateness_ns: int = 0
    is_driven: bool = False
    driven: list[tuple[int, int]] = field(factory=list)
    _driven_since_ns: int = 0
    _leaving: list[tuple[int, int]] = field(factory=list)
    """Begin and end of every byte on the line."""

    def set_rts(self, is_set: bool) -> None:
        if is_set and not self.is_driven:
            self._driven_since_ns = now_ns()
        if self.is_driven and not is_set:
            self.driven.append((self._driven_since_ns, now_ns()))
        self.is_driven = is_set

    def is_all_sent(self) -> bool:
        return all(ends_ns <= now_ns() + 1 for _, ends_ns in self._leaving)

    async def write(self, octets: bytes) -> None:
        begins_ns = now_ns() + self.lateness_ns
        for place in range(len(octets)):
            self._leaving.append((begins_ns + place * CHARACTER_NS, begins_ns + (place + 1) * CHARACTER_NS))
        await trio.lowlevel.checkpoint()

    def discard_unsent(self) -> None:
        self._leaving = [
            (begins_ns, min(ends_ns, now_ns())) for begins_ns, ends_ns in self._leaving if begins_ns < now_ns()
        ]

    def bytes_left(self) -> int:
        return len(self._leaving)

    def is_covered(self) -> bool:
        """Every bit that left was within a time when the line was driven."""
        return all(any(a <= begins and ends <= b + 1 for a, b in self.driven) for begins, ends in self._leaving)


def make(lateness_ns: int = 0) -> tuple[RtsSwitch, Transmitter]:
    port = Transmitter(lateness_ns)
    return RtsSwitch(CONFIG, port, MockTimer(), port.discard_unsent), port


@pytest.mark.parametrize("lateness_ns", [0, 300_000, 2_000_000])
async def test_the_line_is_driven_for_the_frame_and_not_longer(autojump_clock: MockClock, lateness_ns: int) -> None:
    switch, port = make(lateness_ns)
    for _ in range(3):
        await switch.send(FRAME, port.write)
    assert port.bytes_left() == 3 * len(FRAME)
    assert port.is_covered()
    assert not port.is_driven
    for began_ns, ended_ns in port.driven:
        assert ended_ns - began_ns <= len(FRAME) * CHARACTER_NS + lateness_ns + 100_000


@pytest.mark.parametrize("after_characters", [0, 1, 7.5, 39, 39.9])
async def test_a_cancelled_frame_is_cut_and_the_line_let_go(autojump_clock: MockClock, after_characters: float) -> None:
    switch, port = make()
    began_ns = now_ns()
    with trio.move_on_after(after_characters * CHARACTER_NS / 1e9) as scope:
        await switch.send(FRAME, port.write)
    assert scope.cancelled_caught
    assert not port.is_driven
    assert port.is_covered(), "what was not sent was thrown away before the line was let go"
    assert port.bytes_left() <= after_characters + 1
    assert port.driven[-1][1] - began_ns <= (after_characters + 1) * CHARACTER_NS


async def test_a_port_that_never_sends_is_given_up_with_a_free_line(autojump_clock: MockClock) -> None:
    switch, port = make(lateness_ns=3600 * 10**9)
    with pytest.raises(LinkLost, match="does not send"):
        await switch.send(FRAME, port.write)
    assert not port.is_driven
    assert port.bytes_left() == 0


async def test_a_write_that_fails_lets_the_line_go(autojump_clock: MockClock) -> None:
    switch, port = make()

    async def broken(_octets: bytes) -> None:
        await trio.sleep(0.001)
        raise LinkLost("gone", cause="lost", remedy="plug it in")

    with pytest.raises(LinkLost, match="gone"):
        await switch.send(FRAME, broken)
    assert not port.is_driven
    assert len(port.driven) == 1
