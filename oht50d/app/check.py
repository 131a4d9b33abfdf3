"""`oht50d check`: what the configuration is, where each value came from and what follows from it (no state).

Each section is a function of the loaded configuration; SECTIONS is the report.
"""

import enum
from collections.abc import Callable

from attrs import frozen

from oht50d.app.config import LoadedConfig
from oht50d.app.exit_codes import ExitCode
from oht50d.app.rooms import load_maps


class Verdict(enum.IntEnum):
    """Ascending severity."""

    GOOD = 0
    WARNING = 1
    ERROR = 2
    """The daemon would run with this and could never do what it is for."""


@frozen
class ReportSection:
    """One part of the report; raise ConfigError for what makes the daemon unable to start."""

    title: str
    lines: tuple[str, ...]
    verdict: Verdict = Verdict.GOOD


def report_values(loaded: LoadedConfig) -> ReportSection:
    """Every setting with its origin."""
    rows = [(key, toml_text(leaf), origin) for key, leaf, origin in loaded.values()]
    key_width = max(len(key) for key, _, _ in rows)
    text_width = min(40, max(len(text) for _, text, _ in rows))
    return ReportSection(
        "Settings", tuple(f"{key:<{key_width}}  {text:<{text_width}}  {origin}" for key, text, origin in rows)
    )


def report_notes(loaded: LoadedConfig) -> ReportSection:
    """Environment variables that were read and have no effect of their own."""
    return ReportSection("Environment", loaded.notes)


def report_warnings(loaded: LoadedConfig) -> ReportSection:
    """What is allowed and should still be looked at."""
    return ReportSection("Warnings", loaded.warnings, Verdict.WARNING if loaded.warnings else Verdict.GOOD)


def report_maps(loaded: LoadedConfig) -> ReportSection:
    """The register maps that the daemon would load; raises ConfigError for a broken one."""
    return ReportSection(
        "Register maps",
        tuple(
            f"{module.address:#04x}  {module.title:<24}  {len(module.registers):3} registers  {module.source}"
            for module in load_maps(loaded.config.bus)
        ),
    )


Section = Callable[[LoadedConfig], ReportSection]
SECTIONS: tuple[Section, ...] = (report_values, report_maps, report_notes, report_warnings)


def toml_text(leaf: object) -> str:
    """A plain value as it stands in a TOML file; `unset` for none."""
    match leaf:
        case None:
            return "unset"
        case bool():
            return str(leaf).lower()
        case str():
            return '"' + leaf.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ", ".join(map(toml_text, leaf)) + "]"
        case dict():
            return "{" + ", ".join(f"{name} = {toml_text(inner)}" for name, inner in leaf.items()) + "}"
        case _:
            return str(leaf)


_ENDINGS = {
    Verdict.GOOD: ("usable.", ExitCode.OK),
    Verdict.WARNING: ("usable, with warnings.", ExitCode.WARNINGS),
    Verdict.ERROR: ("refused: see REFUSED above.", ExitCode.CONFIGURATION),
}


def run_check(loaded: LoadedConfig, sections: tuple[Section, ...] = SECTIONS) -> ExitCode:
    """Print the report; WARNINGS if any section has one, CONFIGURATION if one finds what cannot work."""
    worst = Verdict.GOOD
    for make in sections:
        section = make(loaded)
        worst = max(worst, section.verdict)
        if section.lines:
            print(f"\n{section.title}")
            for line in section.lines:
                print(f"  {line}")
    words, code = _ENDINGS[worst]
    print(f"\nThe configuration is {words}")
    return code
