"""The stand-in for systemd, held to systemd's manuals by units of its own; ours are read, too, so that none has a
directive that is not played."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.systemd import unit_file
from emulators.systemd.control_group import alive
from emulators.systemd.manager import ServiceManager
from emulators.systemd.unit_file import UnplayedError
from tests.startup.vm import STARTUP

PATH = "/usr/bin:/bin"


class Units:
    """Units that a test writes, and where their commands may note something."""

    def __init__(self, folder: Path, manager: ServiceManager) -> None:
        self.folder = folder
        self.manager = manager

    def write(self, name: str, service: str = "", unit: str = "") -> None:
        """A unit file. `note WORD` in a command is a line in the file `notes`."""
        section = {"path": "Path", "service": "Service"}.get(name.rpartition(".")[2])
        text = f"[Unit]\n{unit}\n" + (f"[{section}]\n{service}\n" if section else "")
        for word in ("note",):
            text = text.replace(f"={word} ", f"={self.folder}/{word} ").replace(
                f"=-{word} ", f"=-{self.folder}/{word} "
            )
        (self.manager.units / name).write_text(text)

    def script(self, name: str, body: str) -> Path:
        """An executable of bash."""
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
        return path

    @property
    def notes(self) -> list[str]:
        """What was noted, in order."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def settle(self, name: str, state: str) -> None:
        """Wait for a unit's state."""
        assert self.manager.wait_until(lambda: self.manager.state(name) == state, 10), (name, self.manager.state(name))


@pytest.fixture
def units(tmp_path: Path) -> Iterator[Units]:
    (tmp_path / "root/etc/systemd/system").mkdir(parents=True)
    (tmp_path / "commands").mkdir()
    manager = ServiceManager(
        tmp_path / "root", commands=tmp_path / "commands", environment={"PATH": PATH}, time_scale=0.05
    )
    with manager:
        found = Units(tmp_path, manager)
        found.script("note", f'printf "%s\\n" "$*" >>"{tmp_path}/notes"')
        yield found


def test_every_directive_of_our_units_is_played_or_knowingly_left_out() -> None:
    for path in sorted((STARTUP / "units").iterdir()):
        unit = unit_file.parse(path.name, path.read_text(), "x")
        assert unit.values, path.name


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nExecReload=/bin/true",
        "[Service]\nAfter=a.service",
        "[Socket]\nListenStream=80",
        "[Service]\nExecStart=/bin/echo $HOME",
        "[Service]\nExecStart=/bin/echo %n",
        "[Unit]\nAfter=a.service \\\n b.service",
    ],
)
def test_what_is_not_played_is_refused(text: str) -> None:
    with pytest.raises(UnplayedError):
        unit_file.parse("a.service", text)


@pytest.mark.parametrize("line", ["ExecStart=!/bin/true", "ExecStart=true"])
def test_a_command_that_is_not_played_is_refused(line: str) -> None:
    with pytest.raises(UnplayedError):
        unit_file.parse("a.service", f"[Service]\n{line}").commands("ExecStart")


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("2min", 120), ("1h 30min", 5400), ("infinity", float("inf"))])
def test_time_spans_are_read_as_systemd_does(text: str, seconds: float) -> None:
    assert unit_file.span_seconds(text) == seconds


def test_what_is_required_starts_first_and_order_is_kept(units: Units) -> None:
    units.write(
        "a.service", "Type=oneshot\nRemainAfterExit=yes\nExecStartPre=note pre\nExecStart=note a1\nExecStart=note a2"
    )
    units.write("b.service", "Type=oneshot\nExecStart=note b", "Requires=a.service\nAfter=a.service")
    units.manager.start("b.service")
    units.settle("b.service", "inactive")
    assert (units.notes, units.manager.state("a.service")) == (["pre", "a1", "a2", "b"], "active")


def test_a_failure_keeps_those_that_require_it_down_and_tells_on_their_behalf_first(units: Units) -> None:
    units.write("a.service", "Type=oneshot\nExecStart=/bin/false", "OnFailure=failed@a.service")
    for name, before in (("b", "a"), ("c", "b")):
        order = f"Requires={before}.service\nAfter={before}.service\nOnFailure=failed@{name}.service"
        units.write(f"{name}.service", f"Type=oneshot\nExecStart=note {name}", order)
    units.write("failed@.service", "Type=oneshot\nExecStart=note failed %i")
    units.manager.start("c.service")
    units.settle("a.service", "failed")
    assert units.manager.wait_until(lambda: len(units.notes) == 3)
    assert sorted(units.notes) == ["failed a", "failed b", "failed c"]
    assert [units.manager.state(f"{name}.service") for name in "abc"] == ["failed", "inactive", "inactive"]


def test_a_condition_that_does_not_hold_skips_and_does_not_fail(units: Units) -> None:
    units.write("a.service", "Type=oneshot\nExecCondition=/bin/false\nExecStart=note a\nExecStopPost=note post")
    units.manager.start("a.service")
    units.settle("a.service", "inactive")
    assert units.manager.wait_until(lambda: units.notes == ["post"])


def test_what_runs_after_the_end_knows_how_it_ended(units: Units) -> None:
    told = units.script("told", f'echo "$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS" >>"{units.folder}/notes"')
    for count, (name, command) in enumerate((("a", "exit 7"), ("b", "kill -KILL $$"), ("c", "exit 0")), start=1):
        command_path = units.script(name, command)
        units.write(f"{name}.service", f"Type=exec\nExecStart={command_path}\nExecStopPost={told}")
        units.manager.start(f"{name}.service")
        assert units.manager.wait_until(lambda count=count: len(units.notes) == count)
    assert units.notes == ["exit-code exited 7", "signal killed KILL", "success exited 0"]


