"""Health, STATUS= and the watchdog (owner of the times of the last steps; asked by the web, told by the guardian)."""

import trio

from oht50d.app.rooms import Rooms
from oht50d.app.simulation_pace import REMEDY, SimulationPace
from oht50d.clock import NS_PER_S, now_ns
from oht50d.core.failsafes import FAILSAFES
from oht50d.drivers.systemd import Notifier, watchdog_period
from oht50d.model.errors import LinkError
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import Decision
from oht50d.model.snapshot import ModuleStatus
from oht50d.web.web_ports import HealthCheck, HealthView

LATE_STEP_NS = 50_000_000
ADOPTION_LIMIT_NS = 300_000_000
LIVE_LIMIT_NS = NS_PER_S
DEFAULT_PET_NS = 500_000_000


class HealthDesk:
    """Judges readiness from what was really checked, and pets the service manager's watchdog."""

    def __init__(self, rooms: Rooms, notifier: Notifier, pace: SimulationPace | None = None) -> None:
        """`pace` is there in simulation only."""
        self._rooms = rooms
        self._pace = pace
        self._notifier = notifier
        period = watchdog_period()
        self._pet_every_ns = DEFAULT_PET_NS if period is None else period.ns // 4
        self._petted_ns = 0
        self._stepped_ns = now_ns()
        self._adopted: tuple[int, int] = (-1, now_ns())
        self._words = ""

    def note_step(self, decision: Decision, lateness_ns: int) -> None:
        """A safety step is done; petted only if it was on time and the wire's task has adopted a recent decision."""
        at_ns = now_ns()
        self._stepped_ns = at_ns
        if self._pace is not None:
            self._pace.note_step(lateness_ns)
        wire = self._rooms.bus.status
        if wire.adopted_sequence != self._adopted[0]:
            self._adopted = (wire.adopted_sequence, at_ns)
        if (
            (wire.is_open or wire.is_listening)
            and lateness_ns < LATE_STEP_NS
            and at_ns - self._adopted[1] < ADOPTION_LIMIT_NS
        ):
            self._pet(at_ns)

    def note_reopening(self, problem: BaseException | None) -> None:
        """The port is closed and its reopening loop is alive; the guardian must be alive as well.

        Not petted where `problem` is this process's own lack of resources: only its end and the safe-stop program help.
        """
        at_ns = now_ns()
        if isinstance(problem, LinkError) and problem.cause == "resources":
            return
        if at_ns - self._stepped_ns < LIVE_LIMIT_NS:
            self._pet(at_ns)

    def _pet(self, at_ns: int) -> None:
        if at_ns - self._petted_ns >= self._pet_every_ns:
            self._petted_ns = at_ns
            self._notifier.watchdog()

    async def run(self) -> None:
        """Keep the STATUS= line true; ends only by cancellation."""
        while True:
            words = self.status_words()
            if words != self._words:
                self._words = words
                self._notifier.status(words)
            await trio.sleep(0.5)

    def status_words(self) -> str:
        """State and why, in one line."""
        snapshot = self._rooms.snapshots.current()
        parts = [f"{'SIMULATED ' if snapshot.is_simulated else ''}{snapshot.state.name}"]
        causes = [c for c in snapshot.decision.inhibits if FAILSAFES[c.code].remedy]
        parts += [FAILSAFES[cause.code].title for cause in causes[:2]]
        parts += [
            f"{name}: {check.cause}. {check.remedy}".strip()
            for name, check in self._checks().items()
            if not check.is_ok
        ]
        parts += self.hints()
        return "; ".join(dict.fromkeys(part.strip() for part in parts))

    def hints(self) -> list[str]:
        """What is no fault of the robot and explains what looks like one."""
        hint = "" if self._pace is None else self._pace.hint
        return [f"{hint}. {REMEDY}"] if hint else []

    def view(self) -> HealthView:
        """For the six health paths."""
        checks = self._checks()
        is_live = now_ns() - self._stepped_ns < LIVE_LIMIT_NS
        return HealthView(
            is_live=is_live,
            is_ready=is_live and all(check.is_ok for check in checks.values()),
            is_started=True,
            checks=checks,
        )

    def _checks(self) -> dict[str, HealthCheck]:
        snapshot = self._rooms.snapshots.current()
        wire, lidar = self._rooms.bus.status, snapshot.lidar
        problem = self._rooms.recorder.problem
        # A bus that is only listened to is healthy: nobody asks its modules.
        is_asked = not wire.is_listening
        absent = [m for m in snapshot.modules if m.is_mandatory and not m.is_online and is_asked]
        names = "; ".join(map(_module_words, absent)) if wire.is_open else "the bus is closed"
        is_scanning = lidar.state is LidarLinkState.SCANNING
        checks = {
            "bus": HealthCheck(wire.is_open or wire.is_listening, wire.cause, wire.remedy),
            "modules": HealthCheck(True) if not absent else HealthCheck(False, names),
            "lidar": HealthCheck(is_scanning, lidar.cause or lidar.state.value, lidar.remedy)
            if not is_scanning
            else HealthCheck(True),
            "memory": HealthCheck(problem is None, problem or "", "" if problem is None else "Check the disk."),
        }
        hint = "" if self._pace is None else self._pace.hint
        if hint:  # a hint, never a reason not to be ready
            checks["simulation"] = HealthCheck(True, hint, REMEDY)
        return checks


def _module_words(module: ModuleStatus) -> str:
    """Which module is away, why and what to do about it; its problem says all that once it was asked."""
    name = f"{module.address:#04x} ({module.kind.value})"
    problem = module.problem or "no reply for a while"
    return problem if name in problem else f"{name}: {problem}"
