"""`scripts/rollout adopt STACK FILE…`: what an existing fleet is as configuration, and a file to import it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from fleet.errors import ConfigError
from fleet.settings import Settings, load
from rollout.adopt import judge, write
from rollout.adopt.judge import Adoption
from rollout.adopt.listing import ListingError, read
from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit

POOLS_FILE: Final = "pools.yaml"
IMPORT_FILE: Final = "import.json"


@frame.command(
    "adopt",
    stack="argument",
    changes=False,
    examples=(
        "gcloud compute instance-templates list --format=json > templates.json",
        "gcloud compute instance-groups managed list --format=json > groups.json",
        "scripts/rollout adopt prod templates.json groups.json --write adoption",
    ),
    exits=(Exit.REFUSED,),
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--prefix", help="What the groups' names begin with; the stack's name_prefix if left out.")
@click.option("--write", "folder", type=click.Path(path_type=Path), help=f"Write {POOLS_FILE} and {IMPORT_FILE} there.")
def command(call: Call, *, files: Sequence[Path], prefix: str | None, folder: Path | None) -> None:
    """Turn lists of an existing fleet's templates and groups into STACK's pools and a file for `pulumi import`.

    Nothing is asked from Google and nothing is changed. Groups that cannot be taken over are named with the reason.
    """
    settings = call.settings()
    try:
        listing = read({path.name: _text(path) for path in files})
    except ListingError as error:
        raise Problem(Exit.FAULT, str(error)) from None
    adoption = judge.judge(
        listing,
        prefix=prefix or settings.google.name_prefix,
        project=settings.google.project,
        classes=settings.machine_classes,
    )
    for name, reason in adoption.left_out.items():
        call.note(f"left out: {name}: {reason}")
    if not adoption.groups:
        raise Problem(Exit.REFUSED, "none of the listed groups can be taken over; the reasons are above")
    imported = write.import_file(adoption, call.stack)
    for line in (*adoption.notes, *_faults(call, settings, adoption)):
        call.note(f"note: {line}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / POOLS_FILE).write_text(write.configuration(adoption), encoding="utf-8")
        (folder / IMPORT_FILE).write_text(json.dumps(imported, indent=2) + "\n", encoding="utf-8")
        call.say(f"{folder / POOLS_FILE}, {folder / IMPORT_FILE}: {_count(adoption)}")
    else:
        call.say(f"# Pulumi.{call.stack}.yaml: {_count(adoption)}\n{write.configuration(adoption)}")
        call.say(f"# {IMPORT_FILE}\n{json.dumps(imported, indent=2)}")
    call.note("next: docs/adoption.md goes on from here")
    call.result(
        {
            "pools": adoption.pools,
            "machine_classes": adoption.machine_classes,
            "import": imported,
            "left_out": adoption.left_out,
            "notes": adoption.notes,
        }
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ListingError(f"{path}: cannot be read ({error}); list it anew with --format=json") from None


def _count(adoption: Adoption) -> str:
    groups, pools = len(adoption.groups), len(adoption.pools)
    return f"{pools} {'pool' if pools == 1 else 'pools'} of {groups} {'group' if groups == 1 else 'groups'}"


def _faults(call: Call, settings: Settings, adoption: Adoption) -> list[str]:
    """What the stack's rules say of the adopted pools in place of its own."""
    sections = dict(call.files().sections)
    sections["pools"] = adoption.pools
    sections["machine_classes"] = {**sections["machine_classes"], **adoption.machine_classes}
    bundle = settings.versions[settings.newest_version].boot_bundle
    try:
        load(sections, environment=call.stack, tree_bundle=bundle)
    except ConfigError as error:
        return [f"as configuration of {call.stack} it has a fault: {fault}" for fault in error.faults]
    return []
