"""Inputs as functions of the time, one thing changed, for the tests of the safety kernel."""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from core_fixtures import (
    KNOWN,
    MS,
    drive,
    good_inputs,
    reading,
)

from oht50d.core.inputs import ModuleInput
from oht50d.model.registers import ModuleKind


def lost(kind: ModuleKind, silence_ms: int) -> Callable[[int], Any]:
    def modules(now_ns: int) -> Any:
        quiet = ModuleInput(True, True, now_ns - silence_ms * MS, "does not answer", trust=KNOWN)
        return {**good_inputs(now_ns).modules, kind: quiet}

    return modules


def status(**changes: Any) -> Callable[[int], Any]:
    return lambda now_ns: evolve(good_inputs(now_ns).lidar, **changes)


def at(value: float, **changes: Any) -> Callable[[int], Any]:
    return lambda now_ns: reading(value, now_ns, **changes)


def drives(**words: int) -> Callable[[int], Any]:
    return lambda now_ns: (drive(1, now_ns, enable=1, direction=1, speed=8), drive(2, now_ns, **words))
