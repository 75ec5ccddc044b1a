"""`scripts/demo`: VMs of the fleet live on this machine, from their bootstrap to their deletion, all on loopback.

Real are the startup tree with its units, both functions with their own command, and every request between them; the
emulators stand for GitHub, Google Cloud, systemd and GitHub's runner. Each VM boots, registers at the broker, gets one
job, ends and is deleted by the deleter. The exit status is 0 only when every one of them did all of that.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from demo.function import Front, Function, FunctionError
from demo.table import View
from demo.vm import DemoVm, archive
from emulators.faults import PROFILES
from emulators.google.group import Group
from emulators.runner.vm import PATH
from emulators.site import Site

FUNCTIONS: Final = Path(__file__).parents[1] / "functions"
GRANTS, PERMITS, DEMAND = "demo-grants", "demo-permits", "demo-listener"
SECRET: Final = "github-app-key"  # noqa: S105 - its name
OWN_FAULTS: Final = {
    "broker-503": "the first two requests to the broker meet 503",
    "deleter-down": "there is no deleter",
}
TOOLS: Final = ("bash", "curl", "flock", "tar", "gzip", "sha256sum", "timeout", "python3")
"""What a VM's scripts use of this machine, beyond what every Linux has."""
ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_VMS: Final = 64
LOOK_SECONDS: Final = 0.1
PATIENCE_SECONDS, PATIENCE_SECONDS_EACH = 120, 10
_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the fleet says of its VMs and to its functions."""

    table: Mapping[str, Any]
    """The functions' own table of groups."""
    attributes: Mapping[str, Mapping[str, str]]
    """Of each pool's newest template."""
    script: str
    """The startup script."""
    boot_bucket: str
    objects: Mapping[str, bytes]
    """What lies in it."""
    boot_bundle: bytes
    boot_deadline_seconds: int


class DemoError(Exception):
    """The demo cannot run here; the text says why, and what helps."""


