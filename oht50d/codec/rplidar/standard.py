"""Answer 0x81: five-octet nodes without checksum, both ways (`StandardDecoder` owns its buffer).

Source: RPLIDAR.md, section 3, "0x81 standard".
"""

import numpy as np
from numpy.typing import NDArray

from oht50d.codec.rplidar.samples import Samples, StreamEvent
from oht50d.model.errors import LocalProtocolError

NODE_SIZE = 5
Octets = NDArray[np.uint8]


def encode_node(angle_q6: int, dist_q2: int, quality6: int, is_start: bool) -> bytes:
    """One node; raises LocalProtocolError beyond 15, 16 or 6 bits."""
    if not (0 <= angle_q6 < 1 << 15 and 0 <= dist_q2 < 1 << 16 and 0 <= quality6 < 1 << 6):
        raise LocalProtocolError(f"node out of range: angle {angle_q6}, distance {dist_q2}, quality {quality6}")
    head = quality6 << 2 | (0b01 if is_start else 0b10)
    return bytes((head,)) + (angle_q6 << 1 | 1).to_bytes(2, "little") + dist_q2.to_bytes(2, "little")


class StandardDecoder:
    """Nodes from a byte stream. Holds at most four octets between calls; the framing is the vendor's.

    The format has three check bits a node and nothing more: damage can pass as measurements, which is why zones ask
    for several points and the express mode is the default.
    """

    lag = 0

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.noise_bytes = 0
        self.checksum_errors = 0

    def reset(self) -> None:
        """Forget a partial node."""
        self._buffer.clear()

    def receive_data(self, octets: bytes) -> list[StreamEvent]:
        """At most one Samples; never raises."""
        self._buffer += octets
        runs: list[Octets] = []
        while True:
            run = self._take_run()
            if len(run):
                runs.append(run)
            if not self._skip_damage():
                break
        return [_decode(np.concatenate(runs))] if runs else []

    def _take_run(self) -> Octets:
        """Cut off all whole and well-formed nodes at the front: shape (n, 5)."""
        count = len(self._buffer) // NODE_SIZE
        nodes = np.frombuffer(bytes(self._buffer[: count * NODE_SIZE]), np.uint8).reshape(count, NODE_SIZE)
        is_sound = ((nodes[:, 0] ^ nodes[:, 0] >> 1) & nodes[:, 1] & 1).astype(bool)
        sound = count if is_sound.all() else int(is_sound.argmin())
        del self._buffer[: sound * NODE_SIZE]
        return nodes[:sound]

    def _skip_damage(self) -> bool:
        """Drop what the vendor's framing drops at the front; True if the front may hold a node again."""
        skipped = 0
        while self._buffer:
            if not (self._buffer[0] ^ self._buffer[0] >> 1) & 1:
                drop = 1
            elif len(self._buffer) > 1 and not self._buffer[1] & 1:
                # The second octet goes with the first: the vendor does not test it as a new first octet.
                drop = 2
            else:
                break
            del self._buffer[:drop]
            skipped += drop
        self.noise_bytes += skipped
        return skipped > 0


def _decode(nodes: Octets) -> Samples:
    """Shape (n, 5) to samples; an illegal angle is taken modulo 2**16 as the vendor does."""
    wide = nodes.astype(np.int64)
    angle_q6 = (wide[:, 1] | wide[:, 2] << 8) >> 1
    return Samples(
        angle_q14=(angle_q6 * 256 // 90) & 0xFFFF,
        dist_q2=wide[:, 3] | wide[:, 4] << 8,
        quality=wide[:, 0] & 0xFC,
        flag=wide[:, 0] & 1,
    )
