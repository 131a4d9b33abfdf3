"""The simulated carriage: what drives, brake and track do, against hand-computed motion."""

import math

import pytest

from oht50d.model.units import Duration
from oht50d.sim.drive import DriveMode, StatusBit
from oht50d.sim.plant import Plant, PlantParameters

MS = 1_000_000
START_NS = 5_000_000_000


def carriage(**figures: float | bool | Duration) -> Plant:
    parameters = PlantParameters(start_x_mm=5000.0, **figures)  # type: ignore[arg-type]  # keyword figures of one test
    return Plant(parameters, 600.0, 50_000.0, START_NS)


def run_for(plant: Plant, milliseconds: int) -> None:
    plant.advance(plant.now_ns + milliseconds * MS)


def release_brake(plant: Plant) -> None:
    plant.command_brake(True)
    run_for(plant, 60)
    assert not plant.is_brake_engaged


def drive_at(plant: Plant, setpoint: int, direction: int = 1) -> None:
    """Both drives, on-off law, straight away."""
    for drive in plant.drives:
        drive.mode, drive.enable, drive.setpoint, drive.direction = DriveMode.ON_OFF, 1, setpoint, direction
    plant.touch_drives()


def moving(speed_mm_s: float, **figures: float | bool | Duration) -> Plant:
    plant = carriage(**figures)
    release_brake(plant)
    drive_at(plant, round(abs(speed_mm_s) / 2000 * 255), 1 if speed_mm_s > 0 else 2)
    run_for(plant, 3000)
    return plant


def events(plant: Plant) -> list[str]:
    return [entry.event for entry in plant.log]


def test_it_stands_with_the_brake_on_at_power_up() -> None:
    plant = carriage()
    run_for(plant, 10_000)
    assert (plant.x_mm, plant.v_mm_s, plant.is_brake_engaged, plant.at_rest_since_ns) == (5000.0, 0.0, True, START_NS)


def test_drives_cannot_move_it_against_the_brake() -> None:
    plant = carriage()
    drive_at(plant, 255)
    run_for(plant, 2000)
    assert plant.x_mm == 5000.0
    assert "moving" not in events(plant)


def test_it_accelerates_at_its_limit_to_the_speed_of_the_duty() -> None:
    plant = carriage()
    release_brake(plant)
    drive_at(plant, 51)
    run_for(plant, 200)
    assert plant.v_mm_s == pytest.approx(200.0, abs=2.0)
    run_for(plant, 1000)
    assert plant.v_mm_s == pytest.approx(400.0)
    assert plant.x_mm == pytest.approx(5000.0 + 400 * 1.2 - 400**2 / 2000, abs=2.0)


def test_one_drive_alone_accelerates_at_half_the_limit() -> None:
    plant = carriage()
    release_brake(plant)
    drive_at(plant, 51)
    plant.drives[1].enable = 0
    run_for(plant, 200)
    assert plant.v_mm_s == pytest.approx((500 - 125) * 0.2, abs=2.0)


def test_the_reported_speed_is_unsigned() -> None:
    plant = moving(-1000.0)
    assert plant.v_mm_s == pytest.approx(-1000, abs=5)
    assert plant.measured_pwm == 128
    assert plant.x_mm < 5000.0


def test_enable_zero_coasts() -> None:
    plant = moving(500.0)
    at, speed = plant.x_mm, plant.v_mm_s
    for drive in plant.drives:
        drive.enable = 0
    run_for(plant, 1000)
    assert plant.v_mm_s == pytest.approx(speed - 250.0, abs=1.0)
    run_for(plant, 2000)
    assert plant.v_mm_s == 0.0
    assert plant.x_mm - at == pytest.approx(speed**2 / (2 * 250.0), rel=0.01)


def test_setpoint_zero_with_enable_is_a_driven_stop() -> None:
    plant = moving(500.0)
    at, speed, since = plant.x_mm, plant.v_mm_s, plant.now_ns
    drive_at(plant, 0)
    run_for(plant, 2000)
    assert plant.x_mm - at == pytest.approx(speed**2 / (2 * 1000.0), rel=0.01)
    rest_ns = plant.at_rest_since_ns
    assert rest_ns is not None
    assert rest_ns - since == pytest.approx(speed / 1000.0 * 1e9, rel=0.01)


def test_the_brake_bites_after_its_delay() -> None:
    plant = moving(500.0)
    for drive in plant.drives:
        drive.enable = 0
    run_for(plant, 0)
    at, speed = plant.x_mm, plant.v_mm_s
    plant.command_brake(False)
    run_for(plant, 99)
    assert not plant.is_brake_engaged
    assert plant.v_mm_s == pytest.approx(speed - 250 * 0.099, abs=0.5)
    run_for(plant, 1)
    assert plant.is_brake_engaged
    run_for(plant, 1000)
    biting = speed - 25.0
    assert plant.x_mm - at == pytest.approx((speed + biting) / 2 * 0.1 + biting**2 / 3000, rel=0.01)
    assert events(plant)[-3:] == ["output_zero", "brake_on", "standstill"]


def test_a_brake_pulse_shorter_than_the_delay_starts_the_delay_anew() -> None:
    plant = moving(500.0)
    plant.command_brake(False)
    run_for(plant, 50)
    plant.command_brake(True)
    run_for(plant, 500)
    assert not plant.is_brake_engaged


