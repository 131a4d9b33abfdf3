"""An hour of bus time of each kind of noise on a moving robot, and silences by the hundred, in chunks to be resumed."""

import random

import pytest
import trio
from bus_fakes import DOCK, MS, SAFETY, TRAVEL
from moving_bench import LIMIT_NS, LOST, Noise, moving_robot
from trio.testing import MockClock

from oht50d.clock import now_ns

CHUNKS, CHUNK_S = 12, 300.0
SILENCE_CHUNKS, SILENCES = 10, 60
LOSS_CHUNKS, LOSSES = 5, 200
UNITS = (SAFETY, TRAVEL, DOCK)

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("number", range(CHUNKS))
@pytest.mark.parametrize("noise", [Noise(frame=1e-3), Noise(byte=1e-3)], ids=["frames", "bytes"])
async def test_chunk_of_noise(autojump_clock: MockClock, noise: Noise, number: int) -> None:
    travel = ("travel_motor", "travel_motor_timeout")[number % 2]
    async with moving_robot(2000 + number, noise, travel) as robot:
        await trio.sleep(CHUNK_S)
        print(f"{robot.told()}; {noise}, {travel}")
        assert robot.line.replies.wrong == {}
        assert robot.keeper.breaches == []
        assert robot.stops_for_one == 0
        assert set(robot.causes) <= set(LOST.values())
        assert robot.moved_ns > CHUNK_S * 0.5e9


@pytest.mark.parametrize("number", range(SILENCE_CHUNKS))
async def test_chunk_of_silences(autojump_clock: MockClock, number: int) -> None:
    rng = random.Random(3000 + number)
    async with moving_robot(3000 + number) as robot:
        longer = 0
        for count in range(SILENCES):
            unit = UNITS[count % len(UNITS)]
            await robot.moving(rng.uniform(0.3, 0.6))
            losses = robot.keeper.losses[unit]
            robot.line.mute_until_ns[unit] = now_ns() + rng.randrange(250 * MS)
            await trio.sleep(0.5)
            longest_ns = robot.keeper.longest_ns.pop(unit)
            was_lost = robot.keeper.losses[unit] > losses
            assert was_lost is (longest_ns > LIMIT_NS), f"{unit:#04x} was not heard for {longest_ns / MS:.6f} ms"
            longer += was_lost
        print(f"{SILENCES} silences, {longer} of them stopped the robot; {robot.told()}")
        assert robot.keeper.breaches == []


@pytest.mark.parametrize("number", range(LOSS_CHUNKS))
async def test_chunk_of_single_losses(autojump_clock: MockClock, number: int) -> None:
    rng = random.Random(4000 + number)
    async with moving_robot(4000 + number) as robot:
        for count in range(LOSSES):
            await trio.sleep(rng.uniform(0.25, 0.5))
            robot.line.drops[UNITS[count % len(UNITS)]] = 1
        await trio.sleep(0.5)
        longest = ", ".join(f"{unit:#04x} {ns / MS:.0f} ms" for unit, ns in sorted(robot.keeper.longest_ns.items()))
        print(f"{LOSSES} lost frames, longest silences: {longest}; {robot.told()}")
        assert robot.causes == {}
        assert robot.starts == 1
        assert robot.keeper.breaches == []
