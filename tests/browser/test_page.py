"""The operator's page in Chromium: served by a process of its own, judged by what a person would see."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from oht50d.web.page import STATIC_DIR

CHROMIUM = os.environ.get("OHT50_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 15_000


class Robot:
    """The process behind the page."""

    def __init__(self) -> None:
        assert (STATIC_DIR / "vendor" / "standalone.module.js").is_file(), "run `./dev run` or npm ci first"
        script = Path(__file__).with_name("page_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{ready['port']}"
        self.token = ready["token"]

    def set(self, **wish: object) -> None:
        question = urllib.request.Request(
            f"{self.url}/_test/set", json.dumps(wish).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(question, timeout=10).close()

    def facts(self) -> dict:
        with urllib.request.urlopen(f"{self.url}/_test/facts", timeout=10) as answer:
            return json.load(answer)

    def end(self) -> None:
        self.process.communicate(timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def robot():
    process = Robot()
    yield process
    if process.process.poll() is None:
        process.end()


@pytest.fixture
def page(browser: Browser):
    context = browser.new_context(viewport={"width": 412, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    context.close()
    assert problems == []


def signed_in(page: Page, robot: Robot) -> None:
    page.goto(f"{robot.url}/#sign-in={robot.token}")
    expect(page.locator(".state")).to_be_visible()
    expect(page.get_by_role("heading", name="LiDAR")).to_be_visible()


def until(page: Page, is_true) -> None:
    for _ in range(150):
        if is_true():
            return
        page.wait_for_timeout(100)
    pytest.fail("it did not happen within 15 s")


def picture(page: Page, name: str) -> None:
    folder = os.environ.get("OHT50_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_stop_works_without_login(page: Page, robot: Robot) -> None:
    page.goto(robot.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    stop = page.get_by_role("button", name="STOP")
    expect(stop).to_be_in_viewport()
    box = stop.bounding_box()
    assert box["height"] >= 44
    assert box["width"] >= 300
    picture(page, "signed_out")
    stop.click()
    expect(page.locator("#stop-note")).to_contain_text("STOPPED: standstill measured")
    assert robot.facts()["stops"] == [[None, "http"]]


def test_stop_works_without_javascript(browser: Browser, robot: Robot) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(robot.url)
    page.get_by_role("button", name="STOP").click()
    expect(page.get_by_role("heading")).to_have_text("STOP was sent")
    assert robot.facts()["stops"] == [[None, "http"]]
    context.close()


def test_stop_that_is_late_says_not_confirmed_and_then_the_truth(page: Page, robot: Robot) -> None:
    robot.set(stop_takes_s=2.0)
    page.goto(robot.url)
    page.get_by_role("button", name="STOP").click()
    page.wait_for_timeout(800)
    assert "NOT CONFIRMED" in page.locator("#stop-note").inner_text()
    expect(page.locator("#stop-note")).to_contain_text("STOPPED")
    robot.set(stop_takes_s=0, outcome="unknown")
    page.wait_for_timeout(800)
    page.get_by_role("button", name="STOP").click()
    expect(page.locator("#stop-note")).to_contain_text("press the red button")


def test_stop_without_login_is_followed_to_its_end(page: Page, robot: Robot) -> None:
    robot.set(outcome="acknowledged", stop_phase="stopping")
    page.goto(robot.url)
    note = page.locator("#stop-note")
    page.get_by_role("button", name="STOP").click()
    robot.set(stop_phase="stopping")
    expect(note).to_contain_text("STOPPING: the drives have confirmed")
    page.wait_for_timeout(1500)
    expect(note).to_contain_text("STOPPING")
    robot.set(stop_phase="standstill")
    expect(note).to_contain_text("STOPPED: standstill measured at")
    assert robot.facts()["stops"] == [[None, "http"]], "following a stop must not press it again"
    robot.set(outcome="acknowledged", stop_phase="stopping")
    page.wait_for_timeout(800)
    page.get_by_role("button", name="STOP").click()
    robot.set(stop_phase="not_confirmed")
    expect(note).to_contain_text("NOT CONFIRMED: press the red button")
    robot.set(stop_phase="standstill")
    expect(note).to_contain_text("STOPPED")


def test_a_stop_that_cannot_be_followed_is_not_confirmed(page: Page, robot: Robot) -> None:
    robot.set(outcome="acknowledged")
    page.goto(robot.url)
    page.get_by_role("button", name="STOP").click()
    robot.set(stop_phase="stopping")
    expect(page.locator("#stop-note")).to_contain_text("STOPPING")
    robot.kill()
    expect(page.locator("#stop-note")).to_contain_text("NOT CONFIRMED")


def test_an_older_stop_is_not_taken_for_the_one_that_was_pressed(page: Page, robot: Robot) -> None:
    robot.set(outcome="acknowledged", stop_phase="standstill")
    page.goto(robot.url)
    page.get_by_role("button", name="STOP").click()
    expect(page.locator("#stop-note")).to_contain_text("NOT CONFIRMED")


def test_one_time_link_is_used_and_leaves_the_address_bar(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    assert page.evaluate("location.href") == f"{robot.url}/"
    expect(page.locator(".user")).to_contain_text("ops (operator)")
    page.reload()
    expect(page.locator(".state")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_link_pasted_into_the_open_page_signs_in_and_connects(page: Page, robot: Robot) -> None:
    page.goto(robot.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    signed_in(page, robot)
    expect(page.locator(".banner.lost")).to_have_count(0)


def test_sign_in_with_password(page: Page, robot: Robot) -> None:
    page.goto(robot.url)
    page.get_by_label("User name").fill("ops")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("wrong user name or password")).to_be_visible()
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".state")).to_be_visible()


def test_obstacle_shows_zone_points_and_why(page: Page, robot: Robot) -> None:
    robot.set(obstacle=True)
    signed_in(page, robot)
    expect(page.locator(".banner.simulated")).to_be_visible()
    why = page.locator("section", has=page.get_by_role("heading", name="Why it does not move"))
    expect(why).to_contain_text("Something is inside the stop zone")
    expect(why).to_contain_text("stop zone (0.50 m): nearest 0.43 m")
    expect(why).to_contain_text("by 3 points: 0.43 m straight ahead; 0.45 m 6° right")
    expect(why).to_contain_text("Clear the way")
    assert why.locator(".badge").all_inner_texts() == ["■ NOT ALLOWED", "▲ LOCKED", "▲ NOT ALLOWED"]
    expect(why).to_contain_text("The control program has just started")
    expect(page.get_by_role("img", name="LiDAR picture, violated: stop zone, slow zone")).to_be_visible()
    stops = page.locator("section", has=page.get_by_role("heading", name="Last stops"))
    for words in ("Stop sent7 ms", "Drives at zero39 ms", "Standstill290 ms", "at rest, measured"):
        expect(stops).to_contain_text(words)
    ink = page.evaluate(
        """() => { const canvas = document.querySelector("canvas");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let red = 0; for (let i = 0; i < pixels.length; i += 4)
          if (pixels[i] > 140 && pixels[i + 1] < 60 && pixels[i + 2] < 60) red += 1; return red; }"""
    )
    assert ink > 30
    picture(page, "obstacle_phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(400)
    picture(page, "obstacle_wide")


def test_lost_connection_greys_out_and_counts(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    assert page.locator(".grid.old").count() == 0
    robot.kill()
    banner = page.locator(".banner.lost")
    expect(banner).to_contain_text("NO CONNECTION")
    expect(page.locator(".grid.old")).to_have_count(1)
    expect(page.get_by_role("button", name="Take control")).to_be_disabled()
    expect(banner).to_contain_text("for 3 s")
    modules = page.locator("section", has=page.get_by_role("heading", name="Modules"))
    assert " ms ago" not in modules.inner_text(), "an old value must not look fresh"
    expect(page.get_by_role("button", name="STOP")).to_be_enabled()
    picture(page, "lost")
    page.get_by_role("button", name="STOP").click()
    expect(page.locator("#stop-note")).to_contain_text("NOT CONFIRMED")


def test_reset_acts_on_release_after_one_second(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    reset = page.get_by_role("button", name="RESET")
    reset.click()
    expect(page.get_by_text("Not reset: hold it for one second")).to_be_visible()
    reset.hover()
    page.mouse.down()
    page.wait_for_timeout(1500)
    expect(page.get_by_text("now let go")).to_be_visible()
    assert robot.facts()["is_latched"]
    page.mouse.move(5, 5)
    page.mouse.up()
    expect(page.get_by_text("the button was left")).to_be_visible()
    assert robot.facts()["is_latched"]
    reset.hover()
    page.mouse.down()
    page.wait_for_timeout(1300)
    page.mouse.up()
    until(page, lambda: not robot.facts()["is_latched"])
    expect(page.get_by_text("It does not start by itself")).to_be_visible()


def test_reset_says_beforehand_that_it_is_done_at_the_vehicle(page: Page, robot: Robot) -> None:
    robot.set(latched_by=["boot", "chain_open"])
    signed_in(page, robot)
    reset = page.locator("section", has=page.get_by_role("heading", name="Reset"))
    expect(reset.get_by_role("button", name="RESET")).to_be_disabled()
    expect(reset).to_contain_text("Reset at the vehicle: hold the reset button there for one second")
    picture(page, "reset_at_vehicle")
    robot.set(latched_by=["boot"])
    expect(reset.get_by_role("button", name="RESET")).to_be_enabled()
    expect(reset).to_contain_text("Make sure first that nobody is in danger")


def test_a_held_button_that_the_page_moves_away_is_still_held(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    reset = page.get_by_role("button", name="RESET")
    reset.hover()
    before = reset.bounding_box()["y"]
    page.mouse.down()
    robot.set(obstacle=True)
    until(page, lambda: reset.bounding_box()["y"] > before + reset.bounding_box()["height"])
    page.wait_for_timeout(1200)
    page.mouse.up()
    until(page, lambda: not robot.facts()["is_latched"])


def test_jog_runs_while_held_and_every_way_up_releases(page: Page, robot: Robot) -> None:
    robot.set(unlatched=True)
    signed_in(page, robot)
    forward = page.get_by_role("button", name="Forward")
    expect(forward).to_be_enabled()

    def hold() -> None:
        before = robot.facts()["renewed"]
        forward.hover()
        page.mouse.down()
        until(page, lambda: robot.facts()["renewed"] >= before + 3)

    hold()
    page.mouse.up()
    until(page, lambda: not robot.facts()["is_jogging"])
    hold()
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    until(page, lambda: not robot.facts()["is_jogging"])
    page.mouse.up()
    hold()
    page.mouse.move(5, 5)
    until(page, lambda: not robot.facts()["is_jogging"])
    page.mouse.up()
    forward.focus()
    page.keyboard.down(" ")
    until(page, lambda: robot.facts()["is_jogging"])
    picture(page, "jogging")
    page.keyboard.up(" ")
    until(page, lambda: not robot.facts()["is_jogging"])
    hold()
    page.evaluate(
        """() => { Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange")); delete document.hidden; }"""
    )
    until(page, lambda: not robot.facts()["is_jogging"])
    page.mouse.up()


