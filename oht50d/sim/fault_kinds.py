"""Every kind of fault and the parameters that it takes: the one table behind scenarios and socket (no state).

`kind`, `at`, `for` and `every` belong to each of them; PARAMETERS names the rest.
"""

import enum
from collections.abc import Mapping


class FaultKind(enum.Enum):
    """Bus faults may name a `module` (bus address); without one they hold for every module."""

    SILENCE = "silence"
    """The module neither answers nor carries out what it is sent."""
    LOST_REPLY = "lost_reply"
    """The module carries out and its reply is lost."""
    DELAY = "delay"
    """Replies come `delay` later, or by chance between `delay` and `delay_most`; the line is free meanwhile."""
    TURNAROUND = "turnaround"
    """The module takes `delay` (or up to `delay_most`) instead of its own turnaround; the line is taken meanwhile."""
    WRONG_UNIT = "wrong_unit"
    """Replies carry the address `code`, or that of the next module."""
    WRONG_FUNCTION = "wrong_function"
    """Replies carry the function `code`, or the one after that of the request."""
    CRC = "crc"
    """The CRC of replies is wrong."""
    BIT_ERROR = "bit_error"
    """One bit of the reply is turned over, anywhere."""
    SPLIT = "split"
    """Replies come in `pieces` with a `pause` between them."""
    TRUNCATED = "truncated"
    """Only the first `count` bytes of a reply come, or any part of it."""
    EXTRA_BYTES = "extra_bytes"
    """`count` bytes follow a reply at once: `code`, or any."""
    COPY = "copy"
    """The whole reply comes once more, `delay` (or up to `delay_most`) after its end; the line is free meanwhile."""
    DUPLICATE_ADDRESS = "duplicate_address"
    """A second module answers too, `delay` after the first: garbage where both send, else one after the other."""
    EXCEPTION = "exception"
    """Every request is refused with exception `code`, be it one of the standard or not."""
    BUSY = "busy"
    """A request gets exception `code` (5 carries it out, 6 does not), then 6 for `delay`; the next one works."""
    STUCK_REGISTER = "stuck_register"
    """Register `register` (name or role) of `module` keeps the word that it had when the fault was first seen."""
    ECHO = "echo"
    """The adapter hears itself: the master's own bytes come back before the reply."""
    BABBLE = "babble"
    """Bytes (`code`, or any) without a pause; requests are heard, replies drown."""
    BIAS_NOISE = "bias_noise"
    """`count` bytes `code` before a reply, and once each `period` while the line is idle; `place` chooses."""
    SECOND_MASTER = "second_master"
    """Each `period` another master reads `count` registers from `address` of `module`, whatever is on the line."""
    HANGUP = "hangup"
    """The bus adapter is gone: its pty closes and comes back under the same symlink."""
    REPLUG = "replug"
    """The adapter is gone and comes back as another pty under a new name; the stable name follows `delay` later."""
    POWER_CYCLE = "power_cycle"
    """The module is without power, silent, and what it does not keep is at its defaults afterwards."""
    SWAP = "swap"
    """The module is replaced by another one with `serial`, `firmware` or `type`; silent until it is plugged in."""
    ESTOP = "estop"
    """The stop-button chain is open."""
    RESET_BUTTON = "reset_button"
    """The physical reset button is held."""
    SAFETY_ERROR = "safety_error"
    """The safety module reports error `code` and status 3."""
    SAFETY_ZONE = "safety_zone"
    """The safety module reports violated zones, bitmap `code`."""
    DRIVE_ERROR = "drive_error"
    """Both drives trip with error `code` and run free."""
    LIDAR_SILENCE = "lidar_silence"
    """The LiDAR sends nothing."""
    LIDAR_STALL = "lidar_stall"
    """The LiDAR's motor stops turning; it goes on measuring."""
    LIDAR_GARBAGE = "lidar_garbage"
    """The LiDAR's bytes are random."""
    LIDAR_BLIND = "lidar_blind"
    """Every ray comes back without a return."""
    LIDAR_HANGUP = "lidar_hangup"
    """The LiDAR's adapter is gone, like `hangup`."""


class Place(enum.Enum):
    """Where the bytes of `bias_noise` appear."""

    IDLE = "idle"
    REPLY = "reply"
    BOTH = "both"


