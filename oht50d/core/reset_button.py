"""A button that acts on the release of a hold (SAFETY.md, Latch; owner: safety kernel)."""

from attrs import frozen

MAXIMUM_HOLD_NS = 10_000_000_000
"""A button held longer than this is stuck or taped down: its release means nothing."""


@frozen
class Press:
    """One press that is over; `refusal` says in words why it does not count, empty if it does.

    `trips` is how often the latch had been tripped when the button went down: what came later is not reset by it.
    """

    refusal: str
    trips: int = 0


class HoldButton:
    """Pressed for at least `hold_ns`, then released: acts once. An unknown level counts as neither.

    Levels are samples: the hold counts from the first reading that shows it pressed to the last one, so it was never
    shorter than that.
    """

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._pressed_ns: int | None = None
        self._last_pressed_ns = 0
        self._trips = 0
        self._was_released = False

    def observe(self, is_pressed: bool | None, sampled_ns: int, now_ns: int, trips: int) -> Press | None:
        """Take the present level, sampled at `sampled_ns`; a press that is over is returned once.

        A button pressed since the start is none. `trips` is the latch's present count.
        """
        if is_pressed and self._was_released and self._pressed_ns is None:
            self._pressed_ns, self._trips = sampled_ns, trips
        if is_pressed:
            self._last_pressed_ns = sampled_ns
            return None
        pressed_ns, self._pressed_ns = self._pressed_ns, None
        self._was_released = is_pressed is not None
        if pressed_ns is None:
            return None
        if is_pressed is None:
            return Press("the safety module was not heard while its reset button was pressed", self._trips)
        return Press(self._why_not(pressed_ns, now_ns, trips), self._trips)

    def _why_not(self, pressed_ns: int, now_ns: int, trips: int) -> str:
        held_ns = self._last_pressed_ns - pressed_ns
        if held_ns < self._hold_ns:
            return f"the reset button was seen pressed for {held_ns / 1e9:.1f} s, hold it for {self._hold_ns / 1e9:g} s"
        if now_ns - pressed_ns > MAXIMUM_HOLD_NS:
            return f"the reset button was pressed for {held_ns / 1e9:.0f} s, as if it were stuck"
        return "the robot was stopped again while the reset button was held" if trips != self._trips else ""
