"""The packages of an image: which are wanted, which apt offers, which are there, and the manifest that says so.

`provision` asks here; nothing is installed or changed here. What is wanted comes from pins.json and, with `--pins`,
from the manifest of an earlier bake, whose every package is then pinned to its version and its digest. Digests are
SHA-256 of the package file, as apt's signed lists tell them.

Exit codes: 0 yes or done, 1 not `finished`, 65 refused: stderr has the reasons.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = 1

# Debian policy manual, 5.6.7 and 5.6.12.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class PinsError(Exception):
    """What is wanted cannot be had; the text has one reason a line."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A package's wanted version; the digest is empty where no list told one."""

    version: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The table's packages by group, and every pin, also of packages that only dependencies bring."""

    groups: dict[str, list[str]]
    pins: dict[str, Pin]

    def names(self, *, gpu: bool) -> list[str]:
        """All packages of the table that this machine needs."""
        return [name for group, names in self.groups.items() if gpu or group != "gpu" for name in names]


def wanted(table: Path, pins: Path | None, architecture: str, kernel: str) -> Wanted:
    """What pins.json and a fed-back manifest ask for. Raises PinsError for a manifest of another kind of machine."""
    groups: dict[str, list[str]] = {}
    found: dict[str, Pin] = {}
    for entry in _json(table)["packages"]:
        name = entry["name"].replace("{kernel}", kernel)
        groups.setdefault(entry["group"], []).append(name)
        if entry["version"]:
            found[name] = _pin(name, entry["version"], entry["sha256"].get(architecture) or "")
    if pins is not None:
        found |= _fed_back(_json(pins), architecture)
    return Wanted(groups=groups, pins=found)


def preferences(pins: dict[str, Pin]) -> str:
    """For apt: exactly these versions. Above 1000 a pin beats what is installed (apt_preferences(5))."""
    return "".join(
        f"Package: {name}\nPin: version {pin.version}\nPin-Priority: 1001\n\n" for name, pin in sorted(pins.items())
    )


def plan(wanted: Wanted, groups: list[str]) -> list[tuple[str, str]]:
    """Group and name of what to install. Raises PinsError where apt offers no such version, or another digest."""
    planned = [(group, name) for group in groups for name in wanted.groups[group]]
    offered = _offered([f"{name}={pin.version}" for name, pin in wanted.pins.items()])
    faults = [
        f"{name}: apt knows no version {wanted.pins[name].version}"
        for _, name in planned
        if name in wanted.pins and (name, wanted.pins[name].version) not in offered
    ]
    for name, pin in sorted(wanted.pins.items()):
        others = offered.get((name, pin.version), set()) - {pin.sha256}
        if pin.sha256 and others:
            faults.append(
                f"{name} {pin.version}: sha256 {pin.sha256} is pinned, apt offers {', '.join(sorted(others))}"
            )
    _refuse(faults)
    return planned


def record(wanted: Wanted, *, gpu: bool) -> list[dict[str, str]]:
    """Every package on this machine, for the manifest. Raises PinsError where one is missing or not as pinned."""
    present = _present()
    faults = [f"{name}: is not installed" for name in wanted.names(gpu=gpu) if name not in present]
    faults += [
        f"{name}: {present[name][0]} is installed, {pin.version} is pinned"
        for name, pin in sorted(wanted.pins.items())
        if name in present and present[name][0] != pin.version
    ]
    _refuse(faults)
    offered = _offered([f"{name}={version}" for name, (version, _) in present.items()])
    sources = _sources(list(present))
    packages: list[dict[str, str]] = []
    for name, (version, architecture) in sorted(present.items()):
        digests = offered.get((name, version), set())
        known = wanted.pins[name].sha256 if name in wanted.pins else ""
        packages.append(
            {
                "name": name,
                "version": version,
                "architecture": architecture,
                "sha256": digests.pop() if len(digests) == 1 else known,
                "source": sources.get(name, ""),
            }
        )
    return packages


def is_finished(manifest: Path, scripts: str, *, gpu: bool) -> bool:
    """Whether a manifest says that these very scripts finished here, with a driver where one is needed now."""
    try:
        content = _json(manifest)
    except (OSError, ValueError):
        return False
    found = (content.get("schema"), content.get("scripts"))
    return found == (SCHEMA, scripts) and (content.get("gpu") is True or not gpu)


def _fed_back(manifest: dict[str, Any], architecture: str) -> dict[str, Pin]:
    if manifest.get("schema") != SCHEMA:
        raise PinsError(f"the pins have schema {manifest.get('schema')!r}, not {SCHEMA}; were they written by a bake?")
    if manifest.get("architecture") != architecture:
        raise PinsError(f"the pins are for {manifest.get('architecture')!r}, this machine is {architecture}")
    return {entry["name"]: _pin(entry["name"], entry["version"], entry["sha256"]) for entry in manifest["packages"]}


