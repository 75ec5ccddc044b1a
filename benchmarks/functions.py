"""Measures both functions: requests a second, how long one takes, how long the cold import, how much memory.

    benchmarks/functions.py [--runs N]

The functions run as in the cloud, `functions-framework` with one process and its usual number of threads (four a core),
before emulators of GitHub and Google Cloud that take 20 ms for every answer (`function_clouds.py`). Each client is
another VM with a token and a grant of its own and a connection of its own; it asks, and when it is answered the next VM
takes its place. Beside each figure stands the floor: the emulated upstream time alone, that is 20 ms for each call that
one request makes, counted at the emulators. It makes them one after the other. What a bare client waits for one such
answer on this machine is told too, and what the function's own processes take of a core for one request.

Emulators, clients and function share this machine's cores, so the figures for many clients are those of all three; the
emulators are one process, and so are the clients, both of asyncio. A first round with as many clients is not counted:
connections, access tokens, signing keys and the ids of runner groups are there then, as in a function that has served
before. The deleter pauses for 0.12 to 0.25 s before it looks whether its operation is done; here it always is, and the
pause counts as its own.

Not counted: TLS, the network, the cloud's front end and its own cold start (a new sandbox, an image to unpack), the
cloud's scaling to more processes, and real answer times, of which GitHub's are several times as long.

Every figure but the burst's is the median of several runs. The burst is 180 VMs at once, as many as GitHub's budget of
900 points a minute has room for at 5 a registration (the minute before was without requests); a VM that is told to come
again does so by the rule of startup/lib/common.sh, and within its 180 s.

Exits with 0 when every target is met. Wall clock, on a machine that should have nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Self

import aiohttp
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from demo.function import Function

FUNCTIONS = {"broker": "registration_broker", "deleter": "instance_deleter"}
OPERATIONS = {"POST /jit": "broker", "DELETE /": "deleter"}
REQUESTS = {1: 50, 8: 200, 64: 320}
"""By number of clients. With one client p99 is its slowest request."""
ANSWER_MS = 20
BURST = 180
MOST_POINTS = 900
VM_BUDGET_SECONDS = 180
"""BUDGET_SECONDS of startup/bin/register."""
MAX_IMPORT_SECONDS = 1.0
MAX_RATIO = 3.0
JUDGED_CLIENTS = 8
IMPORTS = {
    "broker": "import main",
    "deleter": "import main",
    "floor: functions_framework, flask": "import functions_framework, flask",
    "not used: google-cloud-compute": "from google.cloud import compute_v1",
}


class Clouds:
    """The emulators' process. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        command = [sys.executable, HERE / "function_clouds.py", self._folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.environments: dict[str, dict[str, str]] = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def renew(self, vms: int, *, limited: bool = False) -> dict[str, list[str]]:
        """New VMs in place of all that was; their tokens by function."""
        return self._ask({"vms": vms, "limited": limited})

    def seen(self) -> dict[str, Any]:
        """What was asked since."""
        return self._ask({"seen": True})

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        return json.loads(line) if line else sys.exit("function_clouds.py ended; what it said stands above")


@dataclass(frozen=True, kw_only=True)
class Round:
    """One operation with so many clients."""

    seconds: float
    latencies: list[float] = field(repr=False)
    cpu_seconds: float = 0.0
    """Of the function's processes."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Of the latencies, in ms."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


async def drive(root: str, operation: str, tokens: list[str], clients: int) -> Round:
    """Every token is used once, so many at a time. Exits when a request is not served."""
    method, _, path = operation.partition(" ")
    waiting = iter(tokens)
    latencies: list[float] = []
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            for token in waiting:
                began = time.monotonic()
                headers = {"Authorization": f"Bearer {token}"}
                async with session.request(method, root + path, headers=headers) as answer:
                    body = await answer.read()
                latencies.append(time.monotonic() - began)
                if answer.status not in {200, 202}:
                    sys.exit(f"{operation}: HTTP {answer.status} {body.decode(errors='replace')}")

        began = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        return Round(seconds=time.monotonic() - began, latencies=latencies)


@dataclass(kw_only=True)
class Burst:
    """What the VMs of a burst met."""

    seconds: float = 0.0
    told_to_come_again: int = 0
    failed: list[str] = field(default_factory=list)
    points: int = 0


async def burst(port: int, tokens: list[str]) -> Burst:
    """Every VM asks at once, and again as startup/lib/common.sh does."""
    found = Burst()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def vm(token: str) -> None:
            backoff, left = 1, float(VM_BUDGET_SECONDS)
            while True:
                began = time.monotonic()
                headers = {"Authorization": f"Bearer {token}"}
                url = f"http://127.0.0.1:{port}/jit"
                try:
                    limit = aiohttp.ClientTimeout(total=min(left, 60))
                    async with session.post(url, headers=headers, timeout=limit) as answer:
                        status = answer.status
                        await answer.read()
                except (aiohttp.ClientError, TimeoutError):
                    status = 0
                if status == 200:
                    return
                pause = backoff + random.randrange(backoff + 1)
                left -= time.monotonic() - began + pause
                if left <= 0 or (status and status < 500 and status not in {408, 425, 429}):
                    found.failed.append(f"HTTP {status}")
                    return
                found.told_to_come_again += 1
                await asyncio.sleep(pause)
                backoff = min(2 * backoff, 16)

        began = time.monotonic()
        await asyncio.gather(*map(vm, tokens))
        found.seconds = time.monotonic() - began
    return found


def import_seconds(name: str, statement: str, environments: dict[str, dict[str, str]]) -> float:
    """A fresh interpreter's time for an import, without its own start."""
    program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", program]
    folder = HERE.parent / "functions" / FUNCTIONS.get(name, "registration_broker")
    environment = {"PATH": os.environ["PATH"], **environments.get(name, {})}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else sys.exit(f"{done.stderr}{name}: {statement} failed")