def test_closing_the_page_ends_a_jog(page: Page, robot: Robot) -> None:
    robot.set(unlatched=True)
    signed_in(page, robot)
    page.get_by_role("button", name="Back").hover()
    page.mouse.down()
    until(page, lambda: robot.facts()["is_jogging"])
    page.goto("about:blank")
    for _ in range(100):
        if not robot.facts()["is_jogging"]:
            break
        page.wait_for_timeout(50)
    assert not robot.facts()["is_jogging"]


def test_control_is_taken_and_returned(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    take = page.get_by_role("button", name="Take control")
    expect(take).to_be_disabled()
    expect(page.get_by_text("Reset first: a reset takes control away")).to_be_visible()
    expect(page.get_by_text("Reset first.", exact=True)).to_be_visible()
    robot.set(unlatched=True, holder=None)
    expect(page.get_by_text("Take control first.")).to_be_visible()
    take.click()
    expect(page.get_by_role("button", name="Return control")).to_be_visible()
    assert robot.facts()["holder"] == "ops"
    expect(page.get_by_role("button", name="Forward")).to_be_enabled()
    page.get_by_role("button", name="Return control").click()
    expect(page.get_by_role("button", name="Take control")).to_be_visible()
    assert robot.facts()["holder"] is None


def test_frozen_values_grow_old_in_sight(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    robot.set(frozen=True)
    expect(page.get_by_text("OLD PICTURE")).to_be_visible()
    battery = page.locator("section", has=page.get_by_role("heading", name="Battery"))
    expect(battery).to_contain_text("stale")


def test_targets_are_large_enough_for_a_thumb(page: Page, robot: Robot) -> None:
    signed_in(page, robot)
    sizes = page.eval_on_selector_all(
        "button", "all => all.map(b => [b.innerText, b.offsetWidth, b.offsetHeight]).filter(b => b[2] > 0)"
    )
    assert len(sizes) >= 5
    assert [size for size in sizes if size[1] < 44 or size[2] < 44] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
