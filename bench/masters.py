"""The masters that `bench_masters.py` compares, each in a process of its own: `masters.py NAME PORT [MAPS]`.

Each reads 40 and 39 registers of one unit in turn, as fast as it goes by itself, until it is killed. Nothing is counted
here: the slave judges.
"""

import asyncio
import ctypes
import gc
import logging
import os
import sys
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path

UNIT = 0x02
READS = ((0x0200, 40), (0x0240, 39))
SILENCE_NS = 1_750_000
SPIN_NS = 150_000
ONLY_LONG = {"inputs": 11, "safety": 140, "motor": 140, "position": 140, "*": 20_000}
"""Milliseconds: the longest blocks always due; what judges motion as seldom as its loss limit allows, the rest hardly
ever."""
LIBMODBUS = "libmodbus.so.5"


def hold_until(due_ns: int, spin_ns: int) -> None:
    """Sleep, and spin for the last of it."""
    left_ns = due_ns - time.monotonic_ns() - spin_ns
    if left_ns > 0:
        time.sleep(left_ns / 1e9)
    while time.monotonic_ns() < due_ns:
        pass


def repeat(read: Callable[[int, int], object], *failures: type[Exception]) -> None:
    """Read for ever; a read that fails is followed by the next one."""
    for first, count in cycle(READS):
        with suppress(*failures):
            read(first, count)


def bare(port: str) -> None:
    """Blocking system calls, the silence spun: what a pty of this machine lets any master reach."""
    from oht50d.codec.rtu import encode_request, reply_length
    from oht50d.model.bus import ReadRegisters

    frames = {}
    for first, count in READS:
        request = ReadRegisters(UNIT, first, count)
        frames[first, count] = (encode_request(request), reply_length(request))
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    free_ns = [time.monotonic_ns()]

    def read(first: int, count: int) -> None:
        frame, wanted = frames[first, count]
        hold_until(free_ns[0] + SILENCE_NS, SILENCE_NS)
        os.write(descriptor, frame)
        while wanted > 0:
            wanted -= len(os.read(descriptor, 256))
        free_ns[0] = time.monotonic_ns()

    repeat(read, OSError)


def libmodbus(port: str, *, keeps_gap: bool) -> None:
    """As it is, or with the gap kept by its caller: asleep, the last 150 us spun."""
    library = ctypes.CDLL(LIBMODBUS, use_errno=True)
    library.modbus_new_rtu.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.modbus_new_rtu(port.encode(), 115_200, ctypes.c_char(b"N"), 8, 1))
    if library.modbus_set_slave(context, UNIT) or library.modbus_connect(context):
        raise OSError(ctypes.get_errno(), "libmodbus does not open the port")
    words = (ctypes.c_uint16 * 125)()
    free_ns = [0]

    def read(first: int, count: int) -> None:
        if keeps_gap:
            hold_until(free_ns[0] + SILENCE_NS, SPIN_NS)
        got = library.modbus_read_registers(context, first, count, words)
        free_ns[0] = time.monotonic_ns()
        if got != count:
            raise OSError(ctypes.get_errno(), "no reply")

    repeat(read, OSError)


def libmodbus_version() -> str | None:
    """The version of the installed library, None without one."""
    try:
        library = ctypes.CDLL(LIBMODBUS)
    except OSError:
        return None
    parts = [ctypes.c_uint.in_dll(library, f"libmodbus_version_{part}").value for part in ("major", "minor", "micro")]
    return ".".join(map(str, parts))


def minimalmodbus(port: str) -> None:
    import minimalmodbus as library
    from serial import SerialException

    instrument = library.Instrument(port, UNIT)
    instrument.serial.baudrate = 115_200
    instrument.serial.timeout = 0.1
    repeat(instrument.read_registers, library.ModbusException, SerialException, OSError)


def pymodbus_sync(port: str) -> None:
    from pymodbus.client import ModbusSerialClient
    from pymodbus.exceptions import ModbusException

    client = ModbusSerialClient(port, baudrate=115_200, timeout=0.1)
    assert client.connect()
    repeat(lambda first, count: client.read_holding_registers(first, count=count, device_id=UNIT), ModbusException)


def pymodbus_async(port: str) -> None:
    from pymodbus.client import AsyncModbusSerialClient
    from pymodbus.exceptions import ModbusException

    async def run() -> None:
        client = AsyncModbusSerialClient(port, baudrate=115_200, timeout=0.1)
        assert await client.connect()
        for first, count in cycle(READS):
            with suppress(ModbusException):
                await client.read_holding_registers(first, count=count, device_id=UNIT)

    asyncio.run(run())


def field_bus(port: str, maps_dir: Path, lead_us: str | None = None) -> None:
    """Our bus owner alone: schedule, fence, typed decoding, publication; no guardian, history or web.

    `lead_us` is how long before the end of the silence it wakes up; without it the timer's own.
    """
    from bus_alone import run_bus

    from oht50d.core.wire_schedule import WireSchedule
    from oht50d.model.registers import BlockReadings
    from oht50d.services.hub import Latest

    latest: Latest[BlockReadings | None] = Latest(None)

    def publish(_schedule: WireSchedule, readings: BlockReadings) -> bool:
        latest.publish(readings)
        return False

    lead_ns = None if lead_us is None else int(lead_us) * 1000
    run_bus(port, maps_dir, ONLY_LONG, publish, lead_ns=lead_ns)


def main() -> None:
    name, port, *rest = sys.argv[1:]
    masters: dict[str, Callable[[], None]] = {
        "bare": lambda: bare(port),
        "libmodbus": lambda: libmodbus(port, keeps_gap=False),
        "libmodbus-gap": lambda: libmodbus(port, keeps_gap=True),
        "minimalmodbus": lambda: minimalmodbus(port),
        "pymodbus-sync": lambda: pymodbus_sync(port),
        "pymodbus-async": lambda: pymodbus_async(port),
        "field-bus": lambda: field_bus(port, Path(rest[0]), *rest[1:]),
    }
    # They are stopped between their turns: replies that come late then are no news.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    gc.freeze()
    masters[name]()


if __name__ == "__main__":
    main()
