"""LiDAR values: device identity, sectors while turning, whole turns (the only model file with numpy; no state)."""

import enum

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray


@frozen
class LidarInfo:
    """GET_INFO answer (RPLIDAR.md, section 1): `serial` is 32 upper-case hex digits."""

    model: int
    firmware_major: int
    firmware_minor: int
    hardware: int
    serial: str

    @property
    def model_name(self) -> str:
        """Family name by the high nibble (RPLIDAR.md, section 4), e.g. `A2M8`."""
        major, minor = self.model >> 4, self.model & 0x0F
        for last, letter, base in ((3, "A", 0), (5, "C", 3), (8, "S", 5), (11, "T", 8), (15, "M", 11)):
            if major <= last:
                return f"{letter}{major - base}M{minor}"
        raise AssertionError("a nibble is at most 15")


@frozen
class LidarHealth:
    """GET_HEALTH answer: status 0 good, 1 warning, 2 protection stop; `error_code` raw."""

    status: int
    error_code: int


class LidarLinkState(enum.Enum):
    """Where the LiDAR link stands; everything but SCANNING is a reason not to move."""

    ABSENT = "absent"
    CONNECTING = "connecting"
    SPINNING_UP = "spinning_up"
    SCANNING = "scanning"
    SILENT = "silent"
    PROTECTION_STOP = "protection_stop"
    STOPPED = "stopped"


@frozen
class LidarStatus:
    """The link's state with cause and remedy in words, identity, and running counts."""

    state: LidarLinkState
    cause: str = ""
    remedy: str = ""
    info: LidarInfo | None = None
    health: LidarHealth | None = None
    last_byte_ns: int | None = None
    last_turn_ns: int | None = None
    turn_period_ns: int | None = None
    samples: int = 0
    checksum_errors: int = 0
    noise_bytes: int = 0
    is_simulated: bool = False


@frozen
class LidarPoint:
    """One positive return: degrees clockwise from the device's front seen from above, millimetres."""

    angle_deg: float
    distance_mm: float


@frozen
class SectorReport:
    """One angular sector of one turn, published as soon as the beam has left it.

    `samples` counts every measurement, `hits` those with a positive distance, `no_returns` the zeros.
    `near_points` are the closest positive returns, ascending, at most 16.
    """

    index: int
    first_sample_ns: int
    last_sample_ns: int
    samples: int
    hits: int
    no_returns: int
    nearest_mm: float | None
    near_points: tuple[LidarPoint, ...]


@frozen(eq=False)
class LidarScan:
    """One whole turn for display: float32 arrays of equal length; distance 0 is no return."""

    angles_deg: NDArray[np.float32]
    distances_mm: NDArray[np.float32]
    qualities: NDArray[np.uint8] = field(repr=False)
    started_ns: int
    ended_ns: int
    number: int
