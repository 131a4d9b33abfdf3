"""Another implementation serves four hand-filled modules; the real stack must read and type every register truly.

pymodbus's own serial server (strict addresses: exception 2 in every gap) stands on one pseudo-terminal, the bus owner
on another, and a thread carries the bytes between them. Words and expected values are literals: tests/truth_words.py.
"""

import asyncio
import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
from core_fixtures import fresh_registry
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice
from truth_words import LEFT_BY_S0, SERIALS, TRUTH, Row

from oht50d.clock import now_ns
from oht50d.codec.registers import load_module_map
from oht50d.codec.rtu import ModbusClient, encode_request
from oht50d.core.actuators import find_actuators
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.robot_state import RobotState, Simulation
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import WireSchedule, WireTimes
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.field_bus import FieldBus
from oht50d.drivers.serial_port import SerialLink, SerialPortConfig, open_serial_port
from oht50d.drivers.timer import PreciseTimer
from oht50d.model.bus import BusReply, BusRequest, ExceptionReply, ReadRegisters, ReadReply
from oht50d.model.registers import BlockReadings, ModuleMap, Quality
from oht50d.model.snapshot import ModuleStatus

MAP_DIR = Path(__file__).resolve().parents[2] / "config" / "modules"
MAP_NAMES = {0x02: "power", 0x03: "safety", 0x04: "travel_motor", 0x05: "dock"}
LIMIT_S = 60.0
PATIENT = WireTimes(safety_ns=500_000_000, other_ns=500_000_000, probe_ns=500_000_000)
"""A shared machine may let the server's thread wait; how long a reply may take is tested elsewhere."""


def device(unit: int, rows: Sequence[Row]) -> SimDevice:
    return SimDevice(id=unit, simdata=[SimData(row[0], values=[row[2]], datatype=DataType.REGISTERS) for row in rows])


