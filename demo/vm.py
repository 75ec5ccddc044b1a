"""One VM of the demo: an instance of the emulated Google Cloud whose guest is played on this machine."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Generator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from emulators.cloud import Cloud
from emulators.github.runner import Runner
from emulators.google.instance import Instance
from emulators.runner import archive as runner_archive
from emulators.runner.archive import Archive, Job, Step
from emulators.runner.vm import RunnerVm
from emulators.site import Site
from emulators.systemd.manager import ServiceManager

STEPS: Final = ("provision", "contain", "metadata-filter", "preflight", "install", "register", "run")
"""A boot's steps in their order; the last is runner.service itself."""
SLEEP: Final = """read -r caller </proc/$PPID/comm
[[ $caller == watch-* || ${1%.*} -lt 1 ]] && exec /bin/sleep "$1"
[[ $caller == preflight ]] && exec /bin/sleep 1  # it waits for servers that really have to start
exec /bin/sleep 0.3"""
"""Pauses between tries are cut short; the watchers keep theirs, for they look again and again."""
LISTENER: Final = "bin/Runner.Listener"
NOTICE_SECONDS: Final = 0.5
"""After which a guest hears that its instance is being deleted; of the real ones nobody promises how soon."""


def archive() -> Archive:
    """The stand-in of GitHub's runner with a listener that asks the emulated GitHub."""
    source = Path(__file__).with_name("listener.py").read_bytes()
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(runner_archive.build().data)) as given,
        gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as made,
    ):
        for entry in given:
            file = given.extractfile(entry)
            assert file is not None
            content = file.read()
            if entry.name == LISTENER:
                content = content.partition(b"\n")[0] + b"\n" + source
                entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    return Archive(data=data, sha256=sha256(data).hexdigest())


class _Addresses(Cloud):
    """Where a VM finds its services, in the form that its emulator takes; none of them is served by it."""

    def __init__(self, *, metadata: str, broker: str, deleter: str) -> None:
        super().__init__()
        self._urls = metadata, broker, deleter

    @property
    def host(self) -> str:
        return self._urls[0]

    @property
    def broker_url(self) -> str:
        return self._urls[1]

    @property
    def deleter_url(self) -> str:
        return self._urls[2]


