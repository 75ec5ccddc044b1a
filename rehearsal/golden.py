"""Golden inventories: what each stack registers, as text that a pull request shows line by line.

`scripts/snapshot` writes them; a test compares. Long text stands as its hash, so that a script's edit is one line.
"""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML

from rehearsal import stack_files
from rehearsal.inventory import Inventory, Plain, Resource
from rehearsal.run import rehearse_project

FOLDER: Final = Path("tests/stacks")
COMMAND: Final = "scripts/snapshot"
_LONG: Final = 200


def text(inventory: Inventory) -> str:
    """The inventory as YAML: exports, counts, then every resource by its type's last word and its name."""
    document = {
        "exports": inventory.exports,
        "counts": inventory.counts(),
        "resources": {resource.short: _entry(resource) for resource in inventory.resources},
    }
    stream = io.StringIO()
    stream.write(f"# What stack {inventory.stack} registers. Written by {COMMAND}; never edited by hand.\n")
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(_shortened(document), stream)
    return stream.getvalue()


def _entry(resource: Resource) -> Plain:
    # An alias of the SDK's own (a type it renamed once) is none of ours.
    options = {key: value for key, value in resource.options.items() if key != "aliases"}
    parts = {
        "type": resource.type,
        "parent": resource.parent.rpartition("::")[2],
        "inputs": resource.inputs,
        "options": options,
        "provider": resource.provider.rpartition("::")[2],
        "depends_on": sorted(urn.rpartition("::")[2] for urn in resource.dependencies),
        "outputs": resource.outputs,
    }
    return {key: value for key, value in parts.items() if value}


def _shortened(value: Plain) -> Plain:
    match value:
        case dict():
            return {key: _shortened(item) for key, item in cast("dict[str, Plain]", value).items()}
        case list() | tuple():
            return [_shortened(item) for item in cast("list[Plain]", value)]
        case str() if len(value) > _LONG:
            return f"sha256 {hashlib.sha256(value.encode()).hexdigest()} of {len(value)} characters"
        case _:
            return value


def main() -> None:
    """Write the golden inventory of every stack."""
    for stack in stack_files.stacks(Path()):
        inventory = rehearse_project(Path(), stack, stack_files.read(Path(), stack).config)
        path = FOLDER / f"{stack}.yaml"
        path.write_text(text(inventory), encoding="utf-8")
        sys.stdout.write(f"{path}: {len(inventory.resources)} registrations\n")


if __name__ == "__main__":
    main()
