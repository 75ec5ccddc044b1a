"""A VM under a temporary root that runs the rendered bootstrap with the real bash, curl, tar and coreutils.

Three commands come first on its PATH: `systemctl`, which only records; `sleep`, which records and returns at once; and
`curl`, which records its arguments and environment and then becomes the real one. `cut_off_at` adds any other command
in a form that kills the script before or after it did its work.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from emulators.cloud import Cloud
from startup.bundle import Bundle
from startup.render import bootstrap
from tests.startup.vm import TRACE

BUCKET = "example-boot-bundles"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    status: int
    out: str
    log: list[str]
    """The lines on stderr."""


class Machine:
    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.cloud = cloud
        self.root = folder / "root"
        self.base = self.root / "opt/runner-fleet"
        self.units = self.root / "etc/systemd/system"
        self.units.mkdir(parents=True)
        self.environment = {
            "GCE_METADATA_HOST": cloud.host,
            "STORAGE_EMULATOR_HOST": f"http://{cloud.host}",
            "RUNNER_FLEET_ROOT": str(self.root),
            "http_proxy": "http://127.0.0.1:9",  # nobody listens: no request may go through a proxy
        }
        self._folder = folder
        self._fakes = folder / "fakes"
        self._fakes.mkdir()
        self._records = folder / "records"
        self._records.mkdir()
        self._fake("systemctl", f'echo "$*" >>"{self._records}/systemctl"')
        self._fake("sleep", f'echo "$*" >>"{self._records}/sleep"')
        self._fake("curl", f'{{ printf "%s\\n" "$*"; env; }} >>"{self._records}/curl"\nexec {_real("curl")} "$@"')

    @property
    def systemctl_calls(self) -> list[str]:
        return self._record("systemctl")

    @property
    def pauses_seconds(self) -> list[int]:
        return [int(line) for line in self._record("sleep")]

    @property
    def curl_record(self) -> str:
        """Every argument and environment that curl was given."""
        return "\n".join(self._record("curl"))

    def directory(self, bundle: Bundle) -> Path:
        return self.base / bundle.sha256

    def leftovers(self) -> list[str]:
        """What lies in the base folder beside whole bundles, the link and the lock."""
        known = {"current", ".lock"}
        return sorted(path.name for path in self.base.iterdir() if path.name not in known and len(path.name) != 64)

    def script(self, bundle: Bundle, boot_deadline_seconds: int = 600) -> Path:
        text = bootstrap(bundle_bucket=BUCKET, bundle_sha256=bundle.sha256, boot_deadline_seconds=boot_deadline_seconds)
        path = self._folder / f"bootstrap-{bundle.sha256[:8]}.sh"
        path.write_text(text)
        return path

    def start(self, bundle: Bundle, *, boot_deadline_seconds: int = 600, umask: int = 0o022) -> subprocess.Popen[str]:
        environment = {"PATH": f"{self._fakes}:{os.environ['PATH']}", **self.environment}
        if trace := os.environ.get("RUNNER_FLEET_TRACE"):
            environment |= {"BASH_ENV": str(TRACE), "RUNNER_FLEET_TRACE": trace}
        return subprocess.Popen(
            ["bash", str(self.script(bundle, boot_deadline_seconds))],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        )

    def boot(self, bundle: Bundle, *, boot_deadline_seconds: int = 600, umask: int = 0o022) -> Outcome:
        return outcome(self.start(bundle, boot_deadline_seconds=boot_deadline_seconds, umask=umask))

    def publish(self, bundle: Bundle) -> None:
        self.cloud.objects[BUCKET, bundle.object_name] = bundle.data

    def break_command(self, name: str, message: str) -> None:
        self._fake(name, f'echo "{message}" >&2\nexit 1')

    def cut_off_at(self, name: str, how: signal.Signals, *, after: bool) -> None:
        kill = f"kill -{how.name.removeprefix('SIG')} $PPID"
        real = f'{_real(name)} "$@"'
        self._fake(name, f"{real}\nstatus=$?\n{kill}\nexit $status" if after else f"{kill}\nexec {real}")

    def repair(self, name: str) -> None:
        (self._fakes / name).unlink()

    def _fake(self, name: str, body: str) -> None:
        path = self._fakes / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def _record(self, name: str) -> list[str]:
        path = self._records / name
        return path.read_text().splitlines() if path.exists() else []


def outcome(process: subprocess.Popen[str], *, timeout_seconds: float = 60) -> Outcome:
    out, err = process.communicate(timeout=timeout_seconds)
    return Outcome(status=process.returncode, out=out, log=err.splitlines())


def _real(name: str) -> str:
    path = shutil.which(name)
    assert path, f"the tests need {name}"
    return path
