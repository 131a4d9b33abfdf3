"""Looking for modules while polling goes on (pure; owner: wire schedule, which asks it when nothing else is due).

Source of the rules: DOMAIN, section 3: 0x02 to 0x08 in less than 5 s, each 5 s while a mandatory module is missing,
else each 30 s, gone after two rounds without an answer. Addresses of bound modules that answer count as seen; bound
ones that are silent are asked by their own links, from the same allowance for silent addresses as this search.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Attribute, evolve, field, frozen

from oht50d.core.address_probe import TWICE, AddressProbe
from oht50d.core.module_link import ModuleLink
from oht50d.core.probe_budget import DISCOVERY_CLAIM, ProbeBudget
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import ExchangeResult, ReadRegisters
from oht50d.model.modules import DiscoveryStatus, FoundModule, FoundState
from oht50d.model.units import Duration, SettingClash, between

FIRST_UNIT, LAST_UNIT = 1, 247
"""Addresses of single devices: MODBUS over Serial Line V1.02, section 2.2."""
MISSES_UNTIL_GONE = 2


def _is_unit(_: object, attribute: "Attribute[Any]", address: int) -> None:
    if not FIRST_UNIT <= address <= LAST_UNIT:
        raise ValueError(f"{attribute.name} must lie within {FIRST_UNIT} and {LAST_UNIT}")


@frozen(kw_only=True)
class DiscoveryConfig:
    """Where modules are looked for beside polling, and how often."""

    first: int = field(default=0x02, validator=_is_unit)
    last: int = field(default=0x08, validator=_is_unit)
    missing_every: Duration = field(
        default=Duration.parse("5s"), validator=between(Duration.parse("1s"), Duration.parse("1min"))
    )
    every: Duration = field(
        default=Duration.parse("30s"), validator=between(Duration.parse("5s"), Duration.parse("1h"))
    )

    def __attrs_post_init__(self) -> None:
        if self.last < self.first:
            raise SettingClash("last", f"at least first, which is {self.first}", self.last)


class Discovery:
    """A slot source of the lowest rank. Bounded: one probe at a time, one found module an address of the range."""

    def __init__(
        self,
        config: DiscoveryConfig,
        links: Mapping[int, ModuleLink],
        budget: ProbeBudget,
        timeout_ns: Callable[[ReadRegisters], int],
        is_at_rest: Callable[[], bool],
    ) -> None:
        """`timeout_ns` gives each question its share of a probe's time. `is_at_rest` is asked before each: while drives
        are energised the wire has better things to do."""
        self._config = config
        self._links = links
        self._budget = budget
        self._timeout_ns = timeout_ns
        self._is_at_rest = is_at_rest
        self._waiting: deque[int] = deque()
        self._probe: AddressProbe | None = None
        self._found: dict[int, FoundModule] = {}
        self._misses: dict[int, int] = {}
        self._rounds = 0
        self._is_searching = False
        self._is_wanted = True
        self._started_ns: int | None = None
        self._finished_ns: int | None = None

    # -- what the outside says

    def search_now(self) -> int:
        """A whole round from now on; returns the number that `status().rounds` reaches with its end."""
        self._is_wanted = True
        return self._rounds + (2 if self._is_searching else 1)

    def reopen(self) -> None:
        """The port was opened: whoever was found before may be gone."""
        self._probe = None
        self._waiting.clear()
        self._is_searching = False
        self._is_wanted = True

    def note_unexpected(self, unit: int, now_ns: int) -> None:
        """Bytes came, most likely of `unit`, that nobody waited for."""
        if self._is_line_damaged:
            return
        if self._probe is not None and self._probe.address == unit:
            self._probe.note_unexpected(now_ns)
        elif unit in self._found:
            self._found[unit] = evolve(self._found[unit], state=FoundState.GARBLED, problem=TWICE)

    def status(self) -> DiscoveryStatus:
        """Where the search stands and who was found."""
        found = (self._found[unit] for unit in sorted(self._found) if not self._is_bound_here(unit))
        return DiscoveryStatus(
            first=self._config.first,
            last=self._config.last,
            rounds=self._rounds,
            is_searching=self._is_searching or self._is_wanted,
            finished_ns=self._finished_ns,
            found=tuple(found),
        )

    # -- slots

    def next_slot(self, now_ns: int) -> Slot | None:
        """The next question, None if none is due or may be asked now; asking twice changes nothing."""
        if not self._is_at_rest():
            return None
        if self._probe is None and not self._begin_probe(now_ns):
            return None
        assert self._probe is not None
        request = self._probe.next_request()
        assert request is not None
        if not self._budget.may_probe(DISCOVERY_CLAIM, now_ns):
            return None
        return Slot(request, Purpose.SEARCH, self._timeout_ns(request))

    def complete(self, slot: Slot, result: ExchangeResult) -> None:
        """Take the outcome of a question."""
        self._budget.spend(DISCOVERY_CLAIM, result.sent_ns, result.ended_ns)
        unit = slot.request.unit
        probe = self._probe
        if probe is None or probe.address != unit:
            return
        probe.complete(result)
        if probe.is_over:
            self._probe = None
            self._conclude(probe)
            if not self._waiting:
                self._finish(result.ended_ns)

    def refuse(self, slot: Slot, why: str) -> None:
        """A read is never refused; whatever was is not asked again in this round."""
        self._probe = None

    def wakeup_ns(self, now_ns: int) -> int | None:
        """When there is something to ask; None while the drives are energised."""
        if not self._is_at_rest():
            return None
        if self._probe is not None:
            return max(now_ns, self._budget.opens_ns)
        if self._waiting:
            return max(now_ns, self._budget.opens_ns)
        return now_ns if self._is_wanted else self._due_ns

    # -- rounds

    def _begin_probe(self, now_ns: int) -> bool:
        """The next address of the round, or of a new round that is due; False if there is none to ask."""
        if not self._is_searching:
            if not self._is_wanted and now_ns < self._due_ns:
                return False
            self._begin_round(now_ns)
        while self._waiting:
            unit = self._waiting.popleft()
            if self._is_worth_asking(unit):
                self._probe = AddressProbe(unit)
                return True
            self._miss(unit)
        self._finish(now_ns)
        return False

    def _begin_round(self, now_ns: int) -> None:
        self._is_searching, self._is_wanted = True, False
        self._started_ns = now_ns
        self._waiting.extend(range(self._config.first, self._config.last + 1))

    def _finish(self, now_ns: int) -> None:
        self._is_searching = False
        self._finished_ns = now_ns
        self._rounds += 1

    @property
    def _due_ns(self) -> int:
        """When the next round begins by itself."""
        is_missing = any(link.module.is_mandatory and not link.is_identified for link in self._links.values())
        every = self._config.missing_every if is_missing else self._config.every
        return (self._started_ns or 0) + every.ns

    def _is_worth_asking(self, unit: int) -> bool:
        """A bound module that answers is seen; a silent one is asked by its own link. One that answers and is not what
        its map says is worth a look."""
        link = self._links.get(unit)
        return link is None or (not link.is_identified and link.replies > 0 and link.failures == 0)

    def _is_bound_here(self, unit: int) -> bool:
        link = self._links.get(unit)
        return link is not None and link.is_identified

    @property
    def _is_line_damaged(self) -> bool:
        return any(link.is_damaged for link in self._links.values())

    def _conclude(self, probe: AddressProbe) -> None:
        """Listed at once; gone after two rounds without an answer. Damage that bound modules meet as well says nothing
        of this address."""
        unit = probe.address
        if probe.found is not None and probe.found.state is FoundState.GARBLED and self._is_line_damaged:
            return
        if probe.found is not None:
            self._found[unit] = probe.found
            self._misses.pop(unit, None)
        elif probe.is_conclusive:
            self._miss(unit)

    def _miss(self, unit: int) -> None:
        if unit not in self._found:
            return
        self._misses[unit] = self._misses.get(unit, 0) + 1
        if self._misses[unit] >= MISSES_UNTIL_GONE or self._is_bound_here(unit):
            del self._found[unit], self._misses[unit]
