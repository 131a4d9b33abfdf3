"""Values that stand still although their meaning forbids it."""

import pytest
from bus_fakes import MAP_DIR, MS, shipped_maps

from oht50d.codec.registers import decode_block, load_module_map
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.stuck_watch import StuckWatch
from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleMap, Quality, RegisterBlock

DOCK = shipped_maps()[3]
S = 1000 * MS


def block_of(module: ModuleMap, name: str) -> tuple[RegisterBlock, int]:
    for block in plan_blocks(module):
        for index, spec in enumerate(block.specs):
            if spec.name == name:
                return block, index
    raise AssertionError(name)


class Reader:
    """Reads the IMU with one word of its own; all others never change."""

    def __init__(self, name: str = "accel_z") -> None:
        self.watch = StuckWatch()
        self.block, self.index = block_of(DOCK, name)

    def read(self, at_ns: int, word: int) -> Quality:
        words = [0] * self.block.count
        words[self.index] = word
        readings = decode_block(self.block, tuple(words), requested_ns=at_ns, received_ns=at_ns)
        return self.watch.judge(readings).qualities[self.index]


def test_unchanged_for_five_seconds_is_stuck_and_a_change_is_good_again() -> None:
    reader = Reader()
    found = [reader.read(tenth * 100 * MS, 1000) for tenth in range(60)]
    assert found[:50] == [Quality.GOOD] * 50
    assert found[50:] == [Quality.STUCK] * 10
    assert reader.read(6 * S, 1001) is Quality.GOOD


def test_a_value_that_moves_is_good() -> None:
    reader = Reader()
    assert {reader.read(tenth * 100 * MS, 1000 + tenth % 2) for tenth in range(200)} == {Quality.GOOD}


def test_what_was_not_read_for_long_is_not_stuck() -> None:
    reader = Reader()
    assert [reader.read(at_s * S, 1000) for at_s in (0, 20, 40, 60)] == [Quality.GOOD] * 4
    assert reader.read(64 * S, 1000) is Quality.GOOD
    assert reader.read(65 * S, 1000) is Quality.STUCK


def test_a_register_that_may_stand_still_never_is_stuck() -> None:
    reader = Reader("imu_temperature")
    assert {reader.read(tenth * 100 * MS, 25) for tenth in range(200)} == {Quality.GOOD}


def test_a_value_out_of_range_stays_out_of_range() -> None:
    text = (MAP_DIR / "dock.toml").read_text().replace("min = -32768, max = 32767, default = 1000", "min = 0, max = 9")
    reader = Reader()
    reader.block, reader.index = block_of(load_module_map(text, file="dock.toml"), "accel_z")
    assert {reader.read(tenth * 100 * MS, 1000) for tenth in range(100)} == {Quality.OUT_OF_RANGE}


@pytest.mark.parametrize("span", ["0s", "500ms", "2h", "soon", "5"])
def test_a_span_that_makes_no_sense_is_refused_with_its_line(span: str) -> None:
    text = (MAP_DIR / "dock.toml").read_text().replace('stuck_after = "5s"', f'stuck_after = "{span}"', 1)
    with pytest.raises(ConfigError) as refused:
        load_module_map(text, file="dock.toml")
    assert "stuck_after" in str(refused.value)
    assert refused.value.line is not None


def test_a_register_that_nobody_polls_cannot_be_watched() -> None:
    text = (MAP_DIR / "dock.toml").read_text().replace('poll = "imu", stuck_after', 'poll = "never", stuck_after', 1)
    with pytest.raises(ConfigError, match="not polled"):
        load_module_map(text, file="dock.toml")
