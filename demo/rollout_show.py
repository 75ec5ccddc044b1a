"""`scripts/rollout --emulated good|bad`: a rollout from its first command to its last, over forty emulated groups.

The commands are the real ones, each a process of its own, in a copy of the project, against stand-ins of Google and
GitHub whose answers fail now and then. What is played is what people and VMs do in between: somebody deploys, VMs boot,
jobs end, or VMs of the new version fail to boot. Nothing of the project itself is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import click
from ruamel.yaml import YAML

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from fleet.settings import Settings
from rehearsal import stack_files
from rollout.plans.stack_settings import stack_settings
from startup import bundle

STACK: Final = "prod"
POOLS: Final = 20
"""Of two regions each: forty groups."""
FAULTS: Final = ("compute-errors", "github-errors", "storage-errors")
ENOUGH: Final = ("--jobs", "20", "--jobs-each", "1", "--bake-hours", "0.1")
"""Real thresholds take days; these are met by what is played here."""
LINKED: Final = ("components", "fleet", "functions", "rehearsal", "rollout", "startup", ".venv", "__main__.py")
REFUSED: Final = 4

Ending = Literal["good", "bad"]


class Show:
    """One rollout, as it is played."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.site = site
        self.stable = self._settings().rollout.stable
        self.fleet = EmulatedFleet(site, self._settings())
        self.codes: Counter[int] = Counter()
        self.surprises: list[str] = []

    def play(self, ending: Ending) -> None:
        """From cutting a version to the fleet's state after its end."""
        self.run("status", STACK)
        version = self._next()
        self.run("cut", version)
        self.fleet.add_version(self._settings(), version)
        self.run("canary", version, "--stack", STACK, "--yes")
        self._deploy()
        self.say(f"a VM of {version} boots in one group of each pool")
        for key in self.fleet.settings.pools:
            self.fleet.vm(key, "us-west1", version=version, runner="idle")
        self.run("promote", "--stack", STACK, "--yes", *ENOUGH, ends=REFUSED)
        happens = self._jobs if ending == "good" else self._failures
        wait = ("canary", version, "--stack", STACK, "--wait", "--interval", "2", *ENOUGH)
        self.run(*wait, ends=0 if ending == "good" else REFUSED, once="jobs", meanwhile=lambda: happens(version))
        promote = ("promote", "--stack", STACK, "--yes", *ENOUGH)
        if ending == "bad":
            self.run(*promote, ends=REFUSED)
        settle = promote if ending == "good" else ("rollback", "--stack", STACK, "--yes")
        self.run(*settle, "--wait", "--interval", "2", once="deployed/", meanwhile=self._deploy_and_finish)
        self.run("status", STACK)
        self._hold(stable=version if ending == "good" else self.stable)

    def run(self, *words: str, ends: int = 0, once: str = "", meanwhile: Callable[[], None] | None = None) -> None:
        """Run a command; what it prints is shown. Another exit code than expected is a surprise.

        `meanwhile` happens once a step whose id begins with `once` says that it waits.
        """
        click.secho(f"\n$ scripts/rollout {' '.join(words)}", bold=True)
        environment = {**os.environ, **self.site.operator_environment(), "PYTHONUNBUFFERED": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "rollout", *words], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL
        )
        if meanwhile is not None:
            self._once_it_waits(process, once, meanwhile)
        code = process.wait()
        self.codes[code] += 1
        click.secho(f"(exit {code}, {time.monotonic() - began:.1f} s)", dim=True)
        if code != ends:
            self.surprises.append(f"scripts/rollout {words[0]} ended with {code}, and was to end with {ends}")

    def say(self, text: str) -> None:
        """Say what is played."""
        click.secho(f"\n… {text}", fg="cyan")

    def _deploy(self) -> None:
        self.say(f"somebody deploys: {len(self.fleet.groups)} groups get the versions that the stack says")
        self.fleet.settings = self._settings()
        self.fleet.deploy(self.fleet.settings)

    def _deploy_and_finish(self) -> None:
        self._deploy()
        self.say("jobs end, and with each its VM")
        for group in self.fleet.groups.values():
            for vm in list(group.instances):
                self.fleet.vm_ends(group, vm)

    def _jobs(self, version: str) -> None:
        for key in self.fleet.settings.pools:
            self.fleet.ends(1, version=version, pool=key)
            self.fleet.ends(2, version=self.stable, pool=key)

    def _failures(self, version: str) -> None:
        for key in sorted(self.fleet.settings.pools)[:4]:
            self.fleet.ends(1, version=version, pool=key, reason="boot-failed:install")

    def _once_it_waits(self, process: subprocess.Popen[bytes], once: str, happens: Callable[[], None]) -> None:
        """Let something happen as soon as the run says that it waits, unless it ends before."""
        pause = threading.Event()
        while process.poll() is None:
            for path in (self.folder / "runs").glob("2*/events.jsonl"):
                whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
                events = [json.loads(line) for line in whole_lines]
                if any(event["kind"] == "progress" and event["step"].startswith(once) for event in events):
                    happens()
                    return
            pause.wait(0.05)

    def _hold(self, *, stable: str) -> None:
        """What has to be so in the end."""
        rollout = self._settings().rollout
        if (rollout.stable, rollout.canary) != (stable, None):
            self.surprises.append(f"the stack says {rollout.stable} and {rollout.canary}, not {stable} and none")
        self.failed = sum(request.status in {502, 503} for request in self.site.requests)
        if not self.failed:
            self.surprises.append("no request failed, so the faults were not played")

    def _settings(self) -> Settings:
        return stack_settings(self.folder, STACK)

    def _next(self) -> str:
        """A version id after all that are listed."""
        newest = self._settings().newest_version
        return f"{newest[:10]}-{int(newest[11:] or 0) + 1}"


