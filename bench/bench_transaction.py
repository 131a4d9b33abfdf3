"""What does one transaction cost in CPU time: our bus owner with typed decoding of 40 and 39 registers in turn, or
pymodbus's async client with raw registers?

Both run on a pty against the same fast responder in another process. Unpaced means without the silence of 3.5
characters, which pymodbus's async client does not keep at all; ours with its silence kept is shown beside it.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from bench_wire import POWER, REGISTERS_39, REGISTERS_40, maps_with_40_registers
from harness import BENCH, IS_QUICK, PAIRS, alternate, child, head, ratio_line, read_line, run_child, spread, workspace

TRANSACTIONS = 1000 if IS_QUICK else 4000
WARM_UP = 200
LIMIT_S = 60.0
GOAL = 0.6


def ours(port: str, maps_dir: Path, count: int, *, keeps_silence: bool) -> float:
    """Microseconds of CPU time a transaction: field bus, wire schedule, decoding, publication of the block."""
    from bus_alone import run_bus

    from oht50d.core.wire_schedule import WireSchedule
    from oht50d.model.registers import BlockReadings
    from oht50d.services.hub import Latest

    latest: Latest[BlockReadings | None] = Latest(None)
    spent_ns: list[int] = []
    seen = 0

    def publish(schedule: WireSchedule, readings: BlockReadings) -> bool:
        nonlocal seen
        latest.publish(readings)
        if readings.block.count not in (39, 40):
            return False
        assert isinstance(readings.values[0], float)
        if seen != WARM_UP - 1 or not schedule.sequencer.is_active:
            seen += 1
        if seen in (WARM_UP, WARM_UP + count):
            spent_ns.append(time.process_time_ns())
        return len(spent_ns) == 2

    # What judges standstill is read too, or the stop on opening would never be over: less than 2 % of the exchanges.
    periods_ms = {"inputs": 0.001, "safety": 100, "motor": 100, "position": 100, "*": 3_600_000}
    lead_ns = None if keeps_silence else 0
    run_bus(port, maps_dir, periods_ms, publish, limit_s=LIMIT_S, is_paced=keeps_silence, lead_ns=lead_ns)
    return (spent_ns[1] - spent_ns[0]) / 1e3 / count


def pymodbus(port: str, count: int) -> float:
    """Microseconds of CPU time a transaction of AsyncModbusSerialClient, raw registers."""
    from pymodbus.client import AsyncModbusSerialClient

    async def main() -> float:
        client = AsyncModbusSerialClient(port, baudrate=115_200, timeout=1)
        assert await client.connect()
        began_ns = 0
        for number in range(WARM_UP + count):
            if number == WARM_UP:
                began_ns = time.process_time_ns()
            first, registers = ((REGISTERS_40, 40), (REGISTERS_39, 39))[number % 2]
            answer = await client.read_holding_registers(first, count=registers, device_id=POWER)
            assert len(answer.registers) == registers
        spent_ns = time.process_time_ns() - began_ns
        client.close()
        return spent_ns / 1e3 / count

    gc.freeze()
    return asyncio.run(main())


def main() -> None:
    if "--run" in sys.argv:
        who, port, maps_dir = sys.argv[sys.argv.index("--run") + 1 :][:3]
        spent_us = (
            pymodbus(port, TRANSACTIONS)
            if who == "pymodbus"
            else ours(port, Path(maps_dir), TRANSACTIONS, keeps_silence=who == "kept")
        )
        print(json.dumps({"spent_us": spent_us}))
        return
    head("CPU time of a transaction of 40 registers", "trio", "pymodbus", "pyserial")
    with workspace() as directory:
        maps = maps_with_40_registers(directory / "maps")
        with child(str(BENCH / "responder.py"), str(maps)) as responder:
            port = read_line(responder)["port"]

            def run(who: str) -> float:
                return float(run_child(__file__, "--run", who, port, str(maps))["spent_us"])

            mine, peers = alternate(lambda: run("unpaced"), lambda: run("pymodbus"))
            kept = [run("kept") for _ in range(1 if IS_QUICK else 2)]
    spread("ours, unpaced, 40 typed values", mine, "us")
    spread("pymodbus async, raw registers", peers, "us")
    spread("ours with its silence kept", kept, "us")
    ratio_line(f"CPU time of a transaction, ours / pymodbus, {PAIRS} pairs of {TRANSACTIONS}", mine, peers, GOAL)


if __name__ == "__main__":
    main()