def test_a_command_that_may_fail_does_not_end_the_start(units: Units) -> None:
    units.write("a.service", "Type=oneshot\nExecStartPre=-/bin/false\nExecStart=note on")
    units.manager.start("a.service")
    units.settle("a.service", "inactive")
    assert units.notes == ["on"]


def test_mixed_signals_the_main_process_and_kills_the_rest_after_all(units: Units) -> None:
    body = f"""trap 'exit 0' INT
    (trap 'echo child >>"{units.folder}/notes"' INT TERM
      setsid /bin/sleep 60 & echo $! >"{units.folder}/pid"
      wait; wait) &
    while :; do /bin/sleep 0.01; done"""
    main = units.script("main", body)
    units.write("a.service", f"Type=exec\nExecStart={main}\nExecStopPost=note post\nKillMode=mixed\nKillSignal=SIGINT")
    units.manager.start("a.service")
    pid = units.folder / "pid"
    assert units.manager.wait_until(lambda: pid.exists() and pid.read_text().strip() != "")
    units.manager.stop("a.service")
    units.settle("a.service", "inactive")
    assert units.notes == ["post"]
    assert not alive(int(pid.read_text())), "a process in a session of its own is the unit's all the same"
    assert units.manager.members() == []


def test_a_process_that_ignores_its_signal_is_killed_in_time(units: Units) -> None:
    main = units.script("main", f'trap "" TERM; echo up >>"{units.folder}/notes"; while :; do /bin/sleep 0.01; done')
    units.write("a.service", f"Type=exec\nExecStart={main}\nTimeoutStopSec=2")
    units.manager.start("a.service")
    assert units.manager.wait_until(lambda: units.notes == ["up"])
    units.manager.stop("a.service")
    units.settle("a.service", "failed")
    assert units.manager.loaded("a.service").result == "timeout"


def test_a_start_that_takes_too_long_fails(units: Units) -> None:
    units.write("a.service", "Type=oneshot\nExecStart=/bin/sleep 60\nTimeoutStartSec=2\nExecStopPost=note post")
    units.manager.start("a.service")
    units.settle("a.service", "failed")
    assert (units.manager.loaded("a.service").result, units.notes) == ("timeout", ["post"])


def test_a_service_starts_again_until_its_limit(units: Units) -> None:
    units.write(
        "a.service",
        "Type=exec\nExecStart=note again\nRestart=always\nRestartSec=0",
        "StartLimitIntervalSec=60min\nStartLimitBurst=3",
    )
    units.manager.start("a.service")
    units.settle("a.service", "failed")
    assert (units.notes, units.manager.loaded("a.service").result) == (["again"] * 3, "start-limit-hit")


def test_a_stop_spreads_to_parts_and_to_those_that_require_or_are_bound(units: Units) -> None:
    run = "Type=exec\nExecStart=/bin/sleep 60"
    units.write("a.service", run)
    units.write("part.service", run, "PartOf=a.service")
    units.write("needs.service", run, "Requires=a.service\nAfter=a.service")
    units.write("other.service", run, "Wants=a.service")
    units.write("short.service", "Type=exec\nExecStart=/bin/sleep 0.2")
    units.write("bound.service", run, "BindsTo=short.service\nAfter=short.service")
    names = ("part", "needs", "other", "bound")
    units.manager.start(*(f"{name}.service" for name in names))
    units.settle("short.service", "inactive")
    units.settle("bound.service", "inactive")
    units.manager.stop("a.service")
    units.settle("needs.service", "inactive")
    units.settle("part.service", "inactive")
    assert units.manager.state("other.service") == "active"


def test_a_path_starts_its_service_once_it_is_there(units: Units) -> None:
    units.write("a.path", "PathExists=/run/runner-fleet/here")
    units.write("a.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=note seen")
    units.manager.start("a.path")
    units.settle("a.path", "active")
    (units.folder / "root/run/runner-fleet").mkdir(parents=True)
    (units.folder / "root/run/runner-fleet/here").touch()
    units.settle("a.service", "active")
    assert units.notes == ["seen"]


def test_at_power_off_units_stop_in_reverse_order_and_nothing_starts(units: Units) -> None:
    for name, order in (("a", ""), ("b", "After=a.service\nRequires=a.service")):
        units.write(f"{name}.service", f"Type=exec\nExecStart=/bin/sleep 60\nExecStopPost=note {name}", order)
    units.manager.start("b.service")
    units.settle("b.service", "active")
    units.manager.power_off()
    assert units.manager.powered_off.wait(10)
    assert units.notes == ["b", "a"]
    assert not units.manager.start("a.service")


def test_a_failure_may_cut_the_power(units: Units) -> None:
    units.write("a.service", "Type=oneshot\nExecStart=/bin/false", "FailureAction=poweroff-force")
    units.manager.start("a.service")
    assert units.manager.powered_off.wait(10)


def test_systemctl_says_what_it_does_not_play(units: Units) -> None:
    asks = units.script("asks", f'"{units.folder}/commands/systemctl" reload a.service || echo "no: $?"')
    units.write("a.service", f"Type=oneshot\nExecStart={asks}")
    units.manager.start("a.service")
    units.settle("a.service", "inactive")
    assert "systemctl reload a.service is not played" in units.manager.journal("a.service")
    assert "no: 1" in units.manager.journal("a.service")
    assert units.manager.faults == ["systemctl reload a.service is not played"]
