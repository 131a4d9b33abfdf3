"""The latency timer of FTDI adapters: how long the chip keeps received bytes back (no state).

Source: drivers/usb/serial/ftdi_sio.c of Linux: the attribute `latency_timer` of the usb-serial device, in
milliseconds, 16 from the factory; with ASYNC_LOW_LATENCY set the chip works with 1 and the attribute reads 1.
"""

from pathlib import Path

SYSFS = Path("/sys")
WANTED_MS = 1
RULE = (
    'ACTION!="remove", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
    "  (in /etc/udev/rules.d/60-oht50d.rules)"
)


def shorten_latency(device: str, sysfs: Path = SYSFS) -> str:
    """Set the latency timer of `device` (a resolved path) to 1 ms; what keeps it long in words, empty if it is short.

    A device that is no FTDI adapter has no such timer and nothing to say.
    """
    attribute = _find(Path(device).name, sysfs)
    if attribute is None:
        return ""
    found_ms = _read_ms(attribute)
    if found_ms == WANTED_MS:
        return ""
    why = _write(attribute)
    found_ms = _read_ms(attribute)
    if found_ms == WANTED_MS:
        return ""
    length = "is not readable" if found_ms is None else f"is {found_ms} ms"
    return (
        f"the latency timer of {device} {length} and cannot be set ({why or 'it stays so'}): replies come that much "
        f"later, safety may not fit on the wire. Add the udev rule {RULE} and plug the adapter in again"
    )


def _find(name: str, sysfs: Path) -> Path | None:
    """The attribute's place has moved between kernels."""
    port = sysfs / "class" / "tty" / name / "device"
    places = (port / "latency_timer", port / ".." / "latency_timer")
    return next((place for place in places if place.is_file()), None)


def _read_ms(attribute: Path) -> int | None:
    try:
        return int(attribute.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _write(attribute: Path) -> str:
    """Why it cannot be written; empty if it was."""
    try:
        attribute.write_text(f"{WANTED_MS}\n", encoding="ascii")
    except OSError as error:
        return error.strerror or str(error)
    return ""