def project(root: Path, folder: Path) -> None:
    """The project in a folder of its own, its stack with twenty pools of two regions."""
    for name in LINKED:
        (folder / name).symlink_to(root / name)
    yaml: Any = YAML()
    for path in root.glob("Pulumi*.yaml"):
        shutil.copy(path, folder)
    path = folder / f"Pulumi.{STACK}.yaml"
    document: Any = yaml.load(path.read_text(encoding="utf-8"))
    pools = document["config"]["runner-fleet:pools"]
    pattern = pools["presubmit-cpu"]
    pools.clear()
    for number in range(POOLS):
        pools[f"presubmit-cpu{number:02d}"] = {**pattern, "labels": [f"shard={number:02d}"]}
    del document["config"]["runner-fleet:trust_levels"]["basic"]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ending", type=click.Choice(["good", "bad"]), default="good")
@click.option("--seed", type=int, default=7, show_default=True, help="Of ids and faults.")
def main(ending: Ending, seed: int) -> None:
    """Play a rollout that ends well, or one whose VMs fail to boot, over forty emulated groups."""
    root = Path.cwd()
    bundle.build(root / "startup")
    with tempfile.TemporaryDirectory(prefix="rollout-") as name:
        project(root, Path(name))
        files = stack_files.read(Path(name), STACK)
        with Site(
            organization=files.sections["github"]["organization"],
            project=files.sections["google"]["project"],
            faults=FAULTS,
            seed=seed,
        ) as site:
            show = Show(Path(name), site)
            show.play(ending)
        sys.exit(_end(show, ending))


def _end(show: Show, ending: Ending) -> int:
    failed = show.failed
    if show.surprises:
        click.secho("\nNot as expected: " + "; ".join(show.surprises), fg="red")
        return 1
    done = "promoted" if ending == "good" else "given up and rolled back"
    codes: Sequence[str] = [f"{count} with {code}" for code, count in sorted(show.codes.items())]
    click.secho(
        f"\nHeld: {len(show.fleet.groups)} groups; the version was {done}; commands ended {', '.join(codes)}; "
        f"{len(show.site.requests)} requests, {failed} of which failed on purpose.",
        fg="green",
    )
    return 0


if __name__ == "__main__":
    main(prog_name="scripts/rollout --emulated")
