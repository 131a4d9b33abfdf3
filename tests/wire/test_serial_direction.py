"""The direction of a half-duplex line: by the driver, and by RTS around each frame.

The ioctl layer is a fake (tests/uart_fake.py), the bytes go through a real pseudo-terminal, and the clock is real. What
an adapter makes of it can only be shown with the adapter.
"""

import os
import pty
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from uart_fake import AFTER_SEND, ECHO, ENABLED, ON_SEND, TERMINATE, TIOCSRS485, FakeUart

from oht50d.drivers.port_holders import holders_of
from oht50d.drivers.rs485_direction import SEND_LIMIT_NS
from oht50d.drivers.serial_port import SerialLink, SerialPortConfig, open_serial_port
from oht50d.drivers.serial_settings import DirectionControl, Parity, RtsLevel
from oht50d.drivers.serial_setup import check_character
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.units import SettingClash

LIMIT_S = 20
MS = 1_000_000
FRAME = bytes(range(24))


@frozen
class Wire:
    """Our end of a pseudo-terminal, a UART on it, and the settings that open it."""

    master: int
    device: str
    config: SerialPortConfig
    uart: FakeUart

    async def open(self, **changes: Any) -> SerialLink:
        with trio.fail_after(LIMIT_S):
            return await open_serial_port(evolve(self.config, **changes), ioctl=self.uart.ioctl)

    async def refusal(self, **changes: Any) -> LinkError:
        with pytest.raises(LinkError) as raised:
            await self.open(**changes)
        assert raised.value.remedy
        assert holders_of(self.device) == ()
        return raised.value

    def received(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self.master, 4096)
        return b""


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    device = os.ttyname(slave)
    config = SerialPortConfig(port=device, baud=9600, lock_dir=str(tmp_path))
    os.close(slave)
    yield Wire(master, device, config, FakeUart(master))
    os.close(master)


def duration_ns(octets: bytes, bits: int = 10, baud: int = 9600) -> int:
    return len(octets) * bits * 1_000_000_000 // baud


async def test_an_adapter_that_turns_by_itself_is_asked_for_nothing(wire: Wire) -> None:
    link = await wire.open()
    await link.send_all(FRAME)
    link.close()
    assert wire.uart.requests == []


@pytest.mark.parametrize(("level", "flags"), [(RtsLevel.SET, ON_SEND), (RtsLevel.CLEARED, AFTER_SEND)])
async def test_the_driver_gets_its_mode_and_is_asked_whether_it_has_it(wire: Wire, level: RtsLevel, flags: int) -> None:
    wire.uart.rs485 = (TERMINATE, 9, 9, 0, 0, 0, 0, 0)
    link = await wire.open(
        direction=DirectionControl.KERNEL, rts_while_sending=level, delay_before_send_ms=1, delay_after_send_ms=2
    )
    assert wire.uart.rs485 == (TERMINATE | ENABLED | flags, 1, 2, 0, 0, 0, 0, 0)
    asked = len(wire.uart.requests)
    await link.send_all(FRAME)
    assert len(wire.uart.requests) == asked, "nothing is switched around a frame"
    assert wire.received() == FRAME
    link.close()


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ({"ignored_flags": ENABLED}, "it has: off"),
        ({"ignored_flags": ON_SEND}, "RTS cleared while sending"),
        ({"forced_flags": AFTER_SEND}, "and set after"),
        ({"forced_flags": ECHO}, "hearing itself"),
        ({"max_delay_ms": 0}, "0 ms before and 0 ms after"),
    ],
)
async def test_a_driver_that_ignores_the_mode_is_told_with_what_it_has(
    wire: Wire, driver: dict[str, Any], words: str
) -> None:
    for name, setting in driver.items():
        setattr(wire.uart, name, setting)
    error = await wire.refusal(direction=DirectionControl.KERNEL, delay_before_send_ms=1, delay_after_send_ms=1)
    assert error.cause == "config"
    assert words in str(error)
    assert "1 ms before and 1 ms after; it has" in str(error)


@pytest.mark.parametrize("direction", [DirectionControl.KERNEL, DirectionControl.RTS])
async def test_a_pseudo_terminal_itself_has_neither_mode_nor_line(wire: Wire, direction: DirectionControl) -> None:
    with pytest.raises(LinkError) as raised:
        await open_serial_port(evolve(wire.config, direction=direction))
    assert raised.value.cause == "config"
    assert "bus.serial.direction" in raised.value.remedy
    assert holders_of(wire.device) == ()


