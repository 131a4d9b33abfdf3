"""Listen-only: hear what others say on the line and send nothing at all (state: one parser, local to `listen`).

Frames go to the trace as overheard and nowhere else: what somebody else was told is no measurement of ours.
"""

from collections.abc import Callable, Mapping

import trio

from oht50d.clock import now_ns
from oht50d.codec.overheard import HeardKind, Overhearer
from oht50d.core.frame_event import Note, Observe, Way
from oht50d.drivers.modbus_line import ByteLink

QUIET_S = 0.2
"""A pause longer than any reply takes: what is left over then is no frame."""
TURN_S = 0.1

_NOTES: Mapping[HeardKind, Note] = {
    HeardKind.REQUEST: Note.REQUEST,
    HeardKind.REPLY: Note.REPLY,
    HeardKind.NOISE: Note.NOISE,
}


async def listen(link: ByteLink, observe: Observe, on_turn: Callable[[], None]) -> None:
    """Tell `observe` every frame until cancelled; `on_turn` is called ten times a second at least.

    Raises LinkLost.
    """
    parser = Overhearer()
    heard_ns = now_ns()
    while True:
        on_turn()
        octets = b""
        with trio.move_on_after(TURN_S):
            octets = await link.receive_some()
        at_ns = now_ns()
        if octets:
            heard_ns = at_ns
            frames = parser.receive_data(octets)
        else:
            frames = parser.flush() if at_ns - heard_ns >= QUIET_S * 1e9 else []
        for frame in frames:
            observe(heard_ns, Way.OVERHEARD, frame.octets, _NOTES[frame.kind], None)
