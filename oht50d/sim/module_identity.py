"""What a simulated module says of itself by functions 17 and 43/14, from the same words as its registers (no state).

Source: MODBUS Application Protocol V1.1b3, section 6.13 (server id, run indicator, more) and section 6.21 (objects 0 to
2 are the basic ones; a device that is asked for more than it has answers what it has; an unknown object alone is
exception 2, an unknown one to begin with means from the first). The layout of the server id is the simulator's own.
"""

from collections.abc import Mapping

from oht50d.model.bus import (
    BusReply,
    DeviceIdAccess,
    DeviceIdentificationReply,
    DeviceObject,
    ExceptionReply,
    ReadDeviceIdentification,
    ReportServerId,
    ServerIdReply,
)

VENDOR = "OHT-50 simulator"
BASIC_AND_INDIVIDUAL = 0x81
_RUNNING = 0xFF
_ILLEGAL_ADDRESS = 2


def report_server_id(request: ReportServerId, identity: Mapping[str, int], tag: str) -> BusReply:
    """Type code (low byte), running, then tag, serial number and firmware."""
    numbers = identity["serial"].to_bytes(4, "big") + identity["firmware"].to_bytes(2, "big")
    head = bytes((identity["type"] & 0xFF, _RUNNING))
    return ServerIdReply(request.unit, head + tag.encode("ascii") + numbers)


def identify(request: ReadDeviceIdentification, identity: Mapping[str, int], tag: str) -> BusReply:
    """Vendor, product code and revision."""
    firmware = identity["firmware"]
    texts = (VENDOR, f"{tag}-{identity['type']:04X}", f"{firmware >> 8}.{firmware & 0xFF:02X}")
    objects = tuple(DeviceObject(number, text.encode("ascii")) for number, text in enumerate(texts))
    first = request.object_id if request.object_id < len(objects) else 0
    if request.access is not DeviceIdAccess.INDIVIDUAL:
        return DeviceIdentificationReply(request.unit, request.access, BASIC_AND_INDIVIDUAL, None, objects[first:])
    if request.object_id >= len(objects):
        return ExceptionReply(request.unit, request.function, _ILLEGAL_ADDRESS)
    chosen = (objects[request.object_id],)
    return DeviceIdentificationReply(request.unit, request.access, BASIC_AND_INDIVIDUAL, None, chosen)
