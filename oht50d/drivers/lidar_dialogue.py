"""Questions to an RPLIDAR on an open link, and the words for what can go wrong (the caller owns the link).

Sources: RPLIDAR.md, section 1 (Timing; motor selection in section 4) and section 5 (device already streaming).
"""

from typing import Protocol, TypeVar

import trio
from attrs import frozen

from oht50d.codec.rplidar.answers import AnswerKind
from oht50d.codec.rplidar.commands import encode_stop
from oht50d.codec.rplidar.parser import ClientEvent, RplidarClient
from oht50d.model.errors import DeviceSilent, LinkError
from oht50d.model.lidar import LidarLinkState

READ_BYTES = 1024
_SETTLE_S = 0.1
_QUIET_S = 0.05
_QUIET_ROUNDS = 20
_TEXT_MIN = 8

EventT = TypeVar("EventT", bound=ClientEvent)


class ByteLink(Protocol):
    """An open serial port, or what stands for one in a test. `receive_some` raises LinkLost on a hang-up."""

    async def send_all(self, octets: bytes, /) -> None: ...

    async def receive_some(self, max_bytes: int = 4096, /) -> bytes: ...

    def drain_input(self) -> bytes: ...

    def set_dtr(self, is_asserted: bool, /) -> bool: ...

    def close(self) -> None: ...


@frozen
class Fault:
    """One way in which the LiDAR cannot be used: what is told, what to do, which state the page shows."""

    message: str
    remedy: str
    state: LidarLinkState


_ABSENT, _SILENT = LidarLinkState.ABSENT, LidarLinkState.SILENT
FAULTS = {
    "silent": Fault(
        "the port is open and the LiDAR does not answer",
        "Check the LiDAR's power and data cable, then the configured baud rate.",
        _SILENT,
    ),
    "wrong_baud": Fault(
        "octets arrive and none of them is an RPLIDAR answer",
        "Set the LiDAR's baud rate: 115200 for A1 and A2M8, 256000 for A2M12, A3 and S1, 460800 for C1.",
        _SILENT,
    ),
    "wrong_device": Fault(
        "another device, or a LiDAR that is not supported, answers on the LiDAR's port",
        "Connect an RPLIDAR of the A series or a C1 to this port, or correct the port in the configuration.",
        _ABSENT,
    ),
    "protection_stop": Fault(
        "the LiDAR has stopped to protect itself and a reset did not clear it",
        "Free the LiDAR's rotor and switch its power off and on; if it comes back, replace the LiDAR.",
        LidarLinkState.PROTECTION_STOP,
    ),
    "no_scan": Fault(
        "the LiDAR answers and does not start to scan",
        "Check the LiDAR's motor supply; switch its power off and on.",
        _SILENT,
    ),
    "not_turning": Fault(
        "the LiDAR measures and no turn is completed",
        "Check that the LiDAR's rotor turns freely and that its motor has power.",
        _SILENT,
    ),
}


def fault_error(cause: str, detail: str = "") -> LinkError:
    """The exception for a row of FAULTS: DeviceSilent where the device says nothing, else LinkError."""
    fault = FAULTS[cause]
    kind = DeviceSilent if fault.state is _SILENT else LinkError
    return kind(f"{fault.message}{f': {detail}' if detail else ''}", cause=cause, remedy=fault.remedy)


def state_of(error: LinkError) -> LidarLinkState:
    """What the page shows for an error of this link or of the port below it."""
    return FAULTS[error.cause].state if error.cause in FAULTS else _ABSENT


class Dialogue:
    """One question at a time; the next one drops what a cancelled one had half read."""

    def __init__(self, link: ByteLink, client: RplidarClient, answer_timeout_s: float) -> None:
        self._link = link
        self._client = client
        self._answer_timeout_s = answer_timeout_s
        self.leftover: list[ClientEvent] = []

    async def send(self, request: bytes) -> None:
        """A request without an answer."""
        await self._link.send_all(request)

    async def ask(self, request: bytes, kind: AnswerKind, wanted: type[EventT]) -> EventT | None:
        """Send and wait for the answer; None if it does not come in time. Raises LinkLost.

        Events that arrived behind the answer in the same read are in `leftover`.
        """
        self._client.expect(kind)
        self.leftover = []
        await self._link.send_all(request)
        with trio.move_on_after(self._answer_timeout_s):
            while True:
                events = self._client.receive_data(await self._link.receive_some(READ_BYTES))
                for position, event in enumerate(events):
                    if isinstance(event, wanted):
                        self.leftover = events[position + 1 :]
                        return event
        return None

    async def quieten(self) -> None:
        """Stop a scan that may be running and throw away what is under way; at most 1.1 s, quiet or not."""
        self._client.expect(None)
        await self._link.send_all(encode_stop())
        await trio.sleep(_SETTLE_S)
        for _ in range(_QUIET_ROUNDS):
            self._link.drain_input()
            await trio.sleep(_QUIET_S)
            if not self._link.drain_input():
                return

    def unanswered(self, noise_before: int) -> LinkError:
        """Why nothing was identified, from the noise that came instead of an answer."""
        if self._client.noise_bytes == noise_before:
            return fault_error("silent")
        tail = self._client.noise_tail
        is_text = sum(32 <= octet < 127 or octet in b"\r\n\t" for octet in tail) >= 0.9 * len(tail)
        if not is_text or len(tail) < _TEXT_MIN:
            return fault_error("wrong_baud")
        if b"LIDAR" in tail:  # boot text (RPLIDAR.md, section 5): the right device at the right speed
            return fault_error("silent", "it has only told that it started")
        return fault_error("wrong_device", f"it says {tail[:32].decode('ascii', 'replace')!r}")
