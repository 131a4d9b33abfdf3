"""What is known about the link to one bound module: identity, age, counts, pauses (owner: wire schedule)."""

from attrs import define, field

from oht50d.codec.registers import raw_of_word
from oht50d.core.breaker import MANDATORY_COOLDOWN, OPTIONAL_COOLDOWN, Breaker
from oht50d.core.turnaround import Turnaround
from oht50d.model.bus import ExceptionReply, ExchangeResult, Failure, Hint
from oht50d.model.registers import BlockReadings, ModuleMap
from oht50d.model.snapshot import ModuleCounters

NO_SERIALS = frozenset({0, 0xFFFF_FFFF})
"""What a module without a serial number shows."""
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    6: "busy",
}
"""Source: MODBUS Application Protocol V1.1b3, section 7."""


@define
class ModuleLink:
    """One bound module. `turnaround` are its newest replies' times, `breaker` says when it counts as dead."""

    module: ModuleMap
    is_identified: bool = False
    last_valid_ns: int | None = None
    serial: int | None = None
    firmware: str | None = None
    problem: str = "not found yet"
    turnaround: Turnaround = field(factory=Turnaround)
    breaker: Breaker = field(init=False)
    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    noise: int = 0
    exceptions: int = 0
    is_damaged: bool = False
    """True if bytes came for the last request and were no reply to it."""
    _identity: dict[str, int] = field(factory=dict)
    """The newest words by identity role, which may come from several blocks."""
    _identity_span: tuple[int, int] = field(init=False)
    """First and last address of those roles; most replies lie outside."""

    @_identity_span.default
    def _find_identity(self) -> tuple[int, int]:
        found = [spec.address for role, spec in self.module.by_role.items() if role.startswith("identity.")]
        return min(found, default=1), max(found, default=0)

    @breaker.default
    def _make_breaker(self) -> Breaker:
        return Breaker(MANDATORY_COOLDOWN if self.module.is_mandatory else OPTIONAL_COOLDOWN)

    @property
    def failures(self) -> int:
        """Exchanges in a row without a reply that can be used."""
        return self.breaker.failures

    @property
    def is_dead(self) -> bool:
        """True while the breaker is open: it gets probes within the budget and nothing else."""
        return self.breaker.is_open

    @property
    def resume_ns(self) -> int:
        """No request before this moment."""
        return self.breaker.resume_ns

    @property
    def name(self) -> str:
        """Address and kind as they are told to a technician: `0x02 (travel)`."""
        return f"{self.module.address:#04x} ({self.module.kind.value})"

    @property
    def counters(self) -> ModuleCounters:
        return ModuleCounters(self.requests, self.replies, self.timeouts, self.noise, self.exceptions)

    def forget_identity(self) -> None:
        """A new opening of the port: the module must prove again who it is."""
        self.is_identified = False
        self.breaker.reset()
        self._identity.clear()
        self.is_damaged = False
        self.problem = "not found yet"

    def record(self, result: ExchangeResult) -> None:
        """Count one exchange and judge whether to leave the module alone for a while."""
        self.requests += 1
        if result.reply is not None:
            self.replies += 1
            self.is_damaged = False
            self.breaker.succeed()
            if isinstance(result.reply, ExceptionReply):
                self.exceptions += 1
                self.problem = self._refusal(result.reply)
            else:
                self.last_valid_ns = result.ended_ns
                self.problem = "" if self.is_identified else self.problem
            return
        match result.failure:
            case Failure.NOISE | Failure.MISMATCH:
                self.noise += 1
                self.is_damaged = True
                self.problem = self._damage(result.hint)
            case Failure.SILENT:
                self.timeouts += 1
                self.is_damaged = result.hint is not None
                self.problem = f"no reply from {self.name}: check power, A/B wiring, address switch"
                if result.hint is not None:
                    self.problem = self._damage(result.hint)
            case Failure.FENCED:
                self.problem = f"late or repeated replies from {self.name}: check its load, and for two of one address"
            case _:
                return
        if self.breaker.fail(result.ended_ns, self.last_valid_ns):
            # Whatever answers next may be another module, or the same one after a loss of power.
            self.is_identified = False

    def _damage(self, hint: Hint | None) -> str:
        match hint:
            case Hint.ECHO:
                return (
                    f"the adapter hears what it sends when it asks {self.name}: its receiver stays on; "
                    "check RE/DE of the adapter and bus.serial.direction"
                )
            case Hint.BIAS:
                return (
                    f"damaged replies from {self.name}, they begin with 0x00 or 0xFF: "
                    "check bias resistors and termination, A/B wiring, shield"
                )
            case _:
                return f"damaged replies from {self.name}: check A/B wiring, shield, and for two of one address"

    def _refusal(self, reply: ExceptionReply) -> str:
        words = f"exception {reply.code} ({_EXCEPTIONS.get(reply.code, 'of the maker')})"
        return f"{self.name} refused function {reply.function} with {words}: check firmware against register map"

    def leave_alone(self, now_ns: int) -> None:
        """No request before a pause is over."""
        self.breaker.leave_alone(now_ns)

    def is_paused(self, now_ns: int) -> bool:
        return now_ns < self.resume_ns

    def identify(self, block: BlockReadings) -> bool:
        """Judge the block with the type code; True if it is the module that the map is for."""
        self._identity.clear()
        self._collect(block)
        found = self._identity.get("identity.type")
        self.is_identified = found == self.module.type_code
        if not self.is_identified:
            types = f"type {found}, expected {self.module.type_code}"
            self.problem = f"another module at {self.name}: {types}: check address switches and register map"
            return False
        self.problem = ""
        self._name()
        return True

    def learn(self, block: BlockReadings) -> None:
        """A further block of a module that has proved who it is; it may hold the rest of its identity."""
        if self._collect(block):
            self._name()

    def _collect(self, block: BlockReadings) -> bool:
        """True if the block says anything about who it is."""
        first, last = self._identity_span
        if block.block.first > last or block.block.first + block.block.count <= first:
            return False
        words = {
            spec.role: raw_of_word(spec, word)
            for spec, word in zip(block.block.specs, block.words, strict=True)
            if spec.role is not None and spec.role.startswith("identity.")
        }
        self._identity.update(words)
        return bool(words)

    def _name(self) -> None:
        firmware = self._identity.get("identity.firmware")
        self.firmware = None if firmware is None else f"{firmware >> 8}.{firmware & 0xFF:02d}"
        self.serial = _serial(self._identity.get("identity.serial_low"), self._identity.get("identity.serial_high"))


def _serial(low: int | None, high: int | None) -> int | None:
    """Low word first (CONFLICTS.md, G.2)."""
    if low is None or high is None:
        return None
    number = high << 16 | low
    return None if number in NO_SERIALS else number
