"""Looking for modules beside polling: which addresses, when, at what price, and who is listed."""

from collections.abc import Mapping

import pytest
from attrs import define, field
from core_fixtures import DOCK, MS, POWER, SAFETY, START_NS, TRAVEL, S, shipped_maps
from strange_modules import LIFTER, Answer, device, silent

from oht50d.core.address_probe import TWICE
from oht50d.core.discovery import Discovery, DiscoveryConfig
from oht50d.core.module_link import ModuleLink
from oht50d.core.probe_budget import DISCOVERY_CLAIM
from oht50d.core.wire_slots import Purpose
from oht50d.model.bus import ExceptionReply, ExchangeResult, Failure, ReadRegisters, ReadReply
from oht50d.model.modules import FoundState
from oht50d.model.units import Duration, SettingClash

PROBE_NS = 25 * MS


@define
class TwentyFold:
    """After a probe that took c the next one starts not before 20 c after its start."""

    opens_ns: int = 0
    spent_ns: int = 0
    claimants: set[str] = field(factory=set)

    def may_probe(self, claimant: str, now_ns: int) -> bool:
        self.claimants.add(claimant)
        return now_ns >= self.opens_ns

    def spend(self, claimant: str, sent_ns: int, ended_ns: int) -> None:
        self.spent_ns += ended_ns - sent_ns
        self.opens_ns = sent_ns + 20 * (ended_ns - sent_ns)


class Search:
    """A search on a bus where `devices` answer; silence takes a probe's whole time, a reply 7 ms."""

    def __init__(self, devices: Mapping[int, Answer] | None = None, **settings: object) -> None:
        self.now_ns = START_NS
        self.devices = dict(devices or {})
        self.links = {module.address: ModuleLink(module, S) for module in shipped_maps()}
        for link in self.links.values():
            link.is_identified, link.replies = True, 1
        self.allowance = TwentyFold()
        self.is_at_rest = True
        self.asked: list[ReadRegisters] = []
        self.discovery = Discovery(
            DiscoveryConfig(**settings),
            self.links,
            self.allowance,
            lambda _request: PROBE_NS,
            lambda: self.is_at_rest,
        )

    def run(self, milliseconds: int) -> list[int]:
        """The addresses that were asked meanwhile."""
        first, ends_ns = len(self.asked), self.now_ns + milliseconds * MS
        while self.now_ns < ends_ns:
            slot = self.discovery.next_slot(self.now_ns)
            if slot is None:
                wake_ns = self.discovery.wakeup_ns(self.now_ns)
                self.now_ns = min(ends_ns, max(self.now_ns + MS, wake_ns if wake_ns is not None else ends_ns))
                continue
            assert slot == self.discovery.next_slot(self.now_ns), "asking twice changes nothing"
            assert slot.purpose is Purpose.SEARCH
            assert isinstance(slot.request, ReadRegisters)
            self.asked.append(slot.request)
            answer = self.devices.get(slot.request.unit, silent)(slot.request)
            taken_ns = PROBE_NS if answer is Failure.SILENT else 7 * MS
            reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
            sent_ns, self.now_ns = self.now_ns, self.now_ns + taken_ns
            self.discovery.complete(slot, ExchangeResult(slot.request, reply, failure, sent_ns, self.now_ns))
        return [request.unit for request in self.asked[first:]]

    def lose(self, unit: int) -> None:
        """A bound module that was there does not answer any more."""
        link, request = self.links[unit], ReadRegisters(unit, 0, 1)
        link.is_identified = False
        for _ in range(3):
            link.record(ExchangeResult(request, None, Failure.SILENT, self.now_ns, self.now_ns))

    def found(self) -> dict[int, FoundState]:
        return {one.address: one.state for one in self.discovery.status().found}


def test_a_round_asks_the_addresses_that_nobody_has_bound() -> None:
    search = Search()
    assert search.run(4_000) == [6, 7, 8]
    status = search.discovery.status()
    assert (status.first, status.last, status.rounds, status.is_searching, status.found) == (2, 8, 1, False, ())


def test_a_foreign_module_is_found_in_less_than_five_seconds_and_by_reads_only() -> None:
    search = Search({6: device(LIFTER)})
    search.run(5_000)
    (found,) = search.discovery.status().found
    assert (found.address, found.type_code, found.serial, found.tag) == (6, 6, 1234, "LIFT")
    assert all(isinstance(request, ReadRegisters) for request in search.asked)


def test_the_whole_range_is_asked_in_less_than_five_seconds_when_everything_is_dead() -> None:
    search = Search()
    for unit in search.links:
        search.lose(unit)
    search.run(4_999)
    assert search.discovery.status().rounds >= 1
    assert not {POWER, SAFETY, TRAVEL, DOCK} & {request.unit for request in search.asked}, "their links ask them"


