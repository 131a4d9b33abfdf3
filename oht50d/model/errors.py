"""The error tree: unexpected ends are exceptions, expected results are values (no state)."""

from collections.abc import Mapping


class Oht50Error(Exception):
    """Root of everything that this package raises on purpose."""


class ConfigError(Oht50Error):
    """A setting or a register map that cannot be used; ends the process with exit code 78."""

    def __init__(
        self,
        key: str,
        why: str,
        *,
        file: str | None = None,
        line: int | None = None,
        expected: str | None = None,
        found: str | None = None,
        nearest: str | None = None,
    ) -> None:
        self.key = key
        self.why = why
        self.file = file
        self.line = line
        self.expected = expected
        self.found = found
        self.nearest = nearest
        super().__init__(self.describe())

    def describe(self) -> str:
        """One line: file:line: key: why (expected ..., found ..., did you mean ...?)."""
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        parts = [f"expected {self.expected}" if self.expected else "", f"found {self.found}" if self.found else ""]
        if self.nearest:
            parts.append(f"did you mean {self.nearest!r}?")
        detail = ", ".join(part for part in parts if part)
        return f"{place}{self.key}: {self.why}" + (f" ({detail})" if detail else "")


class ProtocolError(Oht50Error):
    """Abstract: bytes or values that break a protocol."""


class LocalProtocolError(ProtocolError):
    """This program asked a codec for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The other side sent bytes that the protocol does not allow; counted, never a value."""


class LinkError(Oht50Error):
    """A device cannot be reached; `cause` is a stable word, `remedy` a sentence for the technician."""

    def __init__(self, message: str, *, cause: str = "unknown", remedy: str = "") -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(message)


class LinkLost(LinkError):
    """The descriptor is gone or hung up (an empty read and EIO are the same thing)."""


class DeviceSilent(LinkError):
    """The device is there and does not answer."""


class DeviceRefused(LinkError):
    """A Modbus exception reply."""

    def __init__(self, unit: int, function: int, code: int) -> None:
        self.unit = unit
        self.function = function
        self.code = code
        super().__init__(f"unit {unit:#04x} refused function {function} with exception {code}", cause="refused")


class CommandRejected(Oht50Error):
    """A command that is not carried out; `code` is one of the API's error codes (domain API, section 13)."""

    def __init__(self, code: str, message: str, details: Mapping[str, object] | None = None) -> None:
        self.code = code
        self.message = message
        self.details = dict(details or {})
        super().__init__(f"{code}: {message}")


class StoreError(Oht50Error):
    """A record could not be written or read."""


class InvariantViolation(Oht50Error):
    """The program found itself in a state that its design excludes."""