def raw_pty() -> tuple[int, str]:
    """Our end of a pseudo-terminal and the name of the other, which stays raw and usable for whoever opens it."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    name = os.ttyname(theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    return ours, name


@contextmanager
def modbus_server() -> Iterator[str]:
    """pymodbus serving TRUTH; the path is where the bus owner finds the four modules."""
    (server_end, server_port), (bus_end, bus_port) = raw_pty(), raw_pty()
    is_up = threading.Event()
    stop: list[Callable[[], object]] = []

    def carry(source: int, sink: int) -> None:
        with suppress(OSError):  # the bus end reads as hung up while nobody has it open
            os.write(sink, os.read(source, 4096))

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        devices = [device(unit, rows) for unit, rows in TRUTH.items()]
        server = ModbusSerialServer(devices, port=server_port, baudrate=115_200)
        loop.add_reader(server_end, carry, server_end, bus_end)
        await server.serve_forever(background=True)
        ended = asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        # A hung-up pty is always readable: it is looked at by the clock instead of by the loop's readiness.
        is_up.set()
        while not ended.is_set():
            carry(bus_end, server_end)
            await asyncio.sleep(0.0005)
        loop.remove_reader(server_end)
        await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves its result untyped

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert is_up.wait(LIMIT_S), "pymodbus did not start"
        yield bus_port
    finally:
        for end in stop:
            end()
        thread.join(LIMIT_S)
        os.close(server_end)
        os.close(bus_end)


@pytest.fixture(scope="module")
def bus_port() -> Iterator[str]:
    with modbus_server() as port:
        yield port


def shipped_maps(**replacements: str) -> tuple[ModuleMap, ...]:
    """The four maps as shipped; a replacement stands for a whole file."""
    texts = {name: (MAP_DIR / f"{name}.toml").read_text(encoding="utf-8") for name in MAP_NAMES.values()} | replacements
    return tuple(load_module_map(text, file=f"{name}.toml") for name, text in texts.items())


def is_settled(maps: Sequence[ModuleMap], modules: Sequence[ModuleStatus]) -> bool:
    """Every block was answered: with words, or refused (a refused block leaves its registers unread)."""
    readings = {module.address: module.readings for module in modules}
    unread = [
        block.unit
        for module in maps
        for block in plan_blocks(module)
        if block.specs[0].name not in readings[module.address]
    ]
    exceptions = {module.address: module.counters.exceptions for module in modules}
    return all(exceptions[unit] > 0 and unread.count(unit) == 1 for unit in unread)


async def read_everything(maps: Sequence[ModuleMap], port: str, lock_dir: Path) -> tuple[ModuleStatus, ...]:
    """Open the port with the real bus owner and wait until every readable register of every map had its turn."""
    actuators = find_actuators(maps, released_word=1)
    schedule = WireSchedule(maps, actuators, SafetyConfig(), PATIENT)
    state = RobotState(schedule, actuators, Simulation(True, True), sectors=8, registry=fresh_registry(tuple(maps)))
    config = BusConfig(serial=SerialPortConfig(port=port, lock_dir=str(lock_dir)))
    settled = trio.Event()

    def accept(readings: BlockReadings) -> None:
        state.apply_block(readings)
        if is_settled(maps, state.modules(now_ns())):
            settled.set()

    timer = PreciseTimer()
    bus = FieldBus(config, schedule, timer, open_serial_port, accept, state.apply_stop)
    try:
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bus.run)
                await settled.wait()
                nursery.cancel_scope.cancel()
    finally:
        timer.close()
    return state.modules(now_ns())


def untrue(modules: Sequence[ModuleStatus]) -> Mapping[tuple[int, str], str]:
    """Every register of TRUTH whose published reading differs in address, word, value, type or quality; why it does."""
    found: dict[tuple[int, str], str] = {}
    readings = {module.address: module.readings for module in modules}
    for unit, rows in TRUTH.items():
        for address, name, word, value, *rest in rows:
            quality = rest[0] if rest else Quality.GOOD
            reading = readings[unit].get(name)
            if reading is None:
                found[unit, name] = "never read"
                continue
            sent = 0 if (unit, address) in LEFT_BY_S0 else word
            expected = (type(value), value, quality, sent)
            got = (type(reading.value), reading.value, reading.quality, reading.raw)
            if got != expected:
                found[unit, name] = f"{got} instead of {expected}"
    return found


async def test_every_readable_register_of_four_foreign_modules_is_read_and_typed_truly(tmp_path: Path) -> None:
    maps = shipped_maps()
    with modbus_server() as port:
        modules = await read_everything(maps, port, tmp_path)
    assert untrue(modules) == {}
    assert {m.address: sorted(m.readings) for m in modules} == {
        unit: sorted(row[1] for row in rows) for unit, rows in TRUTH.items()
    }
    assert {m.address: m.serial for m in modules} == SERIALS
    assert {m.address: m.firmware for m in modules} == {0x02: "1.01", 0x03: "2.10", 0x04: "0.99", 0x05: "10.11"}
    assert all(m.is_identified for m in modules)
    assert {m.address: m.counters.exceptions for m in modules} == dict.fromkeys(TRUTH, 0), "a poll reached into a gap"


def test_the_table_covers_every_readable_register_of_the_maps() -> None:
    for module in shipped_maps():
        readable = [(spec.address, spec.name) for spec in module.registers if spec.is_readable]
        assert readable == [row[:2] for row in TRUTH[module.address]]


WRONG_ENTRIES: dict[str, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    "missing sign": (
        "power",
        (
            ("battery_current", 'type = "int16"', 'type = "uint16"'),
            ("battery_current", "min = -32768, max = 32767, ", ""),
        ),
    ),
    "needless sign": ("dock", (("magnetic_strength", '"uint16"', '"int16"'),)),
    "wrong scale": ("safety", (("module_voltage", "scale = 0.1", "scale = 0.01"),)),
    "missing scale": ("travel_motor", (("motor_1_pid_ki", "scale = 0.01, ", ""),)),
    "wrong type": ("power", (("charge_discharge_status", '"uint8"', '"uint16"'),)),
    "wrong code": ("travel_motor", (("motor_2_direction", '2 = "reverse"', '2 = "backward"'),)),
    "wrong limit": ("safety", (("distance_4", "max = 10000", "max = 20000"),)),
    "address in a gap": ("power", (("voltage_usage_threshold", "0x004D", "0x004E"),)),
    "swapped addresses": ("dock", (("docking_error_x", "0x0046", "0x0048"), ("docking_error_z", "0x0048", "0x0046"))),
    "swapped halves": (
        "safety",
        (("serial_number_low", "0x00FB", "0x00FC"), ("serial_number_high", "0x00FC", "0x00FB")),
    ),
}
"""Map and changes (register, what its line says, what it is made to say); exactly these registers must be reported."""


def spoiled(name: str, changes: Sequence[tuple[str, str, str]]) -> str:
    """The shipped map with wrong entries."""
    text = (MAP_DIR / f"{name}.toml").read_text(encoding="utf-8")
    for register, old, new in changes:
        line = next(line for line in text.splitlines() if f'name = "{register}"' in line)
        assert old in line, f"the shipped map has changed: {line}"
        text = text.replace(line, line.replace(old, new, 1))
    return text


@pytest.mark.parametrize("case", WRONG_ENTRIES)
async def test_a_wrong_entry_of_a_map_is_found_and_named(case: str, bus_port: str, tmp_path: Path) -> None:
    name, changes = WRONG_ENTRIES[case]
    modules = await read_everything(shipped_maps(**{name: spoiled(name, changes)}), bus_port, tmp_path)
    unit = next(unit for unit, known in MAP_NAMES.items() if known == name)
    assert set(untrue(modules)) == {(unit, register) for register, _, _ in changes}


async def ask(link: SerialLink, request: BusRequest) -> BusReply:
    client = ModbusClient()
    client.expect(request)
    await link.send_all(encode_request(request))
    while True:
        reply = client.receive_data(await link.receive_some())
        if reply is not None:
            return reply


async def test_the_foreign_modules_refuse_gaps_so_reading_across_one_could_not_go_unnoticed(
    bus_port: str, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        link = await open_serial_port(SerialPortConfig(port=bus_port, lock_dir=str(tmp_path)))
        for unit, first, count in ((0x02, 0x2A, 7), (0x03, 0x07, 1 + 9), (0x04, 0x0C, 2), (0x05, 0x11, 1)):
            assert await ask(link, ReadRegisters(unit, first, count)) == ExceptionReply(unit, 3, 2)
        assert await ask(link, ReadRegisters(0x02, 0x30, 1)) == ReadReply(0x02, (0x0120,))
        link.close()
