"""Builds the published snapshot from kernel and robot state (no state but the version count)."""

from collections.abc import Callable

from attrs import frozen

from oht50d.core.robot_state import RobotState
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.model.motion import Decision
from oht50d.model.snapshot import Snapshot, WireStatus


@frozen
class Identity:
    """What does not change while the process lives."""

    robot_id: str
    is_simulated: bool
    has_drive_timeout: bool


class SnapshotMaker:
    """Counts versions; `utc_now` gives the column for people."""

    def __init__(self, identity: Identity, config: SafetyConfig, utc_now: Callable[[], str]) -> None:
        self._identity = identity
        self._config = config
        self._utc_now = utc_now
        self._version = 0

    def make(
        self, kernel: SafetyKernel, state: RobotState, wire: WireStatus, decision: Decision, now_ns: int
    ) -> Snapshot:  # fmt: skip
        """One snapshot; velocity and position are None once they are older than the moving loss limit."""
        self._version += 1
        limit_ns = self._config.moving_loss.ns
        stops = state.last_stops
        return Snapshot(
            version=self._version,
            taken_ns=now_ns,
            taken_utc=self._utc_now(),
            robot_id=self._identity.robot_id,
            is_simulated=self._identity.is_simulated,
            state=kernel.state,
            is_latched=kernel.latch.is_tripped,
            latched_causes=kernel.latch.causes,
            decision=decision,
            authority=kernel.authority.current,
            modules=state.modules(now_ns, is_listen_only=wire.is_listen_only),
            wire=wire,
            lidar=state.lidar,
            sectors=tuple(state.sectors),
            stop=stops[-1] if stops else None,
            last_stops=stops,
            velocity_mm_s=state.fresh_number("velocity.x", now_ns, limit_ns),
            position_mm=state.fresh_number("position.x", now_ns, limit_ns),
            speed_limit_mm_s=kernel.speed_limit_mm_s(has_drive_timeout=self._identity.has_drive_timeout),
            is_commissioned=False,
            jog_nonce=kernel.lease.nonce,
            discovery=state.discovery(),
        )
