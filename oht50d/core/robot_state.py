"""Everything known about the robot, kept current reply by reply (owner: guardian; pure, time is an argument).

It feeds the safety step with inputs and everybody else with snapshots.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from oht50d.codec.registers import raw_of_word
from oht50d.core.actuators import Actuators
from oht50d.core.discovery import Discovery
from oht50d.core.inputs import DriveFeedback, ModuleInput, SafetyInputs
from oht50d.core.module_link import ModuleLink
from oht50d.core.module_registry import ModuleRegistry, shared_serials
from oht50d.core.needed_roles import is_needed
from oht50d.core.role_table import RoleReading, RoleTable
from oht50d.core.wire_schedule import WireSchedule
from oht50d.model.lidar import LidarLinkState, LidarStatus, SectorReport
from oht50d.model.modules import DiscoveryStatus, ModuleTrust, Trust
from oht50d.model.motion import StopReport
from oht50d.model.registers import BlockReadings, ModuleKind, Reading, RegisterSpec
from oht50d.model.snapshot import LISTENS_ONLY, ModuleStatus, WireStatus

ONLINE_NS = 2_000_000_000
"""A module that was not heard for this long, asked in vain, is shown as offline (its loss for motion is judged much
sooner)."""
UNASKED_NS = 5_000_000_000
"""One that has answered whenever it was asked: on a slow bus its polls may be rare (`poll_rates.YIELDS`)."""
MAX_STOPS = 8

_KEY_ROLES: Mapping[ModuleKind, frozenset[str]] = {
    ModuleKind.SAFETY: frozenset({"chain.open"}),
    ModuleKind.DOCK: frozenset({"velocity.x"}),
    ModuleKind.POWER: frozenset({"battery.soc"}),
}
"""What a module is there for; of the drives it is their speeds."""


@frozen
class Simulation:
    """Which devices are simulated."""

    is_bus: bool
    is_lidar: bool


class RobotState:
    """The newest of everything; bounded by the maps, the sectors and `MAX_STOPS`."""

    def __init__(
        self,
        schedule: WireSchedule,
        actuators: Actuators,
        simulation: Simulation,
        sectors: int,
        registry: ModuleRegistry,
        discovery: Discovery | None = None,
    ) -> None:
        self._schedule = schedule
        self.registry = registry
        self.search = discovery
        self._actuators = actuators
        self._simulation = simulation
        speeds = frozenset(f"drive.{drive.number}.actual_speed" for drive in actuators.drives)
        self._key_roles = {**_KEY_ROLES, ModuleKind.TRAVEL: speeds}
        self._roles = RoleTable()
        self._blocks: dict[int, dict[int, tuple[int, dict[str, Reading]]]] = {}
        self._seen: set[ModuleKind] = set()
        self._errors: dict[ModuleKind, int] = {}
        self._heard_ns: dict[ModuleKind, int] = {}
        """When the oldest of the readings came that a module is there for."""
        self._silences: dict[ModuleKind, tuple[int, int]] = {}
        self.lidar = LidarStatus(LidarLinkState.CONNECTING, is_simulated=simulation.is_lidar)
        self.sectors: list[SectorReport | None] = [None] * sectors
        self._stops: list[StopReport] = []

    # -- what comes in

    def apply_block(self, readings: BlockReadings) -> tuple[str, ...]:
        """Take one decoded reply; the roles that it carried are returned."""
        block = readings.block
        columns = zip(block.specs, readings.words, readings.values, readings.qualities, strict=True)
        named = {
            spec.name: Reading(
                spec.name, spec.address, spec.role, word, value, spec.unit, quality,
                readings.requested_ns, readings.received_ns,
            )
            for spec, word, value, quality in columns
        }  # fmt: skip
        self._blocks.setdefault(block.unit, {})[block.first] = readings.requested_ns, named
        self._seen.add(block.kind)
        self.registry.apply(readings)
        for spec, word in zip(block.specs, readings.words, strict=True):
            if spec.role == "module.error":
                self._errors[block.kind] = raw_of_word(spec, word)
        roles = self._roles.apply(readings)
        if not self._key_roles.get(block.kind, frozenset()).isdisjoint(roles):
            self._note_heard(block.kind, readings.received_ns)
        return roles

    def _note_heard(self, kind: ModuleKind, at_ns: int) -> None:
        """A silence that ends between two steps is judged by the second one."""
        found = [self._roles.get(role) for role in self._key_roles[kind]]
        if None in found:
            return
        heard_ns = min(reading.received_ns for reading in found if reading is not None)
        before_ns = self._heard_ns.get(kind, heard_ns)
        self._heard_ns[kind] = heard_ns
        began_ns, ended_ns = self._silences.get(kind, (0, 0))
        if heard_ns > before_ns and at_ns - before_ns > ended_ns - began_ns:
            self._silences[kind] = before_ns, at_ns

    def forget_silences(self) -> None:
        """A step has judged them."""
        self._silences.clear()

    def apply_sectors(self, reports: Sequence[SectorReport]) -> None:
        """Take what the beam has just passed."""
        for report in reports:
            self.sectors[report.index] = report

    def apply_stop(self, report: StopReport) -> None:
        """Take the progress of a stop; the newest reports are kept."""
        if self._stops and self._stops[-1].number == report.number:
            self._stops[-1] = report
        else:
            self._stops.append(report)
            del self._stops[:-MAX_STOPS]

    @property
    def last_stops(self) -> tuple[StopReport, ...]:
        """Ascending by number."""
        return tuple(self._stops)

    # -- what goes out

    def inputs(self, wire: WireStatus) -> SafetyInputs:
        """One consistent set for a safety step."""
        self._note_links(wire)
        sequencer, line = self._schedule.sequencer, self._schedule.drive_line
        simulated = (self._simulation.is_bus, self._simulation.is_lidar)
        return SafetyInputs(
            wire=wire,
            modules={link.module.kind: self._module_input(link) for link in self._schedule.links.values()},
            chain=self._roles.get("chain.open"),
            safety_status=self._roles.get("safety.status"),
            safety_error=self._roles.get("safety.error"),
            auto_reset=self._roles.get("safety.auto_reset"),
            reset_button=self._roles.get("reset.button"),
            velocity=self._roles.get("velocity.x"),
            drives=tuple(self._drive(drive.number) for drive in self._actuators.drives),
            lidar=self.lidar,
            stop=sequencer.report,
            is_stop_active=sequencer.is_active,
            is_stop_judged=sequencer.is_judged,
            is_energised=line.is_energised,
            is_set_up=self._schedule.is_set_up,
            has_drive_timeout=self._actuators.timeout_register is not None,
            commanded_direction=line.commanded_direction,
            is_everything_simulated=all(simulated),
            is_anything_simulated=any(simulated),
            bus_refusal=self._schedule.polls.admission.moving.refusal,
            refused_needs=self._refused_needs(),
        )

    def modules(self, now_ns: int, *, is_listen_only: bool = False) -> tuple[ModuleStatus, ...]:
        """One status a bound module, ascending by address."""
        closed = LISTENS_ONLY if is_listen_only else "the port is closed"
        doubled = self._doubled_serials()
        links = sorted(self._schedule.links.items())
        return tuple(self._module_status(link, doubled.get(unit, ""), closed, now_ns) for unit, link in links)

    def discovery(self) -> DiscoveryStatus | None:
        """What the search beside polling found; None where nobody searches."""
        if self.search is None:
            return None
        status, doubled = self.search.status(), self._doubled_serials()
        found = tuple(evolve(one, problem=one.problem or doubled.get(one.address, "")) for one in status.found)
        return evolve(status, found=found)

    def number(self, role: str) -> float | None:
        """The usable numeric value of a role, whatever its age."""
        return self._roles.number(role)

    def fresh_number(self, role: str, now_ns: int, limit_ns: int) -> float | None:
        """The value of a role that is usable and not older than `limit_ns`."""
        reading = self._roles.get(role)
        return None if reading is None or reading.age_ns(now_ns) > limit_ns else self._roles.number(role)

    def _note_links(self, wire: WireStatus) -> None:
        """Whoever was silent, or was there before an opening, has to show again who he is."""
        if wire.opened_ns is not None:
            self.registry.reopen(wire.opened_ns)
        for unit, link in self._schedule.links.items():
            self.registry.note_refused(unit, self._schedule.polls.lessons.lesson(unit).refused)
            if not link.is_identified:
                self.registry.forget(unit, link.last_valid_ns or 0)

    def _doubled_serials(self) -> Mapping[int, str]:
        shown = [(unit, identity.serial) for unit in self._schedule.links if (identity := self.registry.identity(unit))]
        found = () if self.search is None else self.search.status().found
        return shared_serials([*shown, *((one.address, one.serial) for one in found)])

    def _drive(self, number: int) -> DriveFeedback:
        def role(name: str) -> RoleReading | None:
            return self._roles.get(f"drive.{number}.{name}")

        return DriveFeedback(number, role("enable"), role("direction"), role("actual_speed"), role("error"))

    def _module_input(self, link: ModuleLink) -> ModuleInput:
        kind = link.module.kind
        return ModuleInput(
            link.is_identified,
            kind in self._seen,
            self._heard_ns.get(kind),
            link.problem,
            self._errors.get(kind, 0),
            self.registry.trust(link.module.address),
            self._silences.get(kind),
        )

    def _problem(self, link: ModuleLink, trust: ModuleTrust, doubled: str, closed: str) -> str:
        """The most important thing to say about a module, in words; `closed` says why nobody can be polled."""
        if not self._schedule.is_open:
            return closed
        if self._schedule.pause.is_on:
            return "not polled: bus scan under way"
        is_told = trust.trust.is_inhibiting or trust.trust is Trust.UPDATED
        return link.problem or (trust.note if is_told else "") or doubled

    def _module_status(self, link: ModuleLink, doubled: str, closed: str, now_ns: int) -> ModuleStatus:
        trust = self.registry.trust(link.module.address)
        last_ns = link.last_valid_ns
        limit_ns = ONLINE_NS if link.failures else UNASKED_NS
        is_heard = last_ns is not None and now_ns - last_ns <= limit_ns
        refused = self._refused(link)
        merged: dict[str, Reading] = {}
        # Blocks may share registers: the newest reading is the one that counts.
        for _, named in sorted(self._blocks.get(link.module.address, {}).values(), key=lambda entry: entry[0]):
            merged.update(named)
        for spec in refused:
            merged.pop(spec.name, None)
        return ModuleStatus(
            address=link.module.address,
            kind=link.module.kind,
            title=link.module.title,
            tag=link.module.tag,
            is_mandatory=link.module.is_mandatory,
            is_online=link.is_identified and is_heard and self._schedule.is_open,
            is_identified=link.is_identified,
            last_valid_ns=last_ns,
            serial=link.serial,
            firmware=link.firmware,
            problem=self._problem(link, trust, doubled, closed),
            counters=link.counters,
            readings=merged,
            trust=trust,
            refused=frozenset(spec.name for spec in refused),
        )

    def _refused(self, link: ModuleLink) -> list[RegisterSpec]:
        addresses = sorted(self._schedule.polls.refused(link.module.address))
        return [link.module.by_address[address] for address in addresses]

    def _refused_needs(self) -> tuple[str, ...]:
        """Registers that motion hangs on and that their module refuses, in words."""
        return tuple(
            f"{link.name} refuses {spec.name} ({spec.role})"
            for link in self._schedule.links.values()
            for spec in self._refused(link)
            if is_needed(spec.role)
        )