PARAMETERS: Mapping[FaultKind, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        FaultKind.SILENCE: "module ratio",
        FaultKind.LOST_REPLY: "module ratio",
        FaultKind.DELAY: "module ratio delay delay_most",
        FaultKind.TURNAROUND: "module ratio delay delay_most",
        FaultKind.WRONG_UNIT: "module ratio code",
        FaultKind.WRONG_FUNCTION: "module ratio code",
        FaultKind.CRC: "module ratio",
        FaultKind.BIT_ERROR: "module ratio",
        FaultKind.SPLIT: "module ratio pieces pause",
        FaultKind.TRUNCATED: "module ratio count",
        FaultKind.EXTRA_BYTES: "module ratio count code",
        FaultKind.COPY: "module ratio delay delay_most",
        FaultKind.DUPLICATE_ADDRESS: "module ratio delay delay_most",
        FaultKind.EXCEPTION: "module ratio code",
        FaultKind.BUSY: "module ratio code delay",
        FaultKind.STUCK_REGISTER: "module register",
        FaultKind.ECHO: "module ratio",
        FaultKind.BABBLE: "ratio code",
        FaultKind.BIAS_NOISE: "module ratio code count period place",
        FaultKind.SECOND_MASTER: "module ratio period address count",
        FaultKind.HANGUP: "",
        FaultKind.REPLUG: "delay",
        FaultKind.POWER_CYCLE: "module",
        FaultKind.SWAP: "module serial firmware type",
        FaultKind.ESTOP: "",
        FaultKind.RESET_BUTTON: "",
        FaultKind.SAFETY_ERROR: "code",
        FaultKind.SAFETY_ZONE: "code",
        FaultKind.DRIVE_ERROR: "code",
        FaultKind.LIDAR_SILENCE: "ratio",
        FaultKind.LIDAR_STALL: "ratio",
        FaultKind.LIDAR_GARBAGE: "ratio",
        FaultKind.LIDAR_BLIND: "ratio",
        FaultKind.LIDAR_HANGUP: "",
    }.items()
}

NEEDED: Mapping[FaultKind, frozenset[str]] = {
    FaultKind.STUCK_REGISTER: frozenset({"module", "register"}),
    FaultKind.POWER_CYCLE: frozenset({"module"}),
    FaultKind.SWAP: frozenset({"module"}),
}
"""What a fault of that kind cannot do without."""

EXCHANGE_KINDS = frozenset({
    FaultKind.SILENCE, FaultKind.LOST_REPLY, FaultKind.DELAY, FaultKind.TURNAROUND, FaultKind.WRONG_UNIT,
    FaultKind.WRONG_FUNCTION, FaultKind.CRC, FaultKind.BIT_ERROR, FaultKind.SPLIT, FaultKind.TRUNCATED,
    FaultKind.EXTRA_BYTES, FaultKind.COPY, FaultKind.DUPLICATE_ADDRESS, FaultKind.EXCEPTION, FaultKind.BUSY,
    FaultKind.ECHO, FaultKind.BABBLE, FaultKind.BIAS_NOISE, FaultKind.POWER_CYCLE, FaultKind.SWAP,
})  # fmt: skip
"""Kinds that are asked for once in every exchange of the bus."""

DEFAULT_CODES: Mapping[FaultKind, int] = {
    FaultKind.EXCEPTION: 1,
    FaultKind.BUSY: 6,
    FaultKind.BIAS_NOISE: 0x00,
    FaultKind.SAFETY_ERROR: 1,
    FaultKind.SAFETY_ZONE: 1,
    FaultKind.DRIVE_ERROR: 1,
}
HIGHEST_CODES: Mapping[FaultKind, int] = {
    FaultKind.EXCEPTION: 0xFF,
    FaultKind.BUSY: 6,
    FaultKind.WRONG_UNIT: 0xFF,
    FaultKind.WRONG_FUNCTION: 0xFF,
    FaultKind.EXTRA_BYTES: 0xFF,
    FaultKind.BABBLE: 0xFF,
    FaultKind.BIAS_NOISE: 0xFF,
}
LOWEST_CODES: Mapping[FaultKind, int] = {FaultKind.EXCEPTION: 1, FaultKind.BUSY: 5}
HIGHEST_CODE = 0xFFFF
