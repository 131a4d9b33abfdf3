"""The circuit breaker of one module: when it counts as dead, and how long it is left alone then (owner: module link).

Source: SAFETY.md, Inputs (a loss is 150 ms without a valid reply, and retries fit into that) and DOMAIN 3 (opens at 3
consecutive failures; a cooldown that doubles). DOMAIN's 1 s to 30 s holds for optional modules. A mandatory one is
asked each second, because it must be back within two (ADR 0015); `probe_budget.py` bounds what all of them take.
"""

from attrs import define, frozen

FAILURES_UNTIL_OPEN = 3
RETRIED_NS = 150_000_000
"""A module is asked again at once for this long: a short burst of noise must not lose it."""
BREATH_NS = 20_000_000
"""Between further attempts in that time, so that others get their turn."""
STRANGER_PAUSE_NS = 1_000_000_000


@frozen
class Cooldown:
    """How long a dead module is left alone: `first_ns`, then twice as long each time, at most `longest_ns`."""

    first_ns: int
    longest_ns: int

    def after(self, openings: int) -> int:
        """The pause after so many openings in a row, the first one counted."""
        return min(self.first_ns << min(max(openings - 1, 0), 16), self.longest_ns)


MANDATORY_COOLDOWN = Cooldown(250_000_000, 1_000_000_000)
OPTIONAL_COOLDOWN = Cooldown(1_000_000_000, 30_000_000_000)


@define
class Breaker:
    """Closed while the module answers. Once open, each failed probe is one more opening; one valid reply closes it."""

    cooldown: Cooldown
    failures: int = 0
    openings: int = 0
    resume_ns: int = 0

    @property
    def is_open(self) -> bool:
        return self.openings > 0

    def reset(self) -> None:
        """A new opening of the port: whatever was, is forgotten."""
        self.failures = self.openings = self.resume_ns = 0

    def succeed(self) -> None:
        """The module has answered, if only with an exception: it is not left alone any longer."""
        self.failures = self.openings = self.resume_ns = 0

    def fail(self, now_ns: int, last_valid_ns: int | None) -> bool:
        """One exchange without a reply that can be used; True if the breaker is open after it."""
        self.failures += 1
        if self.failures < FAILURES_UNTIL_OPEN and not self.is_open:
            return False
        if not self.is_open and last_valid_ns is not None and now_ns - last_valid_ns < RETRIED_NS:
            self.resume_ns = now_ns + BREATH_NS
            return False
        self.openings += 1
        self.resume_ns = now_ns + self.cooldown.after(self.openings)
        return True

    def leave_alone(self, now_ns: int) -> None:
        """No request for a while, although it answers: it is another module, or does not say who it is."""
        self.resume_ns = now_ns + STRANGER_PAUSE_NS

    def hasten(self, now_ns: int) -> None:
        """Another dead module has come back: this one may have too."""
        if self.is_open:
            self.resume_ns = min(self.resume_ns, now_ns)
            self.openings = 1
