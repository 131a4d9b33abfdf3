"""Noise and silence while the robot moves: the real bus owner, guardian and kernel on the memory line, virtual time.

A module that matters for motion and gives no valid reply for 150 ms stops the robot; a single lost frame never does.
The keeper of the bench checks both at every step of the kernel, by its own account of what was published when. Counts
are reduced here; `tests/soak` runs an hour of each kind of noise.
"""

import random

import pytest
import trio
from bus_fakes import DOCK, MS, SAFETY, TRAVEL
from moving_bench import LIMIT_NS, LOST, MovingRobot, Noise, moving_robot
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.model.motion import CauseCode

NOISE_S = 30.0
SILENCES = 24
SINGLE_LOSSES = 45
UNITS = (SAFETY, TRAVEL, DOCK)

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time; under the tracer they would take six times as long and show no line that others do not."""


@pytest.mark.parametrize("travel", ["travel_motor", "travel_motor_timeout"])
@pytest.mark.parametrize("noise", [Noise(frame=1e-3), Noise(byte=1e-3)], ids=["frames", "bytes"])
async def test_noise_brings_no_wrong_value_and_no_stop_for_a_single_loss(
    autojump_clock: MockClock, noise: Noise, travel: str
) -> None:
    async with moving_robot(11, noise, travel) as robot:
        await trio.sleep(NOISE_S)
        print(robot.told())
        assert robot.line.replies.wrong == {}
        assert robot.line.replies.judged > NOISE_S * 100
        assert robot.line.damaged > 0
        assert robot.keeper.breaches == []
        assert robot.stops_for_one == 0
        assert set(robot.causes) <= set(LOST.values()), "noise has no other consequence"
        assert robot.moved_ns > NOISE_S * 0.5e9


async def test_a_silence_stops_the_robot_if_it_lasts_150_ms_and_not_otherwise(autojump_clock: MockClock) -> None:
    rng = random.Random(12)
    async with moving_robot(12) as robot:
        longer = 0
        for number in range(SILENCES):
            unit = UNITS[number % len(UNITS)]
            await robot.moving(rng.uniform(0.3, 0.6))
            losses = robot.keeper.losses[unit]
            robot.line.mute_until_ns[unit] = now_ns() + rng.randrange(250 * MS)
            await trio.sleep(0.5)
            longest_ns = robot.keeper.longest_ns.pop(unit)
            was_lost = robot.keeper.losses[unit] > losses
            assert was_lost is (longest_ns > LIMIT_NS), f"{unit:#04x} was not heard for {longest_ns / MS:.6f} ms"
            longer += was_lost
        print(f"{SILENCES} silences of up to 250 ms, {longer} of them stopped the robot; {robot.told()}")
        assert robot.keeper.breaches == []
        assert SILENCES / 4 < longer < SILENCES * 3 / 4
        assert set(robot.causes) <= set(LOST.values())


async def test_a_single_lost_frame_never_stops_the_robot(autojump_clock: MockClock) -> None:
    rng = random.Random(13)
    async with moving_robot(13) as robot:
        for number in range(SINGLE_LOSSES):
            await trio.sleep(rng.uniform(0.3, 0.6))
            robot.line.drops[UNITS[number % len(UNITS)]] = 1
        await trio.sleep(0.5)
        longest = ", ".join(f"{unit:#04x} {ns / MS:.0f} ms" for unit, ns in sorted(robot.keeper.longest_ns.items()))
        print(f"{SINGLE_LOSSES} lost frames, longest silences: {longest}; {robot.told()}")
        assert not any(robot.line.drops.values())
        assert robot.causes == {}
        assert robot.starts == 1
        assert robot.keeper.breaches == []


@pytest.mark.parametrize("unit", UNITS)
async def test_a_module_that_is_gone_for_good_stops_it_as_its_row_says(autojump_clock: MockClock, unit: int) -> None:
    async with moving_robot(14) as robot:
        robot.line.mute_until_ns[unit] = now_ns() + 3_600_000 * MS
        await trio.sleep(0.4)
        assert LOST[unit] in robot.causes
        assert robot.control.kernel.latch.is_tripped
        assert is_safe(robot)
        assert robot.keeper.breaches == []


def is_safe(robot: MovingRobot) -> bool:
    """No drive that can be reached has a demand, and the bus owner has none for any."""
    image = robot.control.bench.modules[TRAVEL].image
    has_demand = any(image[address] for address in (0x02, 0x03, 0x12, 0x13))
    return not robot.is_moving and (not has_demand or CauseCode.TRAVEL_LOST in robot.causes)
