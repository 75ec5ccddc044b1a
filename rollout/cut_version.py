"""`scripts/cut-version ID`: adds a version to Pulumi.yaml that pins the boot bundle which the tree makes now.

The new entry is a copy of the newest one, comments included, right below it; only its id, its digest and, with
--runner, its runner release differ. Not one other byte of the file changes. Nothing is written unless the result is a
configuration in which exactly that entry is new. A version is worth cutting even when all its pins stay: its templates
are made anew, with the machine classes as they are now.

Exit codes: 0 the entry is written; 2 it cannot be, and nothing was.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fleet.errors import one_of
from fleet.versions import is_version_id, newest, version_key
from startup import bundle

SECTION: Final = "runner-fleet:versions"
FILE: Final = "Pulumi.yaml"


class CutError(Exception):
    """The version cannot be cut. Its text is one line for people."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("version_id", metavar="ID")
@click.option("--runner", metavar="RELEASE", help="Pin another runner release, one of runner_releases.")
def main(version_id: str, runner: str | None) -> None:
    """Cut version ID (the day, such as 2026-11-30; a second one of that day is 2026-11-30-1)."""
    path = Path(FILE)
    digest = bundle.build(Path("startup")).digest
    try:
        text = cut(path.read_text(encoding="utf-8"), version_id, digest, runner)
    except CutError as error:
        click.echo(f"cut-version: {error}", err=True)
        sys.exit(2)
    _write(path, text)
    click.echo(f"{FILE}: added version {version_id}, boot bundle {digest[:19]}…")
    click.echo(f'next: name it as canary ("{version_id}") in Pulumi.testing.yaml; scripts/preview shows what that does')


def cut(text: str, version_id: str, digest: str, runner: str | None = None) -> str:
    """The text of Pulumi.yaml with one more version. Raises CutError where it would not be a sound new one."""
    config = _config(text)
    versions: dict[str, Any] = config[SECTION]["value"]
    last = newest(versions)
    if last is None:
        raise CutError(f"{SECTION} lists no version to start from; add the first one by hand")
    _check_id(version_id, versions, last)
    old = versions[last]
    if runner is not None:
        _check_runner(runner, old["runner"], config["runner-fleet:runner_releases"]["value"])
    first, end = _block(text.splitlines(keepends=True), versions, last)
    lines = text.splitlines(keepends=True)
    entry = "".join(lines[first:end])
    entry = entry.replace(last, version_id, 1).replace(old["boot_bundle"], digest, 1)
    if runner is not None:
        entry = entry.replace(f'"{old["runner"]}"', f'"{runner}"', 1)
    if lines[end - 1][-1:] != "\n":
        lines[end - 1] += "\n"
    result = "".join([*lines[:end], entry, *lines[end:]])
    _check_result(text, result, version_id, {**old, "boot_bundle": digest, "runner": runner or old["runner"]})
    return result


def _check_id(version_id: str, versions: dict[str, Any], last: str) -> None:
    if not is_version_id(version_id):
        raise CutError(f"ID {version_id}: allowed is YYYY-MM-DD, or YYYY-MM-DD-N from the second of a day")
    if version_key(version_id) > version_key(last):
        return
    day, count = version_key(last)
    free = f"{day}-{count + 1}"
    reason = "exists, and versions are immutable" if version_id in versions else f"sorts before the newest, {last}"
    raise CutError(f"ID {version_id}: {reason}; the next free one is {free}")


def _check_runner(runner: str, old: str, releases: dict[str, Any]) -> None:
    if runner not in releases:
        raise CutError(
            f"--runner {runner}: not in runner_releases, which lists {one_of(releases)}; add the release first"
        )
    needed, there = releases[old].get("sha256", {}), releases[runner].get("sha256", {})
    missing = sorted(set(needed) - set(there))
    if missing:
        raise CutError(f"--runner {runner}: runner_releases has no digest of it for {', '.join(missing)}; add it first")


def _config(text: str) -> Any:
    return YAML(typ="rt").load(text)["config"]


def _block(lines: list[str], versions: Any, key: str) -> tuple[int, int]:
    """The lines of one entry: from its key to the last line that stands deeper."""
    first, column = versions.lc.key(key)
    end = last = first + 1
    while end < len(lines):
        line = lines[end]
        if line.strip() and len(line) - len(line.lstrip(" ")) <= column:
            break
        end += 1
        if line.strip():
            last = end
    return first, last


def _check_result(before: str, after: str, version_id: str, expected: dict[str, Any]) -> None:
    """The edit is textual; what it means is compared as data."""
    refusal = CutError(f"{FILE} is written in a way this command cannot extend safely; copy the newest entry by hand")
    try:
        old, new = _plain(_config(before)), _plain(_config(after))
    except YAMLError:
        raise refusal from None
    added = new[SECTION]["value"].pop(version_id, None)
    if old != new or added != _plain(expected):
        raise refusal


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent or Path(), prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(path.stat().st_mode)
    Path(name).replace(path)


if __name__ == "__main__":
    main(prog_name="scripts/cut-version")