def main(plan: Callable[[], Plan], arguments: Sequence[str] | None = None) -> int:
    """The command. `plan` is asked once it is clear that the demo will run."""
    given = _arguments(arguments)
    for number in ENDS:
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="runner-demo-"))
    try:
        _check_machine()
        missing = Demo(plan(), folder, seed=given.seed, faults=given.faults).run(given.vms)
    except (DemoError, FunctionError) as error:
        sys.stderr.write(f"scripts/demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("scripts/demo: interrupted; everything it started has ended\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains as it ends
        return 1
    finally:
        if given.keep:
            sys.stderr.write(f"scripts/demo: the VMs' files and the functions' logs are in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    for line in missing:
        sys.stdout.write(f"MISSING: {line}\n")
    if not missing:
        sys.stdout.write(f"{given.vms} VMs lived whole lives: registered, ran one job each, and were deleted\n")
    return 1 if missing else 0


class Demo:
    """The clouds, the functions and the VMs, all of them gone when `run` returns or raises."""

    def __init__(self, plan: Plan, folder: Path, *, seed: int, faults: Sequence[str]) -> None:
        self._plan = plan
        self._folder = folder
        self._random = random.Random(f"{seed}/demo")  # noqa: S311 - to be repeated, not secret
        self._own_faults = [name for name in faults if name in OWN_FAULTS]
        names = {name: plan.table[name] for name in ("project", "organization")}
        self._site = Site(seed=seed, faults=[name for name in faults if name not in OWN_FAULTS], **names)
        self._fronts = {"broker": Front(), "deleter": Front()}

    def run(self, number: int) -> list[str]:
        """Let so many VMs live; what is missing from their lives. Raises FunctionError."""
        with _all_ended(), self._site, contextlib.ExitStack() as stack:
            try:
                return self._live(stack, number)
            finally:
                for each in ENDS:
                    signal.signal(each, signal.SIG_IGN)  # the end has begun, and must come to an end

    def _live(self, stack: contextlib.ExitStack, number: int) -> list[str]:
        for front in self._fronts.values():
            stack.enter_context(front)
        self._furnish()
        self._start_functions(stack)
        vms = self._make(number)
        # A ^C at the terminal is for this process alone, also while its helpers have not read their first line yet.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for vm in vms:
            stack.enter_context(vm.powered(self._plan.script))
        signal.signal(signal.SIGINT, _interrupt)
        with View(self._site, vms, self._fronts, bucket=GRANTS) as view:
            until = time.monotonic() + PATIENCE_SECONDS + number * PATIENCE_SECONDS_EACH
            while not all(vm.is_over for vm in vms) and time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
                for vm in vms:
                    vm.look()
                view.show()
        return [f"{vm.instance.name}: {what}" for vm in vms for what in [*self._grant_missing(vm), *vm.missing()]]

    def _furnish(self) -> None:
        """What stands ready before the first VM boots."""
        google, github = self._site.google, self._site.github
        google.put_secret(SECRET, github.app_key_pem)
        for bucket in (GRANTS, PERMITS, DEMAND, self._plan.boot_bucket):
            google.add_bucket(bucket)
        for name, data in self._plan.objects.items():
            google.put_object(self._plan.boot_bucket, name, data)
        for name, row in self._plan.table["groups"].items():
            if row["runner_group"] not in github.groups:
                github.add_runner_group(row["runner_group"])
            if row["scale_set"] and not github.scale_sets.by_name(row["scale_set"]):
                github.add_scale_set(row["scale_set"], group=row["runner_group"], labels=row["labels"])
            scaled = row["signal"] in {"cpu", "schedule"}
            google.add_group(
                name,
                region=row["region"],
                zones=row["zones"],
                service_account=row["service_account"],
                target_size=0,
                autoscaler={"min": row["min"], "max": MOST_VMS} if scaled else None,
            )
        if "broker-503" in self._own_faults:
            self._fronts["broker"].unavailable = 2

    def _start_functions(self, stack: contextlib.ExitStack) -> None:
        table = self._folder / "fleet.json"
        table.write_text(json.dumps(self._plan.table), encoding="utf-8")
        environments = environments_of(self._site, table, {name: front.url for name, front in self._fronts.items()})
        environments["broker"]["BROKER_BOOT_DEADLINE_SECONDS"] = str(self._plan.boot_deadline_seconds)
        sources = {"broker": "registration_broker", "deleter": "instance_deleter"}
        wanted = [name for name in sources if f"{name}-down" not in self._own_faults]
        started = {
            name: stack.enter_context(
                Function(FUNCTIONS / sources[name] / "main.py", environments[name], self._folder / f"{name}.log")
            )
            for name in wanted
        }
        for name, function in started.items():
            function.wait_until_up()
            self._fronts[name].port = function.port

    def _make(self, number: int) -> list[DemoVm]:
        """VMs of groups that make new ones as they are needed, on machines without GPUs."""
        google = self._site.google
        packed = archive()
        google.put_object(self._plan.boot_bucket, f"runner-archives/{packed.sha256}.tar.gz", packed.data)
        groups = [group for group in google.groups.values() if self._is_suitable(group)]
        if not groups:
            raise DemoError("no group of the fleet is without GPUs and of changing size, so there is no VM to show")
        self._random.shuffle(groups)
        uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
        made: list[DemoVm] = []
        for index in range(number):
            group = groups[index % len(groups)]
            with self._site.lock:
                group.target_size += 1
                instance = google.create_instance(group, zone=self._random.choice(group.zones))
            template = self._plan.attributes[self._plan.table["groups"][group.name]["pool"]]
            # The kernel, and its uptime, are this machine's.
            clocks = ("runner-boot-deadline-seconds", "runner-max-run-seconds")
            late = {name: str(uptime + int(template[name])) for name in clocks}
            vm = DemoVm(
                self._site,
                instance,
                self._folder / instance.name,
                attributes={**template, **late, "runner-archive-sha256": packed.sha256},
                broker=self._fronts["broker"].url,
                deleter=self._fronts["deleter"].url,
            )
            vm.vm.mark_as_provisioned(self._plan.boot_bundle)
            vm.job_after_seconds = self._random.uniform(0.3, 1.5)
            vm.job_seconds = self._random.uniform(0.5, 2.5)
            made.append(vm)
        return made

    def _is_suitable(self, group: Group) -> bool:
        row = self._plan.table["groups"][group.name]
        return row["signal"] != "fixed" and self._plan.attributes[row["pool"]]["runner-gpu-count"] == "0"

    def _grant_missing(self, vm: DemoVm) -> list[str]:
        stored = self._site.google.objects.get((GRANTS, f"grants/{vm.instance.id}.json"))
        grant = json.loads(stored.data) if stored else None
        if grant is None:
            return ["it has no grant"]
        return [] if grant.get("state") == "registered" else [f"its grant is {grant.get('state')!r}, not 'registered'"]


def environments_of(site: Site, table: Path, urls: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a deployment sets for the broker and the deleter, and where they find this site; `urls` are their own."""
    services = {
        "COMPUTE_URL": site.compute_url,
        "STORAGE_URL": site.storage_url,
        "CERTS_URL": site.certs_url,
        "FLEET_FILE": str(table),
    }
    found: dict[str, dict[str, str]] = {}
    for name, more in {
        "broker": {
            "APP_ID": str(site.github.app_id),
            "INSTALLATION_ID": str(site.github.installation_id),
            "APP_KEY_SECRET": f"projects/{site.google.project}/secrets/{SECRET}/versions/latest",
            "BOOT_DEADLINE_SECONDS": "600",
            "GRANTS_BUCKET": GRANTS,
            "LISTENER_BUCKET": DEMAND,
            "GITHUB_URL": site.github_url,
            "GITHUB_WEB_URL": site.github_url,
            "SECRETS_URL": site.secrets_url,
        },
        "deleter": {"PERMITS_BUCKET": PERMITS, "DEMAND_BUCKET": DEMAND},
    }.items():
        values = {**services, **more, "AUDIENCE": urls[name]}
        account = f"gh-runner-{name}@{site.google.project}.iam.gserviceaccount.com"
        found[name] = {f"{name.upper()}_{key}": value for key, value in values.items()}
        found[name]["GCE_METADATA_HOST"] = site.metadata_host_for(account)
    return found


@contextlib.contextmanager
def _all_ended() -> Generator[None]:
    """Whatever happens within, no process that was started there is left, not even one that lost its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with contextlib.ExitStack() as stack:
        stack.callback(_kill_children)
        yield


def _kill_children() -> None:
    while children := [pid for pid in _children() if pid]:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text(encoding="ascii").split())
    return found


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _check_machine() -> None:
    if not Path("/proc/self/task").is_dir():
        raise DemoError("it plays VMs with Linux's process tree in /proc; run it on Linux, or in a container")
    lacking = [tool for tool in TOOLS if not shutil.which(tool, path=PATH)]
    if lacking:
        raise DemoError(f"{', '.join(lacking)} not found in {PATH}; a VM's scripts need them: install them")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    faults = {**OWN_FAULTS, **dict.fromkeys(PROFILES, "")}
    fleet = "With --jobs N it plays a whole fleet on a virtual clock instead: scripts/demo --jobs 40 --help."
    description = f"{__doc__.split(chr(10) * 2)[0] if __doc__ else ''} {fleet}"
    parser = argparse.ArgumentParser(prog="scripts/demo", description=description)
    parser.add_argument("--vms", type=_positive, default=3, metavar="N", help="how many VMs to boot (3)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of groups, zones, jobs, ids and faults (0)")
    told = ", ".join(f"{name} ({text})" if text else name for name, text in faults.items())
    parser.add_argument("--faults", nargs="*", default=[], choices=faults, metavar="NAME", help=told)
    parser.add_argument("--keep", action="store_true", help="leave the VMs' files and the functions' logs")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_VMS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of VMs; allowed are 1 to {MOST_VMS}")
    return int(text)
