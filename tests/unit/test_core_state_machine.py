"""The firmware's eleven states with their holes closed: every state meets every event."""

import pytest

from oht50d.core.state_machine import NEVER_ARMED, MachineEvent, next_state
from oht50d.model.motion import MachineState

# Rows are states, columns events in the order of COLUMNS; a dash is "means nothing here".
COLUMNS = ("boot_complete", "init_complete", "move", "stopped", "secure", "estop", "fault", "reset", "shutdown")
TABLE = """
BOOT      INIT  -     -     -     -     ESTOP  FAULT  -     SHUTDOWN
INIT      -     SAFE  -     -     -     ESTOP  FAULT  -     SHUTDOWN
IDLE      -     -     MOVE  -     SAFE  ESTOP  FAULT  -     SHUTDOWN
MOVE      -     -     -     IDLE  SAFE  ESTOP  FAULT  -     SHUTDOWN
DOCK      -     -     -     IDLE  SAFE  ESTOP  FAULT  -     SHUTDOWN
PAUSED    -     -     -     IDLE  SAFE  ESTOP  FAULT  -     SHUTDOWN
CONFIG    -     -     -     -     SAFE  ESTOP  FAULT  -     SHUTDOWN
FAULT     -     -     -     -     SAFE  ESTOP  -      SAFE  SHUTDOWN
SAFE      -     -     -     -     -     ESTOP  FAULT  IDLE  SHUTDOWN
ESTOP     -     -     -     -     -     -      -      IDLE  SHUTDOWN
SHUTDOWN  -     -     -     -     -     -      -      -     -
"""
ROWS = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
CELLS = [(state, event, cell) for state, cells in ROWS.items() for event, cell in zip(COLUMNS, cells, strict=True)]


def test_the_table_here_is_complete() -> None:
    assert set(ROWS) == {state.name for state in MachineState}
    assert set(COLUMNS) == {event.value for event in MachineEvent}


@pytest.mark.parametrize(("state", "event", "expected"), CELLS)
def test_transition(state: str, event: str, expected: str) -> None:
    found = next_state(MachineState[state], MachineEvent(event))
    assert (found.name if found else "-") == expected


def test_estop_is_left_by_a_reset_or_a_shutdown_only() -> None:
    ways_out = {event for event in MachineEvent if next_state(MachineState.ESTOP, event) is not None}
    assert ways_out == {MachineEvent.RESET, MachineEvent.SHUTDOWN}


def test_no_single_event_leads_from_a_stopped_state_into_motion() -> None:
    for state in NEVER_ARMED:
        assert all(next_state(state, event) is not MachineState.MOVE for event in MachineEvent)


def test_authority_never_arms_in_the_states_that_decisions_name() -> None:
    assert {state.name for state in NEVER_ARMED} == {"BOOT", "INIT", "SAFE", "ESTOP", "FAULT", "SHUTDOWN"}
