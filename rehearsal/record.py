"""Prints one stack's inventory as JSON: what `--against REVISION` runs in another revision's tree."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rehearsal import stack_files
from rehearsal.run import rehearse_project


def main(stack: str) -> None:
    """Rehearse the project in the working directory."""
    config = stack_files.read(Path(), stack)
    inventory = rehearse_project(Path(), stack, config.config)
    json.dump({"inventory": inventory.to_json(), "sections": config.sections}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
