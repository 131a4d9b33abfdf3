"""Where configuration files are found (no state).

`/etc/oht50d` belongs to the administrator. The shipped files travel inside the package (`oht50d/_config`, put there by
the wheel); an editable checkout has them beside the package in `config/`.
"""

from pathlib import Path

import oht50d
from oht50d.model.errors import ConfigError

SITE_DIR = Path("/etc/oht50d")


def shipped_config_dir() -> Path:
    """The directory of the shipped `config/` files; raises ConfigError if the installation has lost them."""
    package = Path(oht50d.__file__).parent
    for candidate in (package / "_config", package.parent / "config"):
        if candidate.is_dir():
            return candidate
    raise ConfigError("installation", "the shipped configuration files are missing", file=str(package))


def find_config_file(name: str, *, site_dir: Path = SITE_DIR) -> Path:
    """The file `name` (such as `modules/dock.toml`): the site's if there is one, else the shipped one.

    Raises ConfigError if neither exists or if `name` leads out of those directories.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(name, "not allowed", expected="a name inside the configuration directory")
    for directory in (site_dir, shipped_config_dir()):
        if (directory / name).is_file():
            return directory / name
    raise ConfigError(name, "no such file", expected=f"{site_dir / name} or a shipped file of that name")
