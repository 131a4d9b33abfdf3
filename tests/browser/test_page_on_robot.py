"""Acceptance: the page of the real daemon shows what moved in, by which points, and why the robot stands.

The picture is kept where OHT50_EVIDENCE_DIR says, if it says so.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from daemon_fixture import PASSWORD, USER, Daemon, Operator
from playwright.sync_api import Page, expect, sync_playwright
from robot_fixture import SimulatedRobot

LIMIT_MS = 20_000
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path, "empty") as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, robot: SimulatedRobot) -> Iterator[Daemon]:
    async def start() -> Daemon:
        started = await Daemon.start(tmp_path / "daemon", robot)
        await started.wait_ready()
        async with Operator.signed_in(started) as operator:
            await operator.prepare()
        return started

    running = trio.run(start)
    yield running
    running.kill()


@pytest.fixture
def page(daemon: Daemon) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1280, "height": 1600})
        opened.goto(daemon.base_url)
        opened.get_by_label("User name").fill(USER)
        opened.get_by_label("Password").fill(PASSWORD)
        opened.get_by_role("button", name="Sign in").click()
        yield opened
        browser.close()


def test_a_moving_obstacle_is_shown_with_zone_points_and_reason(robot: SimulatedRobot, page: Page) -> None:
    """It comes in from two metres ahead and stands; the page follows without a reload."""
    expect(page.get_by_text("SIMULATED").first).to_be_visible(timeout=LIMIT_MS)
    violated = page.locator(".cause-title", has_text="Something is inside the stop zone")
    expect(violated).to_have_count(0, timeout=LIMIT_MS)
    lidar_x_mm = robot.control({"op": "plant"})["lidar_x_mm"]
    walker = {"op": "obstacle", "id": "walker", "y_mm": 0, "radius_mm": 150}
    robot.control({**walker, "x_mm": lidar_x_mm + 1500, "vx_mm_s": -150})
    expect(violated).to_be_visible(timeout=LIMIT_MS)
    robot.control({**walker, "ahead_mm": 400})
    why = page.locator("section", has_text="Why it does not move")
    expect(why).to_contain_text(re.compile(r"stop zone.*nearest 0\.(39|4\d?) m.*by \d+ points", re.S), timeout=LIMIT_MS)
    expect(why).to_contain_text("Clear the way, or move away from it.")
    if directory := os.environ.get("OHT50_EVIDENCE_DIR"):
        page.screenshot(path=Path(directory) / "page-obstacle.png", full_page=False)
