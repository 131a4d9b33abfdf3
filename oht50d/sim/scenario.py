"""A scenario file: the hall, what moves in it, the register maps, the carriage's figures, the faults (no state)."""

import tomllib
from pathlib import Path
from typing import Self

from attrs import field, frozen

from oht50d.model.errors import ConfigError
from oht50d.model.units import Duration
from oht50d.sim.faults import MAX_UNIT, ScriptedFault
from oht50d.sim.line_settings import LineSettings, Parity
from oht50d.sim.plant import PlantParameters
from oht50d.sim.settings import build
from oht50d.sim.world import MAX_OBSTACLES, Obstacle, Segment, World

MAX_SCENARIO_BYTES = 256 * 1024


@frozen(kw_only=True)
class HallSettings:
    """A rectangular hall: x from 0 to `length_mm`, y from -`width_mm`/2 to +`width_mm`/2, the track along y = 0.

    `walls` are more segments, each [x1, y1, x2, y2]. The carriage's centre stays `buffer_mm` away from both ends.
    """

    length_mm: float = 11000.0
    width_mm: float = 3000.0
    buffer_mm: float = 600.0
    walls: tuple[tuple[float, ...], ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.length_mm <= 2 * self.buffer_mm:
            raise ValueError("length_mm must be more than two buffers")
        if any(len(wall) != 4 for wall in self.walls):
            raise ValueError("a wall has four numbers: x1, y1, x2, y2")

    @property
    def segments(self) -> tuple[Segment, ...]:
        half = self.width_mm / 2
        corners = ((0.0, -half), (self.length_mm, -half), (self.length_mm, half), (0.0, half))
        hall = tuple((*corners[index], *corners[(index + 1) % 4]) for index in range(4))
        return hall + tuple((wall[0], wall[1], wall[2], wall[3]) for wall in self.walls)


@frozen(kw_only=True)
class ScriptedObstacle:
    """One `[[obstacle]]`: a circle, or a segment by `dx_mm` and `dy_mm`; from `at` for `for`, again each `every`."""

    name: str
    x_mm: float
    y_mm: float = 0.0
    radius_mm: float = 0.0
    dx_mm: float = 0.0
    dy_mm: float = 0.0
    vx_mm_s: float = 0.0
    vy_mm_s: float = 0.0
    at: Duration = field(default=Duration(0))
    for_: Duration | None = None
    every: Duration | None = None

    def __attrs_post_init__(self) -> None:
        if (self.radius_mm > 0) == bool(self.dx_mm or self.dy_mm):
            raise ValueError("an obstacle has either radius_mm or dx_mm and dy_mm")

    def begin(self, start_ns: int) -> Obstacle:
        return Obstacle(
            name=self.name,
            x_mm=self.x_mm,
            y_mm=self.y_mm,
            radius_mm=self.radius_mm,
            dx_mm=self.dx_mm,
            dy_mm=self.dy_mm,
            vx_mm_s=self.vx_mm_s,
            vy_mm_s=self.vy_mm_s,
            since_ns=start_ns + self.at.ns,
            stay_ns=self.for_.ns if self.for_ else None,
            every_ns=self.every.ns if self.every else None,
        )


@frozen(kw_only=True)
class MapFiles:
    """Which register map each module speaks, as file names in the map directory."""

    power: str = "power.toml"
    safety: str = "safety.toml"
    travel: str = "travel_motor.toml"
    dock: str = "dock.toml"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.power, self.safety, self.travel, self.dock)


@frozen(kw_only=True)
class BusSettings:
    """The line and how quickly the modules answer: `turnaround` follows the silence that ends a request."""

    baud: int = 115200
    turnaround: Duration = field(default=Duration(1_000_000))
    pieces: int = 1

    def __attrs_post_init__(self) -> None:
        LineSettings(self.baud)
        if not 1 <= self.pieces <= 8:
            raise ValueError("pieces must be 1 to 8")


@frozen(kw_only=True)
class ModuleSettings:
    """One `[[module]]`: how a module of the maps is set, or, at another address and with `type`, one more module.

    What is not given is as the map and `[bus]` say. A module answers only a master that has set its speed and parity.
    """

    address: int
    type: int | None = None
    tag: str | None = None
    serial: int | None = None
    firmware: int | None = None
    turnaround: Duration | None = None
    baud: int | None = None
    parity: Parity | None = None

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.address <= MAX_UNIT:
            raise ValueError(f"address must be 1 to {MAX_UNIT}")
        for name, limit in (("type", 0xFFFF), ("firmware", 0xFFFF), ("serial", 0xFFFF_FFFF)):
            number = getattr(self, name)
            if number is not None and not 0 <= number <= limit:
                raise ValueError(f"{name} must be 0 to {limit:#x}")
        if self.tag is not None and not (self.tag.isascii() and 1 <= len(self.tag) <= 4):
            raise ValueError("tag must be 1 to 4 ASCII letters")
        if self.baud is not None:
            LineSettings(self.baud)


@frozen(kw_only=True)
class LidarSettings:
    """The LiDAR's turning and its noise: standard deviation `noise_mm` plus `noise_ratio` of the distance."""

    rotation_hz: float = 10.0
    spin_up: Duration = field(default=Duration(600_000_000))
    noise_mm: float = 4.0
    noise_ratio: float = 0.003
    dropout_ratio: float = 0.004
    least_mm: float = 150.0
    most_mm: float = 12000.0

    def __attrs_post_init__(self) -> None:
        if not 1.0 <= self.rotation_hz <= 15.0:
            raise ValueError("rotation_hz must be 1 to 15")


@frozen(kw_only=True)
class Scenario:
    """Everything that a simulated robot is made of; `communication_timeout` is the drives' setting at power-up."""

    title: str = ""
    seed: int = 1
    communication_timeout: Duration = field(default=Duration(0))
    hall: HallSettings = field(factory=HallSettings)
    maps: MapFiles = field(factory=MapFiles)
    plant: PlantParameters = field(factory=PlantParameters)
    bus: BusSettings = field(factory=BusSettings)
    lidar: LidarSettings = field(factory=LidarSettings)
    obstacle: tuple[ScriptedObstacle, ...] = ()
    module: tuple[ModuleSettings, ...] = ()
    fault: tuple[ScriptedFault, ...] = ()

    def __attrs_post_init__(self) -> None:
        if len(self.obstacle) > MAX_OBSTACLES:
            raise ValueError(f"at most {MAX_OBSTACLES} obstacles")

    @classmethod
    def parse(cls, text: str, *, file: str) -> Self:
        """From TOML; raises ConfigError with file, key, expected and found."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError("syntax", str(error), file=file) from error
        return build(cls, table, file=file)

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a file; raises ConfigError, also when it cannot be read."""
        try:
            with path.open("rb") as stream:
                octets = stream.read(MAX_SCENARIO_BYTES + 1)
            if len(octets) > MAX_SCENARIO_BYTES:
                raise ConfigError("scenario", f"longer than {MAX_SCENARIO_BYTES} bytes", file=str(path))
            return cls.parse(octets.decode(), file=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("scenario", f"cannot be read: {error}", file=str(path)) from error

    def world(self, start_ns: int) -> World:
        """The hall with its scripted obstacles, whose clocks begin at `start_ns`."""
        world = World(walls=self.hall.segments)
        for scripted in self.obstacle:
            world.put(scripted.begin(start_ns))
        return world
