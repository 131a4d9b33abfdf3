"""The part of `oht50d check` that tries what a start needs: directories, key, port and log (no state).

The functions are those of `run`; see `app/preparation.py`.
"""

import getpass

from oht50d.app import preparation
from oht50d.app.check import ReportSection, Verdict
from oht50d.app.config import Config, LoadedConfig
from oht50d.model.errors import LinkError


def report_start(loaded: LoadedConfig) -> ReportSection:
    """Raises what would end the start: ConfigError, StoreError or LinkError."""
    config = loaded.config
    lines = list(preparation.make_directories(loaded, is_trial=True))
    holder = preparation.find_holder(config.robot.state_dir)
    if holder is not None:
        lines.append(f"{config.robot.state_dir} is in use by {holder}: a daemon runs, a second one would refuse")
    lines.append(_key_line(config))
    lines += _listener_lines(config, is_running=holder is not None)
    trouble = preparation.check_log_place(loaded)
    if config.log.file:
        lines.append(trouble or f"the log is also written to {config.log.file}")
    lines.append(f"judged with the rights of {_user()}; the daemon may run as another user")
    return ReportSection("Start", tuple(lines), Verdict.WARNING if trouble else Verdict.GOOD)


def _key_line(config: Config) -> str:
    key = preparation.try_signing_key(config)
    if key is None:
        return f"the token key will be made in {config.robot.state_dir}, unless the service manager gives one"
    return f"the token key is that of {key.source}"


def _listener_lines(config: Config, *, is_running: bool) -> tuple[str, ...]:
    try:
        return preparation.try_listeners(config)
    except LinkError as problem:
        if is_running and problem.cause == "in_use":
            return (f"{config.web.host}:{config.web.port} is in use, as it is while a daemon runs",)
        raise


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return "this user"
