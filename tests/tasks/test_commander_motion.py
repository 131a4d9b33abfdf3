"""Authority and jog on the real control ring under the mock clock; asserted are frames, states and refusals."""

from contextlib import suppress

import pytest
import trio
from bus_fakes import MS
from control_bench import ANNA, BERT, BOOT_ID, CHAIN, VERA, Control, rejected, running_control
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.model.bus import WriteRegister, WriteRegisters
from oht50d.model.motion import Direction, MachineState, StopKind, StopPhase
from oht50d.services.ports import Actor, Claim

DRIVE_1_ZERO = WriteRegisters(0x04, 0x0002, (0, 0))
DRIVE_2_GO = WriteRegisters(0x04, 0x0011, (1, 0, 4))
FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE


def press(control: Control, actor: Actor = ANNA, direction: Direction = FORWARD) -> int:
    """A press of the jog button: its nonce."""
    answer = control.commander.press_jog(actor, control.claim, direction, None)
    assert isinstance(answer["nonce"], int)
    return answer["nonce"]


def newest_nonce(control: Control) -> int:
    nonce = control.snapshots.current().jog_nonce
    assert nonce is not None
    return nonce


async def hold(control: Control, seconds: float, echoed: int | None = None) -> int | None:
    """Echo every nonce once, soon after it was published, like a page that is well; the last one is returned."""
    ends_ns = now_ns() + round(seconds * 1e9)
    while now_ns() < ends_ns:
        nonce = newest_nonce(control)
        if nonce != echoed:
            control.commander.renew_jog(ANNA, control.claim, nonce)
            echoed = nonce
        await trio.sleep(0.0203)
    return echoed


async def standing(control: Control) -> None:
    await control.bench.until(lambda: control.kernel.state is MachineState.IDLE, limit_s=5)


# -- authority


