"""Measures what we add to a VM's boot: from the kernel's hand-over to the guest agent until the listener is exec'd.

    benchmarks/boot.py [--runs N]

The real bootstrap fetches this tree's bundle, and the real units are played in their order with the real scripts; the
health server, the metadata filter and the watchers run beside them as on a VM. All services answer on loopback within
a millisecond or so, and no wait is faked. Stand-ins are what would change this machine (`emulators/runner/vm.py`:
users, firewall, setpriv's options) and systemd itself (`emulators/systemd/manager.py`), whose own time counts here.

Left out: the network, GitHub's answer, and fetching, hashing and unpacking the runner's real archive of some 200 MB;
a small stand-in is served instead, so that only our work around it counts. The floor is `plain_boot.sh`, which does
nothing but fetch, unpack and exec, with the same small archive. A step is counted from the end of the one before it.
Every run is a fresh VM; ours and the floor take turns, and the median run counts. Wall clock, on a machine that should
have nothing else to do.

Exits with 0 when the median is under TARGET_SECONDS. The last line is the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from emulators.cloud import Cloud, Reply, Request
from emulators.runner import archive as runner_archive
from emulators.runner.archive import Archive
from emulators.runner.vm import PATH, RunnerVm
from emulators.systemd.manager import ServiceManager
from fleet.metadata import RunnerMetadata, attribute_name
from startup import bundle, render
from startup.bundle import Bundle

TARGET_SECONDS = 1.0
BUCKET = "example-boot-bundles"
STARTUP = HERE.parent / "startup"
STEPS = ("provision", "contain", "metadata-filter", "preflight", "install", "register")
LISTENING = "run, until exec"
PATIENCE_SECONDS = 60
WHAT = {
    "bootstrap": "fetch, check and unpack the bundle; units; start",
    "provision": "see that the image is ready",
    "contain": "job user, groups, sudo, firewall",
    "metadata-filter": "started beside the next step",
    "preflight": "disk, clock, GPUs, health, probe as the job user",
    "install": "fetch, check and unpack the runner; its .env",
    "register": "identity, broker, configuration",
    LISTENING: "move the configuration, become the listener",
}


class PatientCloud(Cloud):
    """Keeps a request that waits for a change for ever, as the metadata server does while nothing changes."""

    def answer(self, request: Request) -> Reply:
        """As the cloud answers."""
        return Reply(hangs=True) if "wait_for_change" in request.path else super().answer(request)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One boot: seconds of each step in order."""

    steps: dict[str, float]

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self.steps.values())


def attributes() -> dict[str, str]:
    """The metadata of a VM, by the contract's examples."""
    known = {attribute_name(name): field.examples or [""] for name, field in RunnerMetadata.model_fields.items()}
    deadline = int(time.clock_gettime(time.CLOCK_BOOTTIME)) + 3600
    return {name: values[0] for name, values in known.items()} | {"runner-boot-deadline-seconds": str(deadline)}


def boot(script: str, packed: Bundle, archive: Archive) -> Run:
    """One boot of ours."""
    with tempfile.TemporaryDirectory() as folder, PatientCloud() as cloud:
        vm = RunnerVm(Path(folder), cloud, attributes())
        vm.mirror(archive, BUCKET)
        vm.mark_as_provisioned(packed.data)
        cloud.objects[BUCKET, packed.object_name] = packed.data
        with vm.services() as manager:
            began = time.monotonic()
            done = vm.bootstrap(script)
            handed_over = time.monotonic()
            assert done.returncode == 0, done.stderr
            listening = exec_time(manager)
            up = {unit: at for at, unit, state in manager.events if state == "active"}
            times = {"bootstrap": handed_over} | {step: up[f"runner-{step}.service"] for step in STEPS}
            return Run(steps=differences(began, times | {LISTENING: listening}))


