"""Builds the desk behind the local socket with the desks that join it (no state)."""

from collections.abc import Callable, Sequence

from oht50d.app.bus_room import bus_operations
from oht50d.app.module_rooms import build_module_desk
from oht50d.app.rooms import Rooms
from oht50d.drivers.local_socket import group_id
from oht50d.drivers.wall_clock import utc_now
from oht50d.services.local_desk import LocalDesk


def build_local_desk(rooms: Rooms, hints: Callable[[], Sequence[str]]) -> LocalDesk:
    """Everything that root and technicians may ask on this computer."""
    return LocalDesk(
        snapshots=rooms.snapshots, commander=rooms.commander, history=rooms.spool, accounts=rooms.accounts,
        records=rooms.recorder, technicians_gid=group_id("oht50-tech"), utc_now=utc_now, hints=hints,
        further=[
            *bus_operations(rooms.sight, rooms.gate, rooms.bus.wake, rooms.snapshots, rooms.recorder),
            build_module_desk(rooms).operations,
        ],
    )  # fmt: skip
