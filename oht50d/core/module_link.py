"""What is known about the link to one bound module: identity, age, counts, pauses (owner: wire schedule)."""

from attrs import define

from oht50d.codec.registers import raw_of_word
from oht50d.model.bus import ExceptionReply, ExchangeResult, Failure
from oht50d.model.registers import BlockReadings, ModuleMap
from oht50d.model.snapshot import ModuleCounters

FAILURES_BEFORE_PAUSE = 3
RETRIED_NS = 150_000_000
"""A module is asked again at once for this long (SAFETY.md, Inputs: loss); a short burst of noise must not lose it."""
BREATH_NS = 20_000_000
"""Between further attempts in that time, so that the shapes of the fence last for all of it."""
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
    """One bound module. `pause_ns` is how long a dead module is left alone between probes."""

    module: ModuleMap
    pause_ns: int
    is_identified: bool = False
    last_valid_ns: int | None = None
    serial: int | None = None
    firmware: str | None = None
    problem: str = "not found yet"
    failures: int = 0
    resume_ns: int = 0
    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    noise: int = 0
    exceptions: int = 0

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
        self.failures = 0
        self.resume_ns = 0
        self.problem = "not found yet"

    def record(self, result: ExchangeResult) -> None:
        """Count one exchange and judge whether to leave the module alone for a while."""
        self.requests += 1
        if result.reply is not None:
            self.replies += 1
            self.failures = 0
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
                self.problem = f"damaged replies from {self.name}: check A/B wiring, shield, and for two of one address"
            case Failure.SILENT:
                self.timeouts += 1
                self.problem = f"no reply from {self.name}: check power, A/B wiring, address switch"
            case Failure.FENCED:
                self.problem = f"late or repeated replies from {self.name}: check its load, and for two of one address"
            case _:
                return
        self.failures += 1
        if self.failures >= FAILURES_BEFORE_PAUSE:
            self._pause(result.ended_ns)

    def _refusal(self, reply: ExceptionReply) -> str:
        words = f"exception {reply.code} ({_EXCEPTIONS.get(reply.code, 'of the maker')})"
        return f"{self.name} refused function {reply.function} with {words}: check firmware against register map"

    def _pause(self, now_ns: int) -> None:
        if not self._was_silent(now_ns):
            self.resume_ns = now_ns + BREATH_NS
            return
        # Whatever answers next may be another module, or the same one after a loss of power.
        self.is_identified = False
        self.leave_alone(now_ns)

    def leave_alone(self, now_ns: int) -> None:
        """No request before the pause is over."""
        self.resume_ns = now_ns + self.pause_ns

    def _was_silent(self, now_ns: int) -> bool:
        return self.last_valid_ns is None or now_ns - self.last_valid_ns >= RETRIED_NS

    def is_paused(self, now_ns: int) -> bool:
        return now_ns < self.resume_ns

    def identify(self, block: BlockReadings) -> bool:
        """Judge the block with the type code; True if it is the module that the map is for."""
        words = {spec.role: raw_of_word(spec, word) for spec, word in zip(block.block.specs, block.words, strict=True)}
        found = words.get("identity.type")
        self.is_identified = found == self.module.type_code
        if not self.is_identified:
            types = f"type {found}, expected {self.module.type_code}"
            self.problem = f"another module at {self.name}: {types}: check address switches and register map"
            return False
        firmware = words.get("identity.firmware", 0)
        self.firmware = f"{firmware >> 8}.{firmware & 0xFF:02d}"
        self.problem = ""
        # Low word first (CONFLICTS.md, G.2).
        low, high = words.get("identity.serial_low"), words.get("identity.serial_high")
        if low is not None and high is not None:
            self.serial = high << 16 | low
        return True
