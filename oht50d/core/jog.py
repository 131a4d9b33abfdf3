"""The jog lease: hold to run, aged by the server's clock only (SAFETY.md, Latch, reset, authority; owner: kernel)."""

import enum

from oht50d.core.safety_config import JogConfig
from oht50d.model.motion import MotionDemand


class LeaseState(enum.Enum):
    """Released, held by a fresh echo, or lost (a release is needed before the next press)."""

    RELEASED = "released"
    HELD = "held"
    LOST = "lost"


class JogLease:
    """One lease at a time. A nonce is issued each `nonce_interval`; only an echo of the newest one extends.

    A press alone moves nothing: the demand begins with the first echo, so that a link without a way back never starts
    a robot. The lease ends `lease` after the *issue* of the newest echoed nonce, so bytes that were held up somewhere
    cannot keep a robot moving.
    """

    def __init__(self, config: JogConfig) -> None:
        self._config = config
        self._state = LeaseState.RELEASED
        self._holder: str | None = None
        self._demand: MotionDemand | None = None
        self._presses = 0
        self._nonce = 0
        self._issued_ns = 0
        self._expires_ns = 0
        self._is_echoed = False

    @property
    def state(self) -> LeaseState:
        return self._state

    @property
    def holder(self) -> str | None:
        return self._holder

    @property
    def presses(self) -> int:
        """How often the button went down in this boot; tells one press from the next."""
        return self._presses

    @property
    def nonce(self) -> int | None:
        """The newest nonce while the lease is held."""
        return self._nonce if self._state is LeaseState.HELD else None

    def press(self, holder: str, demand: MotionDemand, now_ns: int) -> bool:
        """Open the lease; False unless it was released before."""
        if self._state is not LeaseState.RELEASED:
            return False
        self._state = LeaseState.HELD
        self._presses += 1
        self._holder = holder
        self._demand = demand
        self._is_echoed = False
        self._issue(now_ns)
        self._expires_ns = now_ns + self._config.lease.ns
        return True

    def renew(self, holder: str, nonce: int, now_ns: int) -> bool:
        """Echo of `nonce`; True if it extended the lease."""
        self.tick(now_ns)
        if self._state is not LeaseState.HELD or holder != self._holder or nonce != self._nonce:
            return False
        self._is_echoed = True
        self._expires_ns = self._issued_ns + self._config.lease.ns
        return True

    def release(self, holder: str) -> bool:
        """The button is up; True if it ended or cleared this holder's lease."""
        if self._state is LeaseState.RELEASED or holder != self._holder:
            return False
        self._state = LeaseState.RELEASED
        self._holder = None
        self._demand = None
        return True

    def lose(self) -> None:
        """A stop ended it: the button must be released and pressed again."""
        if self._state is LeaseState.HELD:
            self._state = LeaseState.LOST
            self._demand = None

    def tick(self, now_ns: int) -> None:
        """Expire or issue the next nonce."""
        if self._state is not LeaseState.HELD:
            return
        if now_ns >= self._expires_ns:
            self.lose()
        elif now_ns - self._issued_ns >= self._config.nonce_interval.ns:
            self._issue(now_ns)

    def demand(self, now_ns: int) -> MotionDemand | None:
        """What the holder asks for right now; None unless the lease is held, fresh and echoed at least once."""
        self.tick(now_ns)
        return self._demand if self._state is LeaseState.HELD and self._is_echoed else None

    def _issue(self, now_ns: int) -> None:
        self._nonce += 1
        self._issued_ns = now_ns
