"""The configuration of the daemon: composed from the settings that each module owns (no state).

Order, later wins: embedded defaults, `/etc/oht50d/oht50d.toml` or `--config FILE`, `conf.d/*.toml` beside it,
environment (REQ_BE_14, section 3.2), command line.
"""

import enum
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import cattrs
from attrs import field, frozen

from oht50d.app import config_sources, environment
from oht50d.app.config_sources import Origin, SettingsTree
from oht50d.app.config_structure import Problem, StructureError, structure
from oht50d.app.log_config import LogConfig
from oht50d.app.paths import SITE_DIR, find_config_file, find_scenario
from oht50d.codec.strict_table import dotted
from oht50d.codec.toml_lines import Path as KeyPath
from oht50d.core.safety_config import SafetyConfig
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.lidar_link import LidarConfig
from oht50d.drivers.spool import SpoolConfig
from oht50d.model.errors import ConfigError
from oht50d.model.motion import Direction
from oht50d.model.units import Duration, SettingClash, matching
from oht50d.web.app_config import WebConfig
from oht50d.web.tokens import TokenConfig

DEFAULT_FILE = SITE_DIR / "oht50d.toml"
MAX_FRAGMENTS = 100


_ID_WORDS = "at most 63 of A-Z, a-z, 0-9, dot, dash and underscore, beginning with a letter or digit"


