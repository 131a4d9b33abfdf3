"""Answer 0x83: HQ packets of 96 nodes with a CRC, both ways (`HqDecoder` owns no more than its framing's octets).

Source of layout, CRC and framing: RPLIDAR.md, section 3, "0x83 HQ".
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from oht50d.codec.rplidar.packets import FramedDecoder, Gap, PacketFraming
from oht50d.codec.rplidar.samples import ChecksumError, Samples, StreamEvent
from oht50d.model.errors import LocalProtocolError

PACKET_SIZE = 781
NODES_PER_PACKET = 96
_CRC_SIZE = 4
# The CRC is taken over whole words: three octets of zero stand for what is missing.
_PADDING = bytes(3)
_START = b"\xa5"
_NODE = np.dtype([("angle", "<u2"), ("dist", "<u4"), ("quality", "u1"), ("flag", "u1")])
_PACKET = np.dtype([("sync", "u1"), ("timestamp", "<u8"), ("nodes", _NODE, NODES_PER_PACKET), ("crc", "<u4")])


@frozen
class HqNode:
    """One measurement as it is sent: `angle_q14` 16 bits, `dist_q2` 32, `quality` and `flag` 8."""

    angle_q14: int
    dist_q2: int
    quality: int
    flag: int


def encode_hq_packet(nodes: Sequence[HqNode], *, timestamp: int = 0) -> bytes:
    """781 octets from 96 nodes; raises LocalProtocolError for another count or numbers that do not fit."""
    if len(nodes) != NODES_PER_PACKET or not 0 <= timestamp < 1 << 64:
        raise LocalProtocolError(f"a packet has {NODES_PER_PACKET} nodes and a timestamp of 64 bits")
    columns = [(node.angle_q14, node.dist_q2, node.quality, node.flag) for node in nodes]
    try:
        body = _START + timestamp.to_bytes(8, "little") + np.array(columns, _NODE).tobytes()
    except OverflowError as error:
        raise LocalProtocolError(f"a node that cannot be sent: {error}") from error
    return body + _crc(body).to_bytes(_CRC_SIZE, "little")


class HqDecoder(FramedDecoder):
    """Nodes from a byte stream, unchanged; bit for bit as the vendor's reference but for the search of the framing."""

    lag = 0

    def __init__(self) -> None:
        super().__init__(PacketFraming(PACKET_SIZE, re.compile(rb"[^\xa5]*"), re.compile(_START), _are_sound))

    def receive_data(self, octets: bytes) -> list[StreamEvent]:
        """Samples and checksum errors in their order; consecutive packets share one Samples. Never raises."""
        events: list[StreamEvent] = []
        run: list[bytes] = []
        for found in self._framing.receive_data(octets):
            if isinstance(found, bytes):
                run.append(found)
                continue
            if run:
                events.append(_decode(run))
                run = []
            if found is Gap.CHECKSUM:
                events.append(ChecksumError())
        return [*events, _decode(run)] if run else events


def _crc(body: bytes) -> int:
    return zlib.crc32(body + _PADDING)


def _are_sound(packets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    told = packets.view(_PACKET)["crc"].ravel()
    counted = [_crc(packet[:-_CRC_SIZE].tobytes()) for packet in packets]
    sound: NDArray[np.bool_] = (packets[:, 0] == _START[0]) & (told == counted)
    return sound


def _decode(packets: list[bytes]) -> Samples:
    nodes: NDArray[np.void] = np.frombuffer(b"".join(packets), _PACKET)["nodes"].ravel()
    return Samples(
        angle_q14=nodes["angle"].astype(np.int64),
        dist_q2=nodes["dist"].astype(np.int64),
        quality=nodes["quality"].astype(np.int64),
        flag=nodes["flag"].astype(np.int64),
    )
