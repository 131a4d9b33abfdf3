"""A cause that concerns people is reset at the vehicle only: the physical button, held for a second and let go."""

from pathlib import Path

from daemon_fixture import Daemon, Operator, press_reset_button, until
from robot_fixture import SimulatedRobot


async def state_is(operator: Operator, state: str) -> None:
    async def has_come() -> bool:
        return bool((await operator.safety())["state"] == state)

    await until(has_come, f"state {state}")


async def test_the_chain_is_reset_by_the_button_and_never_remotely(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(tmp_path / "daemon", robot) as daemon, Operator.signed_in(daemon) as operator:
            await robot.ask({"op": "estop", "open": True})
            await state_is(operator, "ESTOP")
            await press_reset_button(robot)
            assert (await operator.safety())["state"] == "ESTOP", "the chain is still open"
            await robot.ask({"op": "estop", "open": False})
            answer = await operator.client.post(
                "/api/v1/safety/reset", json={"action": "hold", **await operator.claim()}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ESTOP_ACTIVE")
            await press_reset_button(robot)
            await state_is(operator, "IDLE")
            assert (await operator.safety())["is_latched"] is False
            assert (await operator.status())["authority"]["holder"] is None, "a reset never arms"
