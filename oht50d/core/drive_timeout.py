"""The drives' communication time-out: written once the module is identified, proven by reading it back (pure).

Owner of the state: wire schedule. SAFETY.md, Permits: a time-out that is not proven does not count; a module that was
away may have lost it, so it is written again after every identification.
"""

from oht50d.core.actuators import Actuators
from oht50d.core.role_table import RoleTable
from oht50d.model.bus import WriteRegister
from oht50d.model.registers import RegisterBlock
from oht50d.model.units import Duration

ROLE = "drive.communication_timeout"
REWRITE_NS = 1_000_000_000
"""How long a write waits for its read-back before it is sent again."""


class DriveTimeout:
    """Knows what was written and when; `roles` is the bus owner's table of newest readings."""

    def __init__(self, actuators: Actuators, roles: RoleTable, timeout: Duration) -> None:
        self._unit = actuators.timeout_unit
        self._register = actuators.timeout_register
        self._roles = roles
        self._wanted_ms = int(timeout.ms)
        self._sent_ns: int | None = None

    @property
    def is_proven(self) -> bool:
        """True if the newest reading was asked for after the write and says what was written, or if there is none."""
        if self._register is None:
            return True
        reading = self._roles.get(ROLE)
        if reading is None or self._sent_ns is None:
            return False
        return reading.raw == self._wanted_ms and reading.requested_ns >= self._sent_ns

    def forget(self) -> None:
        """The module may be another one, or may have lost its settings."""
        self._sent_ns = None

    def next_write(self, now_ns: int) -> WriteRegister | None:
        """The write that is due; None if it is proven or waits for its read-back."""
        if self._unit is None or self._register is None or self.is_proven:
            return None
        if self._sent_ns is not None and now_ns - self._sent_ns < REWRITE_NS:
            return None
        return WriteRegister(self._unit, self._register, self._wanted_ms)

    def complete(self, ended_ns: int) -> None:
        """The write went out; only the read-back tells whether it worked."""
        self._sent_ns = ended_ns

    def is_read_by(self, block: RegisterBlock) -> bool:
        """True for the block that brings the read-back."""
        return block.unit == self._unit and any(spec.role == ROLE for spec in block.specs)
