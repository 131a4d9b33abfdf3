"""What a reload does: read the files again, apply the log level, name what needs a restart (no state)."""

import logging
from collections.abc import Callable

from oht50d.app.config import Config, unstructure
from oht50d.model.errors import ConfigError


def reload_settings(running: Config, load_again: Callable[[], Config]) -> list[str]:
    """Lines for the log; a broken file changes nothing and is named. `load_again` reads all sources of `running`."""
    try:
        loaded = load_again()
    except ConfigError as problem:
        return [f"reload refused, the running configuration stays: {problem}"]
    logging.getLogger().setLevel(loaded.log.level.name)
    before, after = _flat(unstructure(running)), _flat(unstructure(loaded))
    changed = sorted(key for key in before if after.get(key) != before[key] and not key.startswith("log."))
    if not changed:
        return ["reloaded: nothing that needs a restart has changed"]
    return [f"reloaded: these need a restart: {', '.join(changed)}"]


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            found.update(_flat(leaf, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = leaf
    return found
