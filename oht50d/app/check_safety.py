"""The parts of `oht50d check` that do sums: wire load, reaction sums, what keeps the robot from moving (no state)."""

from oht50d.app.check import ReportSection, Verdict
from oht50d.app.config import LoadedConfig
from oht50d.app.rooms import load_maps, reaction_model, released_word
from oht50d.core.actuators import find_actuators
from oht50d.core.poll_plan import plan_blocks, plan_utilisation
from oht50d.core.reaction import TURNAROUND_NS
from oht50d.core.safety_config import BrakeWiring

FULL_WIRE = 0.95
TYPICAL_TURNAROUND_NS = 1_000_000


def report_plan(loaded: LoadedConfig) -> ReportSection:
    """How much of the wire the polls take, with a typical and with a slow turnaround."""
    config = loaded.config.bus
    blocks = [block for module in load_maps(config) for block in plan_blocks(module)]
    lines, verdict = [], Verdict.GOOD
    for turnaround_ns in (TYPICAL_TURNAROUND_NS, TURNAROUND_NS):
        for is_moving in (False, True):
            share = plan_utilisation(blocks, config.serial.baud, turnaround_ns, is_moving=is_moving)
            words = "moving" if is_moving else "at rest"
            lines.append(f"{words:<8} with {turnaround_ns / 1e6:.0f} ms turnaround: {share:6.1%} of the wire")
            if turnaround_ns == TYPICAL_TURNAROUND_NS and share > FULL_WIRE:
                verdict = Verdict.WARNING
    lines.append(f"{len(blocks)} blocks at {config.serial.baud} bit/s; what does not fit is read late, safety first")
    return ReportSection("Poll plan", tuple(lines), verdict)


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