def processes(function: Function) -> list[int]:
    """The parent, which is gunicorn's, and the one that serves."""
    pids = [function.process.pid]
    for task in Path(f"/proc/{function.process.pid}/task").iterdir():
        pids += map(int, (task / "children").read_text().split())
    return pids


def cpu_seconds(function: Function) -> float:
    """Of all its processes, until now."""
    texts = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes(function)]
    return sum(int(text[11]) + int(text[12]) for text in texts) / os.sysconf("SC_CLK_TCK")


def memory_mib(function: Function) -> list[float]:
    """What each process of a function has resident, the one that serves last."""
    lines = [Path(f"/proc/{pid}/status").read_text().splitlines() for pid in processes(function)]
    return [int(line.split()[1]) / 1024 for status in lines for line in status if line.startswith("VmRSS:")]


@contextlib.contextmanager
def served(clouds: Clouds, folder: Path) -> Iterator[tuple[dict[str, Function], dict[str, float]]]:
    """Both functions, up, and how long each took for it."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Function] = {}
        starts: dict[str, float] = {}
        for name, source in FUNCTIONS.items():
            main = HERE.parent / "functions" / source / "main.py"
            function = Function(main, clouds.environments[name], folder / f"{name}.log")
            began = time.monotonic()
            found[name] = stack.enter_context(function)
            function.wait_until_up()
            starts[f"{name}'s process, until it listens"] = time.monotonic() - began
        yield found, starts


def say(text: str) -> None:
    """Show progress to a person, in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


@dataclass(kw_only=True)
class Figures:
    """All that was measured."""

    rounds: dict[tuple[str, int], list[Round]] = field(default_factory=dict)
    bare: dict[int, list[Round]] = field(default_factory=dict)
    """A client alone with the emulators."""
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    """Upstream calls of one request that is served alone, by route."""
    imports: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    burst: Burst = field(default_factory=Burst)

    def floor_ms(self, operation: str) -> int:
        """The emulated upstream time of one request."""
        return ANSWER_MS * sum(self.calls[operation].values())