def test_silence_costs_at_most_a_twentieth_of_the_wire() -> None:
    search = Search(missing_every=Duration.parse("1s"))
    search.links[DOCK].is_identified = False
    search.run(60_000)
    assert len(search.asked) > 50
    assert search.allowance.spent_ns <= 60 * S // 20 + PROBE_NS
    assert search.allowance.claimants == {DISCOVERY_CLAIM}


@pytest.mark.parametrize(("is_missing", "seconds"), [(False, 30), (True, 5)])
def test_it_repeats_sooner_while_a_mandatory_module_is_missing(is_missing: bool, seconds: int) -> None:
    search = Search()
    if is_missing:
        search.lose(SAFETY)
    search.run(seconds * 1000 - 100)
    assert search.discovery.status().rounds == 1
    search.run(4_500)
    assert search.discovery.status().rounds == 2


def test_on_request_it_begins_at_once() -> None:
    search = Search()
    search.run(4_000)
    reaches = search.discovery.search_now()
    search.devices[7] = device(LIFTER)
    search.run(5_000)
    assert search.discovery.status().rounds == reaches == 2
    assert set(search.found()) == {7}


def test_a_request_during_a_round_asks_for_another_one() -> None:
    search = Search()
    search.run(100)
    assert search.discovery.search_now() == 2
    search.run(8_000)
    assert search.discovery.status().rounds == 2


def test_gone_after_two_rounds_without_an_answer() -> None:
    search = Search({6: device(LIFTER)})
    search.run(4_000)
    del search.devices[6]
    search.discovery.search_now()
    search.run(4_000)
    assert set(search.found()) == {6}
    search.discovery.search_now()
    search.run(4_000)
    assert search.found() == {}


def test_another_one_at_the_same_address_takes_its_place() -> None:
    search = Search({6: device(LIFTER)})
    search.run(4_000)
    search.devices[6] = device({**LIFTER, 0x00FB: 77})
    search.discovery.search_now()
    search.run(4_000)
    assert [one.serial for one in search.discovery.status().found] == [77]


def test_a_bound_address_where_another_module_answers_is_looked_at() -> None:
    search = Search({DOCK: device(LIFTER)})
    search.links[DOCK].is_identified = False
    search.run(4_000)
    assert [(one.address, one.type_code) for one in search.discovery.status().found] == [(DOCK, 6)]
    search.links[DOCK].is_identified = True
    assert search.found() == {}, "the right one is back"


def test_damaged_replies_and_bytes_that_nobody_asked_for_are_told() -> None:
    search = Search({6: lambda _request: Failure.NOISE, 7: device(LIFTER)})
    search.run(4_000)
    assert search.found() == {6: FoundState.GARBLED, 7: FoundState.IDENTIFIED}
    search.discovery.note_unexpected(7, search.now_ns)
    assert search.found()[7] is FoundState.GARBLED
    assert search.discovery.status().found[1].problem == TWICE


def test_nothing_is_asked_while_the_drives_are_energised() -> None:
    search = Search()
    search.is_at_rest = False
    assert search.run(5_000) == []
    assert search.discovery.wakeup_ns(search.now_ns) is None
    search.is_at_rest = True
    assert search.run(4_000) == [6, 7, 8]


def test_an_opening_begins_a_new_round() -> None:
    search = Search({6: device(LIFTER)})
    search.run(4_000)
    search.discovery.reopen()
    assert search.discovery.status().is_searching
    search.run(4_000)
    assert search.discovery.status().rounds == 2


def test_the_outcome_of_a_round_that_was_broken_off_by_an_opening_is_not_taken() -> None:
    search = Search({6: device(LIFTER)})
    slot = search.discovery.next_slot(search.now_ns)
    assert slot is not None
    search.discovery.reopen()
    reply = ReadReply(6, tuple(range(9)))
    search.discovery.complete(slot, ExchangeResult(slot.request, reply, None, search.now_ns, search.now_ns + MS))
    assert search.found() == {}


def test_a_device_that_refuses_everything_is_listed() -> None:
    search = Search({8: lambda request: ExceptionReply(request.unit, 3, 1)})
    search.run(4_000)
    assert search.found() == {8: FoundState.PRESENT}


def test_the_range_must_be_one() -> None:
    with pytest.raises(SettingClash):
        DiscoveryConfig(first=8, last=2)
    for address in (0, 248):
        with pytest.raises(ValueError, match="first"):
            DiscoveryConfig(first=address, last=247)


def test_damage_that_bound_modules_meet_too_is_no_module() -> None:
    search = Search({6: lambda _request: Failure.NOISE})
    search.links[DOCK].is_damaged = True
    search.run(4_000)
    assert search.found() == {}
    search.links[DOCK].is_damaged = False
    search.discovery.search_now()
    search.run(4_000)
    assert search.found() == {6: FoundState.GARBLED}


def test_bytes_that_nobody_asked_for_say_nothing_on_a_damaged_line() -> None:
    search = Search({7: device(LIFTER)})
    search.run(4_000)
    search.links[DOCK].is_damaged = True
    search.discovery.note_unexpected(7, search.now_ns)
    assert search.found() == {7: FoundState.IDENTIFIED}
