"""Scenario files: the shipped ones load, and each mistake is one line with file, key and cause."""

from pathlib import Path

import pytest

from oht50d.model.errors import ConfigError
from oht50d.model.units import Duration
from oht50d.sim.control_bus import BusDesk
from oht50d.sim.control_plant import PlantDesk
from oht50d.sim.fault_kinds import EXCHANGE_KINDS, PARAMETERS, FaultKind
from oht50d.sim.line_settings import LineSettings, Parity
from oht50d.sim.robot import Robot, load_maps
from oht50d.sim.scenario import MAX_SCENARIO_BYTES, Scenario

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
SHIPPED = sorted(path.stem for path in (CONFIG / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_scenarios_make_a_robot(name: str, tmp_path: Path) -> None:
    scenario = Scenario.load(CONFIG / "scenarios" / f"{name}.toml")
    maps = load_maps(scenario, CONFIG / "modules")
    assert [found.address for found in maps] == [2, 3, 4, 5]
    robot = Robot(scenario, maps, tmp_path, scenario.seed)
    assert robot.plant.communication_timeout_ms == (200 if name.endswith("_timeout") else 0)


def test_everything_is_read_where_it_belongs() -> None:
    scenario = Scenario.parse(
        """
        seed = 4
        [hall]
        length_mm = 20000
        walls = [[1, 2, 3, 4.5]]
        [plant]
        brake_delay = "80ms"
        chain_cuts_drives = true
        [[fault]]
        kind = "delay"
        at = "2s"
        for = "500ms"
        module = 0x03
        delay = "12ms"
        """,
        file="x.toml",
    )
    assert scenario.hall.segments[-1] == (1.0, 2.0, 3.0, 4.5)
    assert scenario.plant.brake_delay == Duration(80_000_000)
    assert (scenario.fault[0].kind, scenario.fault[0].for_, scenario.fault[0].module) == (
        FaultKind.DELAY,
        Duration(500_000_000),
        3,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sead = 1", "x.toml: sead: unknown key (did you mean 'seed'?)"),
        ("seed = true", "x.toml: seed: wrong type (expected int, found True)"),
        ("seed = 1.5", "x.toml: seed: wrong type (expected int, found 1.5)"),
        ("[hall]\nlength_mm = '1'", "x.toml: hall.length_mm: wrong type (expected float, found '1')"),
        ("hall = 3", "x.toml: hall: wrong type (expected a table, found 3)"),
        ("fault = 3", "x.toml: fault: wrong type (expected a list, found 3)"),
        ("[[fault]]\nkind = 'silence'", "x.toml: fault[0].at: missing key"),
        ("[hall]\nwalls = [[1, 2]]", "x.toml: hall: a wall has four numbers: x1, y1, x2, y2"),
        ("[hall]\nlength_mm = 100", "x.toml: hall: length_mm must be more than two buffers"),
        ("[bus]\nbaud = 1", "x.toml: bus: baud must be 1200 to 4000000"),
        ("[[module]]\naddress = 0", "x.toml: module[0]: address must be 1 to 247"),
        ("[[module]]\naddress = 6\nserial = -1", "x.toml: module[0]: serial must be 0 to 0xffffffff"),
        ("[[module]]\naddress = 6\ntag = 'LIFTER'", "x.toml: module[0]: tag must be 1 to 4 ASCII letters"),
        ("[[module]]\naddress = 6\nbaud = 5", "x.toml: module[0]: baud must be 1200 to 4000000"),
        (
            "[[module]]\naddress = 6\nparity = 'even'",
            "x.toml: module[0].parity: unknown word (expected none | odd, found 'even')",
        ),
        ("[[fault]]\nkind = 'crc'\nat = '1s'\ncode = 3", "x.toml: fault[0]: crc takes no code; it takes module, ratio"),
        (
            "[[fault]]\nkind = 'hangup'\nat = '1s'\nratio = 0.1",
            "x.toml: fault[0]: hangup takes no ratio; it takes none",
        ),
        ("[bus]\npieces = 0", "x.toml: bus: pieces must be 1 to 8"),
        ("[lidar]\nrotation_hz = 99.0", "x.toml: lidar: rotation_hz must be 1 to 15"),
        ("[plant]\nfull_speed_mm_s = 0", "x.toml: plant: full_speed_mm_s must be above 0"),
        (
            "[[obstacle]]\nname = 'a'\nx_mm = 1",
            "x.toml: obstacle[0]: an obstacle has either radius_mm or dx_mm and dy_mm",
        ),
        (
            "[plant]\nbrake_delay = 100",
            'x.toml: plant.brake_delay: wrong type (expected a duration such as "200ms", found 100)',
        ),
    ],
)
def test_a_mistake_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Scenario.parse(text, file="x.toml")
    assert str(caught.value) == complaint


def test_unknown_words_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"fault\[0\]\.kind: unknown word .*did you mean 'silence'"):
        Scenario.parse("[[fault]]\nkind = 'silense'\nat = '1s'", file="x.toml")
    with pytest.raises(ConfigError, match=r"fault\[0\]\.at: not a duration"):
        Scenario.parse("[[fault]]\nkind = 'silence'\nat = '1 fortnight'", file="x.toml")