@pytest.mark.parametrize("request_number", [TIOCSRS485, termios.TIOCMGET])
async def test_a_port_that_breaks_while_its_direction_is_set_is_not_there(wire: Wire, request_number: int) -> None:
    wire.uart.failing = {request_number}
    direction = DirectionControl.KERNEL if request_number == TIOCSRS485 else DirectionControl.RTS
    assert (await wire.refusal(direction=direction)).cause == "absent"


@pytest.mark.parametrize("level", [RtsLevel.SET, RtsLevel.CLEARED])
async def test_rts_brackets_every_frame(wire: Wire, level: RtsLevel) -> None:
    """Asserted while nothing has been written; released when the characters have had their time."""
    is_set = level is RtsLevel.SET
    link = await wire.open(direction=DirectionControl.RTS, rts_while_sending=level)
    assert wire.uart.rts_levels() == [not is_set], "idle before any frame"
    delays_ms = []
    for _ in range(5):
        wire.uart.rts_log.clear()
        await link.send_all(FRAME)
        (began_ns, began, had_bytes_before), (ended_ns, ended, had_bytes_after) = wire.uart.rts_log
        assert (began, ended) == (is_set, not is_set)
        assert (had_bytes_before, had_bytes_after) == (False, True)
        assert ended_ns - began_ns >= duration_ns(FRAME)
        delays_ms.append((ended_ns - began_ns - duration_ns(FRAME)) / MS)
        assert wire.received() == FRAME
    link.close()
    print(f"released {sorted(delays_ms)} ms after the last bit")
    assert min(delays_ms) < 1.0


@pytest.mark.parametrize(
    ("parity", "stop_bits", "bits"), [(Parity.NONE, 1, 10), (Parity.NONE, 2, 11), (Parity.EVEN, 1, 11)]
)
async def test_the_time_of_a_frame_counts_every_bit_of_a_character(
    wire: Wire, parity: Parity, stop_bits: int, bits: int
) -> None:
    link = await wire.open(direction=DirectionControl.RTS, parity=parity, stop_bits=stop_bits)
    wire.uart.rts_log.clear()
    await link.send_all(FRAME)
    link.close()
    (began_ns, _, _), (ended_ns, _, _) = wire.uart.rts_log
    assert ended_ns - began_ns >= duration_ns(FRAME, bits)


@pytest.mark.parametrize("name", ["unsent_until_ns", "shifting_until_ns"])
async def test_a_driver_that_is_still_sending_is_waited_for(wire: Wire, name: str) -> None:
    """A USB adapter begins late; the line status knows when the last bit has left."""
    link = await wire.open(direction=DirectionControl.RTS)
    ends_ns = perf_counter_ns() + duration_ns(FRAME) + 5 * MS
    setattr(wire.uart, name, ends_ns)
    await link.send_all(FRAME)
    link.close()
    assert wire.uart.rts_log[-1][0] >= ends_ns
    assert wire.uart.is_rts_set is False


async def test_without_a_line_status_time_and_queue_decide_and_the_delay_after(wire: Wire) -> None:
    wire.uart.has_line_status = False
    link = await wire.open(direction=DirectionControl.RTS, delay_after_send_ms=3)
    for _ in range(3):
        wire.uart.rts_log.clear()
        await link.send_all(FRAME)
        (began_ns, _, _), (ended_ns, _, _) = wire.uart.rts_log
        assert ended_ns - began_ns >= duration_ns(FRAME) + 3 * MS
    link.close()
    assert wire.uart.requests.count(termios.TIOCSERGETLSR) == 1, "asked once"


async def test_a_port_that_takes_bytes_and_does_not_send_them_is_lost_and_the_line_free(wire: Wire) -> None:
    link = await wire.open(direction=DirectionControl.RTS)
    wire.uart.unsent_until_ns = perf_counter_ns() + 3600 * 1_000 * MS
    began_ns = perf_counter_ns()
    with pytest.raises(LinkLost, match="does not send"), trio.fail_after(LIMIT_S):
        await link.send_all(FRAME)
    assert perf_counter_ns() - began_ns >= SEND_LIMIT_NS
    assert wire.uart.is_rts_set is False
    link.close()


async def cancelled(link: SerialLink, after_s: float) -> None:
    with trio.move_on_after(after_s) as scope:
        await link.send_all(FRAME)
    assert scope.cancelled_caught


async def failed(link: SerialLink, _after_s: float) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_all, FRAME)
            await trio.sleep(0.005)
            raise RuntimeError("another task failed")
    assert raised.group_contains(RuntimeError)


@pytest.mark.parametrize("end", [cancelled, failed])
@pytest.mark.parametrize("after_s", [0.0, 0.005])
async def test_a_frame_that_is_cut_short_leaves_the_line_free(
    wire: Wire, end: Callable[[SerialLink, float], Any], after_s: float
) -> None:
    link = await wire.open(direction=DirectionControl.RTS)
    wire.uart.rts_log.clear()
    await end(link, after_s)
    assert wire.uart.rts_levels() == [True, False]
    wire.received()
    await link.send_all(b"next")
    assert wire.uart.rts_levels() == [True, False] * 2
    assert wire.received() == b"next"
    link.close()