def measure(runs: int) -> Figures:
    """Everything, in turns."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as name, Clouds(Path(name)) as clouds:
        for number in range(runs + 1):
            say(f"import {number} of {runs}")
            for each, statement in IMPORTS.items():
                seconds = import_seconds(each, statement, clouds.environments)
                if number:  # the first one writes byte code and warms the machine's caches
                    figures.imports.setdefault(each, []).append(seconds)
        for number in range(runs):
            with served(clouds, Path(name)) as (functions, starts):
                for each, seconds in starts.items():
                    figures.imports.setdefault(each, []).append(seconds)
                certs = clouds.environments["broker"]["BROKER_CERTS_URL"]
                for clients, requests in REQUESTS.items():
                    asked = [""] * 2 * requests
                    figures.bare.setdefault(clients, []).append(asyncio.run(drive(certs, "GET ", asked, clients)))
                for operation, function in OPERATIONS.items():
                    root = f"http://127.0.0.1:{functions[function].port}"
                    for clients, requests in REQUESTS.items():
                        say(f"run {number + 1} of {runs}: {operation} with {clients} clients")
                        first = max(clients, 2)
                        tokens = clouds.renew(first + requests)[function]
                        asyncio.run(drive(root, operation, tokens[:first], clients))
                        before = cpu_seconds(functions[function])
                        done = asyncio.run(drive(root, operation, tokens[first:], clients))
                        done = replace(done, cpu_seconds=cpu_seconds(functions[function]) - before)
                        figures.rounds.setdefault((operation, clients), []).append(done)
                    tokens = clouds.renew(1)[function]
                    asyncio.run(drive(root, operation, tokens, 1))
                    figures.calls[operation] = clouds.seen()["routes"]
                figures.memory = {each: memory_mib(function) for each, function in functions.items()}
                if number == runs - 1:
                    say(f"{BURST} VMs at once")
                    tokens = clouds.renew(BURST, limited=True)["broker"]
                    figures.burst = asyncio.run(burst(functions["broker"].port, tokens))
                    figures.burst.points = clouds.seen()["points"]
    say("")
    return figures


def rounds_table(figures: Figures, runs: int, look: box.Box | None) -> Table:
    """The rates and latencies."""
    machine = f"{os.cpu_count()} cores for function, emulators and clients, load {os.getloadavg()[0]:.1f}"
    title = f"median of {runs} runs; {machine}"
    table = Table(title=title, title_justify="left", header_style="bold", box=look)
    table.add_column("operation")
    for name in ("clients", "requests/s", "p50 ms", "p99 ms", "upstream ms", "p50 ratio", "p99 ratio", "CPU ms"):
        table.add_column(name, justify="right")
    for (operation, clients), each in figures.rounds.items():
        p50, p99 = (median(one.percentile(percent) for one in each) for percent in (50, 99))
        floor = figures.floor_ms(operation)
        rate = median(one.rate for one in each)
        cpu = 1000 * median(one.cpu_seconds / len(one.latencies) for one in each)
        cells = f"{clients}", f"{rate:.1f}", f"{p50:.0f}", f"{p99:.0f}", f"{floor}"
        table.add_row(operation, *cells, f"{p50 / floor:.2f}", f"{p99 / floor:.2f}", f"{cpu:.1f}")
    table.add_section()
    for clients, each in figures.bare.items():
        p50, p99 = (median(one.percentile(percent) for one in each) for percent in (50, 99))
        rate = median(one.rate for one in each)
        table.add_row("an upstream answer", f"{clients}", f"{rate:.1f}", f"{p50:.0f}", f"{p99:.0f}", f"{ANSWER_MS}",
                      f"{p50 / ANSWER_MS:.2f}", f"{p99 / ANSWER_MS:.2f}", "")  # fmt: skip
    return table


def rest_table(figures: Figures, look: box.Box | None) -> Table:
    """Imports and memory."""
    table = Table(title_justify="left", header_style="bold", box=look)
    for name in ("fresh interpreter", "seconds", "fastest", "MiB, gunicorn's parent and the server"):
        table.add_column(name, justify="left" if name.startswith("fresh") else "right")
    for name, each in figures.imports.items():
        memory = " + ".join(f"{mib:.0f}" for mib in figures.memory.get(name, []))
        table.add_row(name, f"{median(each):.2f}", f"{min(each):.2f}", memory)
    return table


def targets(figures: Figures) -> list[tuple[str, bool]]:
    """What was promised, and whether it holds."""
    seconds = median(figures.imports["broker"])
    found = [(f"broker's cold import {seconds:.2f} s, under {MAX_IMPORT_SECONDS:.1f} s", seconds < MAX_IMPORT_SECONDS)]
    for operation in OPERATIONS:
        p99 = median(one.percentile(99) for one in figures.rounds[operation, JUDGED_CLIENTS])
        ratio = p99 / figures.floor_ms(operation)
        text = (
            f"{operation}: p99 with {JUDGED_CLIENTS} clients {ratio:.2f} times the upstream time, under {MAX_RATIO:.1f}"
        )
        found.append((text, ratio < MAX_RATIO))
    met = figures.burst
    text = (
        f"{BURST} VMs at once: all served in {met.seconds:.1f} s, {met.told_to_come_again} answers to come again, "
        f"{len(met.failed)} VMs failed, {met.points} of {MOST_POINTS} points at GitHub"
    )
    return [*found, (text, not met.failed and met.points <= MOST_POINTS)]


def positive(text: str) -> int:
    """A number of runs."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Print the tables, the calls that make up the floor, and the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive, default=3, metavar="N", help="how many runs to measure (3)")
    runs = parser.parse_args().runs
    figures = measure(runs)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    look = box.SIMPLE_HEAD if console.is_terminal else None
    console.print(rounds_table(figures, runs, look))
    for operation, calls in figures.calls.items():
        told = ", ".join(f"{route} {times}" for route, times in calls.items())
        console.print(f"{operation}: {told}", soft_wrap=True)
    console.print(rest_table(figures, look))
    found = targets(figures)
    for text, met in found:
        print(f"{'ok' if met else 'MISSED'}: {text}")
    return 0 if all(met for _, met in found) else 1


if __name__ == "__main__":
    sys.exit(main())
