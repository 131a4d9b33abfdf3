"""Operations on the bus: faults, modules that come, go and change, the trace and the counters (no state of its own)."""

import time
from collections.abc import Mapping

import attrs

from oht50d.sim.control_orders import (
    AddModuleOrder,
    AddressOrder,
    FaultOrder,
    LineSettingOrder,
    PowerCycleOrder,
    SwapOrder,
    TraceOrder,
    TurnaroundOrder,
)
from oht50d.sim.fault_kinds import FaultKind
from oht50d.sim.faults import ScriptedFault
from oht50d.sim.line_settings import LineSettings
from oht50d.sim.modbus_slaves import SlaveModule
from oht50d.sim.operations import Answer, Operation, Request
from oht50d.sim.robot import Robot
from oht50d.sim.settings import build
from oht50d.sim.trace import TRACE_LIMIT


class BusDesk:
    """What can be asked of the bus."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self.operations: Mapping[str, Operation] = {
            "fault": self._fault,
            "clear_faults": self._clear_faults,
            "turnaround": self._turnaround,
            "power_cycle": self._power_cycle,
            "swap": self._swap,
            "add_module": self._add_module,
            "remove_module": self._remove_module,
            "line_setting": self._line_setting,
            "line": self._line,
            "trace": self._trace,
            "counters": self._counters,
        }

    def _fault(self, request: Request) -> Answer:
        script = build(FaultOrder, request).script()
        self._check_place(script)
        return self._begin(script)

    def _check_place(self, script: ScriptedFault) -> None:
        """Raises ValueError for a fault on a module that never was there, or on a register that it does not have.

        A module that was removed may come back. Another master may ask whomever it likes.
        """
        unit, line = script.module, self._robot.line
        if unit is None or script.kind is FaultKind.SECOND_MASTER:
            return
        if unit not in line.counters.modules:
            known = ", ".join(str(one) for one in sorted(line.counters.modules))
            raise ValueError(f"module: there is none at address {unit}; there are {known}")
        module = line.modules.get(unit)
        names = set() if module is None else {*module.map.by_name, *module.map.by_role}
        if names and script.register not in (None, *names):
            raise ValueError(f"register: module {unit} has none of the name or role {script.register!r}")

    def _begin(self, script: ScriptedFault) -> Answer:
        now_ns = time.monotonic_ns()
        fault = self._robot.faults.add(script, now_ns)
        self._robot.settle(now_ns)
        self._robot.apply_faults()
        return {"begins_ns": fault.begins_ns, "ends_ns": fault.ends_ns}

    def _clear_faults(self, request: Request) -> Answer:
        return {"cleared": self._robot.clear_faults()}

    def _turnaround(self, request: Request) -> Answer:
        order = build(TurnaroundOrder, request)
        turnaround_ns, line = round(order.ms * 1e6), self._robot.line
        if order.module is not None:
            line.module(order.module).turnaround_ns = turnaround_ns
        else:
            line.default_turnaround_ns = turnaround_ns
            for module in line.modules.values():
                module.turnaround_ns = None
        return {"monotonic_ns": time.monotonic_ns()}

    def _power_cycle(self, request: Request) -> Answer:
        order = build(PowerCycleOrder, request)
        self._robot.line.module(order.module)
        return self._begin(FaultOrder(kind=FaultKind.POWER_CYCLE, module=order.module, for_s=order.for_s).script())

    def _swap(self, request: Request) -> Answer:
        order = build(SwapOrder, request)
        self._robot.line.module(order.module)
        swap = FaultOrder(
            kind=FaultKind.SWAP,
            module=order.module,
            for_s=order.for_s,
            serial=order.serial,
            firmware=order.firmware,
            type=order.type,
        )
        return self._begin(swap.script())

    def _add_module(self, request: Request) -> Answer:
        settings = build(AddModuleOrder, request).settings()
        if settings.address in self._robot.line.modules:
            raise ValueError(f"address {settings.address} is taken")
        self._robot.set_up(settings)
        return {"monotonic_ns": time.monotonic_ns()}

    def _remove_module(self, request: Request) -> Answer:
        self._robot.line.remove(build(AddressOrder, request).address)
        return {"monotonic_ns": time.monotonic_ns()}

    def _line_setting(self, request: Request) -> Answer:
        order = build(LineSettingOrder, request)
        line = self._robot.line
        module = line.module(order.module)
        module.line = line.settings_of(module).changed(order.baud, order.parity)
        return {"monotonic_ns": time.monotonic_ns(), **_spoken(module.line)}

    def _line(self, request: Request) -> Answer:
        """What the master has set, where the line is to be found, and who is on it."""
        line = self._robot.line
        terminal = line.terminal
        line.wire.tune()
        return {
            **_spoken(line.wire.line),
            "is_open": terminal.is_open,
            "device": terminal.device,
            "new_name": None if terminal.new_name is None else str(terminal.new_name),
            "linked_ns": terminal.linked_ns,
            "modules": {unit: self._member(module) for unit, module in sorted(line.modules.items())},
        }

    def _member(self, module: SlaveModule) -> Answer:
        line = self._robot.line
        turnaround_ms = line.turnaround_ns_of(module) / 1e6
        return {**module.identity(), **_spoken(line.settings_of(module)), "turnaround_ms": turnaround_ms}

    def _trace(self, request: Request) -> Answer:
        order = build(TraceOrder, request)
        trace = self._robot.line.trace
        frames = trace.since(order.since, max(0, min(order.limit, TRACE_LIMIT)))
        following = frames[-1].number + 1 if frames else trace.next_number
        return {"frames": [frame.as_json() for frame in frames], "next": following}

    def _counters(self, request: Request) -> Answer:
        return attrs.asdict(self._robot.line.counters)


def _spoken(settings: LineSettings) -> Answer:
    return {"baud": settings.baud, "parity": settings.parity.value}
