"""The units that go to a VM: what systemd says of them, and what the boot's order promises."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

STARTUP = Path(__file__).parents[2] / "startup"
UNITS = STARTUP / "units"
BUNDLE = Path("/opt/runner-fleet/current")
BOOT = ["provision", "contain", "preflight", "install", "register"]
SYSTEM_UNITS = ("docker.service", "nftables.service")
LONG_LIVED = ("runner-boot-deadline", "runner-health", "runner-metadata-filter", "runner-preemption", "runner")
"""Their main process is what the script becomes; no wrapper is left."""


def directives(name: str) -> dict[str, list[str]]:
    """A unit's directives, each with all its values. A name stands in one section only, so sections are left out."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def names(value: list[str]) -> set[str]:
    return {name for words in value for name in words.split()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file tree with our units, our scripts and just enough of a system for systemd to judge them."""
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    for command in ("mkdir", "systemctl"):
        (tmp_path / "usr/bin" / command).touch(mode=0o755)
    targets = ["basic", "sysinit", "shutdown", "network-online", "network", "multi-user", "timers", "paths"]
    for target in targets:
        (system / f"{target}.target").write_text("[Unit]\n")
    for service in SYSTEM_UNITS:
        (system / service).write_text("[Service]\nExecStart=/usr/bin/mkdir\n")
    bundle = tmp_path / BUNDLE.relative_to("/")
    for part in ("bin", "image", "lib"):
        shutil.copytree(STARTUP / part, bundle / part)
    shutil.copytree(UNITS, tmp_path / "etc/systemd/system")
    return tmp_path


def verify(root: Path) -> tuple[int, str]:
    if not shutil.which("systemd-analyze"):
        reason = "systemd-analyze is not installed, so the units were not verified"
        print(reason)  # noqa: T201 - a skipped check is said aloud
        pytest.skip(reason)
    units = [path.name.replace("@.", "@preflight.") for path in sorted(UNITS.iterdir())]
    command = ["systemd-analyze", f"--root={root}", "--man=no", "verify", *units]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def test_systemd_accepts_every_unit(root: Path) -> None:
    assert verify(root) == (0, "")


@pytest.mark.parametrize(
    ("unit", "old", "new", "complaint"),
    [
        ("runner.service", "KillMode=mixed", "KillMode=mixd", "mixd"),
        ("runner.service", "OOMPolicy", "OOMPolitics", "OOMPolitics"),
        ("runner-install.service", "bin/install", "bin/instal", "not executable"),
        ("runner-retire.timer", "OnActiveSec=5min", "OnActiveSec=5 bananas", "bananas"),
    ],
)
def test_systemd_would_complain_about_a_mistake(root: Path, unit: str, old: str, new: str, complaint: str) -> None:
    path = root / "etc/systemd/system" / unit
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert complaint in verify(root)[1]


def test_the_target_is_started_by_the_bootstrap_alone() -> None:
    text = (UNITS / "runner.target").read_text()
    assert not re.search(r"^\[Install\]", text, re.M), "an image captured from a runner would start it unchecked"


def test_every_unit_has_a_name_that_the_bootstrap_clears_away() -> None:
    strangers = [path.name for path in UNITS.iterdir() if not re.match(r"runner[-.]", path.name)]
    assert strangers == [], "the bootstrap removes an older bundle's units by these names"


def test_every_command_of_ours_is_in_the_bundle_and_can_be_executed() -> None:
    for unit in UNITS.iterdir():
        for key, values in directives(unit.name).items():
            for command in values if key.startswith("Exec") else ():
                path = Path(command.lstrip("+-").split()[0])
                if path.is_relative_to(BUNDLE):
                    ours = STARTUP / path.relative_to(BUNDLE)
                    assert ours.stat().st_mode & 0o111 == 0o111, f"{unit.name}: {command}"
                else:
                    assert path in {Path("/usr/bin/systemctl"), Path("/usr/bin/mkdir")}, f"{unit.name}: {command}"


def test_every_unit_named_by_another_exists() -> None:
    for unit in UNITS.iterdir():
        given = directives(unit.name)
        relations = ("Requires", "Wants", "After", "Before", "BindsTo", "PartOf", "OnFailure", "WantedBy")
        for name in names([value for relation in relations for value in given.get(relation, [])]):
            ours = (UNITS / re.sub("@.*?[.]", "@.", name)).is_file()
            assert ours or name in {*SYSTEM_UNITS, "network-online.target"}, f"{unit.name} names {name}"


def test_each_step_waits_for_the_one_before_and_fails_with_it() -> None:
    for earlier, later in zip(BOOT, [*BOOT[1:], ""], strict=True):
        unit = directives(f"runner-{later}.service" if later else "runner.service")
        before = f"runner-{earlier}.service"
        assert before in names(unit["Requires"])
        assert before in names(unit["After"])


@pytest.mark.parametrize("step", BOOT)
def test_a_step_that_fails_or_hangs_ends_the_vm_with_its_name(step: str) -> None:
    unit = directives(f"runner-{step}.service")
    assert unit["OnFailure"] == [f"runner-boot-failed@{step}.service"]
    assert unit["Type"] == ["oneshot"]
    assert "TimeoutStartSec" in unit, "a oneshot has no time limit of its own"
    end = directives("runner-boot-failed@.service")
    assert end["ExecStart"][0] == f"{BUNDLE}/bin/report-end boot-failed:%i"
    assert "start --no-block runner-delete.service" in end["ExecStart"][1]
    assert end["OnFailure"] == ["runner-delete.service"], "a VM goes also when nothing could be recorded"
    assert "is-failed" in end["ExecCondition"][0], "the steps after the failed one are no reason"


def test_the_listener_is_the_units_main_process_and_its_end_is_the_vms() -> None:
    unit = directives("runner.service")
    assert (unit["Type"], unit["Restart"], unit["KillMode"]) == (["exec"], ["no"], ["mixed"])
    assert "TimeoutStopSec" in unit
    assert unit["ExecStopPost"][0] == f"{BUNDLE}/bin/report-end"
    assert "start --no-block runner-delete.service" in unit["ExecStopPost"][1]
    assert directives("runner-delete.service")["FailureAction"] == ["poweroff-force"]


@pytest.mark.parametrize("name", LONG_LIVED)
def test_nothing_stands_between_systemd_and_a_long_lived_process(name: str) -> None:
    unit = directives(f"{name}.service")
    assert unit["Type"] == ["exec"]
    script = STARTUP / Path(unit["ExecStart"][0]).relative_to(BUNDLE)
    if name in {"runner-boot-deadline", "runner-preemption"}:
        return  # the watchers are bash themselves
    assert re.search(r"^\s*exec ", script.read_text(), re.M)


@pytest.mark.parametrize("name", ["runner-health", "runner-metadata-filter"])
def test_servers_run_as_nobody_else_and_come_back(name: str) -> None:
    unit = directives(f"{name}.service")
    assert (unit["DynamicUser"], unit["NoNewPrivileges"], unit["Restart"]) == (["yes"], ["yes"], ["always"])
    assert unit["StartLimitIntervalSec"] == ["0"], "a server that is given up is a VM that is healed to death"


def test_idle_vms_of_a_group_do_not_ask_to_leave_at_one_time() -> None:
    assert "RandomizedDelaySec" in directives("runner-retire.timer")


def test_what_stands_in_the_install_section_starts_with_the_target() -> None:
    for unit in UNITS.iterdir():
        for wanted_by in directives(unit.name).get("WantedBy", []):
            assert wanted_by == "runner.target"
