"""Modules that come, go and change on the memory bus, and the search for them."""

from attrs import evolve
from bus_fakes import MS, Bench

from oht50d.app.module_rooms import build_discovery
from oht50d.core.discovery import Discovery, DiscoveryConfig
from oht50d.core.wire_slots import WireTimes
from oht50d.sim.modbus_slaves import SlaveModule

SERIALS = {2: 2000, 3: 3000, 4: 4000, 5: 5000}
SERIAL_LOW, SERIAL_HIGH, TYPE, FIRMWARE = 0x00FB, 0x00FC, 0x0104, 0x0105
PROBE_NS = 25 * MS
"""The whole of a probe that nobody answers."""


def show(module: SlaveModule, serial: int, firmware: int = 0x0101, type_code: int | None = None) -> None:
    """What the module says about itself from now on."""
    words = {SERIAL_LOW: serial & 0xFFFF, SERIAL_HIGH: serial >> 16, FIRMWARE: firmware}
    module.image.update(words if type_code is None else {**words, TYPE: type_code})


def show_all(bench: Bench) -> None:
    """Every module gets a serial number of its own."""
    for unit, serial in SERIALS.items():
        show(bench.modules[unit], serial)


def stranger(bench: Bench, unit: int, *, serial: int, type_code: int) -> SlaveModule:
    """One more module with the registers of the dock and another identity; not on the bus yet."""
    like = bench.modules[5]
    module = SlaveModule(evolve(like.map, address=unit), {}, {}, dict(like.image))
    show(module, serial, type_code=type_code)
    module.image[0x0100] = unit
    return module


def attach_discovery(bench: Bench) -> Discovery:
    """As the house does it."""
    times = WireTimes(safety_ns=25 * MS, other_ns=50 * MS, probe_ns=PROBE_NS)
    return build_discovery(DiscoveryConfig(), bench.schedule, times)