def test_no_toml_and_no_file_and_no_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: syntax"):
        Scenario.parse("seed = ", file="x.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Scenario.load(tmp_path / "absent.toml")
    endless = tmp_path / "endless.toml"
    endless.write_text("#" * (MAX_SCENARIO_BYTES + 1))
    with pytest.raises(ConfigError, match="longer than"):
        Scenario.load(endless)


def test_maps_must_be_there_and_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"power\.toml: maps: cannot be read"):
        load_maps(Scenario(), tmp_path)
    with pytest.raises(ConfigError, match="no register map of the scenario has such a register"):
        load_maps(Scenario(communication_timeout=Duration(1_000_000)), CONFIG / "modules")


def test_modules_are_set_and_added_by_the_scenario(tmp_path: Path) -> None:
    scenario = Scenario.parse(
        """
        [bus]
        turnaround = "2ms"
        [[module]]
        address = 0x05
        serial = 77
        turnaround = "8ms"
        [[module]]
        address = 0x07
        type = 7
        baud = 9600
        parity = "odd"
        """,
        file="x.toml",
    )
    line = Robot(scenario, load_maps(scenario, CONFIG / "modules"), tmp_path, 1).line
    assert sorted(line.modules) == [2, 3, 4, 5, 7]
    assert (line.module(5).identity()["serial"], line.module(7).identity()["type"]) == (77, 7)
    assert [line.turnaround_ns_of(line.module(unit)) for unit in (4, 5, 7)] == [2_000_000, 8_000_000, 2_000_000]
    assert line.settings_of(line.module(7)) == LineSettings(9600, Parity.ODD)
    assert line.settings_of(line.module(5)) == LineSettings(115_200)


def test_a_module_that_no_map_knows_needs_a_type() -> None:
    scenario = Scenario.parse("[[module]]\naddress = 6", file="x.toml")
    with pytest.raises(ConfigError, match=r"module\[0\]\.type: missing key"):
        load_maps(scenario, CONFIG / "modules")


def test_the_shipped_fault_scenarios_show_every_fault_of_the_bus() -> None:
    found = {
        fault.kind
        for name in ("faults_demo", "bus_faults")
        for fault in Scenario.load(CONFIG / "scenarios" / f"{name}.toml").fault
    }
    assert EXCHANGE_KINDS - found == {FaultKind.LOST_REPLY}
    assert {FaultKind.SECOND_MASTER, FaultKind.REPLUG, FaultKind.HANGUP} <= found


def test_the_page_of_the_simulator_names_every_fault_parameter_and_operation() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text()
    orders = [name for desk in (BusDesk, PlantDesk) for name in desk(None).operations]  # type: ignore[arg-type]  # names only
    words = [kind.value for kind in FaultKind] + [name for names in PARAMETERS.values() for name in names] + orders
    assert [word for word in dict.fromkeys(words) if f"`{word}`" not in page] == []
