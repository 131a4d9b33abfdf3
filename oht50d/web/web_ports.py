"""Everything the web room is given by the house (no state of its own)."""

from collections.abc import Callable, Mapping

from attrs import field, frozen

from oht50d.core.zones import ZoneConfig
from oht50d.metrics import Metrics
from oht50d.model.registers import ModuleMap
from oht50d.services.ports import Accounts, Commander, HistoryReader, ScanSource, SnapshotSource
from oht50d.web.app_config import WebConfig
from oht50d.web.one_time import OneTimeSignIn
from oht50d.web.tokens import TokenService


@frozen
class HealthCheck:
    """One thing that was really checked; `cause` and `remedy` are words for a technician when it is not well."""

    is_ok: bool
    cause: str = ""
    remedy: str = ""


@frozen
class HealthView:
    """What the six health paths tell."""

    is_live: bool
    is_ready: bool
    is_started: bool
    checks: Mapping[str, HealthCheck]


@frozen(kw_only=True)
class WebPorts:
    """The web's only way to the rest of the house; `module_maps` is by bus address."""

    snapshots: SnapshotSource
    scans: ScanSource
    commander: Commander
    history: HistoryReader
    accounts: Accounts
    tokens: TokenService
    one_time: OneTimeSignIn
    health: Callable[[], HealthView]
    metrics: Metrics
    module_maps: Mapping[int, ModuleMap]
    config: WebConfig = field(factory=WebConfig)
    zones: ZoneConfig = field(factory=ZoneConfig)
