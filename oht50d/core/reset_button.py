"""A button that acts on the release of a hold (SAFETY.md, Latch; owner: safety kernel)."""

MAXIMUM_HOLD_NS = 10_000_000_000
"""A button held longer than this is stuck or taped down: its release means nothing."""


class HoldButton:
    """Pressed for at least `hold_ns`, then released: acts once. An unknown level counts as neither."""

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._pressed_ns: int | None = None
        self._was_released = False

    def observe(self, is_pressed: bool | None, now_ns: int) -> bool:
        """Take the present level; True on a release that counts. A button pressed since the start does not."""
        if is_pressed is None:
            self._pressed_ns = None
            self._was_released = False
            return False
        if is_pressed:
            if self._pressed_ns is None and self._was_released:
                self._pressed_ns = now_ns
            return False
        pressed_ns, self._pressed_ns = self._pressed_ns, None
        self._was_released = True
        return pressed_ns is not None and self._hold_ns <= now_ns - pressed_ns <= MAXIMUM_HOLD_NS
