"""The house: joins all rooms, holds the nurseries and their stop order (state: scopes, listener, last status line).

Order (ARCHITECTURE, Nurseries): spool outermost, then the WIRE, then the CONTROL ring, then the OUTER ring. A stop
request trips the latch and the bus synchronously; the rings go while the bus, still alive, brings the robot to rest;
the wire's scope is cancelled last, then the spool is closed.
"""

import gc
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

import oht50d
from oht50d.app.config import Config
from oht50d.app.early_simulator import EarlySimulator
from oht50d.app.exit_codes import ExitCode
from oht50d.app.health import HealthDesk
from oht50d.app.last_gasp import start_last_gasp
from oht50d.app.listening import mark_listening
from oht50d.app.local_room import build_local_desk
from oht50d.app.no_memory import NoMemory
from oht50d.app.paths import shipped_config_dir
from oht50d.app.preparation import listen
from oht50d.app.reload import ReloadDesk, ReloadReport
from oht50d.app.rooms import UNCLEAN_END, Rooms, build_rooms, new_boot_id, spool_config
from oht50d.app.simulated_robot import (
    SIMULATION_USER,
    SimulatedSite,
    adapt,
    ask_lateness,
    choose_site,
    ensure_simulation_user,
    run_simulator,
    show_page,
)
from oht50d.app.simulation_pace import SimulationPace
from oht50d.app.supervisor import RestartPolicy, Supervised
from oht50d.clock import now_ns
from oht50d.drivers.http_listener import open_listener
from oht50d.drivers.local_socket import LocalSocketConfig, serve_local
from oht50d.drivers.spool import Spool, open_spool
from oht50d.drivers.systemd import Notifier
from oht50d.metrics import Metrics
from oht50d.model.accounts import Account, Role
from oht50d.model.errors import LinkError, StoreError
from oht50d.model.motion import Cause, CauseCode, StopKind, StopPhase
from oht50d.web.web_ports import HealthView, WebPorts

if TYPE_CHECKING:
    from quart_trio import QuartTrio

_log = logging.getLogger(__name__)

STOP_LIMIT_S = 3.0
"""How long the wire is kept for the last stop; standstill is measured long before, or it never will be."""
FLUSH_S = 2.0

# A robot may be moving while its port is away: the reopening never waits long.
_WIRE_POLICY = RestartPolicy(first_s=0.03, cap_s=0.2)
_LIDAR_POLICY = RestartPolicy(first_s=0.2, cap_s=2.0)
_OUTER_POLICY = RestartPolicy(first_s=0.2, cap_s=5.0, defects_allowed=1_000_000)


