"""A runner VM under a temporary root: the scripts of this tree, run by bash, with fakes first on their PATH.

What changes a machine is faked and recorded: `systemctl`, `setpriv` (drops its options and runs the rest), `useradd`,
`chown` and their like. `sleep` returns at once and records, so waiting costs a test nothing and can be added up. `curl`
records its arguments and environment and then is the real one, with its time limits cut to fractions of a second.
All else is real: bash, coreutils, tar, python3, HTTP on loopback.

With RUNNER_FLEET_TRACE naming a folder, every bash script leaves there which of its lines ran (`line_coverage`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emulators.cloud import IDENTITY_MARK, JIT_MARK, TOKEN, Cloud
from fleet.metadata import RunnerMetadata, attribute_name

STARTUP = Path(__file__).parents[2] / "startup"
PARTS = ("bin", "hooks", "image", "lib", "units")
TRACE = Path(__file__).with_name("trace.sh")
SECRETS = (TOKEN, IDENTITY_MARK, JIT_MARK)

_RECORDED = ("systemctl", "useradd", "groupadd", "usermod", "chown", "nft", "logger", "udevadm", "poweroff")
_FAST_CURL = """
{{ printf '%s\\n' "$*"; env; }} >>"{record}"
arguments=()
while (($#)); do
  case "$1" in
    --max-time) arguments+=("$1" {max_time}) && shift 2 ;;
    --connect-timeout) arguments+=("$1" 1) && shift 2 ;;
    *) arguments+=("$1") && shift ;;
  esac
done
exec {curl} "${{arguments[@]}}"
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a script ended. `log` has the lines on stderr."""

    status: int
    out: str
    log: list[str]


class Vm:
    """One VM. `attributes` overrides the contract's examples; more can be changed in `cloud.metadata` at any time."""

    def __init__(self, folder: Path, cloud: Cloud, attributes: Mapping[str, str] | None = None) -> None:
        self.cloud = cloud
        self.root = folder / "root"
        self.bundle = self.root / "opt/runner-fleet" / ("b" * 64)
        self.run_dir = self.root / "run/runner-fleet"
        self.job_dir = self.run_dir / "job"
        self.state_dir = self.root / "var/lib/runner-fleet"
        self.runner_dir = self.root / "opt/actions-runner"
        for directory in (self.run_dir, self.state_dir, self.bundle):
            directory.mkdir(parents=True)
        for part in PARTS:
            if (STARTUP / part).is_dir():
                shutil.copytree(STARTUP / part, self.bundle / part, ignore=shutil.ignore_patterns("__pycache__"))
        (self.bundle.parent / "current").symlink_to(self.bundle.name)
        cloud.metadata |= {
            "instance/id": "4815162342",
            "instance/name": "gh-runner-presubmit-cpu-us-west1-ab12",
            "instance/zone": "projects/815/zones/us-west1-a",
            "instance/preempted": "FALSE",
            "instance/maintenance-event": "NONE",
        }
        examples = {attribute_name(name): field.examples for name, field in RunnerMetadata.model_fields.items()}
        values = {name: given[0] for name, given in examples.items() if given}
        values |= {"runner-broker-url": cloud.broker_url, "runner-deleter-url": cloud.deleter_url}
        self.set_attributes(values | dict(attributes or {}))
        self._fakes = folder / "fakes"
        self._fakes.mkdir()
        self._records = folder / "records"
        self._records.mkdir()
        self.environment = {"GCE_METADATA_HOST": cloud.host, "http_proxy": "http://127.0.0.1:9", "HOME": str(self.root)}
        for name in _RECORDED:
            self.fake(name, "")
        self.fake("sleep", "")
        self.fake("setpriv", 'while [[ $1 == --* ]]; do shift; done\nexec "$@"')
        if trace := os.environ.get("RUNNER_FLEET_TRACE"):
            # -I is dropped: an isolated interpreter finds no coverage.py. Arguments and everything else stay.
            measure = f"-m coverage run --parallel-mode --data-file={trace}/.coverage --include='*/lib/*.py'"
            self.fake("python3", f'[[ $1 != -I ]] || shift\nexec {sys.executable} {measure} "$@"')
        self.cut_curl_at(5)

    def set_attributes(self, values: Mapping[str, str]) -> None:
        """Change what the metadata server says; a name without runner- in front is completed."""
        for name, value in values.items():
            full = name if name.startswith("runner-") else f"runner-{name}"
            self.cloud.metadata[f"instance/attributes/{full}"] = value

    def fake(self, name: str, body: str) -> None:
        """Put a command first on the PATH that records its arguments and then runs `body`."""
        path = self._fakes / name
        path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >>"{self._records}/{name}"\n{body}\n')
        path.chmod(0o755)

    def cut_curl_at(self, max_time_seconds: float) -> None:
        """Let no request take longer, whatever the script allows it."""
        record = self._records / "curl"
        body = _FAST_CURL.format(record=record, max_time=max_time_seconds, curl=_real("curl"))
        (self._fakes / "curl").write_text("#!/bin/bash\n" + body)
        (self._fakes / "curl").chmod(0o755)

    def real(self, name: str) -> None:
        """Take a fake away."""
        (self._fakes / name).unlink()

    def record(self, name: str) -> list[str]:
        """What a fake was called with, one line a call (`curl`: its environment too)."""
        path = self._records / name
        return path.read_text().splitlines() if path.exists() else []

    def pauses_seconds(self) -> list[float]:
        """What was slept, or would have been."""
        return [float(line) for line in self.record("sleep")]

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `bin/…` or `hooks/…` as the leader of its own process group."""
        return subprocess.Popen(
            [str(self.bundle.parent / "current" / script), *arguments],
            env=self._environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, timeout_seconds: float = 60, **environment: str) -> Outcome:
        """Run a script to its end; it must leave no process of its group behind."""
        process = self.start(script, *arguments, **environment)
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert not group_alive(process.pid), f"{script} left processes of its group behind"
        outcome = Outcome(status=process.returncode, out=out, log=err.splitlines())
        self.assert_nothing_secret(out + err)
        return outcome

    def assert_nothing_secret(self, *texts: str) -> None:
        """No token and no just-in-time configuration in a log, an argument list or an environment."""
        searched = "\n".join([*texts, *self.record("curl"), *self.record("setpriv"), *self.record("systemctl")])
        leaked = [mark for mark in (*SECRETS, self.cloud.jit_config) if mark in searched]
        assert not leaked, f"{leaked} in what a log or a process list shows"

    def end_record(self) -> dict[str, object]:
        """The one record of how this VM ended."""
        return json.loads((self.run_dir / "end.json").read_text())

    def failure(self) -> str:
        """What a failed step left for the record."""
        return (self.run_dir / "failure").read_text().strip()

    def _environment(self) -> dict[str, str]:
        python = Path(sys.executable).parent
        # Before PATH: a shim of a version manager would cost a third of a second at each start.
        path = f"{self._fakes}:{python}:{os.environ['PATH']}"
        environment = {"PATH": path, **self.environment}
        trace = os.environ.get("RUNNER_FLEET_TRACE")
        if trace:
            environment |= {"BASH_ENV": str(TRACE), "RUNNER_FLEET_TRACE": trace}
        return environment


def group_alive(group: int) -> bool:
    """Whether any process of a group runs; one that is dead and not yet reaped does not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def _real(name: str) -> str:
    path = shutil.which(name)
    assert path, f"the tests need {name}"
    return path