def exec_time(manager: ServiceManager) -> float:
    """When the runner's main process became GitHub's."""
    until = time.monotonic() + PATIENCE_SECONDS
    name = "runner.service"
    while time.monotonic() < until:
        if manager.state(name) == "active" and (main := manager.loaded(name).main):
            try:
                if Path(f"/proc/{main.pid}/comm").read_text(encoding="ascii").strip() == "Runner.Listener":
                    return time.monotonic()
            except OSError:
                break
        time.sleep(0.001)
    told = "\n".join(path.read_text(encoding="utf-8") for path in manager.journals.iterdir())
    sys.exit(f"{told}the listener never ran")


def differences(began: float, times: dict[str, float]) -> dict[str, float]:
    """How long each took after the one before; what went on beside it counts for it."""
    befores = [began, *list(times.values())[:-1]]
    return {name: max(0.0, at - before) for (name, at), before in zip(times.items(), befores, strict=True)}


def floor(archive: Archive) -> float:
    """One run of the plain script, until its listener is exec'd."""
    with tempfile.TemporaryDirectory() as folder, Cloud() as cloud:
        url = f"http://{cloud.host}/computeMetadata/v1/archive"
        cloud.replies["metadata"].append(Reply(body=archive.data))
        github = runner_archive.GitHub(folder=Path(folder) / "github")
        github.folder.mkdir()
        (Path(folder) / ".runner").write_text(github.runner_file, encoding="utf-8")
        (Path(folder) / ".credentials").write_text(json.dumps({}), encoding="utf-8")
        began = time.monotonic()
        process = subprocess.Popen(
            [str(HERE / "plain_boot.sh"), url, folder], env={"PATH": PATH}, stdout=subprocess.DEVNULL, cwd="/"
        )
        comm = Path(f"/proc/{process.pid}/comm")
        while comm.read_text(encoding="ascii").strip() != "Runner.Listener":
            assert process.poll() is None, "the plain script ended"
            time.sleep(0.001)
        ended = time.monotonic()
        process.kill()
        process.wait()
        return ended - began


def measure(runs: int) -> tuple[list[Run], list[float]]:
    """Boot in turns with the floor; the first of each warms the machine's caches and does not count."""
    packed, archive = bundle.build(STARTUP), runner_archive.build()
    script = render.bootstrap(bundle_bucket=BUCKET, bundle_sha256=packed.sha256, boot_deadline_seconds=600)
    ours, floors = [], []
    for number in range(runs + 1):
        if sys.stderr.isatty():
            print(f"\r\033[Krun {number} of {runs}", end="", file=sys.stderr, flush=True)
        ours.append(boot(script, packed, archive))
        floors.append(floor(archive))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return ours[1:], floors[1:]


def table(ours: list[Run], floors: list[float], look: box.Box | None) -> Table:
    """Where the time goes."""
    plain = median(floors)
    total = median(run.seconds for run in ours)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    title = f"until the listener is exec'd: median of {len(ours)} runs; {machine}"
    shown = Table(title=title, title_justify="left", header_style="bold", box=look)
    shown.add_column("step")
    shown.add_column("ms", justify="right")
    shown.add_column("fastest", justify="right")
    shown.add_column("what it does")
    for step in ours[0].steps:
        each = [1000 * run.steps[step] for run in ours]
        shown.add_row(step, f"{median(each):.0f}", f"{min(each):.0f}", WHAT[step])
    shown.add_section()
    shown.add_row("ours", f"{1000 * total:.0f}", f"{1000 * min(run.seconds for run in ours):.0f}", "all of the above")
    shown.add_row("floor", f"{1000 * plain:.0f}", f"{1000 * min(floors):.0f}", "plain_boot.sh: curl | tar, run.sh")
    shown.add_row("difference", f"{1000 * (total - plain):.0f}", "", f"{total / plain:.0f} times the floor")
    return shown


def main() -> int:
    """Print the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="how many boots to measure (7)")
    ours, floors = measure(max(1, parser.parse_args().runs))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(ours, floors, box.SIMPLE_HEAD if console.is_terminal else None), highlight=False)
    total = median(run.seconds for run in ours)
    under = total < TARGET_SECONDS
    print(f"boot {total:.2f} s, {'under' if under else 'NOT under'} {TARGET_SECONDS:.1f} s")
    return 0 if under else 1


if __name__ == "__main__":
    sys.exit(main())
