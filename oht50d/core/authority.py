"""Who may command motion: one holder at a time, every change counts the epoch up (owner: safety kernel)."""

from oht50d.model.errors import CommandRejected
from oht50d.model.snapshot import Authority


class AuthorityDesk:
    """Authority of one boot. A lost holder never passes motion on; taking over needs standstill."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._epoch = 1
        self._holder: str | None = None
        self._since_ns: int | None = None

    @property
    def holder(self) -> str | None:
        return self._holder

    @property
    def current(self) -> Authority:
        return Authority(self._boot_id, self._epoch, self._holder, self._since_ns)

    def check(self, boot_id: str, epoch: int) -> None:
        """Raises CommandRejected CONFLICT if a claim speaks of another boot or an older authority."""
        if boot_id != self._boot_id:
            raise CommandRejected("CONFLICT", "the control program has restarted since", {"field": "boot_id"})
        if epoch != self._epoch:
            raise CommandRejected("CONFLICT", "authority has changed since", {"field": "epoch", "epoch": self._epoch})

    def require(self, holder: str) -> None:
        """Raises CommandRejected ROBOT_BUSY if somebody else, or nobody, holds authority."""
        if self._holder != holder:
            named = "nobody has" if self._holder is None else f"{self._holder} has"
            raise CommandRejected("ROBOT_BUSY", f"{named} control", {"holder": self._holder})

    def take(self, holder: str, now_ns: int, *, is_at_rest: bool) -> None:
        """Raises CommandRejected ROBOT_BUSY while somebody else holds it and the vehicle is not at standstill."""
        if self._holder not in (None, holder) and not is_at_rest:
            raise CommandRejected("ROBOT_BUSY", f"{self._holder} is moving it", {"holder": self._holder})
        self._holder = holder
        self._since_ns = now_ns
        self._epoch += 1

    def drop(self) -> None:
        """Nobody holds authority; a reset does this, because a reset never arms."""
        self._holder = None
        self._since_ns = None
        self._epoch += 1
