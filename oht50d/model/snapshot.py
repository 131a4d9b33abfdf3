"""The snapshot: the truth in memory about the robot at one moment (no state; built by `core/robot_state.py`)."""

from collections.abc import Mapping

from attrs import field, frozen

from oht50d.model.lidar import LidarStatus, SectorReport
from oht50d.model.modules import DiscoveryStatus, ModuleTrust, ScanProgress, Trust
from oht50d.model.motion import Cause, Decision, MachineState, StopReport
from oht50d.model.registers import ModuleKind, Reading

LISTENS_ONLY = "bus.listen_only is set: nothing is sent"


@frozen
class ModuleCounters:
    """Totals since the port was first opened."""

    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    noise: int = 0
    exceptions: int = 0


@frozen
class ModuleStatus:
    """One bound module; `is_online` means identified since the last opening and heard within its loss limit."""

    address: int
    kind: ModuleKind
    title: str
    tag: str
    is_mandatory: bool
    is_online: bool
    is_identified: bool
    last_valid_ns: int | None
    serial: int | None
    firmware: str | None
    problem: str
    counters: ModuleCounters
    readings: Mapping[str, Reading] = field(repr=False)
    trust: ModuleTrust = ModuleTrust(Trust.UNSEEN)
    refused: frozenset[str] = frozenset()
    """Names of registers that the module refuses to be asked for."""


@frozen
class PlanStatus:
    """How the polls fit the wire now, by the worst case of what was measured.

    `headroom` is the share of the wire that is left; `given_way` tells in words which classes are read less often than
    they would be; `refusal` is why motion is refused, empty if it is not.
    """

    headroom: float
    given_way: tuple[str, ...]
    refusal: str


@frozen
class WireStatus:
    """The field bus as a whole: `cause` and `remedy` are in words when the port is not open.

    `port` is the name as configured (a path, or host and port), `device` what it stood for when it was last opened.
    `opened_ns` is when the modules had to begin to prove who they are: the opening, or the end of a scan. `scan` is the
    one under way or the last one. `unexpected_bytes` came after a reply that was complete: nobody had asked for them.
    With `is_listen_only` nothing is ever sent and `is_open` is never true; `is_listening` says that the port is open
    and heard.
    """

    is_open: bool
    port: str
    cause: str
    remedy: str
    is_simulated: bool
    opened_ns: int | None
    transactions: int
    early_frames: int
    adopted_sequence: int
    last_valid_ns: int | None
    unexpected_bytes: int = 0
    device: str = ""
    transport: str = "rtu"
    is_listen_only: bool = False
    is_listening: bool = False
    scan: ScanProgress | None = None
    plan: PlanStatus | None = None

    @property
    def is_scanning(self) -> bool:
        """Polling pauses for a scan."""
        return self.scan is not None and self.scan.is_running

    @property
    def refusal(self) -> str:
        """Why nobody on the bus can be asked anything, in words; empty if everybody can."""
        if self.is_listen_only:
            return f"{LISTENS_ONLY}; `oht50ctl bus trace` shows what is heard"
        told = ". ".join(part.rstrip(".") for part in (self.cause, self.remedy) if part)
        return "" if self.is_open else f"the bus is closed: {told}"


@frozen
class Authority:
    """Who may command motion; every motion command and reset must carry the same `boot_id` and `epoch`."""

    boot_id: str
    epoch: int
    holder: str | None
    since_ns: int | None


@frozen
class Snapshot:
    """Everything a page, a metric or a status answer is drawn from; `version` ascends by one a publication."""

    version: int
    taken_ns: int
    taken_utc: str
    robot_id: str
    is_simulated: bool
    state: MachineState
    is_latched: bool
    latched_causes: tuple[Cause, ...]
    decision: Decision
    authority: Authority
    modules: tuple[ModuleStatus, ...]
    wire: WireStatus
    lidar: LidarStatus
    sectors: tuple[SectorReport | None, ...] = field(repr=False)
    stop: StopReport | None
    last_stops: tuple[StopReport, ...]
    velocity_mm_s: float | None
    position_mm: float | None
    speed_limit_mm_s: float
    is_commissioned: bool
    jog_nonce: int | None
    discovery: DiscoveryStatus | None = None

    def reading(self, kind: ModuleKind, name: str) -> Reading | None:
        """The last reading of a register by module kind and register name; None if it was never read."""
        for module in self.modules:
            if module.kind is kind:
                return module.readings.get(name)
        return None

    def role(self, role: str) -> Reading | None:
        """The last reading of the register that has `role`; None if there is none or it was never read."""
        for module in self.modules:
            for reading in module.readings.values():
                if reading.role == role:
                    return reading
        return None
