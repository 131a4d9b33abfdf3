"""The robot's state machine: the firmware's eleven states with their holes closed (DOMAIN 5.1, DECISIONS).

The table is the machine: an event that has no row in a state changes nothing and is reported as None.
Guards are the callers' (safety kernel): by the time an event is sent its guard has been judged.
"""

import enum
from collections.abc import Mapping

from oht50d.model.motion import MachineState


class MachineEvent(enum.Enum):
    """What can happen to the machine."""

    BOOT_COMPLETE = "boot_complete"
    INIT_COMPLETE = "init_complete"
    MOVE = "move"
    STOPPED = "stopped"
    SECURE = "secure"
    ESTOP = "estop"
    FAULT = "fault"
    RESET = "reset"
    SHUTDOWN = "shutdown"


_S = MachineState
_E = MachineEvent
_MOVING = (_S.MOVE, _S.DOCK, _S.PAUSED)
_ALL_BUT_SHUTDOWN = tuple(state for state in MachineState if state is not _S.SHUTDOWN)

TRANSITIONS: Mapping[tuple[MachineState, MachineEvent], MachineState] = {
    (_S.BOOT, _E.BOOT_COMPLETE): _S.INIT,
    # INIT never goes to IDLE by itself: every start is latched with cause `boot`.
    (_S.INIT, _E.INIT_COMPLETE): _S.SAFE,
    (_S.IDLE, _E.MOVE): _S.MOVE,
    **{(state, _E.STOPPED): _S.IDLE for state in _MOVING},
    # A latching cause that concerns no person.
    **{(state, _E.SECURE): _S.SAFE for state in (_S.IDLE, _S.CONFIG, _S.FAULT, *_MOVING)},
    # ESTOP can be reached from everywhere but SHUTDOWN, SAFE included.
    **{(state, _E.ESTOP): _S.ESTOP for state in _ALL_BUT_SHUTDOWN if state is not _S.ESTOP},
    # ESTOP is never left through FAULT, so it has no FAULT row; SAFE and CONFIG have one.
    **{(state, _E.FAULT): _S.FAULT for state in (_S.BOOT, _S.INIT, _S.IDLE, _S.SAFE, _S.CONFIG, *_MOVING)},
    # Reset never arms and never goes through FAULT: FAULT leads to SAFE, SAFE and ESTOP to IDLE.
    (_S.FAULT, _E.RESET): _S.SAFE,
    (_S.SAFE, _E.RESET): _S.IDLE,
    (_S.ESTOP, _E.RESET): _S.IDLE,
    **{(state, _E.SHUTDOWN): _S.SHUTDOWN for state in _ALL_BUT_SHUTDOWN},
}


def next_state(state: MachineState, event: MachineEvent) -> MachineState | None:
    """The state after `event`, or None if the event means nothing in `state`."""
    return TRANSITIONS.get((state, event))


NEVER_ARMED = frozenset({_S.BOOT, _S.INIT, _S.SAFE, _S.ESTOP, _S.FAULT, _S.SHUTDOWN})
"""States in which authority does not arm (DECISIONS, state machine)."""
