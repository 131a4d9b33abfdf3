"""The hall and what moves in it, and rays cast against them (the object owns the list of obstacles).

Frame: x along the track, y to the left, millimetres, seen from above; ray angles are degrees clockwise from +x, as the
LiDAR counts them (RPLIDAR.md, section 3).
"""

import math
from collections.abc import Sequence

import numpy as np
from attrs import define, evolve, field, frozen
from numpy.typing import NDArray

MAX_OBSTACLES = 64


@frozen(kw_only=True)
class Obstacle:
    """A circle, or with `radius_mm` 0 a segment to (x + dx, y + dy), that moves evenly while it is there.

    It is there from `since_ns` for `stay_ns` (None: for good), again after each `every_ns` (None: once).
    """

    name: str
    x_mm: float
    y_mm: float = 0.0
    radius_mm: float = 0.0
    dx_mm: float = 0.0
    dy_mm: float = 0.0
    vx_mm_s: float = 0.0
    vy_mm_s: float = 0.0
    since_ns: int = 0
    stay_ns: int | None = None
    every_ns: int | None = None

    def at(self, now_ns: int) -> "Obstacle | None":
        """The obstacle with its place at `now_ns`, or None while it is away."""
        age_ns = now_ns - self.since_ns
        if age_ns < 0:
            return None
        if self.every_ns:
            age_ns %= self.every_ns
        if self.stay_ns is not None and age_ns >= self.stay_ns:
            return None
        age_s = age_ns / 1e9
        return evolve(self, x_mm=self.x_mm + self.vx_mm_s * age_s, y_mm=self.y_mm + self.vy_mm_s * age_s)


Segment = tuple[float, float, float, float]


@define
class World:
    """Walls that stay and obstacles that come and go; `walls` are (x1, y1, x2, y2)."""

    walls: tuple[Segment, ...]
    obstacles: dict[str, Obstacle] = field(factory=dict)

    def put(self, obstacle: Obstacle) -> None:
        """Add or replace an obstacle; raises ValueError beyond MAX_OBSTACLES."""
        if obstacle.name not in self.obstacles and len(self.obstacles) >= MAX_OBSTACLES:
            raise ValueError(f"at most {MAX_OBSTACLES} obstacles")
        self.obstacles[obstacle.name] = obstacle

    def remove(self, name: str) -> bool:
        return self.obstacles.pop(name, None) is not None

    def cast(
        self, x_mm: float, y_mm: float, angles_deg: NDArray[np.float64] | Sequence[float], now_ns: int
    ) -> NDArray[np.float64]:
        """Distance in mm from (x, y) to the nearest surface along each ray; `inf` where there is none."""
        radians = np.radians(np.asarray(angles_deg, dtype=np.float64))
        ux, uy = np.cos(radians), -np.sin(radians)
        present = [found for obstacle in self.obstacles.values() if (found := obstacle.at(now_ns)) is not None]
        segments = list(self.walls)
        segments += [(o.x_mm, o.y_mm, o.x_mm + o.dx_mm, o.y_mm + o.dy_mm) for o in present if not o.radius_mm]
        circles = [(o.x_mm, o.y_mm, o.radius_mm) for o in present if o.radius_mm]
        nearest = np.full(radians.shape, math.inf)
        if segments:
            nearest = _cast_segments(np.array(segments), x_mm, y_mm, ux, uy)
        if circles:
            nearest = np.minimum(nearest, _cast_circles(np.array(circles), x_mm, y_mm, ux, uy))
        return nearest


def _cast_segments(
    segments: NDArray[np.float64], x_mm: float, y_mm: float, ux: NDArray[np.float64], uy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rays (n) against segments (m): the parameter along the ray where 0 <= s <= 1 on the segment."""
    px, py = segments[:, 0] - x_mm, segments[:, 1] - y_mm
    ex, ey = segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1]
    cross = ux[:, None] * ey - uy[:, None] * ex
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (px * ey - py * ex) / cross
        on_segment = (px * uy[:, None] - py * ux[:, None]) / cross
        is_hit = (along >= 0) & (on_segment >= 0) & (on_segment <= 1)
    return np.asarray(np.where(is_hit, along, math.inf).min(axis=1))


def _cast_circles(
    circles: NDArray[np.float64], x_mm: float, y_mm: float, ux: NDArray[np.float64], uy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rays (n) against circles (m); from inside a circle every ray is 0 long."""
    cx, cy, radius = circles[:, 0] - x_mm, circles[:, 1] - y_mm, circles[:, 2]
    along = ux[:, None] * cx + uy[:, None] * cy
    outside = cx * cx + cy * cy - radius * radius
    under_root = along * along - outside
    near = along - np.sqrt(np.maximum(under_root, 0.0))
    distances = np.where((under_root >= 0) & (near >= 0), near, math.inf)
    return np.asarray(np.where(outside <= 0, 0.0, distances).min(axis=1))
