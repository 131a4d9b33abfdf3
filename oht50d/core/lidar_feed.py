"""From decoded LiDAR events to sectors, whole turns and the turn period (`LidarFeed` owns the counts of one scan).

Sources: SAFETY.md, Inputs (turns during spin-up do not count); RPLIDAR.md, section 3 (events of a capsule stream) and
section 1 (sample time 476 us where a device cannot tell).
"""

from collections.abc import Sequence

from oht50d.codec.rplidar.answers import SampleRate
from oht50d.codec.rplidar.parser import ClientEvent
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset
from oht50d.core.sectors import SectorBuilder
from oht50d.model.lidar import LidarScan, SectorReport

UNTOLD_RATE = SampleRate(standard_us=476, express_us=476)
_PERIOD_MAX_US = 2000


def sample_period_ns(rate: SampleRate | None, *, is_express: bool) -> int:
    """Time between samples. An implausible or missing rate becomes 476 us: too slow makes evidence older, not newer."""
    known = rate or UNTOLD_RATE
    period_us = known.express_us if is_express else known.standard_us
    fallback_us = UNTOLD_RATE.express_us if is_express else UNTOLD_RATE.standard_us
    return (period_us if 0 < period_us <= _PERIOD_MAX_US else fallback_us) * 1000


class LidarFeed:
    """One running scan. Until `spin_up_turns` whole turns have been seen nothing comes out."""

    def __init__(self, *, sector_count: int, near_limit_mm: float, spin_up_turns: int, sample_period_ns: int) -> None:
        self._builder = SectorBuilder(sector_count, near_limit_mm)
        self._spin_up_turns = spin_up_turns
        self._sample_period_ns = sample_period_ns
        self._turns = 0
        self.samples = 0
        self.last_turn_ns: int | None = None
        self.turn_period_ns: int | None = None

    @property
    def is_up(self) -> bool:
        """True once the turns of the spin-up are over."""
        return self._turns >= self._spin_up_turns

    def interrupt(self) -> list[SectorReport]:
        """Octets were lost between two deliveries; returns the evidence of the sectors under way."""
        return self._counted(self._builder.interrupt())

    def restart(self) -> list[SectorReport]:
        """The unfinished turn is void; the spin-up is not repeated."""
        return self._counted(self._builder.restart())

    def take(self, events: Sequence[ClientEvent], received_ns: int) -> tuple[list[SectorReport], list[LidarScan]]:
        """Feed the events of one read in order; an encoder restart begins the spin-up anew."""
        reports: list[SectorReport] = []
        scans: list[LidarScan] = []
        for event in events:
            match event:
                case Samples():
                    more_reports, more_scans = self._measure(event, received_ns)
                    reports += more_reports
                    scans += more_scans
                case ChecksumError():
                    reports += self.interrupt()
                case ScanReset():
                    reports += self.restart()
                case EncoderReset():
                    self._turns = 0
                    self.turn_period_ns = None
                case _:
                    pass  # answers to questions carry no measurement
        return reports, scans

    def _measure(self, samples: Samples, received_ns: int) -> tuple[list[SectorReport], list[LidarScan]]:
        self.samples += len(samples)
        reports, scans = self._builder.add(
            samples.angles_deg,
            samples.distances_mm,
            samples.quality,
            (samples.flag & 1) == 1,
            received_ns=received_ns - samples.lag * self._sample_period_ns,
            sample_period_ns=self._sample_period_ns,
        )
        # Sectors of a read that ends the spin-up belong to a turn that did not count yet.
        told = self._counted(reports)
        shown = [scan for scan in scans if self._note_turn(scan)]
        return told, shown

    def _note_turn(self, scan: LidarScan) -> bool:
        was_up = self.is_up
        self._turns += 1
        self.last_turn_ns = scan.ended_ns
        self.turn_period_ns = scan.ended_ns - scan.started_ns
        return was_up

    def _counted(self, reports: list[SectorReport]) -> list[SectorReport]:
        return reports if self.is_up else []