class House:
    """One run of the daemon. `run` returns the exit code."""

    def __init__(
        self,
        config: Config,
        *,
        simulator: EarlySimulator | None = None,
        reload: Callable[[], ReloadReport] = ReloadReport,
    ) -> None:
        self._simulator = simulator
        self._site: SimulatedSite | None = None if simulator is None else choose_site(config)
        self.config = config if self._site is None else adapt(config, self._site)
        self.metrics = Metrics(version=oht50d.__version__)
        self.rooms: Rooms | None = None
        self.listener: socket.socket | None = None
        self._metrics_listener: socket.socket | None = None
        self._notifier = Notifier.from_environment()
        self._reload_desk = ReloadDesk(reload, self._notifier, self._status_words)
        self._is_announced = trio.Event()
        self._stop_requested = trio.Event()
        self._control_scope = trio.CancelScope()
        self._outer_scope = trio.CancelScope()
        self._exit_code = ExitCode.OK
        self._health: HealthDesk | None = None
        self._pace = _make_pace(self.config, self._site)
        self._app: QuartTrio | None = None
        self._is_web_loaded = trio.Event()

    @property
    def _users_file(self) -> str:
        """The account of the one-time link never gets into the file of real users."""
        return "users.db" if self._site is None else "simulation-users.db"

    @property
    def port(self) -> int:
        """The TCP port that the web listens on."""
        assert self.listener is not None
        return int(self.listener.getsockname()[1])

    def request_stop(self, reason: str, code: ExitCode = ExitCode.OK) -> None:
        """Latch, stop frames, then the end of the process; synchronous, the first call counts."""
        if self._stop_requested.is_set():
            return
        _log.warning("stopping: %s", reason, extra={"event": "daemon.stopping"})
        self._exit_code = code
        self._notifier.stopping(f"stopping: {reason}")
        if self.rooms is not None:
            cause = self.rooms.kernel.shut_down(now_ns())
            self.rooms.bus.trip_causes(StopKind.S1, (cause,))
            self.rooms.guardian.poke()
        start_last_gasp()
        self._stop_requested.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> int:
        """Everything from the spool to the page; raises ConfigError, StoreError or LinkError when it cannot start."""
        boot_id = new_boot_id()
        mark_listening(self.config.robot.runtime_dir, is_listening=self.config.bus.listen_only)
        spool = await self._open_memory(boot_id)
        try:
            self.rooms = build_rooms(self.config, spool, self.metrics, boot_id, users_file=self._users_file)
            _prepare_accounts(self.rooms)
            # Made before anything runs: a signing key that cannot be used is a ConfigError, not a failure of the ring.
            ports = self.rooms.web_ports(self._view_health)
            self._open_listeners()
            async with trio.open_nursery() as outermost:
                outermost.start_soon(self._load_web, ports)
                await self._start_outermost(outermost, self.rooms)
                await self._run_wire(self.rooms, task_status)
                outermost.cancel_scope.cancel()
        finally:
            with trio.move_on_after(FLUSH_S, shield=True):
                await self._close_memory(spool)
            self._close()
        return int(self._exit_code)

    async def _open_memory(self, boot_id: str) -> Spool | NoMemory:
        """The spool, or what says that there is none: a robot without a memory is still watched and stopped."""
        try:
            spool = await open_spool(spool_config(self.config), self.config.robot.robot_id, boot_id)
            if not spool.was_clean:
                _log.warning(UNCLEAN_END, extra={"event": "daemon.unclean_end"})
            return spool
        except StoreError as problem:
            _log.error("running without a memory: %s", problem, extra={"event": "memory.absent"})
            return NoMemory(str(problem))

    def _open_listeners(self) -> None:
        web = self.config.web
        self.listener = listen(open_listener, web.host, web.port)
        if web.metrics_port is not None:
            self._metrics_listener = listen(open_listener, web.host, web.metrics_port)

    async def _load_web(self, ports: WebPorts) -> None:
        """In a thread beside the first stop on the bus: these imports take as long as all before them."""
        try:
            self._app = await trio.to_thread.run_sync(_make_app, ports)
            self._is_web_loaded.set()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the bus sends its stop before the process ends
            _log.critical("the web cannot be loaded", exc_info=problem, extra={"event": "web.defect"})
            self.request_stop(f"the web cannot be loaded: {problem}", ExitCode.SOFTWARE)

    async def _start_outermost(self, nursery: trio.Nursery, rooms: Rooms) -> None:
        if self._simulator is not None and self._site is not None:
            await nursery.start(self._mind_simulator, self._simulator, self._site)
            await ensure_simulation_user(rooms.accounts)
        rooms.guardian.step(0)
        await nursery.start(Supervised("recorder", rooms.recorder.run, _OUTER_POLICY).run)

    async def _mind_simulator(
        self, simulator: EarlySimulator, site: SimulatedSite, task_status: trio.TaskStatus[None]
    ) -> None:
        """Without its simulated robot this process has nothing to do."""
        try:
            await run_simulator(simulator, site, shipped_config_dir() / "modules", task_status)
        except LinkError as problem:
            self.request_stop(str(problem), ExitCode.UNAVAILABLE)

    async def _run_wire(self, rooms: Rooms, task_status: trio.TaskStatus[None]) -> None:
        """The wire's nursery: its scope is cancelled last."""
        async with trio.open_nursery() as wire:
            supervised = Supervised(
                "field bus", rooms.bus.run, _WIRE_POLICY, on_defect=self._note_wire_defect, on_pause=self._pet_reopening
            )
            await wire.start(supervised.run)
            wire.start_soon(self._stop_in_order, rooms, wire.cancel_scope)
            with self._control_scope:
                await self._run_control(rooms, task_status)
            self._control_left(rooms)

    def _control_left(self, rooms: Rooms) -> None:
        """The control ring is gone without a stop request only if it failed: half a safety system is worse."""
        if not self._stop_requested.is_set():
            self._trip_crash("the control ring has ended")
            self.request_stop("the control ring has ended", ExitCode.SOFTWARE)

    async def _run_control(self, rooms: Rooms, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as control:
                await control.start(rooms.guardian.run)
                control.start_soon(rooms.guardian.beat)
                await control.start(rooms.commander.run)
                await control.start(Supervised("LiDAR", rooms.lidar.run, _LIDAR_POLICY).run)
                with self._outer_scope:
                    await self._run_outer(rooms, task_status)
                await trio.sleep_forever()
        except* Exception as group:  # noqa: BLE001 - the ring fails together: tripped, logged, exit code 70
            self._trip_crash(repr(group.exceptions[0]))
            _log.critical("the control ring failed", exc_info=group, extra={"event": "ring.failed"})
            self.request_stop("the control ring failed", ExitCode.SOFTWARE)

    async def _run_outer(self, rooms: Rooms, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as outer:
            self._health = HealthDesk(rooms, self._notifier, self._pace)
            self.metrics.watch(rooms.snapshots.current, now_ns)
            self.metrics.watch_bus(rooms.sight, now_ns)
            rooms.guardian.on_step = self._health.note_step
            rooms.guardian.on_gap = _drain(rooms)
            await self._is_web_loaded.wait()
            for name, run in self._outer_tasks(rooms):
                await outer.start(Supervised(name, run, _OUTER_POLICY).run)
            self._announce(rooms)
            task_status.started()
            gc.collect()
            gc.freeze()
            await self._health.run()

    def _view_health(self) -> HealthView:
        """Only asked by the web, which is served once the health desk is there."""
        assert self._health is not None
        return self._health.view()

    def _outer_tasks(self, rooms: Rooms) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        app, listener = self._app, self.listener
        health = self._health
        assert app is not None
        assert listener is not None
        assert health is not None
        desk = build_local_desk(rooms, health.hints)
        local = LocalSocketConfig(path=str(self.config.robot.runtime_dir / "control.sock"))

        from oht50d.app.web_server import serve_web

        async def web() -> None:
            await serve_web(app, listener, self.config.web, self._stop_requested.wait)

        async def local_socket() -> None:
            await serve_local(local, desk)

        keeper = rooms.modules.keeper.run
        tasks = [("web server", web), ("local socket", local_socket), ("modules", keeper), *self._metrics_tasks()]
        return tasks if self._pace is None else [*tasks, ("simulation pace", self._pace.run)]

    def _metrics_tasks(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """The second listener, only where a site has asked for it."""
        listener = self._metrics_listener
        if listener is None:
            return []
        from oht50d.app.web_server import serve_web
        from oht50d.web.metrics_app import create_metrics_app

        app = create_metrics_app(self.metrics)

        async def metrics() -> None:
            await serve_web(app, listener, self.config.web, self._stop_requested.wait)

        return [("metrics server", metrics)]

    async def _stop_in_order(self, rooms: Rooms, wire_scope: trio.CancelScope) -> None:
        """Bus first and alone; then the outer ring, the control ring, and the wire last."""
        await self._stop_requested.wait()
        self._outer_scope.cancel()
        with trio.move_on_after(STOP_LIMIT_S):
            await self._standstill(rooms)
        report = rooms.bus.stop_report
        was_open = rooms.bus.status.opened_ns is not None
        phase = "none" if report is None or not was_open else report.phase.value
        if was_open and (report is None or report.phase is not StopPhase.STANDSTILL):
            self._exit_code = self._exit_code or ExitCode.IO
        nothing = "listen-only" if self.config.bus.listen_only else "no port was ever open"
        words = phase if was_open else f"{nothing}, nothing was sent"
        _log.warning("last stop: %s", words, extra={"event": "stop.last", "phase": phase})
        self._control_scope.cancel()
        wire_scope.cancel()

    async def _standstill(self, rooms: Rooms) -> None:
        """Until standstill is confirmed, also over a port that has to be reopened; at once if it never was open."""
        while rooms.bus.status.opened_ns is not None:
            report = rooms.bus.stop_report
            if report is not None and report.phase is StopPhase.STANDSTILL:
                # One more publication, so that the record of the stop holds its end.
                await trio.sleep(0.06)
                return
            await trio.sleep(0.01)

    def _trip_crash(self, detail: str) -> None:
        assert self.rooms is not None
        cause = Cause(CauseCode.CRASH, now_ns(), detail)
        self.rooms.kernel.trip(cause)
        self.rooms.bus.trip_causes(StopKind.S1, (cause,))

    def _note_wire_defect(self, error: BaseException) -> None:
        self._trip_crash(f"field bus: {error!r}")

    def _pet_reopening(self, problem: BaseException | None) -> None:
        """While the port is closed the reopening loop vouches for the process (SAFETY, Permits), if a wait can help."""
        if self._health is not None and not self._stop_requested.is_set():
            self._health.note_reopening(problem)

    def _announce(self, rooms: Rooms) -> None:
        words = "SIMULATED" if rooms.config.is_simulated else "ready"
        self._notifier.ready(f"{rooms.kernel.state.name}: {words}")
        self._is_announced.set()
        if self._site is not None:
            token = rooms.one_time.issue(Account(SIMULATION_USER, Role.OPERATOR, is_active=True))
            show_page(self._site, self.port, token)
        _log.info("serving on port %d", self.port, extra={"event": "daemon.ready", "boot_id": rooms.boot_id})

    async def reload(self) -> None:
        """SIGHUP: check the files again, apply what can be applied, say what needs a restart.

        Waits for the end of the start: READY=1 of a reload would tell the service manager that it is over.
        """
        await self._is_announced.wait()
        if not self._stop_requested.is_set():
            await self._reload_desk.reload()

    def _status_words(self) -> str:
        return "" if self._health is None else self._health.status_words()

    async def _close_memory(self, spool: Spool | NoMemory) -> None:
        try:
            if self.rooms is not None:
                await self.rooms.recorder.flush()
            await spool.close()
        except StoreError as problem:
            _log.error("the spool did not close: %s", problem)

    def _close(self) -> None:
        if self.rooms is not None:
            for timer in self.rooms.timers:
                timer.close()
        for listener in (self.listener, self._metrics_listener):
            if listener is not None:
                listener.close()
        self._notifier.close()


def _make_app(ports: WebPorts) -> "QuartTrio":
    """Import all that serving needs and build the application; raises OSError if the page's files cannot be read."""
    import oht50d.app.web_server  # noqa: F401 - loaded here, used by the tasks
    from oht50d.web.app import create_app

    return create_app(ports)


def _make_pace(config: Config, site: SimulatedSite | None) -> SimulationPace | None:
    """In simulation only; a simulator that was started by somebody else is not asked."""
    if not config.is_simulated:
        return None
    return SimulationPace(None if site is None else partial(ask_lateness, site))


def _drain(rooms: Rooms) -> Callable[[], None]:
    def drain() -> None:
        """After a loop gap: what waits in the ttys is of unknown age."""
        rooms.bus.discard_input()
        rooms.lidar.discard_input()

    return drain


def _prepare_accounts(rooms: Rooms) -> None:
    try:
        rooms.accounts.prepare()
    except StoreError as problem:
        _log.error("nobody can sign in: %s", problem, extra={"event": "accounts.absent"})


def main(config: Config, *, simulator: EarlySimulator | None, reload: Callable[[], ReloadReport]) -> int:
    """Run the house under Trio with its signals; the exit code. `reload` serves a SIGHUP, in a thread."""
    from oht50d.app.signals import noted_signals, run_with_signals

    house = House(config, simulator=simulator, reload=reload)
    with noted_signals() as early:
        return trio.run(run_with_signals, house, early, instruments=[house.metrics.loop_lag])
