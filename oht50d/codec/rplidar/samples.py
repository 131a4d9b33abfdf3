"""What a measurement stream decodes to: samples and the events between them (no state).

Source of the units: RPLIDAR.md, section 3 ("Common output node").
"""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

DEGREES_PER_Q14 = 90 / 16384
MM_PER_Q2 = 0.25


@frozen(eq=False)
class Samples:
    """Consecutive measurements as parallel integer arrays of one length, in the order of the device.

    `angle_q14` (degrees = v * 90 / 16384, clockwise seen from above), `dist_q2` (mm = v / 4, 0 is no return),
    `quality` and `flag` (bit 0: first node of a turn). The newest sample was measured `lag` sample periods before
    the packet that completed this value: express packets are decoded only when their successor is in.
    """

    angle_q14: NDArray[np.int64]
    dist_q2: NDArray[np.int64]
    quality: NDArray[np.int64]
    flag: NDArray[np.int64]
    lag: int = 0

    def __len__(self) -> int:
        return len(self.angle_q14)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """Degrees in [0, 360)."""
        return self.angle_q14.astype(np.float64) * DEGREES_PER_Q14

    @property
    def distances_mm(self) -> NDArray[np.float64]:
        """Millimetres; 0 is no return."""
        return self.dist_q2.astype(np.float64) * MM_PER_Q2


@frozen
class ChecksumError:
    """A whole packet was dropped; samples on both sides of it are not neighbours."""


@frozen
class EncoderReset:
    """A capsule with the S bit arrived in the middle of a stream: the encoder restarted."""


@frozen
class ScanReset:
    """The unfinished turn is void."""


StreamEvent = Samples | ChecksumError | EncoderReset | ScanReset
