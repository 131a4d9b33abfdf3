"""What a reload does: read all sources again, apply the log's settings, name what needs a restart.

Owner of the settings in force: `Reloader`. `ReloadDesk` owns the order of reloads and what the service manager is told:
RELOADING=1 with MONOTONIC_USEC for every SIGHUP, then READY=1 (sd_notify(3); systemd.service(5), Type=notify-reload).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping

import trio
from attrs import frozen

from oht50d.app.check import toml_text
from oht50d.app.config import LoadedConfig, unstructure
from oht50d.app.logging_setup import LogWriter
from oht50d.app.preparation import check_log_place
from oht50d.drivers.systemd import Notifier
from oht50d.model.errors import ConfigError

_log = logging.getLogger(__name__)
LIMIT_S = 10.0
"""How long a reload may take, of which reading a few files is milliseconds: a medium may hang."""
_LIVE = "log."
"""Settings with this beginning take effect at once; all others at the next start."""


@frozen
class ReloadReport:
    """One line a key for the log; with `refusal` nothing was applied. `trouble`: the new log file cannot be written."""

    lines: tuple[str, ...] = ()
    trouble: str = ""
    refusal: ConfigError | None = None


class Reloader:
    """Applies what can be applied while the robot is watched; the newest call of `reload` is the one that counts."""

    def __init__(self, running: LoadedConfig, load_again: Callable[[], LoadedConfig], writer: LogWriter) -> None:
        self._load_again = load_again
        self._writer = writer
        self._in_force = _flat(unstructure(running.config))
        self._calls = 0

    def reload(self) -> ReloadReport:
        """Read, apply, report; blocking (files), never raises ConfigError: a broken file changes nothing."""
        self._calls += 1
        number, began_s = self._calls, time.monotonic()
        try:
            loaded = self._load_again()
            check_log_place(loaded)
        except ConfigError as problem:
            return ReloadReport(refusal=problem)
        if number != self._calls or time.monotonic() - began_s > LIMIT_S:
            return ReloadReport(("given up",))  # nobody waits for it any more: what it has read is old
        wanted = _flat(unstructure(loaded.config))
        lines = tuple(_differences(self._in_force, wanted))
        # Also without a change: a log file that was moved away by logrotate is opened anew.
        trouble = self._writer.apply(loaded.config.log)
        self._in_force |= {key: leaf for key, leaf in wanted.items() if key.startswith(_LIVE)}
        if loaded.config.log.file and not trouble:
            lines += (f"log.file {loaded.config.log.file} was opened anew",)
        return ReloadReport(lines or ("nothing has changed",), trouble)


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for key in sorted(before):
        old, new = toml_text(before[key]), toml_text(after.get(key))
        if old == new:
            continue
        if key.startswith(_LIVE):
            yield f"{key} is {new} from now on (it was {old})"
        else:
            yield f"{key} needs a restart: {old} stays in force, {new} is set"


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            found.update(_flat(leaf, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = leaf
    return found


class ReloadDesk:
    """One reload at a time, in a thread: reading files must not hold up the safety step. Never raises."""

    def __init__(self, reload: Callable[[], ReloadReport], notifier: Notifier, status_words: Callable[[], str]) -> None:
        self._reload = reload
        self._notifier = notifier
        self._status_words = status_words
        self._one_at_a_time = trio.Lock()

    async def reload(self) -> None:
        """Serve one SIGHUP; one that comes while another waits is served by that one."""
        if self._one_at_a_time.statistics().tasks_waiting:
            return
        async with self._one_at_a_time:
            self._notifier.reloading()
            # A limiter of its own: threads that never end must not use up those of the rest of the daemon.
            alone = trio.CapacityLimiter(1)
            try:
                with trio.move_on_after(LIMIT_S) as limit:
                    _tell(await trio.to_thread.run_sync(self._reload, abandon_on_cancel=True, limiter=alone))
                if limit.cancelled_caught:
                    words = "the reload did not end within %.0f s and is given up, the running configuration stays"
                    _log.warning(words, LIMIT_S, extra={"event": "daemon.reload"})
            except Exception:  # noqa: BLE001 - a reload must never be the end of the watch over a robot
                words = "the reload failed, the running configuration stays"
                _log.error(words, exc_info=True, extra={"event": "daemon.reload"})
            self._notifier.ready(self._status_words())


def _tell(report: ReloadReport) -> None:
    problem = report.refusal
    if problem is not None:
        place = {"config_file": problem.file, "config_line": problem.line, "config_key": problem.key}
        words = "reload refused, the running configuration stays: %s"
        _log.warning(words, problem, extra={"event": "daemon.reload", **place})
    for line in report.lines:
        _log.info("reloaded: %s", line, extra={"event": "daemon.reload"})
    if report.trouble:
        _log.warning(report.trouble, extra={"event": "daemon.reload"})