def _pin(name: str, version: str, sha256: str) -> Pin:
    if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version) and (not sha256 or _SHA256.fullmatch(sha256))):
        raise PinsError(f"the pins hold {name!r} {version!r} {sha256!r}, which is no package, version and SHA-256")
    return Pin(version=version, sha256=sha256)


def _offered(packages: list[str]) -> dict[tuple[str, str], set[str]]:
    """Digests by name and version. apt-cache says what it knows also where it does not know all that was asked."""
    digests: dict[tuple[str, str], set[str]] = {}
    for stanza in _output("apt-cache", "show", *packages).split("\n\n") if packages else []:
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if re.match(r"(Package|Version|SHA256): ", line)
        )
        if len(fields) == 3:
            digests.setdefault((fields["Package"], fields["Version"]), set()).add(fields["SHA256"])
    return digests


def _present() -> dict[str, tuple[str, str]]:
    """Version and architecture of every installed package."""
    form = "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n"
    rows = [line.split("\t") for line in _output("dpkg-query", "--show", f"--showformat={form}").splitlines()]
    return {name: (version, architecture) for status, name, version, architecture in rows if status == "installed"}


def _sources(names: list[str]) -> dict[str, str]:
    """Where apt has the installed version of each package from; nothing for what no list has."""
    return dict(_policy(_output("apt-cache", "policy", *names)))


def _policy(text: str) -> Iterator[tuple[str, str]]:
    name, installed = "", False
    for line in text.splitlines():
        if not line.startswith(" "):
            name, installed = line.partition(":")[0], False
        elif line.startswith(" ***"):
            installed = True
        elif line.startswith("     ") and not line.startswith("        "):
            installed = False
        elif installed and "://" in line:
            yield name, line.split(maxsplit=1)[1].removesuffix(" Packages")
            installed = False


def _output(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout


def _json(path: Path) -> dict[str, Any]:
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object")  # as what json.loads refuses
    return content  # pyright: ignore[reportUnknownVariableType]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise PinsError("\n".join(faults))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("action", choices=["finished", "plan", "prepare", "record"])
    for path in ("--table", "--pins", "--manifest", "--os-release", "--into"):
        parser.add_argument(path, type=Path)
    for text in ("--architecture", "--kernel", "--scripts", "--base-image"):
        parser.add_argument(text, default="")
    for boolean in ("--gpu", "--sealed"):
        parser.add_argument(boolean, choices=["true", "false"], default="false")
    for several in ("--group", "--runner-archive"):
        parser.add_argument(several, action="append", default=[])
    return parser.parse_args()


def _repositories(table: Path, *, gpu: bool) -> str:
    """Name, key file, its trusted keys, and what follows `deb [options]`; by tabs, so nothing may be empty."""
    rows: list[str] = []
    for name, repository in _json(table)["repositories"].items():
        if gpu or not repository["gpu"]:
            entry = f"{repository['url']} {repository['suite']} {repository['components']}".rstrip()
            rows.append("\t".join([name, repository["key_url"], " ".join(repository["key_fingerprints"]), entry]))
    return "\n".join(rows) + "\n"


def _manifest(given: argparse.Namespace, wanted: Wanted, *, gpu: bool) -> dict[str, Any]:
    lines = [line.partition("=") for line in given.os_release.read_text(encoding="utf-8").splitlines()]
    release = {key: value.strip('"') for key, _, value in lines}
    pins = hashlib.sha256(given.pins.read_bytes()).hexdigest() if given.pins else ""
    return {
        "schema": SCHEMA,
        "scripts": given.scripts,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "architecture": given.architecture,
        "gpu": gpu,
        "sealed": given.sealed == "true",
        "base_image": given.base_image,
        "os": release.get("PRETTY_NAME", ""),
        "kernel": given.kernel,
        "pins": f"sha256:{pins}" if pins else "",
        "runner_archives": sorted(given.runner_archive),
        "packages": record(wanted, gpu=gpu),
    }


def _main() -> int:
    given = _arguments()
    gpu = given.gpu == "true"
    if given.action == "finished":
        return 0 if is_finished(given.manifest, given.scripts, gpu=gpu) else 1
    try:
        asked = wanted(given.table, given.pins, given.architecture, given.kernel)
        if given.action == "prepare":
            (given.into / "preferences").write_text(preferences(asked.pins), encoding="utf-8")
            (given.into / "repositories").write_text(_repositories(given.table, gpu=gpu), encoding="utf-8")
        elif given.action == "plan":
            sys.stdout.write("".join(f"{group} {name}\n" for group, name in plan(asked, given.group)))
        else:
            sys.stdout.write(json.dumps(_manifest(given, asked, gpu=gpu), indent=1) + "\n")
    except PinsError as error:
        sys.stderr.write(f"{error}\n")
        return 65
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        sys.stderr.write(f"the pins cannot be read: {error!r}\n")
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(_main())
