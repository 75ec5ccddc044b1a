"""A stock Ubuntu 24.04 in a folder, for `startup/image/provision`: apt, dpkg and what else changes a machine, faked.

What the repositories offer is a table of name, version, digest and origin; what is installed is a file a package. The
commands are bash and awk over the two, so they are quick, and they know of apt only what provision uses: versions,
preferences with exact versions, origins, digests. Everything below the VM's root is real.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from startup.image import manifest
from tests.startup.vm import STARTUP, Outcome, Vm

TABLE = STARTUP / "image/pins.json"
KERNEL = "6.17.0-1021-gcp"
UBUNTU = "http://us-central1.gce.archive.ubuntu.com/ubuntu noble-updates/main"
DEPENDENCY = "libdepends1"
"""Comes with git, and stands in no table."""

_REST = ("tar", "snapd", "base-files", DEPENDENCY)

_APT_GET = """
case " $* " in
  *" update "*)
    [[ -e $STATE/network ]] || exit 100
    cp -r "$ROOT/etc/apt" "$STATE/seen.$RANDOM"
    ;;
  *" install "*)
    names="$*"
    names="${names##*--no-install-recommends}"
    names="${names/--allow-downgrades/}"
    [[ " $names " != *" git "* ]] || names+=" libdepends1"
    # The last version of a name is the candidate, unless an exact one is preferred and there.
    awk -v names="$names" -v installed="$STATE/installed" '
      FILENAME ~ /runner-fleet-pins$/ { if ($1 == "Package:") name = $2; if ($1 == "Pin:") pinned[name] = $3; next }
      { candidate[$1] = $2; known[$1, $2] }
      END {
        count = split(names, wanted, " ")
        for (at = 1; at <= count; at++) {
          name = wanted[at]
          if (!(name in candidate)) { print "E: Unable to locate package " name >"/dev/stderr"; exit 100 }
          version = ((name, pinned[name]) in known) ? pinned[name] : candidate[name]
          print version >(installed "/" name)
          close(installed "/" name)
        }
      }' "$ROOT/etc/apt/preferences.d/runner-fleet-pins" "$STATE/offered"
    ;;
  *" purge snapd "*) rm -f "$STATE/installed/snapd" "$ROOT/usr/bin/snap" ;;
esac
"""
_APT_CACHE = """
case "$1" in
  show)
    shift
    printf '%s\\n' "$@" | awk 'NR == FNR { wanted[$1]; next }
      ($1 "=" $2) in wanted { print "Package: " $1 "\\nVersion: " $2 "\\nSHA256: " $3 "\\nDescription: x\\n" }
    ' - "$STATE/offered"
    ;;
  policy)
    cd "$STATE/installed"
    grep -H . "${@:2}" | tr : ' ' | awk '
      NR == FNR { origin[$1, $2] = $4 " " $5; next }
      {
        print $1 ":\\n  Installed: " $2 "\\n  Version table:"
        print "     9.9 500\\n        500 http://later.example x/y Packages"
        print " *** " $2 " 500\\n        500 " origin[$1, $2] " amd64 Packages\\n        100 /var/lib/dpkg/status"
      }' "$STATE/offered" -
    ;;
esac
"""
_DPKG_QUERY = """
cd "$STATE/installed"
grep -H . * | sed "s/^\\([^:]*\\):\\(.*\\)/installed\\t\\1\\t\\2\\t$(<"$STATE/architecture")/"
printf 'config-files\\tremoved-long-ago\\t1\\tall\\n'
"""
_GPG = """
shown() { awk '{ print "pub:-:2048:1:\\nfpr:::::::::" $1 ":\\nsub:-:\\nfpr:::::::::5B5B:" }' "$1"; }
home="$2" last="${*: -1}"
case " $* " in
  *" --import "*) cp "$last" "$home/keys" ;;
  *" --export "*) for key; do grep -x -e "$key" "$home/keys"; done; true ;;
  *" --show-keys "*) shown "$last" ;;
esac
"""
_CURL = """
url="${*: -1}"
[[ $url != *computeMetadata* ]] || { printf '\\n404'; exit; }
[[ -e $STATE/network ]] || exit 6
while (($#)); do [[ $1 != -o ]] || file="$2"; shift; done
cp "$STATE/web/$(sha256sum <<<"$url" | cut -c 1-64)" "$file" || exit 22
"""
_SYSTEMCTL = """
case "$1" in
  mask) shift; for unit; do : >"$STATE/masked/$unit"; done ;;
  is-enabled) [[ -e $STATE/masked/$2 ]] && echo masked && exit 1; echo enabled ;;
esac
"""
_GCLOUD = """
case " $* " in
  *" config set --installation "*) echo "${*: -1}" >"$STATE/composite" ;;
  *" config get "*) cat "$STATE/composite" ;;
