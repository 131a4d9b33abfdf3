"""Where configuration files are found (no state).

`/etc/oht50d` belongs to the administrator. The shipped files travel inside the package (`oht50d/_config`, put there by
the wheel); an editable checkout has them beside the package in `config/`.
"""

from pathlib import Path

import oht50d
from oht50d.codec.strict_table import nearest
from oht50d.model.errors import ConfigError

SITE_DIR = Path("/etc/oht50d")
DEFAULT_SCENARIO = "hall"


def shipped_config_dir() -> Path:
    """The directory of the shipped `config/` files; raises ConfigError if the installation has lost them."""
    package = Path(oht50d.__file__).parent
    for candidate in (package / "_config", package.parent / "config"):
        if candidate.is_dir():
            return candidate
    raise ConfigError("installation", "the shipped configuration files are missing", file=str(package))


def find_config_file(name: str, *, site_dir: Path = SITE_DIR) -> Path:
    """The file `name` (such as `modules/dock.toml`): the site's if there is one, else the shipped one.

    Raises ConfigError if neither exists (with the names that there are, and the nearest one) or if `name` leads out of
    those directories.
    """
    directories = (site_dir, shipped_config_dir())
    folder = Path(name).parent
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise ConfigError(name, "not allowed", expected="a name inside the configuration directory")
    for directory in directories:
        if (directory / name).is_file():
            return directory / name
    known = sorted({file.name for directory in directories for file in (directory / folder).glob("*.toml")})
    close = nearest(Path(name).name, known)
    raise ConfigError(
        name, "no such file", expected=f"one of {', '.join(known)}", found=repr(Path(name).name), nearest=close
    )


def find_scenario(name: str) -> Path:
    """The file of a scenario by its name, or by its path if that ends in `.toml`.

    Raises ConfigError with the scenarios that there are.
    """
    if name.endswith(".toml"):
        return Path(name)
    try:
        return find_config_file(f"scenarios/{DEFAULT_SCENARIO if name == 'default' else name}.toml")
    except ConfigError as problem:
        known = (problem.expected or "").replace(".toml", "")
        close = problem.nearest.removesuffix(".toml") if problem.nearest else None
        raise ConfigError(
            "robot.scenario", "no such scenario", expected=known, found=repr(name), nearest=close
        ) from problem
