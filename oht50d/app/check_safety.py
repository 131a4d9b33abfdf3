"""The parts of `oht50d check` about motion: reaction sums, what keeps the robot from moving (no state)."""

from oht50d.app.check import ReportSection, Verdict
from oht50d.app.config import LoadedConfig
from oht50d.app.rooms import load_maps, reaction_model, released_word
from oht50d.core.actuators import find_actuators
from oht50d.core.safety_config import BrakeWiring


def report_reaction(loaded: LoadedConfig) -> ReportSection:
    """The reaction sum of every cause."""
    config = loaded.config
    maps = load_maps(config.bus)
    actuators = find_actuators(maps, released_word=released_word(config.safety.brake_wiring))
    sums = reaction_model(config, maps, actuators).sums()
    return ReportSection("Reaction sums", tuple(line for found in sums for line in found.lines()))


def report_motion(loaded: LoadedConfig) -> ReportSection:
    """What the settings alone already say about motion."""
    config = loaded.config.safety
    caps = f"{config.uncommissioned_speed_mm_s:.0f} mm/s measured and {config.jog.duty_ratio:.0%} of full output"
    lines, verdict = [f"not commissioned: hold to run only, at most {caps}"], Verdict.GOOD
    if config.brake_wiring is BrakeWiring.UNKNOWN:
        verdict = Verdict.WARNING
        lines.append("safety.brake_wiring is unknown: nothing will move until the brake's wiring is commissioned")
    if config.brake_wiring is BrakeWiring.ENERGISE_TO_BRAKE:
        lines.append("HAZARD energise-to-brake: this brake does not act when power is lost")
    return ReportSection("Motion", tuple(lines), verdict)
