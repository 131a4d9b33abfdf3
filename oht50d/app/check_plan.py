"""The part of `oht50d check` that adds up the wire: shares, gaps, who gives way, reads of one length (no state)."""

from collections.abc import Iterator, Sequence

from oht50d.app.check import ReportSection, Verdict
from oht50d.app.config import LoadedConfig
from oht50d.app.rooms import load_maps, plan_load, released_word
from oht50d.core.actuators import find_actuators
from oht50d.core.admission import Admission, admit
from oht50d.core.unit_plan import UnitPlan, plan_unit
from oht50d.model.registers import ModuleMap


def report_plan(loaded: LoadedConfig) -> ReportSection:
    """The sum line by line; REFUSED if motion would be, by the assumed turnaround."""
    config = loaded.config
    maps = load_maps(config.bus)
    actuators = find_actuators(maps, released_word=released_word(config.safety.brake_wiring))
    plans = [plan_unit(module, taken=actuators.read_lengths.get(module.address, frozenset())) for module in maps]
    load = plan_load(config, actuators, tuple(block for plan in plans for block in plan.blocks))
    rest, moving = admit(load, is_moving=False), admit(load, is_moving=True)
    speed = f"{len(load.blocks)} blocks at {config.bus.serial.baud} bit/s"
    lines = [f"{speed}, with a turnaround of {config.bus.assumed_turnaround} (bus.assumed_turnaround)"]
    for admission, words in ((rest, "at rest"), (moving, "moving")):
        lines += _shares(admission, words)
    lines += _gaps(moving)
    lines += _shared(maps, plans)
    if moving.refusal:
        lines.append(f"REFUSED: the bus is too slow for safe motion: {moving.refusal}")
    return ReportSection("Poll plan", tuple(lines), Verdict.ERROR if moving.refusal else Verdict.GOOD)


def _shares(admission: Admission, words: str) -> Iterator[str]:
    yield f"{words}:"
    for row in admission.rows:
        yield f"  {row.words:<64} {row.share:7.1%}"
    yield f"  {'in all; what is left: ' + format(admission.headroom, '.1%'):<64} {admission.share:7.1%}"
    if admission.given_way:
        yield "  given way, in this order: " + "; ".join(admission.given_way)
    if admission.share > 1.0:
        yield "  vital blocks are read as often as the wire allows, one round after the other"


def _gaps(admission: Admission) -> Iterator[str]:
    for gap in admission.gaps:
        left = f"a reply is waited for {gap.wait_ns / 1e6:.1f} ms" if gap.wait_ns > 0 else "no time is left for a reply"
        yield (
            f"{gap.block.kind.value} {gap.block.first:#06x}: read every {gap.gap_ns / 1e6:.1f} ms at worst,"
            f" {gap.allowed_ns / 1e6:.1f} ms allowed; {left}"
        )


def _shared(maps: Sequence[ModuleMap], plans: Sequence[UnitPlan]) -> Iterator[str]:
    for module, plan in zip(maps, plans, strict=True):
        for count in sorted(plan.shared):
            firsts = ", ".join(f"{block.first:#06x}" for block in plan.blocks if block.count == count)
            yield (
                f"{module.address:#04x} {module.title}: reads of {count} registers at {firsts} cannot be told apart by"
                " their length; they never follow each other, and the fence keeps late ones out"
            )
