"""From decoded events to sectors: spin-up, lag, turn period, and what a disturbance costs."""

import numpy as np
import pytest

from oht50d.codec.rplidar.answers import AnswerKind, SampleRate
from oht50d.codec.rplidar.parser import ScanStarted
from oht50d.codec.rplidar.samples import ChecksumError, EncoderReset, Samples, ScanReset
from oht50d.core.lidar_feed import LidarFeed, sample_period_ns

PERIOD_NS = 250_000


def turns(begin: float, count: float, *, lag: int = 0) -> Samples:
    """A clean stretch of `count` turns of 720 samples; `begin` in turns."""
    steps = np.arange(round(begin * 720), round((begin + count) * 720))
    return Samples(
        angle_q14=(steps % 720) * 65536 // 720,
        dist_q2=np.full(len(steps), 16000),
        quality=np.full(len(steps), 188),
        flag=np.where(steps % 720 == 0, 1, 2),
        lag=lag,
    )


def feed(spin_up_turns: int = 2) -> LidarFeed:
    return LidarFeed(sector_count=36, near_limit_mm=2500.0, spin_up_turns=spin_up_turns, sample_period_ns=PERIOD_NS)


def test_nothing_comes_out_during_spin_up() -> None:
    lidar = feed()
    assert lidar.take([ScanStarted(AnswerKind.EXPRESS), turns(0, 1)], 0) == ([], [])
    assert lidar.take([turns(1, 1)], 0) == ([], [])
    assert (lidar.is_up, lidar.samples, lidar.last_turn_ns is None) == (False, 1440, False)
    assert lidar.take([turns(2, 0.5)], 0) == ([], [])  # this read ends the second turn: it still belongs to it
    assert lidar.is_up
    reports, scans = lidar.take([turns(2.5, 0.6)], 0)
    assert len(reports) > 10
    assert len(scans) == 1


def test_the_turn_period_and_the_lag_are_in_device_samples() -> None:
    lidar = feed(1)
    lidar.take([turns(0, 1.5, lag=32)], 1_000_000_000)
    assert lidar.turn_period_ns == 720 * PERIOD_NS
    assert lidar.last_turn_ns == 1_000_000_000 - (32 + 359) * PERIOD_NS


def test_a_lost_packet_costs_the_sectors_that_it_touches() -> None:
    lidar = feed(1)
    lidar.take([turns(0, 1.25)], 0)
    reports, _ = lidar.take([ChecksumError(), turns(1.25, 0.25)], 0)
    # Packets were lost at 90 degrees: the sector there was not swept whole, the next ones were.
    assert [report.index for report in reports][:2] == [10, 11]


def test_an_interruption_is_told_like_a_lost_packet() -> None:
    lidar = feed(1)
    lidar.take([turns(0, 1.25)], 0)
    assert lidar.interrupt() == []
    assert lidar.take([turns(1.25, 0.25)], 0)[0][0].index == 10


@pytest.mark.parametrize(("event", "is_up"), [(ScanReset(), True), (EncoderReset(), False)])
def test_only_an_encoder_restart_repeats_the_spin_up(event: ScanReset | EncoderReset, is_up: bool) -> None:
    lidar = feed(1)
    lidar.take([turns(0, 1.5)], 0)
    assert lidar.is_up
    lidar.take([event], 0)
    assert lidar.is_up is is_up
    assert (lidar.turn_period_ns is None) is not is_up


@pytest.mark.parametrize(
    ("rate", "is_express", "period_us"),
    [
        (SampleRate(508, 254), True, 254),
        (SampleRate(508, 254), False, 508),
        (None, True, 476),
        (None, False, 476),
        (SampleRate(0, 60_000), True, 476),
        (SampleRate(0, 60_000), False, 476),
    ],
)
def test_an_implausible_rate_makes_samples_older_not_newer(
    rate: SampleRate | None, is_express: bool, period_us: int
) -> None:
    assert sample_period_ns(rate, is_express=is_express) == period_us * 1000
