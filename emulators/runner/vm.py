"""A runner VM on this machine: its root is a folder, its units are played, its scripts and programs are real.

What would change the machine itself is a stand-in, first on the PATH: users and groups, the kernel's firewall, who may
use sudo, and `setpriv`, which drops its options. The firewall's one effect that a script looks for is played: what
`setpriv` makes curl ask of the metadata server goes to the metadata filter.

The bootstrap and all values of the metadata are the caller's, since this package knows nothing of the fleet.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from emulators.cloud import Cloud, jit_config
from emulators.runner.archive import Archive, GitHub
from emulators.systemd.manager import ServiceManager

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""A VM's, not this machine's, which may have slow stand-ins of its own."""

_COMMANDS: Final = {
    "useradd": "",
    "usermod": "",
    "groupadd": "",
    "chown": "",
    "docker": "",
    "udevadm": "",
    "poweroff": "",
    "nvidia-smi": "exit 1",
    "sudo": 'echo "User runner is not allowed to run sudo on this VM."; exit 1',
    "id": 'case "$1" in -nG) echo runner docker ;; -u) echo 997 ;; esac',
    "nft": "if [[ $* == *list* ]]; then\n"
    '  echo "hook output hook prerouting hook forward hook input skuid { 997, 65536-4294967295 } redirect to :8988"\n'
    "else\n  cat >/dev/null\nfi",
    "df": "printf 'Avail\\n99999999\\n'",
}
_SETPRIV: Final = """while [[ $1 == --* ]]; do shift; done
[[ $1 != curl ]] || set -- "${{@//{metadata}/127.0.0.1:{filter}}}"
exec "$@\""""


class RunnerVm:
    """One VM from its template to its end; `boot` may be called again, as for a reboot."""

    def __init__(self, folder: Path, cloud: Cloud, attributes: Mapping[str, str]) -> None:
        self.cloud = cloud
        self.folder = folder
        self.root = folder / "root"
        self.commands = folder / "commands"
        self.run_dir = self.root / "run/runner-fleet"
        self.runner_dir = self.root / "opt/actions-runner"
        self.state_dir = self.root / "var/lib/runner-fleet"
        for path in (self.commands, self.state_dir, self.root / "etc/systemd/system"):
            path.mkdir(parents=True)
        self.health_port, self.filter_port = _free_port(), _free_port()
        self.github = GitHub(folder=folder / "github")
        self.github.folder.mkdir()
        self.environment = {
            "PATH": f"{self.commands}:{PATH}",
            "GCE_METADATA_HOST": cloud.host,
            "STORAGE_EMULATOR_HOST": f"http://{cloud.host}",
            "RUNNER_FLEET_ROOT": str(self.root),
        }
        for name, body in _COMMANDS.items():
            self.command(name, body)
        self.command("setpriv", _SETPRIV.format(metadata=cloud.host, filter=self.filter_port))
        cloud.metadata |= {
            "instance/id": "4815162342",
            "instance/preempted": "FALSE",
            "instance/maintenance-event": "NONE",
        }
        self.set_attributes(dict(attributes))
        own = {
            "runner-broker-url": cloud.broker_url,
            "runner-deleter-url": cloud.deleter_url,
            "runner-health-port": str(self.health_port),
        }
        self.set_attributes(own)
        secret = cloud.jit_config
        mark = json.dumps({"mark": secret[:40]})
        cloud.jit_config = jit_config(runner=self.github.runner_file, credentials=mark, credentials_rsaparams=secret)

    def set_attributes(self, values: Mapping[str, str]) -> None:
        """Change what the metadata server says."""
        for name, value in values.items():
            self.cloud.metadata[f"instance/attributes/{name}"] = value

    def command(self, name: str, body: str) -> None:
        """Put a command of bash first on the PATH."""
        path = self.commands / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def mirror(self, archive: Archive, bucket: str) -> None:
        """Pin a runner archive, and put it into the bucket where VMs look first."""
        self.set_attributes({"runner-archive-sha256": archive.sha256, "runner-boot-bundle-bucket": bucket})
        self.cloud.objects[bucket, f"runner-archives%2F{archive.sha256}.tar.gz"] = archive.data

    def mark_as_provisioned(self, boot_bundle: bytes) -> None:
        """Let the image be one that a bundle's scripts made: their own marker, as image/provision reads it."""
        sums: dict[str, str] = {}
        with tarfile.open(fileobj=io.BytesIO(boot_bundle)) as archive:
            for entry in archive:
                if entry.name.startswith("image/") and (file := archive.extractfile(entry)):
                    sums[f"./{entry.name.removeprefix('image/')}"] = sha256(file.read()).hexdigest()
        digest = sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
        marker = {"schema": 1, "scripts": f"sha256:{digest}", "gpu": False}
        (self.state_dir / "image.json").write_text(json.dumps(marker))

    def services(self, *, time_scale: float = 1.0) -> ServiceManager:
        """The service manager of one boot; the health server and the metadata filter listen on ports of this VM."""
        own = {"runner-health.service": self.health_port, "runner-metadata-filter.service": self.filter_port}
        return ServiceManager(
            self.root,
            commands=self.commands,
            environment=self.environment,
            time_scale=time_scale,
            appended={unit: ("--host", "127.0.0.1", "--port", str(port)) for unit, port in own.items()},
        )

    def bootstrap(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run the startup script, as the guest agent does on every boot."""
        path = self.folder / "startup-script"
        path.write_text(script)
        return subprocess.run(
            ["/bin/bash", str(path)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def forget_boot(self) -> None:
        """What a reboot takes away."""
        shutil.rmtree(self.root / "run")

    def strangers(self) -> list[str]:
        """Processes of the machine that belong to this VM: by folder, program or arguments."""
        mark = os.fsencode(self.root)
        found: list[str] = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                links = [os.fsencode((process / link).readlink()) for link in ("cwd", "exe")]
                seen = b" ".join([(process / "cmdline").read_bytes(), *links])
            except OSError:
                continue
            if mark in seen and int(process.name) != os.getpid():
                found.append(f"{process.name}: {seen.replace(bytes(1), b' ').decode(errors='replace')}")
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
