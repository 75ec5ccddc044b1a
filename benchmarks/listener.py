"""Measures the demand listener: how soon it grows groups when jobs come in a burst, and what it costs while none does.

    benchmarks/listener.py [--pools N] [--jobs N] [--idle SECONDS]

The listener runs as in the cloud, by `functions-framework`, before emulators of GitHub and Google Cloud in another
process (`listener_clouds.py`), all over HTTP on loopback. Every pool has one region.

The burst: all jobs are queued within one second, pool by pool and round again. For each pool it is measured from when
GitHub's first message left the emulator to when the first resize of the pool's group was sent. Before a resize the
group is looked at. From when one is sent to when its answer leaves the emulator is the
emulator's time and is subtracted; from when the answer leaves to when it is taken up is the listener's, with whatever
else it has to do just then. Both clocks are the machine's. A second burst comes in one moment: a hundred messages at
once, of which the last must wait until one process has dealt with all others; it is shown, and not judged.

Idle: no job is there; a hundred polls are open, and each minute every group is looked at, and what is said of each pool
is written again. CPU is all processes' of the function, user and system, of one core; memory is what the one that
serves has resident. Beside it a bare aiohttp client that only holds as many polls, each as long as GitHub holds one.

Not counted: TLS, the network, and the cloud's front end. Emulator, listener and the machine's other work share its
cores. Exits with 0 when every target is met. Wall clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from demo.function import Function

HOLD_SECONDS = 50.0
SETTLE_SECONDS = 5.0
MAX_P99_MS = 50.0
MAX_CPU_PERCENT = 2.0
MAX_MEMORY_MB = 150.0
PATIENCE_SECONDS = 120.0
JUDGED, AT_ONCE = "within a second", "in one moment"
BURSTS = {JUDGED: 1.0, AT_ONCE: 0.0}


class Clouds:
    """The emulators' process. A context manager."""

    def __init__(self, folder: Path, pools: int) -> None:
        self._command = [sys.executable, HERE / "listener_clouds.py", folder, str(pools)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.environment: dict[str, str] = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def ask(self, order: dict[str, Any]) -> dict[str, int]:
        """An order of `listener_clouds.py`."""
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return self._answer()

    def wait(self, wanted: dict[str, int]) -> None:
        """Until the listener is so far. Exits when that takes too long."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not wanted.items() <= (found := self.ask({"state": True})).items():
            if time.monotonic() > until:
                sys.exit(f"the listener is at {found}, not at {wanted}")
            time.sleep(0.25)

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        return json.loads(line) if line else sys.exit("listener_clouds.py ended; what it said stands above")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something takes while it only waits."""

    cpu_percent: float
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """From message to resize: milliseconds, one for each pool, in order."""

    own: list[float]
    whole: list[float]
    """With the emulator's time."""


@dataclass(kw_only=True)
class Figures:
    """All that was measured."""

    reactions: dict[str, Reaction]
    listener: Cost
    floor: Cost


def children(pid: int) -> list[int]:
    """A process and those that it started, the one that serves last."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Of all of them, until now."""
    texts = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(text[11]) + int(text[12]) for text in texts) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """What it has resident, in 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def cost(pid: int, seconds: float) -> Cost:
    """What a process takes for so long."""
    pids = children(pid)
    before, began = cpu_seconds(pids), time.monotonic()
    time.sleep(seconds)
    share = (cpu_seconds(pids) - before) / (time.monotonic() - began)
    return Cost(cpu_percent=100 * share, memory_mb=memory_mb(pids[-1]))


def floor(polls: int, seconds: float) -> Cost:
    """The same of a bare client of so many long polls."""
    loop, port = asyncio.new_event_loop(), 0

    over = asyncio.Event()

    async def held(_request: web.Request) -> web.Response:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                await over.wait()
        return web.Response(status=202)

    async def start() -> web.AppRunner:
        nonlocal port
        application = web.Application()
        application.router.add_get("/", held)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    command = [sys.executable, HERE / "listener_floor.py", f"http://127.0.0.1:{port}/", str(polls)]
    process = subprocess.Popen(command)
    try:
        time.sleep(SETTLE_SECONDS)
        return cost(process.pid, seconds)
    finally:
        process.kill()
        process.wait()
        loop.call_soon_threadsafe(over.set)
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def written(place: Path) -> list[dict[str, Any]]:
    """What the listener wrote down at its end. Exits when that takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not place.exists():
        if time.monotonic() > until:
            sys.exit("the listener did not end when it was told to")
        time.sleep(0.1)
    return [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]


