"""Late replies: a shape that timed out is not used again until older replies are proved gone."""

import pytest
from core_fixtures import MS, START_NS

from oht50d.core.fence import COPY_NS, IDENTITY_COUNT, IDENTITY_FIRST, SUSPECT_NS, Fence, Shape, shape_of
from oht50d.model.bus import (
    BusRequest,
    DeviceIdAccess,
    MaskWriteRegister,
    ReadCoils,
    ReadDeviceIdentification,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadWriteRegisters,
    ReportServerId,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)

T = START_NS
LATE_NS = 1000 * MS
ASKED = ReadRegisters(4, 0, 13)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ReadRegisters(4, 0, 13), (3, 13)),
        (ReadRegisters(4, 16, 13), (3, 13)),
        (WriteRegister(4, 7, 1), (6, 7)),
        (WriteRegisters(4, 1, (0, 0, 0)), (16, 1)),
        (ReadInputRegisters(4, 16, 13), (4, 13)),
        (ReadWriteRegisters(4, 16, 13, 1, (2, 3)), (23, 13)),
        (ReadCoils(4, 16, 9), (1, 2)),
        (ReadCoils(4, 0, 16), (1, 2)),
        (ReadDiscreteInputs(4, 0, 16), (2, 2)),
        (WriteCoil(4, 7, True), (5, 7, 1)),
        (WriteCoil(4, 7, False), (5, 7, 0)),
        (WriteCoils(4, 7, (True, False)), (15, 7, 2)),
        (MaskWriteRegister(4, 7, 0xFF00, 3), (22, 7, 0xFF00, 3)),
        (ReportServerId(4), (17,)),
        (ReadDeviceIdentification(4, DeviceIdAccess.BASIC, 2), (43, 1, 0)),
        (ReadDeviceIdentification(4, DeviceIdAccess.EXTENDED, 0), (43, 3, 0)),
        (ReadDeviceIdentification(4, DeviceIdAccess.INDIVIDUAL, 2), (43, 4, 2)),
    ],
)
def test_shape(request_: BusRequest, expected: Shape) -> None:
    assert shape_of(request_) == expected


def test_a_missed_shape_is_closed_for_its_unit_only() -> None:
    fence = Fence(LATE_NS)
    assert fence.is_free(ASKED, T)
    fence.missed(ASKED, T)
    assert not fence.is_free(ReadRegisters(4, 16, 13), T), "the other drive's block cannot be told apart"
    assert fence.is_free(ReadRegisters(4, 0, 12), T)
    assert fence.is_free(ReadRegisters(3, 0, 13), T)


def test_a_reply_of_a_free_shape_proves_that_older_ones_are_gone() -> None:
    fence = Fence(LATE_NS)
    fence.missed(ASKED, T)
    fence.missed(ReadRegisters(4, 0, 3), T)
    fence.answered(ReadRegisters(4, 0x100, 1))
    assert fence.is_free(ASKED, T)
    assert fence.is_free(ReadRegisters(4, 0, 3), T)


def test_quiet_for_max_late_counts_from_the_newest_miss() -> None:
    fence = Fence(LATE_NS)
    fence.missed(ASKED, T)
    fence.missed(ReadRegisters(4, 0, 3), T + 500 * MS)
    assert not fence.is_free(ASKED, T + 1499 * MS)
    assert fence.is_free(ASKED, T + 1500 * MS)


def test_probes_are_harmless_reads_of_nine_lengths_then_the_unit_must_stay_quiet() -> None:
    fence = Fence(LATE_NS)
    probes = []
    while (probe := fence.probe(4, T)) is not None:
        probes.append(probe)
        fence.missed(probe, T)
    assert probes == [ReadRegisters(4, IDENTITY_FIRST, count) for count in range(1, IDENTITY_COUNT + 1)]
    assert fence.probe(3, T) == ReadRegisters(3, IDENTITY_FIRST, 1)
    assert fence.probe(4, T + LATE_NS) == ReadRegisters(4, IDENTITY_FIRST, 1)


# -- replies that come twice


def twice() -> Fence:
    """Unit 4 has answered, and more bytes came after it."""
    fence = Fence(LATE_NS)
    fence.answered(ASKED)
    fence.unexpected(4, T)
    return fence


def test_what_may_come_twice_is_closed_until_another_shape_was_answered() -> None:
    fence = twice()
    assert not fence.is_free(ReadRegisters(4, 16, 13), T)
    assert fence.is_free(ReadRegisters(3, 0, 13), T)
    assert fence.probe(4, T) == ReadRegisters(4, IDENTITY_FIRST, 1)
    fence.answered(ReadRegisters(4, IDENTITY_FIRST, 1))
    assert fence.is_free(ASKED, T)


def test_for_a_minute_no_shape_follows_itself() -> None:
    fence = twice()
    fence.answered(ReadRegisters(4, IDENTITY_FIRST, 1))
    fence.answered(ASKED)
    assert not fence.is_free(ReadRegisters(4, 16, 13), T + SUSPECT_NS - 1), "it could be the first one's second copy"
    assert fence.is_free(ReadRegisters(4, 16, 12), T + SUSPECT_NS - 1)
    assert fence.is_free(ReadRegisters(4, 16, 13), T + SUSPECT_NS)


def test_a_unit_that_never_answered_cannot_have_said_it() -> None:
    fence = Fence(LATE_NS)
    fence.unexpected(4, T)
    assert fence.is_free(ASKED, T)


def test_without_suspicion_equal_shapes_may_follow_each_other() -> None:
    fence = Fence(LATE_NS)
    fence.answered(ASKED)
    assert fence.is_free(ReadRegisters(4, 16, 13), T)


def test_the_exchange_just_made_is_not_repeated_directly() -> None:
    fence = Fence(LATE_NS)
    assert not fence.follows_itself(ASKED, T)
    fence.exchanged(ASKED, T)
    assert fence.follows_itself(ReadRegisters(4, 16, 13), T + COPY_NS - 1)
    assert not fence.follows_itself(ReadRegisters(4, 16, 13), T + COPY_NS)
    assert not fence.follows_itself(ReadRegisters(4, 16, 12), T)
    assert not fence.follows_itself(ReadRegisters(3, 0, 13), T)
    fence.exchanged(ReadRegisters(4, IDENTITY_FIRST, 1), T)
    assert not fence.follows_itself(ASKED, T)
    assert fence.probe(4, T) == ReadRegisters(4, IDENTITY_FIRST, 2)
