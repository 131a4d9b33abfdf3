"""Exit codes of both command lines (USERS, Conventions; the numbers from 64 up are those of BSD's sysexits.h)."""

import enum


class ExitCode(enum.IntEnum):
    """Below 200 always: above that systemd speaks."""

    OK = 0
    FAILURE = 1
    WARNINGS = 2
    USAGE = 64
    UNAVAILABLE = 69
    SOFTWARE = 70
    IO = 74
    TEMPORARY = 75
    PERMISSION = 77
    CONFIGURATION = 78
