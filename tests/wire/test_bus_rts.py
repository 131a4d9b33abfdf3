"""The real bus owner on a simulated robot whose line it turns itself, by the RTS of a fake UART."""

from functools import partial
from pathlib import Path

from bus_owner import BLOCKS, owner_on
from robot_fixture import SimulatedRobot
from uart_fake import FakeUart

from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.serial_port import open_serial_port
from oht50d.drivers.serial_settings import DirectionControl, SerialPortConfig

CHARACTER_NS = 86_806


async def test_every_frame_has_the_line_for_its_time_and_every_reply_finds_it_free(tmp_path: Path) -> None:
    uart = FakeUart(None)
    open_port = partial(open_serial_port, ioctl=uart.ioctl)
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        port = str(robot.bus_path)
        serial = SerialPortConfig(port=port, direction=DirectionControl.RTS, lock_dir=str(tmp_path))
        async with owner_on(BusConfig(serial=serial), open_port=open_port) as owner:
            await owner.until(lambda: owner.blocks_read() == BLOCKS, "every block was read")
            await owner.until_online()
            transactions, status = owner.bus.status.transactions, owner.bus.status
        early = (await robot.ask({"op": "counters"}))["early_frames"]
    assert uart.is_rts_set is False
    assert uart.rts_levels()[:1] == [False]
    pairs = list(zip(uart.rts_log[1::2], uart.rts_log[2::2], strict=False))
    assert all(began[1] and not ended[1] for began, ended in pairs)
    assert len(pairs) >= transactions
    assert min(ended[0] - began[0] for began, ended in pairs) >= 8 * CHARACTER_NS, "the shortest request"
    late_us = sorted((ended[0] - began[0]) / 1000 for began, ended in pairs)[len(pairs) // 2]
    print(f"{len(pairs)} frames; RTS was set for {late_us:.0f} us in the median, 8 characters take 694 us")
    assert (status.early_frames, early) == (0, 0)
    assert owner.problems == []