def test_the_linear_law_ramps_by_its_step_each_20_ms() -> None:
    plant = carriage()
    release_brake(plant)
    for drive in plant.drives:
        drive.mode, drive.enable, drive.direction = DriveMode.LINEAR, 1, 1
        drive.linear_input, drive.linear_step, drive.setpoint = 50, 5, 255
    run_for(plant, 19)
    assert plant.drives[0].duty_ratio == 0.0
    run_for(plant, 1)
    assert plant.drives[0].duty_ratio == pytest.approx(0.05)
    run_for(plant, 180)
    assert plant.drives[0].duty_ratio == pytest.approx(0.5)
    run_for(plant, 1000)
    assert plant.v_mm_s == pytest.approx(1000.0)


def test_the_linear_law_does_not_look_at_the_setpoint() -> None:
    plant = carriage()
    release_brake(plant)
    for drive in plant.drives:
        drive.mode, drive.enable, drive.direction, drive.linear_input = DriveMode.LINEAR, 1, 1, 50
    run_for(plant, 2000)
    for drive in plant.drives:
        drive.setpoint = 0
    run_for(plant, 1000)
    assert plant.v_mm_s == pytest.approx(1000.0)


def test_the_pid_law_approaches_with_its_time_constant() -> None:
    plant = carriage()
    release_brake(plant)
    for drive in plant.drives:
        drive.mode, drive.enable, drive.direction, drive.setpoint = DriveMode.PID, 1, 1, 255
    run_for(plant, 150)
    assert plant.drives[0].duty_ratio == pytest.approx(1 - math.exp(-1), abs=0.01)


def test_drives_in_opposite_directions_hold_each_other() -> None:
    plant = carriage()
    release_brake(plant)
    drive_at(plant, 51)
    plant.drives[1].direction = 2
    run_for(plant, 2000)
    assert abs(plant.v_mm_s) <= 1.0


def test_direction_idle_runs_free() -> None:
    plant = moving(500.0)
    speed = plant.v_mm_s
    for drive in plant.drives:
        drive.direction = 0
    run_for(plant, 400)
    assert plant.v_mm_s == pytest.approx(speed - 100.0, abs=1.0)


def test_the_time_out_zeroes_the_output_and_says_so() -> None:
    plant = moving(500.0)
    plant.communication_timeout_ms = 200
    plant.touch_drives()
    run_for(plant, 199)
    assert plant.drives[0].duty_ratio > 0
    run_for(plant, 1)
    assert [drive.setpoint for drive in plant.drives] == [0, 0]
    assert plant.drives[0].status_word(plant.v_mm_s) & StatusBit.COMMUNICATION_TIMEOUT
    run_for(plant, 1000)
    assert plant.v_mm_s == 0.0
    assert [event for event in events(plant) if event != "brake_off"][-3:] == [
        "drive_timeout",
        "output_zero",
        "standstill",
    ]
    plant.touch_drives()
    assert not plant.drives[0].status_word(0.0) & StatusBit.COMMUNICATION_TIMEOUT


def test_without_the_time_out_it_drives_on() -> None:
    plant = moving(500.0)
    run_for(plant, 5000)
    assert plant.v_mm_s == pytest.approx(500, abs=5)


def test_writes_in_time_keep_it_moving() -> None:
    plant = moving(500.0)
    plant.communication_timeout_ms = 200
    plant.touch_drives()
    for _ in range(20):
        run_for(plant, 150)
        plant.touch_drives()
    assert plant.v_mm_s == pytest.approx(500, abs=5)


def test_the_buffers_end_the_track() -> None:
    plant = moving(-2000.0)
    run_for(plant, 20_000)
    assert plant.x_mm == 600.0
    assert "buffer_hit" in events(plant)


def test_a_drive_error_cuts_the_output() -> None:
    plant = moving(500.0)
    plant.drives[0].error_code = plant.drives[1].error_code = 9
    run_for(plant, 1)
    assert plant.drives[0].duty_ratio == 0.0
    assert plant.drives[0].status_word(plant.v_mm_s) & StatusBit.ERROR


@pytest.mark.parametrize(("is_wired", "is_stopped"), [(True, True), (False, False)])
def test_the_chain_cuts_the_drives_only_where_it_is_wired_so(is_wired: bool, is_stopped: bool) -> None:
    plant = moving(500.0, chain_cuts_drives=is_wired)
    plant.open_chain(True)
    run_for(plant, 2000)
    assert (plant.v_mm_s == 0.0) is is_stopped


def test_steps_do_not_depend_on_how_often_it_is_asked() -> None:
    coarse, fine = moving(500.0), moving(500.0)
    for plant in (coarse, fine):
        drive_at(plant, 0)
    coarse.advance(coarse.now_ns + 900 * MS)
    for _ in range(300):
        run_for(fine, 3)
    assert (coarse.x_mm, coarse.v_mm_s, list(coarse.log)) == (fine.x_mm, fine.v_mm_s, list(fine.log))


def test_time_in_the_past_changes_nothing() -> None:
    plant = moving(500.0)
    before = (plant.now_ns, plant.x_mm)
    plant.advance(plant.now_ns - 10 * MS)
    assert (plant.now_ns, plant.x_mm) == before


def test_the_battery_drains_faster_while_driving() -> None:
    resting, driving = carriage(), moving(500.0)
    start = driving.soc_percent
    run_for(driving, 10_000)
    run_for(resting, 10_000)
    assert 87.5 - resting.soc_percent == pytest.approx(1.5 * 10 / 3600 / 50 * 100, rel=1e-6)
    assert start - driving.soc_percent > 1.5 * (87.5 - resting.soc_percent)
    assert driving.battery_voltage_v < resting.battery_voltage_v


def test_figures_that_make_no_carriage_are_refused() -> None:
    with pytest.raises(ValueError, match="drive_accel_mm_s2"):
        PlantParameters(drive_accel_mm_s2=0.0)
