"""Plays one service of a unit file, from its first command until nothing of it runs. Used by `manager`.

What starts it, what follows from its end, and whether it starts again is decided there.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from emulators.systemd.control_group import ControlGroups, Process
from emulators.systemd.unit_file import Command, Unit, UnplayedError

OURS: Final = ("/opt/runner-fleet", "/run/runner-fleet")
"""Paths of units that lie below the emulated root; all others are the machine's."""
POLL_SECONDS: Final = 0.02
_CLEAN_SIGNALS: Final = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE}


@dataclass
class Loaded:
    """A unit and how it does."""

    unit: Unit
    state: str = "inactive"
    result: str = "success"
    stop: bool = False
    main: Process | None = None
    processes: list[Process] = field(default_factory=list[Process])
    starts: list[float] = field(default_factory=list[float])
    leftovers: int = 0
    """Processes that only SIGKILL after the unit's end took away."""

    @property
    def required(self) -> tuple[str, ...]:
        """Without these it does not start."""
        return (*self.unit.words("Requires"), *self.unit.words("BindsTo"))


class Services:
    """The machine under all services: where commands lie, what they find in their environment, how fast time goes."""

    def __init__(
        self,
        root: Path,
        groups: ControlGroups,
        *,
        commands: Path,
        journals: Path,
        environment: Mapping[str, str],
        time_scale: float,
        appended: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.dead = False
        """Without power nothing starts any more."""
        self.events: list[tuple[float, str, str]] = []
        """Every change: time.monotonic(), unit, state."""
        self.time_scale = time_scale
        self.changed = groups.changed
        self._root = root
        self._groups = groups
        self._commands = commands
        self._journals = journals
        self._environment = environment
        self._appended = appended

    def set_state(self, loaded: Loaded, state: str) -> None:
        """Note a unit's new state."""
        with self.changed:
            loaded.state = state
            self.events.append((time.monotonic(), loaded.unit.name, state))
            self.changed.notify_all()

    def wait_until(self, true: Callable[[], bool], seconds: float = 20) -> bool:
        """Wait for something to become true; it is looked at after every change, and often."""
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until:
                return False
            with self.changed:
                self.changed.wait(POLL_SECONDS)
        return True

    def serve(self, loaded: Loaded, *, tell: Callable[[], None], others_first: Callable[[], bool]) -> None:
        """Play it once. `tell` is called when it is up; it stops no earlier than `others_first` allows."""
        unit = loaded.unit
        kind = unit.text("Type", "simple")
        if kind not in ("oneshot", "exec"):
            raise UnplayedError(f"{unit.name}: Type={kind} is not played")
        loaded.result, loaded.main, loaded.processes = "success", None, []
        interval = unit.seconds("StartLimitIntervalSec", 10) * self.time_scale
        loaded.starts = [begun for begun in loaded.starts if time.monotonic() - begun < interval]
        if len(loaded.starts) >= int(unit.text("StartLimitBurst", "5")):
            loaded.result = "start-limit-hit"
            return
        loaded.starts.append(time.monotonic())
        oneshot = kind == "oneshot"
        limit = unit.seconds("TimeoutStartSec", float("inf") if oneshot else 90) * self.time_scale
        until = time.monotonic() + limit
        goes_on = all(self._holds(loaded, command, until) for command in unit.commands("ExecCondition"))
        if goes_on and all(self._run(loaded, command, until) for command in unit.commands("ExecStartPre")):
            if oneshot:
                done = all(self._run(loaded, command, until, main=True) for command in unit.commands("ExecStart"))
                up = done and unit.flag("RemainAfterExit")
            else:
                loaded.main = self._spawn(loaded, unit.commands("ExecStart")[0])
                up = loaded.main is not None
            if up:
                self.set_state(loaded, "active")
                tell()
                with self.changed:
                    self.changed.wait_for(lambda: loaded.stop or (not oneshot and _ended(loaded)))
        self._wind_down(loaded, others_first)

    def _run(self, loaded: Loaded, command: Command, until: float, *, main: bool = False) -> bool:
        """Run a command of a start to its end; false where it fails, takes too long or is to stop."""
        process = self._spawn(loaded, command)
        if process is None:
            return False
        loaded.main = process if main else None
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        with self.changed:
            self.changed.wait_for(lambda: loaded.stop or process.wait_status is not None, left)
        if process.wait_status is None:
            loaded.result = loaded.result if loaded.stop else "timeout"
            return False
        result = _result(loaded.unit, process.wait_status)
        if result != "success" and not command.may_fail:
            loaded.result = result
        return loaded.result == "success"

    def _holds(self, loaded: Loaded, command: Command, until: float) -> bool:
        """Whether a condition holds; exit codes 1 to 254 say no, which is no failure."""
        held = self._run(loaded, command, until)
        if loaded.result == "exit-code" and loaded.processes[-1].wait_status != 255 << 8:
            loaded.result = "success"
        return held

    def _wind_down(self, loaded: Loaded, others_first: Callable[[], bool]) -> None:
        """Stop what runs, run ExecStopPost, then kill what is left."""
        unit = loaded.unit
        mixed = unit.text("KillMode", "control-group") == "mixed"
        number = signal.Signals[unit.text("KillSignal", "SIGTERM")]
        limit = unit.seconds("TimeoutStopSec", 90) * self.time_scale
        self.set_state(loaded, "deactivating")
        with self.changed:
            self.changed.wait_for(lambda: self.dead or not others_first())
        send(loaded, number, everyone=not mixed)
        if not self.wait_until(lambda: _ended(loaded) if mixed else not _members(loaded), limit):
            loaded.result = "timeout" if loaded.result == "success" else loaded.result
            self._kill(loaded)
        main = loaded.main
        environment = {"SERVICE_RESULT": loaded.result}
        if main is not None and self.wait_until(lambda: main.wait_status is not None):
            assert main.wait_status is not None
            if loaded.result == "success":
                environment["SERVICE_RESULT"] = loaded.result = _result(unit, main.wait_status)
            environment |= _exit(main.wait_status)
        for command in unit.commands("ExecStopPost"):
            process = self._spawn(loaded, command, environment)
            if process is None:
                return
            if not self.wait_until(lambda process=process: process.wait_status is not None, limit):
                loaded.result = "timeout" if loaded.result == "success" else loaded.result
                process.signal(signal.SIGKILL, everyone=True)
            elif process.wait_status and not command.may_fail:
                loaded.result = "exit-code" if loaded.result == "success" else loaded.result
                break
        if not mixed and _members(loaded):
            send(loaded, number, everyone=True)
            self.wait_until(lambda: not _members(loaded), limit)
        self._kill(loaded)

    def _kill(self, loaded: Loaded) -> None:
        loaded.leftovers += len(_members(loaded))
        while _members(loaded):
            send(loaded, signal.SIGKILL, everyone=True)
            time.sleep(0.002)

    def _spawn(self, loaded: Loaded, command: Command, environment: Mapping[str, str] | None = None) -> Process | None:
        """Start a command of a unit; None on a machine without power."""
        unit = loaded.unit
        argv = [str(self.path(word)) if word.startswith(OURS) else word for word in command.argv]
        if (replaced := self._commands / Path(argv[0]).name).exists() and not argv[0].startswith(str(self._root)):
            argv[0] = str(replaced)
        if command in unit.commands("ExecStart"):
            argv += self._appended.get(unit.name, ())
        known = {"INVOCATION_ID": uuid.uuid4().hex, **self._environment, **(environment or {})}
        with self.changed:
            if self.dead:
                return None
            process = self._groups.start(argv, known, self._journals / unit.name)
            loaded.processes.append(process)
        return process

    def path(self, path: str) -> Path:
        """Where a path of a unit lies on this machine."""
        return self._root / path.lstrip("/")


def _members(loaded: Loaded) -> list[int]:
    return [pid for process in loaded.processes for pid in process.members()]


def _ended(loaded: Loaded) -> bool:
    return loaded.main is None or loaded.main.wait_status is not None


def send(loaded: Loaded, number: int, *, everyone: bool) -> None:
    """A signal to all of a unit, or to its main process; a frozen one is let go on, as systemd does."""
    for process in list(loaded.processes) if everyone else [loaded.main] if loaded.main else []:
        process.signal(number, everyone=everyone)
        process.signal(signal.SIGCONT, everyone=everyone)


def _result(unit: Unit, wait_status: int) -> str:
    also_clean = unit.words("SuccessExitStatus")
    if os.WIFSIGNALED(wait_status):
        number = signal.Signals(os.WTERMSIG(wait_status))
        clean = number.name in also_clean or (unit.text("Type") != "oneshot" and number in _CLEAN_SIGNALS)
        return "success" if clean else "signal"
    status = str(os.WEXITSTATUS(wait_status))
    return "success" if status == "0" or status in also_clean else "exit-code"


def _exit(wait_status: int) -> dict[str, str]:
    """What ExecStopPost learns of the main process (systemd.exec(5))."""
    if os.WIFSIGNALED(wait_status):
        name = signal.Signals(os.WTERMSIG(wait_status)).name.removeprefix("SIG")
        return {"EXIT_CODE": "dumped" if os.WCOREDUMP(wait_status) else "killed", "EXIT_STATUS": name}
    return {"EXIT_CODE": "exited", "EXIT_STATUS": str(os.WEXITSTATUS(wait_status))}
