"""A button that acts on the release of a hold (SAFETY.md, Latch; owner: safety kernel)."""

from attrs import frozen

MAXIMUM_HOLD_NS = 10_000_000_000
"""A button held longer than this is stuck or taped down: its release means nothing."""


@frozen
class Press:
    """One press that is over; `refusal` says in words why it does not count, empty if it does."""

    refusal: str


class HoldButton:
    """Pressed for at least `hold_ns`, then released: acts once. An unknown level counts as neither."""

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._pressed_ns: int | None = None
        self._was_released = False

    def observe(self, is_pressed: bool | None, now_ns: int) -> Press | None:
        """Take the present level; a press that is over is returned once. A button pressed since the start is none."""
        if is_pressed and self._was_released and self._pressed_ns is None:
            self._pressed_ns = now_ns
        if is_pressed:
            return None
        pressed_ns, self._pressed_ns = self._pressed_ns, None
        self._was_released = is_pressed is not None
        if pressed_ns is None:
            return None
        if is_pressed is None:
            return Press("the safety module was not heard while its reset button was pressed")
        return Press(self._why_not(now_ns - pressed_ns))

    def _why_not(self, held_ns: int) -> str:
        if held_ns < self._hold_ns:
            return f"the reset button was let go after {held_ns / 1e9:.1f} s, hold it for {self._hold_ns / 1e9:g} s"
        if held_ns > MAXIMUM_HOLD_NS:
            return f"the reset button was pressed for {held_ns / 1e9:.0f} s, as if it were stuck"
        return ""