@pytest.mark.parametrize("request_number", [termios.TIOCMBIS, termios.TIOCMBIC, termios.TIOCOUTQ])
async def test_an_rts_line_that_breaks_is_a_lost_link(wire: Wire, request_number: int) -> None:
    link = await wire.open(direction=DirectionControl.RTS)
    wire.uart.failing = {request_number}
    with pytest.raises(LinkLost), trio.fail_after(LIMIT_S):
        await link.send_all(FRAME)
    link.close()


async def test_a_hung_up_port_is_lost_and_its_line_let_go(wire: Wire) -> None:
    link = await wire.open(direction=DirectionControl.RTS)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, wire.master)
    os.close(nothing)
    with pytest.raises(LinkLost), trio.fail_after(LIMIT_S):
        await link.send_all(FRAME)
    assert wire.uart.is_rts_set is False
    link.close()


@pytest.mark.parametrize("stuck", [True, False])
async def test_an_rts_line_that_does_not_follow_is_refused(wire: Wire, stuck: bool) -> None:
    wire.uart.rts_stuck = stuck
    level = RtsLevel.SET if stuck else RtsLevel.CLEARED
    error = await wire.refusal(direction=DirectionControl.RTS, rts_while_sending=level)
    assert error.cause == "config"
    assert "does not follow" in str(error)


@pytest.mark.parametrize(
    ("direction", "level", "is_kept"),
    [
        (DirectionControl.AUTO, RtsLevel.CLEARED, True),
        (DirectionControl.RTS, RtsLevel.SET, True),
        (DirectionControl.RTS, RtsLevel.CLEARED, False),
    ],
)
async def test_closing_by_a_kill_does_not_drive_the_line(
    wire: Wire, direction: DirectionControl, level: RtsLevel, is_kept: bool
) -> None:
    """HUPCL clears RTS at the last close: where cleared means sending it must be off, elsewhere it frees the line."""
    link = await wire.open(direction=direction, rts_while_sending=level)
    fd = os.open(wire.device, os.O_RDWR | os.O_NOCTTY)
    assert bool(termios.tcgetattr(fd)[2] & termios.HUPCL) is is_kept
    os.close(fd)
    link.close()


async def test_two_stop_bits_are_set(wire: Wire) -> None:
    link = await wire.open(stop_bits=2)
    fd = os.open(wire.device, os.O_RDWR | os.O_NOCTTY)
    assert termios.tcgetattr(fd)[2] & termios.CSTOPB
    os.close(fd)
    link.close()


PARITY_FLAGS = {
    (Parity.NONE, 1): termios.CS8,
    (Parity.NONE, 2): termios.CS8 | termios.CSTOPB,
    (Parity.EVEN, 1): termios.CS8 | termios.PARENB,
    (Parity.ODD, 1): termios.CS8 | termios.PARENB | termios.PARODD,
}


@pytest.mark.parametrize("wanted", PARITY_FLAGS)
@pytest.mark.parametrize("found", PARITY_FLAGS)
def test_a_driver_that_makes_another_character_of_it_is_refused(
    wanted: tuple[Parity, int], found: tuple[Parity, int]
) -> None:
    config = SerialPortConfig(port="/dev/ttyS1", parity=wanted[0], stop_bits=wanted[1])
    flags = PARITY_FLAGS[found] | termios.CREAD | termios.CLOCAL | termios.HUPCL
    if wanted == found:
        check_character(config, flags)
        return
    with pytest.raises(LinkError, match="cannot send 8 bits") as raised:
        check_character(config, flags)
    assert raised.value.cause == "config"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"parity": Parity.EVEN, "stop_bits": 2}, "stop_bits"),
        ({"delay_before_send_ms": 1}, "delay_before_send_ms"),
        ({"delay_before_send_ms": 1, "direction": DirectionControl.RTS}, "delay_before_send_ms"),
        ({"delay_after_send_ms": 1}, "delay_after_send_ms"),
    ],
)
def test_settings_that_do_not_fit_each_other(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingClash) as raised:
        SerialPortConfig(port="/dev/ttyS1", **settings)
    assert raised.value.name == name


@pytest.mark.parametrize(
    "settings", [{"stop_bits": 3}, {"stop_bits": 0}, {"delay_after_send_ms": 6}, {"delay_after_send_ms": -1}]
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SerialPortConfig(port="/dev/ttyS1", direction=DirectionControl.KERNEL, **settings)
