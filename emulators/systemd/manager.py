"""A small stand-in for systemd: reads unit files as they are and plays what they say with real processes.

It plays what `unit_file.PLAYED` lists, in systemd's order: a start pulls in Requires, BindsTo and Wants and follows
After; a unit that fails takes with it the waiting starts of all that require it, and triggers their OnFailure before
its own, as systemd does ("Dependency failed for …"); ExecStopPost runs after every end of a unit that had begun,
before what is left of its processes is killed; a stop spreads to those that require or are part of the unit; at
power-off nothing starts any more.

Not played: everything in `unit_file.IGNORED`; users and rights, real control groups and namespaces, sockets,
devices, mounts, reloading, isolation, job modes, watchdogs, notification, conditions other than ConditionPathExists,
implicit dependencies other than a target's order after what it wants. A unit that is not in the folder counts as
there and up when it is wanted, and raises when it is required. Type=exec counts as up when the process is there, also
where its program turns out not to be. Timers go off by `fire` alone. Time spans of units are multiplied by
`time_scale`.

Source of the rules: systemd.unit(5), systemd.service(5), systemd.kill(5), systemd.exec(5) of systemd 252.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from emulators.systemd.control_group import ControlGroups
from emulators.systemd.service import POLL_SECONDS, Loaded, Services, send
from emulators.systemd.systemctl_server import CLIENT, SystemctlServer
from emulators.systemd.unit_file import UnplayedError, load

_DOWN: Final = ("inactive", "failed")


@dataclass
class _Job:
    """A start that is not done."""

    cancelled: bool = False


class ServiceManager:
    """One machine's services. Use as a context manager: at its end no process is left.

    Commands are looked for in `commands` first, where it puts its `systemctl`. `appended` adds arguments to a unit's
    ExecStart, as a drop-in would.
    """

    def __init__(
        self,
        root: Path,
        *,
        commands: Path,
        environment: Mapping[str, str],
        time_scale: float = 1.0,
        appended: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.units = root / "etc/systemd/system"
        self.journals = commands / "journals"
        self.powered_off = threading.Event()
        self.faults: list[str] = []
        """What scripts or units asked for that is not played."""
        self.survivors: list[int] = []
        """Processes that were there after the last unit had stopped."""
        self._groups = ControlGroups()
        self._changed = self._groups.changed
        self._services = Services(
            root,
            self._groups,
            commands=commands,
            journals=self.journals,
            environment=dict(environment),
            time_scale=time_scale,
            appended=dict(appended or {}),
        )
        self._commands = commands
        self._systemctl = SystemctlServer(self)
        self._loaded: dict[str, Loaded] = {}
        self._jobs: dict[str, _Job] = {}
        self._threads: list[threading.Thread] = []
        self._ending = False

    def __enter__(self) -> Self:
        self.journals.mkdir(parents=True, exist_ok=True)
        self._groups.__enter__()
        port = self._systemctl.start()
        shutil.copy(CLIENT, self._commands / "systemctl")
        (self._commands / "port.systemctl").write_text(f"{port}\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        for thread in self._threads:
            thread.join(30)
        self._groups.__exit__()
        self._systemctl.close()

    @property
    def calls(self) -> list[str]:
        """What systemctl was called with."""
        return self._systemctl.calls

    @property
    def events(self) -> list[tuple[float, str, str]]:
        """Every change: time.monotonic(), unit, state."""
        return self._services.events

    @property
    def system_state(self) -> str:
        """What is-system-running prints."""
        return "stopping" if self._ending else "starting" if self._jobs else "running"

    def start(self, *names: str) -> bool:
        """Begin to start units and what they need; false while the machine goes down."""
        with self._changed:
            if self._ending:
                return False
            for name in self._pulled_in(names):
                if self._loaded[name].state in _DOWN and name not in self._jobs:
                    self._jobs[name] = _Job()
                    self._spread(self._play, self._loaded[name], self._jobs[name])
            return True

    def stop(self, *names: str) -> None:
        """Begin to stop units, those that require them, and their parts."""
        with self._changed:
            for name in self._stopped_with(names):
                loaded = self._loaded[name]
                if job := self._jobs.pop(name, None):
                    job.cancelled = True
                loaded.stop = loaded.state not in _DOWN
            self._changed.notify_all()

    def fire(self, timer: str) -> bool:
        """Let a timer elapse; false where it is not active."""
        active = self.state(timer) == "active"
        return active and self.start(timer.removesuffix(".timer") + ".service")

    def power_off(self) -> None:
        """Begin an orderly shutdown."""
        with self._changed:
            if not self._ending:
                self._ending = True
                self._spread(self._shut_down)

    def cut_power(self) -> None:
        """Kill everything at once, as a forced power-off or a reset does."""
        with self._changed:
            self._ending = self._services.dead = True
            for loaded in self._loaded.values():
                loaded.stop = True
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify_all()
        for loaded in list(self._loaded.values()):
            send(loaded, signal.SIGKILL, everyone=True)
        self.powered_off.set()

    def state(self, name: str) -> str:
        """The unit's active state, as is-active prints it."""
        loaded = self._loaded.get(name)
        return "activating" if name in self._jobs else loaded.state if loaded else "inactive"

    def loaded(self, name: str) -> Loaded:
        """A unit that was started or stopped before."""
        return self._loaded[name]

    def journal(self, name: str) -> str:
        """What the unit's processes said."""
        path = self.journals / name
        return path.read_text(errors="replace") if path.exists() else ""

    def members(self) -> list[int]:
        """All processes of all units."""
        return self._groups.members()

    def wait_until(self, true: Callable[[], bool], seconds: float = 20) -> bool:
        """Wait for something to become true; it is looked at after every change, and often."""
        return self._services.wait_until(true, seconds)

    def has_job(self, name: str) -> bool:
        """Whether it is being stopped because somebody asked, and not because its processes ended."""
        return self._loaded[name].stop if name in self._loaded else False

    def is_down(self, name: str) -> bool:
        """Whether nothing of a unit runs or is about to."""
        return self.state(name) in _DOWN

    def enable(self, name: str) -> None:
        """Let its targets want it."""
        unit = load(self.units, name)
        if unit is None or not unit.words("WantedBy"):
            raise UnplayedError(f"{name} cannot be enabled")
        for target in unit.words("WantedBy"):
            link = self.units / f"{target}.wants" / name
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(f"../{name}")

    def _wants(self, loaded: Loaded) -> tuple[str, ...]:
        folder = self.units / f"{loaded.unit.name}.wants"
        enabled = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return (*loaded.unit.words("Wants"), *enabled)

    def _pulled_in(self, names: Iterable[str]) -> list[str]:
        """The units themselves and all that they need or want, as far as there are files for them."""
        found: list[str] = []
        waiting = [(name, True) for name in names]
        while waiting:
            name, needed = waiting.pop()
            if name in found or (not self._load(name) and not needed):
                continue
            if name not in self._loaded:
                raise UnplayedError(f"{name} is required and there is no such unit")
            found.append(name)
            loaded = self._loaded[name]
            waiting += [(other, True) for other in loaded.required] + [(other, False) for other in self._wants(loaded)]
        return found

    def _load(self, name: str) -> bool:
        """Have the unit's newest text, unless it is up; whether there is such a unit."""
        loaded = self._loaded.get(name)
        if loaded is None or (loaded.state in _DOWN and name not in self._jobs):
            unit = load(self.units, name)
            if unit is None:
                return False
            if loaded is None:
                self._loaded[name] = Loaded(unit=unit)
            else:
                loaded.unit = unit
        return True

    def _stopped_with(self, names: Iterable[str]) -> list[str]:
        found: list[str] = []
        waiting = [name for name in names if name in self._loaded]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.append(name)
                others = self._loaded.values()
                waiting += [o.unit.name for o in others if name in (*o.required, *o.unit.words("PartOf"))]
        return found

    def _spread(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _play(self, loaded: Loaded, job: _Job) -> None:
        """A unit's life, from the wait for its turn to its end."""
        try:
            if self._has_turn(loaded, job):
                self._live(loaded)
        except UnplayedError as error:
            self.faults.append(str(error))
            self._job_done(loaded.unit.name)

    def _has_turn(self, loaded: Loaded, job: _Job) -> bool:
        """Wait for the unit's turn; false where it does not start after all."""
        unit = loaded.unit
        after = {*unit.words("After"), *(self._wants(loaded) if unit.kind == "target" else ())}
        with self._changed:
            self._changed.wait_for(lambda: job.cancelled or not any(map(self._unsettled, after)))
            if job.cancelled:
                return False
            if any(self.state(name) != "active" for name in loaded.required):
                self._dependency_failed(unit.name)
                return False
            loaded.stop, loaded.result = False, "success"
            if any(not self._services.path(path).exists() for path in unit.words("ConditionPathExists")):
                self._job_done(unit.name)
                return False
            self._services.set_state(loaded, "activating")
        return True

    def _live(self, loaded: Loaded) -> None:
        """From the start to the end, again where the unit says so."""
        unit = loaded.unit
        while True:
            {"service": self._serve, "path": self._watch}.get(unit.kind, self._stand)(loaded)
            if self._services.dead or not self._restarts(loaded):
                break
            self._services.set_state(loaded, "activating")
            with self._changed:
                self._changed.wait_for(lambda: loaded.stop, unit.seconds("RestartSec", 0.1) * self._services.time_scale)
        self._end(loaded)

    def _unsettled(self, name: str) -> bool:
        return name in self._jobs or (name in self._loaded and self._loaded[name].state == "deactivating")

    def _job_done(self, name: str) -> None:
        with self._changed:
            self._jobs.pop(name, None)
            self._changed.notify_all()

    def _dependency_failed(self, name: str) -> None:
        """Give up a waiting start and those that wait for it; the last of the chain is told first, as by systemd."""
        with self._changed:
            if job := self._jobs.pop(name, None):
                job.cancelled = True
            for other in [other for other in self._jobs if name in self._loaded[other].required]:
                self._dependency_failed(other)
            self._services.set_state(self._loaded[name], "inactive")
            self.start(*self._loaded[name].unit.words("OnFailure"))
            self._changed.notify_all()

    def _restarts(self, loaded: Loaded) -> bool:
        wanted = loaded.unit.text("Restart", "no")
        if wanted not in ("no", "always", "on-failure"):
            raise UnplayedError(f"Restart={wanted} is not played")
        again = wanted == "always" or (wanted == "on-failure" and loaded.result != "success")
        return again and not loaded.stop and not self._ending and loaded.result != "start-limit-hit"

    def _end(self, loaded: Loaded) -> None:
        """What follows from a unit that is down."""
        name, failed = loaded.unit.name, loaded.result != "success"
        with self._changed:
            waited = self._jobs.pop(name, None) is not None
            self._services.set_state(loaded, "failed" if failed else "inactive")
            loaded.stop = False
            if failed and waited:
                for other in [other for other in self._jobs if name in self._loaded[other].required]:
                    self._dependency_failed(other)
            self.stop(*[o.unit.name for o in self._loaded.values() if name in o.unit.words("BindsTo")])
            if failed:
                self.start(*loaded.unit.words("OnFailure"))
        action = loaded.unit.text("FailureAction", "none")
        if action not in ("none", "poweroff-force"):
            raise UnplayedError(f"FailureAction={action} is not played")
        if failed and action == "poweroff-force" and not self._services.dead:
            self.cut_power()

    def _serve(self, loaded: Loaded) -> None:
        name = loaded.unit.name
        self._services.serve(loaded, tell=lambda: self._job_done(name), others_first=lambda: self._stops_first(name))

    def _stops_first(self, name: str) -> bool:
        """Whether something that was started after this unit still has to stop."""
        others = self._loaded.values()
        return any(o.stop and o.state not in _DOWN and name in o.unit.words("After") for o in others)

    def _stand(self, loaded: Loaded) -> None:
        """A target or a timer: up until it is stopped."""
        self._services.set_state(loaded, "active")
        self._job_done(loaded.unit.name)
        with self._changed:
            self._changed.wait_for(lambda: loaded.stop)

    def _watch(self, loaded: Loaded) -> None:
        """A path unit: starts its service whenever the path is there and the service is not up."""
        path = self._services.path(loaded.unit.text("PathExists"))
        service = loaded.unit.name.removesuffix(".path") + ".service"
        self._services.set_state(loaded, "active")
        self._job_done(loaded.unit.name)
        with self._changed:
            while not self._changed.wait_for(lambda: loaded.stop, POLL_SECONDS):
                if path.exists() and self.state(service) in _DOWN:
                    self.start(service)

    def _shut_down(self) -> None:
        self.stop(*self._loaded)
        self.wait_until(lambda: all(loaded.state in _DOWN for loaded in self._loaded.values()), 600)
        self.survivors = self.members()
        self.cut_power()