class DemoVm:
    """A VM from its creation to its end, and what is seen of it from outside."""

    def __init__(
        self, site: Site, instance: Instance, folder: Path, *, attributes: Mapping[str, str], broker: str, deleter: str
    ) -> None:
        """`attributes` are its template's; the services' URLs and the health port are put in here."""
        self.instance = instance
        self.job_after_seconds = 0.5
        """How long it listens before it gets its job."""
        self.job_seconds = 1.0
        self.bootstrap_failure = ""
        self.seconds = 0.0
        self._site = site
        self._began = time.monotonic()
        self._online_at: float | None = None
        self._leaving_since: float | None = None
        self._session = ""
        self._jobs = folder / "jobs"
        addresses = _Addresses(metadata=site.metadata_host_of(instance), broker=broker, deleter=deleter)
        self.vm = RunnerVm(folder, addresses, attributes)
        environment = attributes["runner-job-environment"].replace("/opt/", f"{self.vm.root}/opt/")
        self.vm.set_attributes({"runner-job-environment": environment})
        self.vm.environment["STORAGE_EMULATOR_HOST"] = site.storage_url
        self.vm.command("sleep", SLEEP)
        prefix = "instance/attributes/"
        told = {key.removeprefix(prefix): value for key, value in addresses.metadata.items() if key.startswith(prefix)}
        with site.lock:
            instance.metadata.update(told)

    @contextlib.contextmanager
    def powered(self, script: str) -> Generator[ServiceManager]:
        """The machine runs, from its startup script on; at the end nothing of it is left."""
        with self.vm.services() as self.manager:
            booting = threading.Thread(target=self._boot, args=(script,), daemon=True)
            self._began = time.monotonic()
            booting.start()
            try:
                yield self.manager
            finally:
                self.manager.cut_power()
                while booting.is_alive():
                    self._kill_strangers()
                    booting.join(0.05)

    def look(self) -> None:
        """Let the two clouds and the guest notice each other: jobs, deletions, a guest that is off."""
        with self._site.lock:
            github, instance = self._site.github, self.instance
            runner = self._runner
            if runner is not None and runner.session and not self._session:
                self._online_at = self._online_at or time.monotonic()
                if time.monotonic() >= self._online_at + self.job_after_seconds:
                    self._session = runner.session
                    github.start_job(runner.name, job=self._job())
            if not self.is_there or instance.status == "STOPPING":
                self._leaving_since = self._leaving_since or time.monotonic()
                if time.monotonic() >= self._leaving_since + NOTICE_SECONDS:
                    self.manager.power_off()
            if self.manager.powered_off.is_set() and instance.action == "DELETING":
                instance.until = self._site.clock.now()
            elif self.manager.powered_off.is_set() and instance.status == "RUNNING":
                instance.status = "TERMINATED"
            self._site.google.compute.tick()
        if not self.is_over:
            self.seconds = time.monotonic() - self._began

    @property
    def is_there(self) -> bool:
        """Whether Google Cloud still has the instance."""
        return self._site.google.compute.instance(self.instance.zone, self.instance.name) is self.instance

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        off = self.manager.powered_off.is_set()
        return bool(self.bootstrap_failure) or (off and (not self.is_there or self.instance.status == "TERMINATED"))

    @property
    def state(self) -> str:
        """What a person would say it does."""
        runner = self._runner
        if not self.is_there:
            return "deleted"
        if self.manager.powered_off.is_set():
            return "powered off"
        if self.bootstrap_failure:
            return "bootstrap failed"
        if self.end:
            return "finished, stopping" if self.instance.status == "STOPPING" else "finished"
        if runner is not None and runner.session:
            return "running job" if runner.job else "listening"
        if self._session:
            return "job done"
        if not self.manager.events:
            return "booting bootstrap"
        waiting = (step for step in STEPS if self.manager.state(_unit(step)) == "activating")
        return f"booting {next(waiting, STEPS[-1])}"

    @property
    def end(self) -> dict[str, Any]:
        """The record of its end; empty before."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.vm.run_dir / "end.json").read_text(encoding="utf-8"))
        return {}

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self.bootstrap_failure or str(self.end.get("reason", ""))

    def missing(self) -> list[str]:
        """What of a whole life did not happen; the ledger of grants is the caller's to look at."""
        found: list[str] = []
        runner = self._runner
        known = [gone for gone in [*self._site.github.gone, runner] if gone is not None and self._is_own(gone)]
        if not known:
            found.append("it never registered")
        elif not any(each.jit_consumed for each in known):
            found.append("its listener never connected")
        if runner is not None and runner.session:
            found.append("its runner is still online at GitHub")
        ran = len(self._jobs.read_text(encoding="utf-8").splitlines()) if self._jobs.exists() else 0
        if ran != 1:
            found.append(f"it ran {ran} jobs instead of one")
        if ran and self._result != "succeeded":
            found.append(f"its job {self._result or 'was not reported'}")
        if self.reason != "finished":
            detail = str(self.end.get("detail") or "")
            found.append(f"it ended with {self.reason or 'no record'}{f' ({detail})' if detail else ''}")
        if self.is_there:
            found.append(f"its instance is still there, {self.instance.status}: nobody deleted it")
        found += self.manager.faults
        left = self.vm.strangers()
        return [*found, f"processes are left: {', '.join(left)}"] if left else found

    @property
    def _runner(self) -> Runner | None:
        """Its registration, while there is one."""
        return next(filter(self._is_own, self._site.github.runners.values()), None)

    def _is_own(self, runner: Runner) -> bool:
        """Whether a runner was made for this VM: it has its name, or in a scale set a name that ends in its id."""
        carried = int(runner.name.rpartition("-")[2], 36) if runner.scale_set_id else None
        return str(carried) == self.instance.id or runner.name == self.instance.name

    @property
    def _result(self) -> str:
        for request in self._site.asked("github.finish"):
            query = parse_qs(urlsplit(request.path).query)
            if request.executed and query["sessionId"] == [self._session]:
                return query["result"][0]
        return ""

    def _boot(self, script: str) -> None:
        done = self.vm.bootstrap(script)
        if done.returncode and not self.manager.powered_off.is_set():
            words = done.stderr.strip().splitlines()
            self.bootstrap_failure = words[-1] if words else f"bootstrap: exit code {done.returncode}"

    def _job(self) -> str:
        """A job of the default branch that notes that it ran, as the worker takes it."""
        self.vm.github.hand(Job(steps=[Step(run=f'echo ran >>"{self._jobs}"; exec /bin/sleep {self.job_seconds:.1f}')]))
        return (self.vm.github.folder / "job.json").read_text(encoding="utf-8")

    def _kill_strangers(self) -> None:
        for line in [*self.vm.strangers(), *_of_script(self.vm.folder)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)


def _of_script(folder: Path) -> list[str]:
    """The processes of the startup script."""
    mark = os.fsencode(folder / "startup-script")
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(path.parent.name)
    return found


def _unit(step: str) -> str:
    return "runner.service" if step == STEPS[-1] else f"runner-{step}.service"
