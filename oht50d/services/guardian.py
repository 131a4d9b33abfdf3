"""The guardian: runs the safety step at a fixed rate and on every input that matters (owner of kernel and robot state).

It never waits for anything but its inputs and its tick; whatever it decides is handed to the bus owner at once. It is
never restarted: its failure collapses the control ring, and the absence of permits stops the robot.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from oht50d.clock import now_ns
from oht50d.core.reset_button import Press
from oht50d.core.robot_state import RobotState
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.model.lidar import LidarStatus, SectorReport
from oht50d.model.motion import Decision, StopReport
from oht50d.model.registers import BlockReadings
from oht50d.model.snapshot import Snapshot, WireStatus

PUBLISH_INTERVAL_NS = 50_000_000
URGENT_ROLES = frozenset({"chain.open", "safety.status", "velocity.x", "drive.1.error", "drive.2.error"})


class Wire(Protocol):
    """The bus owner as the guardian needs it."""

    def take_over(self, decision: Decision) -> None: ...

    @property
    def status(self) -> WireStatus: ...


class Timer(Protocol):
    """Wakes at a moment of the Trio clock without the 1 ms grain of the event loop's time-out."""

    async def wait_until_ns(self, deadline_ns: int) -> None: ...


class Guardian:
    """Joins inputs, kernel and wire. `accept_*` are synchronous and may be called from any task of the Trio thread."""

    def __init__(
        self,
        config: SafetyConfig,
        kernel: SafetyKernel,
        state: RobotState,
        wire: Wire,
        timer: Timer,
        publish: Callable[[Snapshot], None],
        make_snapshot: Callable[[SafetyKernel, RobotState, WireStatus, Decision, int], Snapshot],
    ) -> None:
        self._config = config
        self._kernel = kernel
        self._state = state
        self._wire = wire
        self._timer = timer
        self._publish = publish
        self._make_snapshot = make_snapshot
        self._wake = trio.Event()
        self._has_ticked = trio.Event()
        self._tick_ns = 0
        self._decision: Decision | None = None
        self._published_ns = 0
        self._published_key: object = None
        self.on_gap: Callable[[], None] = lambda: None
        self.on_button: Callable[[Press], None] = lambda _press: None
        self.on_step: Callable[[Decision, int], None] = lambda _decision, _lateness_ns: None

    # -- inputs

    def accept_block(self, readings: BlockReadings) -> bool:
        """A decoded reply; True for roles that can stop the robot: they wake the step at once."""
        roles = self._state.apply_block(readings)
        is_urgent = not URGENT_ROLES.isdisjoint(roles)
        if is_urgent:
            self._wake.set()
        return is_urgent

    def accept_sectors(self, reports: Sequence[SectorReport]) -> None:
        """What the LiDAR has just seen; judged at once."""
        self._state.apply_sectors(reports)
        for report in reports:
            self._kernel.zones.update(report)
        self._wake.set()

    def accept_lidar_status(self, status: LidarStatus) -> None:
        """The LiDAR link's newest status."""
        has_changed = status.state is not self._state.lidar.state
        self._state.lidar = status
        if has_changed:
            self._wake.set()

    def accept_stop(self, report: StopReport) -> None:
        """Progress of a stop."""
        self._state.apply_stop(report)
        self._wake.set()

    def poke(self) -> None:
        """Judge now: a command has changed lease, latch or authority."""
        self._wake.set()

    # -- the task

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Step for ever, on every input and at every `beat`; ends only by cancellation or by its own failure."""
        self.step(0)
        self._tick_ns = now_ns() + self._config.step.ns
        task_status.started()
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            at_ns = now_ns()
            # Whatever woke it: a step that comes after the tick was due is late by that much.
            self.step(max(0, at_ns - self._tick_ns))
            if at_ns >= self._tick_ns:
                # A tick that was missed is not made up for: the next one is a whole step away.
                next_ns = self._tick_ns + self._config.step.ns
                self._tick_ns = next_ns if next_ns > at_ns else at_ns + self._config.step.ns
                self._has_ticked.set()

    async def beat(self) -> None:
        """Wake the step at its tick, for ever; started after `run`, in the same ring."""
        while True:
            await self._timer.wait_until_ns(self._tick_ns)
            if now_ns() < self._tick_ns:
                continue  # an input has woken the step in the same moment
            self._has_ticked = trio.Event()
            self._wake.set()
            await self._has_ticked.wait()

    def step(self, lateness_ns: int) -> Decision:
        """One judgement, handed to the wire before anything else happens."""
        at_ns = now_ns()
        wire = self._wire.status
        floor_ns = self._kernel.floor_ns
        inputs = self._state.inputs(wire)
        decision = self._kernel.step(inputs, at_ns)
        self._state.forget_silences()
        self._wire.take_over(decision)
        self._decision = decision
        if self._kernel.floor_ns != floor_ns:
            self.on_gap()
        press = self._kernel.observe_button(inputs, at_ns)
        if press is not None:
            self.on_button(press)
        self.on_step(decision, lateness_ns)
        self._publish_if_due(wire, decision, at_ns)
        return decision

    def inputs_now(self) -> tuple[SafetyKernel, RobotState, WireStatus]:
        """For the commander's checks, which run between two steps."""
        return self._kernel, self._state, self._wire.status

    def _publish_if_due(self, wire: WireStatus, decision: Decision, at_ns: int) -> None:
        kernel = self._kernel
        stop = self._state.last_stops[-1] if self._state.last_stops else None
        phase = None if stop is None else (stop.number, stop.kind, stop.phase)
        key = (kernel.state, kernel.latch.is_tripped, kernel.lease.nonce, kernel.authority.current.epoch, phase,
               decision.permit is None, wire.is_open, self._state.lidar.state)  # fmt: skip
        if key == self._published_key and at_ns - self._published_ns < PUBLISH_INTERVAL_NS:
            return
        self._published_key = key
        self._published_ns = at_ns
        self._publish(self._make_snapshot(kernel, self._state, wire, decision, at_ns))