esac
"""
_BODIES = {
    "apt-get": _APT_GET,
    "apt-cache": _APT_CACHE,
    "dpkg": '[[ $1 != --print-architecture ]] || cat "$STATE/architecture"',
    "dpkg-query": _DPKG_QUERY,
    "gpg": _GPG,
    "curl": _CURL,
    "systemctl": _SYSTEMCTL,
    "gcloud": _GCLOUD,
    "uname": f"echo {KERNEL}",
    "getent": "[[ -e $STATE/runner ]]",
    "useradd": ': >"$STATE/runner"',
    "userdel": "",
    "id": "echo runner",
    "sysctl": '[[ "$*" != *--values* ]] || echo 28',
    "docker": "",
    "modprobe": "",
    "nvidia-smi": "echo 'GPU 0: Tesla T4 (UUID: GPU-1)'",
    "nvidia-ctk": 'mkdir -p "$ROOT/etc/docker"; echo nvidia >"$ROOT/etc/docker/daemon.json"',
    "cloud-init": "",
    "journalctl": "",
    "sync": "",
    "python3": f'exec {os.path.realpath(sys.executable)} "$@"',  # a version manager's is slow
}


class Stock:
    """A VM as Google hands it out: nothing of ours but the bundle. `offered` may be changed; `publish` tells apt."""

    def __init__(self, vm: Vm, folder: Path, architecture: str = "amd64") -> None:
        self.vm = vm
        self.state = folder / "machine"
        self.manifest_path = vm.state_dir / "image.json"
        for name in ("installed", "masked", "web"):
            (self.state / name).mkdir(parents=True)
        (self.state / "network").touch()
        (self.state / "architecture").write_text(architecture + "\n")
        self._stock_files()
        table = json.loads(TABLE.read_text())
        names = [entry["name"].replace("{kernel}", KERNEL) for entry in table["packages"]]
        self.offered = {(name, "1.0-1"): digest(name, "1.0-1") for name in sorted({*names, *_REST})}
        self.publish()
        for name in ("tar", "snapd", "base-files"):
            (self.state / "installed" / name).write_text("1.0-1\n")
        for repository in table["repositories"].values():
            keys = [*repository["key_fingerprints"], "F" * 40]  # a vendor's file has more keys than we trust
            self.serve(repository["key_url"], "\n".join(keys) + "\n")
        for name in _BODIES:
            self.repair(name)

    def publish(self) -> None:
        """Tell apt what is offered now; the last version of a name is the candidate."""
        lines = [f"{name}\t{version}\t{sha256}\t{UBUNTU}" for (name, version), sha256 in self.offered.items()]
        (self.state / "offered").write_text("\n".join(lines) + "\n")

    def newer(self, version: str) -> None:
        """Every package of the archive gets a newer version; the old one stays."""
        self.offered |= {(name, version): digest(name, version) for name, _ in list(self.offered)}
        self.publish()

    def serve(self, url: str, content: str) -> None:
        """Put a file on the web."""
        (self.state / "web" / hashlib.sha256(f"{url}\n".encode()).hexdigest()).write_text(content)

    def add_gpu(self) -> None:
        """Plug in a device of NVIDIA's."""
        device = self.vm.root / "sys/bus/pci/devices/0000:00:04.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")

    def fake(self, name: str, body: str) -> None:
        """A command that knows STATE and ROOT."""
        self.vm.fake(name, f'STATE="{self.state}" ROOT="{self.vm.root}"\n{body}')

    def first(self, name: str, body: str) -> None:
        """Let a command do something before what it does anyway."""
        self.fake(name, f"{body}\n{_BODIES[name]}")

    def cut_off_at(self, name: str, when: str) -> None:
        """Kill provision and its process group once a command is called with arguments that contain `when`."""
        kill = 'read -r _ _ _ _ _ session _ </proc/$$/stat; kill -9 -- "-$session"; exit'
        self.first(name, f'[[ "$*" != *"{when}"* ]] || {{ {kill}; }}')

    def repair(self, name: str) -> None:
        """Let a command be what it was."""
        self.fake(name, _BODIES[name])

    def provision(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Outcome:
        return self.vm.run("image/provision", *arguments, timeout_seconds=60, **(environment or {}))

    def manifest(self) -> dict[str, object]:
        return json.loads(self.manifest_path.read_text())

    def packages(self) -> dict[str, dict[str, str]]:
        """The manifest's packages by name."""
        return {entry["name"]: entry for entry in json.loads(self.manifest_path.read_text())["packages"]}

    def installed(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in (self.state / "installed").iterdir()}

    def apt_calls(self) -> list[str]:
        return self.vm.record("apt-get")

    def _stock_files(self) -> None:
        root = self.vm.root
        release = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
        for name, text in {
            "etc/os-release": release,
            "etc/apt/sources.list.d/ubuntu.sources": "URIs: http://us-central1.gce.archive.ubuntu.com/ubuntu/\n",
            "etc/machine-id": "4" * 32 + "\n",
            "usr/bin/snap": "",
            "var/lib/apt/lists/archive_Packages": "",
            "var/log/syslog": "a secret\n",
            "var/log/apt/history.log.1": "old\n",
            "etc/ssh/ssh_host_ed25519_key": "private\n",
            "root/.bash_history": "export TOKEN=1\n",
            "root/.ssh/authorized_keys": "ssh-ed25519 A\n",
            "home/ada/.ssh/authorized_keys": "ssh-ed25519 B\n",
            "home/ubuntu/.ssh/authorized_keys": "ssh-ed25519 C\n",
            "var/lib/google/google_users": "ada\n../etc\n",
            "tmp/left": "",
            "etc/systemd/system/runner.target": "[Unit]\n",
            "etc/systemd/system/multi-user.target.wants/runner-job.service": "",
            "opt/actions-runner/.credentials": "secret\n",
            "home/runner/.docker/config.json": "secret\n",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)


def digest(name: str, version: str) -> str:
    """What the archive says of a package file."""
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


def names(*, gpu: bool) -> set[str]:
    """The table's packages."""
    return set(manifest.wanted(TABLE, None, "amd64", KERNEL).names(gpu=gpu))
