"""What every benchmark shares: the machine's description, percentiles, pairs and their median, the simulated site.

A goal is a ratio taken pairwise in one run (A B A B) or a share of a physical limit, because absolute figures drift
with the machine. `--quick` on the command line or BENCH_QUICK=1 in the environment takes fewer and shorter rounds.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
sys.path.insert(0, str(ROOT / "tests"))

IS_QUICK = "--quick" in sys.argv or os.environ.get("BENCH_QUICK", "0") not in ("", "0")
PAIRS = 2 if IS_QUICK else 5
NS_PER_MS = 1_000_000
T = TypeVar("T")


def machine() -> str:
    """Processor, cores, kernel, Python and how busy the machine is without us."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.2f}"
    )


def head(question: str, *packages: str) -> None:
    """The first lines of every report: what is asked, of whom, where."""
    print(f"\n== {question}")
    print(f"   {', '.join(f'{name} {version(name)}' for name in packages)}")
    print(f"   {machine()}")
    print(f"   {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}{', quick' if IS_QUICK else ''}", flush=True)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed; NaN for none."""
    if not samples:
        return float("nan")
    ordered = sorted(samples)
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[min(len(ordered) - 1, int(rank))]


def spread(name: str, samples: Sequence[float], unit: str = "ms") -> None:
    """One line with the usual percentiles."""
    parts = [f"{label} {percentile(samples, percent):.3f}" for label, percent in
             (("p50", 50), ("p99", 99), ("p99.9", 99.9), ("max", 100))]  # fmt: skip
    print(f"   {name:<44} {'  '.join(parts)} {unit}  (n={len(samples)})", flush=True)


def alternate(ours: Callable[[], T], peer: Callable[[], T], pairs: int = PAIRS) -> tuple[list[T], list[T]]:
    """A B A B: `pairs` results of each."""
    first, second = [], []
    for _ in range(pairs):
        first.append(ours())
        second.append(peer())
    return first, second


def median_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def ratio_line(
    name: str, ours: Sequence[float], peer: Sequence[float], goal: float, *, is_floor: bool = False
) -> float:
    """Print the pairwise ratios, their median and whether the goal is reached."""
    found = median_ratio(ours, peer)
    ratios = " ".join(f"{a / b:.3f}" for a, b in zip(ours, peer, strict=True))
    is_reached = found >= goal if is_floor else found <= goal
    sign = ">=" if is_floor else "<="
    print(f"   RATIO {name}: {found:.3f} (goal {sign} {goal}): {verdict(is_reached)}; pairs: {ratios}", flush=True)
    return found


def verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "NOT REACHED"


def goal_line(name: str, found: float, goal: float, unit: str, *, is_floor: bool = False) -> None:
    """Print an absolute figure against its goal."""
    is_reached = found >= goal if is_floor else found <= goal
    sign = ">=" if is_floor else "<="
    print(f"   GOAL  {name}: {found:.3f} {unit} (goal {sign} {goal} {unit}): {verdict(is_reached)}", flush=True)


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory for one benchmark's files."""
    with TemporaryDirectory(prefix="oht50-bench-") as name:
        yield Path(name)


@contextmanager
def child(*arguments: str, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python program of this directory; killed when the block is left if it has not ended by itself.

    It imports this tree, whatever tree the virtual environment was installed from.
    """
    path = os.pathsep.join(map(str, filter(None, (ROOT, BENCH, ROOT / "tests", os.environ.get("PYTHONPATH")))))
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **environ},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def read_line(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The next JSON line that a child prints; other lines are passed over. RuntimeError if it ends first."""
    stdout: IO[bytes] | None = process.stdout
    assert stdout is not None
    while line := stdout.readline():
        if line.startswith(b"{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError(f"{process.args!r} ended with {process.wait(10)}")


def run_child(*arguments: str) -> dict[str, Any]:
    """Run a program of this directory to its end and return the JSON line that it prints."""
    with child(*arguments) as process:
        return read_line(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and wait until it has written what it knows."""
    process.terminate()
    process.wait(20)


def sign_in(base_url: str) -> str:
    """An access token of the account that the site of these benchmarks has."""
    import httpx
    from daemon_fixture import PASSWORD, USER

    answer = httpx.post(f"{base_url}/api/v1/auth/login", json={"username": USER, "password": PASSWORD}, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def write_site(directory: Path, robot: Any, *, extra: str = "", lidar_port: str | None = None) -> Path:
    """The configuration of a site on a simulated robot, with an account and without a limit on requests."""
    import trio
    from daemon_fixture import _make_user, config_text

    directory.mkdir(parents=True, exist_ok=True)
    limits = "requests_per_minute = 1000000\ncommands_per_minute = 1000000\n"
    text = config_text(robot, directory, extra=limits + extra)
    if lidar_port is not None:
        text = text.replace(f'port = "{robot.lidar_path}"', f'port = "{lidar_port}"')
    config = directory / "oht50d.toml"
    config.write_text(text, encoding="utf-8")
    trio.run(_make_user, directory / "state")
    return config


def wait_http(url: str, limit_s: float = 30.0) -> float:
    """Poll until `url` answers 200; the monotonic seconds at which it did. Raises TimeoutError."""
    import httpx

    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return time.monotonic()
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"{url} did not answer 200 within {limit_s} s")
