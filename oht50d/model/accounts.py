"""Who may use the robot: roles and accounts (DECISIONS, roles; no state)."""

import enum

from attrs import frozen


class Role(enum.IntEnum):
    """The four roles: each includes those below it."""

    VIEWER = 1
    OPERATOR = 2
    SUPERVISOR = 3
    ADMIN = 4


@frozen
class Account:
    """A user as stored; the password hash never leaves the driver."""

    username: str
    role: Role
    is_active: bool