async def test_arming_takes_authority_and_counts_the_epoch(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.reset()
        epoch = control.claim.epoch
        answer = control.commander.arm(ANNA, control.claim)
        assert answer == {"holder": "anna", "epoch": epoch + 1, "boot_id": BOOT_ID}
        answer = control.commander.disarm(ANNA, control.claim)
        assert answer == {"holder": None, "epoch": epoch + 2, "boot_id": BOOT_ID}
        await control.bench.until(lambda: len(control.store.events("robot.authority.returned")) == 1, limit_s=3)
        assert control.store.events("robot.authority.taken")[0].actor == "anna"


async def test_arming_needs_a_reset_a_role_and_the_right_claim(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        async with rejected("SAFETY_VIOLATION"):
            control.commander.arm(ANNA, control.claim)
        await control.reset()
        async with rejected("INSUFFICIENT_PERMISSIONS"):
            control.commander.arm(VERA, control.claim)
        async with rejected("CONFLICT", "boot_id"):
            control.commander.arm(ANNA, Claim("boot-0", control.claim.epoch))
        async with rejected("CONFLICT", "epoch"):
            control.commander.arm(ANNA, Claim(BOOT_ID, control.claim.epoch - 1))
        assert control.kernel.authority.holder is None


async def test_authority_is_taken_over_at_standstill_only_and_the_holder_is_named(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        control.commander.arm(BERT, control.claim)
        assert control.kernel.authority.holder == "bert"
        async with rejected("ROBOT_BUSY"):
            press(control)
        async with rejected("ROBOT_BUSY"):
            control.commander.disarm(ANNA, control.claim)
        control.commander.arm(ANNA, control.claim)
        press(control)
        await hold(control, 0.2)
        assert control.kernel.state is MachineState.MOVE
        async with rejected("ROBOT_BUSY") as refusal:
            control.commander.arm(BERT, control.claim)
        assert refusal.details == {"holder": "anna"}
        assert "anna" in refusal.message
        control.commander.release_jog(ANNA)
        await standing(control)
        control.commander.arm(BERT, control.claim)


async def test_returning_authority_while_moving_stops_by_s2(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        await hold(control, 0.2)
        control.commander.disarm(ANNA, control.claim)
        await standing(control)
        assert control.bench.reports[-1].kind is StopKind.S2
        assert not control.kernel.latch.is_tripped


async def test_nobody_arms_a_robot_of_which_only_a_part_is_simulated(autojump_clock: MockClock) -> None:
    async with running_control(is_lidar_simulated=False) as control:
        await control.ready_for_reset({"mixed_simulation"})
        held = control.commander.hold_reset(ANNA, control.claim)
        await trio.sleep(1.1)
        await control.commander.release_reset(ANNA, control.claim, str(held["hold_id"]))
        async with rejected("SAFETY_VIOLATION"):
            control.commander.arm(ANNA, control.claim)


# -- jog


async def test_a_press_moves_and_a_release_stops_without_latching(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        began_ns = now_ns()
        press(control)
        await hold(control, 0.3)
        assert control.bench.line.sent_times(DRIVE_2_GO)[-1] >= began_ns
        assert control.kernel.state is MachineState.MOVE
        released_ns = now_ns()
        control.commander.release_jog(ANNA)
        await control.bench.until(lambda: DRIVE_1_ZERO in control.bench.line.frames_since(released_ns), limit_s=0.05)
        assert not [f for f in control.bench.line.frames_since(released_ns) if control.bench.is_motion(f)]
        await standing(control)
        assert not control.kernel.latch.is_tripped
        assert control.kernel.authority.holder == "anna"
        # A new press takes over from the S2 whose output is zero already.
        press(control)
        await hold(control, 0.3)
        assert control.kernel.state is MachineState.MOVE


async def test_without_renewal_the_drives_get_zero_within_300_ms(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        await hold(control, 0.3)
        renewed_ns = now_ns()
        await control.bench.until(lambda: DRIVE_1_ZERO in control.bench.line.frames_since(renewed_ns), limit_s=1)
        zero_ns = control.bench.line.sent_times(DRIVE_1_ZERO)[-1]
        assert zero_ns - renewed_ns < 300 * MS
        assert not [f for f in control.bench.line.frames_since(zero_ns) if control.bench.is_motion(f)]
        assert not control.kernel.latch.is_tripped
        assert "release_first" in control.codes()
        async with rejected("CONFLICT"):
            press(control)
        control.commander.release_jog(ANNA)
        await standing(control)
        press(control)


async def test_only_the_newest_nonce_of_the_holder_renews(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        first = press(control)
        control.commander.renew_jog(ANNA, control.claim, first)
        await trio.sleep(0.13)
        assert newest_nonce(control) == first + 1
        async with rejected("CONFLICT", "nonce"):
            control.commander.renew_jog(ANNA, control.claim, first)
        async with rejected("CONFLICT", "nonce"):
            control.commander.renew_jog(ANNA, control.claim, first + 2)
        async with rejected("ROBOT_BUSY"):
            control.commander.renew_jog(BERT, control.claim, first + 1)
        async with rejected("CONFLICT", "epoch"):
            control.commander.renew_jog(ANNA, Claim(BOOT_ID, control.claim.epoch + 1), first + 1)
        control.commander.renew_jog(ANNA, control.claim, first + 1)


async def test_a_press_needs_authority_role_and_a_speed_within_the_cap(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.reset()
        async with rejected("ROBOT_BUSY"):
            press(control)
        control.commander.arm(ANNA, control.claim)
        async with rejected("INSUFFICIENT_PERMISSIONS"):
            press(control, VERA)
        for speed_mm_s in (0.0, -50.0, 100.1, float("nan"), float("inf")):
            async with rejected("SAFETY_VIOLATION", "speed_mm_s"):
                control.commander.press_jog(ANNA, control.claim, FORWARD, speed_mm_s)
        answer = control.commander.press_jog(ANNA, control.claim, REVERSE, 50.0)
        assert answer["duty_ratio"] == pytest.approx(0.02)
        await trio.sleep(0.09)
        assert not [frame for frame in control.bench.line.frames_since(0) if control.bench.is_motion(frame)]
        await hold(control, 0.25)
        assert WriteRegisters(0x04, 0x0011, (1, 0, 2)) in control.bench.line.frames_since(0)
        assert WriteRegister(0x04, 0x0007, 2) in control.bench.line.frames_since(0)


async def test_a_press_that_is_not_permitted_says_why_and_moves_nothing(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        control.is_lidar_dead = True
        await trio.sleep(0.4)
        began_ns = now_ns()
        async with rejected("SAFETY_VIOLATION") as refusal:
            press(control)
        causes = refusal.details["causes"]
        assert isinstance(causes, list)
        assert "lidar_silent" in causes
        await trio.sleep(0.3)
        assert not [f for f in control.bench.line.frames_since(began_ns) if control.bench.is_motion(f)]


async def test_the_end_of_the_holders_connection_ends_the_jog_and_keeps_authority(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        echoed = await hold(control, 0.2)
        control.commander.release_holder(BERT)
        await hold(control, 0.1, echoed)
        assert control.kernel.state is MachineState.MOVE
        control.commander.release_holder(ANNA)
        await standing(control)
        assert control.kernel.authority.holder == "anna"


async def test_a_stop_while_jogging_latches_and_the_button_must_be_let_go(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        await hold(control, 0.3)
        pressed_ns = now_ns()
        answer = await control.commander.stop(BERT, "page")
        assert answer["status"] == "executed"
        assert not [f for f in control.bench.line.frames_since(pressed_ns) if control.bench.is_motion(f)]
        await control.bench.until(lambda: control.bench.reports[-1].phase is StopPhase.STANDSTILL, limit_s=3)
        assert control.kernel.state is MachineState.SAFE
        async with rejected("CONFLICT"):
            press(control)
        control.commander.release_jog(ANNA)
        async with rejected("SAFETY_VIOLATION"):
            press(control)


@pytest.mark.parametrize("unit", [0x03, 0x04, 0x05])
async def test_a_module_that_falls_silent_while_jogging_stops_and_latches_within_its_limit(
    autojump_clock: MockClock, unit: int
) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        await hold(control, 0.3)
        lost_ns = now_ns()
        control.bench.rules.append(lambda request, _: [] if request.unit == unit else None)
        with suppress(AssertionError):  # there is no nonce any more
            await hold(control, 1.0)
        assert control.kernel.latch.is_tripped
        # 150 ms after the last valid reply, which may be a whole poll period old, and never for one lost frame.
        assert 90 * MS < now_ns() - lost_ns < 220 * MS


async def test_an_open_chain_ends_a_jog_by_s0(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.armed()
        press(control)
        await hold(control, 0.3)
        opened_ns = now_ns()
        control.set_safety(CHAIN, 1)
        await control.bench.until(
            lambda: WriteRegister(0x03, 0x0031, 0) in control.bench.line.frames_since(opened_ns), limit_s=0.2
        )
        assert control.bench.reports[-1].kind is StopKind.S0
        assert control.kernel.state is MachineState.ESTOP