def windows(begun: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Each burst's time: until the next one begins."""
    ends = [*list(begun.values())[1:], float("inf")]
    return {name: (begin, end) for (name, begin), end in zip(begun.items(), ends, strict=True)}


def reaction(calls: list[dict[str, Any]], since: float, before: float) -> Reaction:
    """From each pool's first message of that time to the first resize after it. Exits where there is none."""
    own: list[float] = []
    whole: list[float] = []
    entries = [entry for entry in calls if since <= entry["left"] < before]
    received = {entry["pool"]: entry["left"] for entry in reversed(entries) if entry["kind"] == "message"}
    for pool, begin in received.items():
        of_group = [entry for entry in entries if entry["pool"].startswith(f"{pool}-") and entry["sent"] >= begin]
        resize = min((entry["sent"] for entry in of_group if entry["kind"] == "resize"), default=None)
        if resize is None:
            sys.exit(f"no resize followed the message for {pool}")
        upstream = sum(e["left"] - e["sent"] for e in of_group if e["kind"] == "look" and e["left"] <= resize)
        whole.append(1000 * (resize - begin))
        own.append(1000 * (resize - begin - upstream))
    return Reaction(own=sorted(own), whole=sorted(whole))


def say(text: str) -> None:
    """Show progress to a person, in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(pools: int, jobs: int, idle: float) -> Figures:
    """Everything: idle first, then the burst."""
    with tempfile.TemporaryDirectory() as name, Clouds(Path(name), pools) as clouds:
        environment = {**clouds.environment, "BENCH_FOLDER": name}
        with Function(HERE / "listener_program.py", environment, Path(name) / "listener.log") as function:
            function.wait_until_up()
            request = urllib.request.Request(f"http://127.0.0.1:{function.port}/", method="POST")
            threading.Thread(target=_quietly, args=(request,), daemon=True).start()
            say("the listener begins")
            clouds.wait({"sessions": pools, "demands": pools})
            time.sleep(SETTLE_SECONDS)
            say(f"idle for {idle:.0f} s")
            waiting = cost(function.process.pid, idle)
            begun: dict[str, float] = {}
            for number, (name_of, seconds) in enumerate(BURSTS.items(), 1):
                say(f"{jobs} jobs {name_of}")
                begun[name_of] = time.monotonic()
                clouds.ask({"burst": jobs, "seconds": seconds})
                clouds.wait({"vms": number * jobs})
                time.sleep(SETTLE_SECONDS)
            function.process.terminate()
            calls = written(Path(name) / "calls")
        found = {name_of: reaction(calls, *window) for name_of, window in windows(begun).items()}
    say(f"the floor, for {idle:.0f} s")
    figures = Figures(reactions=found, listener=waiting, floor=floor(pools, idle))
    say("")
    return figures


def _quietly(request: urllib.request.Request) -> None:
    try:
        urllib.request.urlopen(request, timeout=9000).close()
    except OSError:
        return  # it is killed at the end


def percentile(ordered: list[float], percent: int) -> float:
    """Of what is in order already: the least that so many percent do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def tables(figures: Figures, look: box.Box | None, title: str) -> list[Table]:
    """The reaction, and the cost."""
    reaction = Table(title=title, title_justify="left", header_style="bold", box=look)
    reaction.add_column("from message to resize")
    for name in ("p50 ms", "p99 ms", "slowest ms"):
        reaction.add_column(name, justify="right")
    for name, found in figures.reactions.items():
        for what, times in ((f"jobs {name}: the listener's own", found.own), ("with the emulator's", found.whole)):
            cells = (percentile(times, 50), percentile(times, 99), times[-1])
            reaction.add_row(what, *(f"{cell:.1f}" for cell in cells))
    idle = Table(title_justify="left", header_style="bold", box=look)
    for name in ("idle", "% of a core", "MB resident"):
        idle.add_column(name, justify="left" if name == "idle" else "right")
    idle.add_row("listener", f"{figures.listener.cpu_percent:.2f}", f"{figures.listener.memory_mb:.0f}")
    idle.add_row("floor: bare polls", f"{figures.floor.cpu_percent:.2f}", f"{figures.floor.memory_mb:.0f}")
    ratio = figures.listener.cpu_percent / figures.floor.cpu_percent if figures.floor.cpu_percent else float("inf")
    idle.add_row("ratio", f"{ratio:.1f}", f"{figures.listener.memory_mb / figures.floor.memory_mb:.1f}")
    return [reaction, idle]


def targets(figures: Figures) -> list[tuple[str, bool]]:
    """What was promised, and whether it holds."""
    p99, listener = percentile(figures.reactions[JUDGED].own, 99), figures.listener
    return [
        (f"from message to resize p99 {p99:.1f} ms of its own, under {MAX_P99_MS:.0f}", p99 < MAX_P99_MS),
        (
            f"idle {listener.cpu_percent:.2f} % of a core, under {MAX_CPU_PERCENT:.0f}",
            listener.cpu_percent < MAX_CPU_PERCENT,
        ),
        (f"idle {listener.memory_mb:.0f} MB, under {MAX_MEMORY_MB:.0f}", listener.memory_mb < MAX_MEMORY_MB),
    ]


def main() -> int:
    """Print the tables and the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=int, default=100, metavar="N", help="how many pools (100)")
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="how many jobs in the burst (1000)")
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS", help="how long it idles (60)")
    given = parser.parse_args()
    figures = measure(given.pools, given.jobs, given.idle)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    title = f"{given.pools} pools, {given.jobs} jobs in a burst; {machine}"
    for table in tables(figures, box.SIMPLE_HEAD if console.is_terminal else None, title):
        console.print(table)
    found = targets(figures)
    for text, met in found:
        print(f"{'ok' if met else 'MISSED'}: {text}")
    return 0 if all(met for _, met in found) else 1


if __name__ == "__main__":
    sys.exit(main())
