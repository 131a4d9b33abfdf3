"""Rays in the simulated hall, against geometry done by hand."""

import math

import numpy as np
import pytest

from oht50d.sim.scenario import HallSettings
from oht50d.sim.world import MAX_OBSTACLES, Obstacle, World

S = 1_000_000_000


def hall() -> World:
    return World(walls=HallSettings(length_mm=10_000.0, width_mm=3000.0).segments)


def test_the_four_walls_are_where_they_are() -> None:
    assert hall().cast(4000.0, 0.0, [0, 90, 180, 270], 0).tolist() == pytest.approx([6000, 1500, 4000, 1500])


def test_angles_grow_clockwise_seen_from_above() -> None:
    world = hall()
    world.put(Obstacle(name="right", x_mm=4000.0, y_mm=-800.0, radius_mm=100.0))
    right, left = world.cast(4000.0, 0.0, [90, 270], 0)
    assert (right, left) == pytest.approx((700.0, 1500.0))


def test_a_slanted_ray_meets_a_wall_at_its_angle() -> None:
    assert hall().cast(4000.0, 0.0, [30], 0)[0] == pytest.approx(1500 / math.sin(math.radians(30)))


def test_a_circle_hides_what_is_behind_it_and_no_more() -> None:
    world = hall()
    world.put(Obstacle(name="pillar", x_mm=6000.0, radius_mm=200.0))
    half_angle = math.degrees(math.asin(200 / 2000))
    front, inside, outside = world.cast(4000.0, 0.0, [0, half_angle - 0.1, half_angle + 0.1], 0)
    assert front == pytest.approx(1800.0)
    assert inside < 2001.0
    assert outside > 5000.0


def test_a_circle_behind_the_ray_is_not_seen() -> None:
    world = hall()
    world.put(Obstacle(name="behind", x_mm=2000.0, radius_mm=200.0))
    assert world.cast(4000.0, 0.0, [0], 0)[0] == pytest.approx(6000.0)


def test_from_inside_a_circle_every_ray_is_zero() -> None:
    world = hall()
    world.put(Obstacle(name="around", x_mm=4000.0, radius_mm=300.0))
    assert not world.cast(4100.0, 50.0, np.arange(0, 360, 10.0), 0).any()


def test_a_segment_is_as_long_as_it_is() -> None:
    world = hall()
    world.put(Obstacle(name="board", x_mm=5000.0, y_mm=-100.0, dy_mm=200.0))
    ahead, beside = world.cast(4000.0, 0.0, [0, 10], 0)
    assert ahead == pytest.approx(1000.0)
    assert beside > 5000.0


def test_outside_of_everything_there_is_no_return() -> None:
    assert math.isinf(World(walls=()).cast(0.0, 0.0, [0], 0)[0])
    assert math.isinf(World(walls=((10.0, -1.0, 10.0, 1.0),)).cast(0.0, 0.0, [180], 0)[0])


def test_obstacles_come_move_go_and_come_again() -> None:
    walker = Obstacle(
        name="w", x_mm=1000.0, radius_mm=1.0, vx_mm_s=100.0, since_ns=10 * S, stay_ns=4 * S, every_ns=20 * S
    )
    places = {at: (found.x_mm if (found := walker.at(at * S)) else None) for at in (9, 10, 13, 14, 29, 31)}
    assert places == {9: None, 10: 1000.0, 13: 1300.0, 14: None, 29: None, 31: 1100.0}


def test_the_number_of_obstacles_is_bounded() -> None:
    world = hall()
    for number in range(MAX_OBSTACLES):
        world.put(Obstacle(name=str(number), x_mm=1.0, radius_mm=1.0))
    world.put(Obstacle(name="0", x_mm=2.0, radius_mm=1.0))
    with pytest.raises(ValueError, match="at most"):
        world.put(Obstacle(name="one more", x_mm=1.0, radius_mm=1.0))
    assert world.remove("0")
    assert not world.remove("0")