class Environment(enum.Enum):
    """Where the daemon runs; what nobody has set is production, the strictest."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


@frozen(kw_only=True)
class RobotConfig:
    """Who the robot is and where its daemon keeps its things; `scenario` is read in simulation only."""

    robot_id: str = field(default="OHT-50-001", validator=matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", _ID_WORDS))
    state_dir: Path = Path("/var/lib/oht50d")
    runtime_dir: Path = Path("/run/oht50d")
    scenario: str = "hall"

    def __attrs_post_init__(self) -> None:
        # What must survive a restart, and what is swept away by one.
        if self.state_dir.absolute() == self.runtime_dir.absolute():
            raise SettingClash("runtime_dir", "another directory than robot.state_dir", str(self.runtime_dir))


@frozen(kw_only=True)
class Config:
    """All settings of the daemon; the sections are the tables of the TOML files."""

    environment: Environment = Environment.PRODUCTION
    robot: RobotConfig = field(factory=RobotConfig)
    bus: BusConfig = field(factory=BusConfig)
    lidar: LidarConfig = field(factory=LidarConfig)
    safety: SafetyConfig = field(factory=SafetyConfig)
    spool: SpoolConfig = field(factory=SpoolConfig)
    web: WebConfig = field(factory=WebConfig)
    auth: TokenConfig = field(factory=TokenConfig)
    log: LogConfig = field(factory=LogConfig)

    def __attrs_post_init__(self) -> None:
        if self.bus.serial.port == self.lidar.port and not self.bus.transport.uses_tcp:
            raise SettingClash("lidar.port", "another device than bus.serial.port", self.lidar.port)

    @property
    def is_simulated(self) -> bool:
        """True if any safety input is simulated (SAFETY.md: then nothing real moves)."""
        return self.bus.is_simulated or self.lidar.is_simulated


@frozen
class LoadedConfig:
    """A configuration, where each value came from, and what the loader has to say about it.

    `notes` are facts (a variable without effect), `warnings` make `oht50d check` exit with 2.
    """

    config: Config
    origins: Mapping[KeyPath, Origin]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def values(self) -> Iterator[tuple[str, object, str]]:
        """Every setting in order: key, value as in TOML (None: unset), origin."""
        for path, leaf in _leaves(unstructure(self.config)):
            origin = next((self.origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origins), None)
            yield ".".join(map(str, path)), leaf, str(origin) if origin else "default"

    def refusal(
        self, key: str, why: str, *, expected: str | None = None, found: str | None = None, nearest: str | None = None
    ) -> ConfigError:
        """The error for a setting that cannot be used here, with the file and line that set it."""
        return refusal(key, why, self.origins, expected=expected, found=found, nearest=nearest)

    def located(self, error: ConfigError) -> ConfigError:
        """`error` with the file and line of its setting, if it names a setting and no place."""
        if error.file is not None:
            return error
        return self.refusal(error.key, error.why, expected=error.expected, found=error.found, nearest=error.nearest)


def refusal(
    key: str,
    why: str,
    origins: Mapping[KeyPath, Origin],
    *,
    expected: str | None = None,
    found: str | None = None,
    nearest: str | None = None,
) -> ConfigError:
    """The error for the setting `key` (dotted) with its place among `origins`; without one it is a default."""
    origin = config_sources.find_origin(tuple(key.split(".")), origins)
    return ConfigError(
        key,
        why,
        file=origin.source if origin else None,
        line=origin.line if origin else None,
        expected=expected,
        found=found,
        nearest=nearest,
    )


def unstructure(settings: object) -> dict[str, object]:
    """Settings as the plain values of a TOML file; unset optional ones are None."""
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Duration, str)
    converter.register_unstructure_hook(Path, str)
    converter.register_unstructure_hook_func(
        lambda kind: getattr(kind, "__origin__", kind) is tuple,
        lambda items: [converter.unstructure(item) for item in items],
    )
    plain: dict[str, object] = converter.unstructure(settings)
    return plain


def load_config(
    file: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    is_simulation: bool = False,
    default_file: Path = DEFAULT_FILE,
) -> LoadedConfig:
    """Read all sources; raises ConfigError for the first thing that is wrong.

    `file` must exist, `default_file` need not: a daemon that nobody configured starts with its defaults.
    """
    environ = os.environ if environ is None else environ
    settings = SettingsTree()
    _add_files(settings, file or default_file, is_required=file is not None)
    assigned = [config_sources.parse_assignment(text) for text in assignments]
    notes = _add_environment(settings, environ, is_tcp=_is_tcp(settings, assigned))
    for path, leaf in assigned:
        settings.put(path, leaf, Origin(f"--set {'.'.join(map(str, path))}"))
    if is_simulation:
        _add_simulation(settings)
    config = build(settings)
    _refuse_simulated_production(config, settings, environ)
    _find_files(config, settings, is_simulation=is_simulation)
    return LoadedConfig(config, settings.origins, tuple(notes), tuple(_warnings(config, environ)))


def build(settings: SettingsTree) -> Config:
    """The configuration that a settings tree describes on top of the defaults; raises ConfigError."""
    try:
        return structure(_overlay(unstructure(Config()), settings.tree), Config)
    except StructureError as error:
        raise _locate(error.problem, settings) from error


def _overlay(lower: Mapping[str, object], upper: Mapping[str, object]) -> dict[str, object]:
    merged = {name: _overlay(leaf, {}) if isinstance(leaf, dict) else leaf for name, leaf in lower.items()}
    merged = {name: leaf for name, leaf in merged.items() if leaf is not None}  # TOML cannot say unset
    for name, leaf in upper.items():
        below = merged.get(name)
        merged[name] = _overlay(below, leaf) if isinstance(below, dict) and isinstance(leaf, dict) else leaf
    return merged


def _locate(problem: Problem, settings: SettingsTree) -> ConfigError:
    key = dotted(problem.path) if problem.path else "configuration"
    # A default can be wrong only beside a value of its section that somebody has set.
    origin = settings.origin_of(problem.path) or settings.origin_of(problem.path[:-1])
    return ConfigError(
        key,
        problem.why,
        file=origin.source if origin else None,
        line=origin.line if origin else None,
        expected=problem.expected,
        found=problem.found,
        nearest=problem.nearest,
    )


def _add_files(settings: SettingsTree, main: Path, *, is_required: bool) -> None:
    if is_required or main.exists():
        document = config_sources.read_document(main)
        config_sources.check_schema(document, is_required=True)
        settings.add_document(document)
    fragments = sorted((main.parent / "conf.d").glob("*.toml"))
    if len(fragments) > MAX_FRAGMENTS:
        raise ConfigError("conf.d", f"more than {MAX_FRAGMENTS} files", file=str(main.parent / "conf.d"))
    for path in fragments:
        document = config_sources.read_document(path)
        config_sources.check_schema(document, is_required=False)
        settings.add_document(document)


def _is_tcp(settings: SettingsTree, assigned: Iterable[tuple[KeyPath, object]]) -> bool:
    """Whether the bus will go over TCP by what files and command line say; no variable says it."""
    bus = settings.tree.get("bus")
    found = bus.get("transport") if isinstance(bus, dict) else None
    found = next((leaf for path, leaf in reversed(list(assigned)) if path == ("bus", "transport")), found)
    return found in [transport.value for transport in Transport if transport.uses_tcp]


def _add_environment(settings: SettingsTree, environ: Mapping[str, str], *, is_tcp: bool) -> list[str]:
    notes = []
    for entry in environment.read_environment(environ):
        if entry.row.key is not None and (is_tcp or not entry.row.needs_tcp):
            settings.put(entry.row.key, entry.found, Origin(f"environment {entry.row.name}"))
        else:
            notes.append(f"{entry.row.name}: {entry.row.note}")
    return notes


def _add_simulation(settings: SettingsTree) -> None:
    origin = Origin("--simulate")
    settings.put(("bus", "is_simulated"), True, origin)
    settings.put(("lidar", "is_simulated"), True, origin)
    if ("environment",) not in settings.origins:
        settings.put(("environment",), Environment.DEVELOPMENT.value, origin)


def _find_files(config: Config, settings: SettingsTree, *, is_simulation: bool) -> None:
    """Raises ConfigError for a map, or in simulation a scenario, that is named and not there."""
    rows = [
        (f"bus.maps[{place}]", partial(find_config_file, f"modules/{n}")) for place, n in enumerate(config.bus.maps)
    ]
    if is_simulation:
        rows.append(("robot.scenario", partial(find_scenario, config.robot.scenario)))
    for key, find in rows:
        try:
            find()
        except ConfigError as problem:
            what = "no such register map" if key.startswith("bus.maps") else problem.why
            found = refusal(
                key.partition("[")[0], what, settings.origins,
                expected=problem.expected, found=problem.found, nearest=problem.nearest,
            )  # fmt: skip
            raise found from problem


def _refuse_simulated_production(config: Config, settings: SettingsTree, environ: Mapping[str, str]) -> None:
    if config.environment is Environment.DEVELOPMENT:
        return
    for name in environment.placeholder_secrets(environ):
        raise ConfigError(name, "holds the value that the documents show: that is no secret", expected="a secret")
    if config.environment is not Environment.PRODUCTION:
        return
    places: dict[str, bool] = {
        "bus.is_simulated": config.bus.is_simulated,
        "lidar.is_simulated": config.lidar.is_simulated,
        "FIRMWARE_SIMULATION": environ.get("FIRMWARE_SIMULATION", "").lower() in {"true", "1", "yes", "on"},
    }
    for key in (key for key, is_simulated in places.items() if is_simulated):
        why = "production does not run on a simulated robot"
        raise refusal(key, why, settings.origins, expected="false, or another environment", found="true")


def _warnings(config: Config, environ: Mapping[str, str]) -> Iterable[str]:
    if config.bus.is_simulated != config.lidar.is_simulated:
        yield "bus and lidar must both be real or both simulated: as it is, every motion will be refused"
    if config.bus.listen_only:
        yield "bus.listen_only: the bus is heard and nothing is sent, not even a stop; every motion will be refused"
    zones = config.safety.zones
    ahead = frozenset().union(*(zones.sectors_ahead(direction) for direction in Direction))
    if ahead & set(zones.open_sectors):
        yield (
            f"safety.zones.open_sectors: {sorted(ahead & set(zones.open_sectors))} lie in the arc of travel: "
            "there a LiDAR that sees nothing counts as a clear track"
        )
    if ahead & set(zones.masked_sectors):
        yield (
            f"safety.zones.masked_sectors: {sorted(ahead & set(zones.masked_sectors))} lie in the arc of travel: "
            "no motion will be permitted that way"
        )
    for name in environment.placeholder_secrets(environ):
        yield f"{name} holds the value that the documents show: good for development only"


def _leaves(tree: Mapping[str, object], path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    for name, leaf in tree.items():
        if isinstance(leaf, dict) and leaf:
            yield from _leaves(leaf, (*path, name))
        else:
            yield (*path, name), leaf


def setting_names(kind: type = Config, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Paths of all settings, whatever their values."""
    for attribute in attrs.fields(attrs.resolve_types(kind)):
        inner = attribute.type
        if isinstance(inner, type) and attrs.has(inner) and inner is not Duration:
            yield from setting_names(inner, (*path, attribute.name))
        else:
            yield (*path, attribute.name)
