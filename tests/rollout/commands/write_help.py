"""Writes help/*.txt anew, for every command: PYTHONPATH=. .venv/bin/python tests/rollout/commands/write_help.py"""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli import COMMANDS, main
from rollout.commands.frame import PROGRAM

FOLDER = Path(__file__).parent / "help"
WIDTH = 100


def help_text(name: str) -> str:
    """What `scripts/rollout NAME --help` prints on a terminal of 100 columns; of the program itself for no name."""
    context = main.make_context(PROGRAM, [], resilient_parsing=True, terminal_width=WIDTH)
    if not name:
        return main.get_help(context) + "\n"
    command = main.get_command(context, name)
    assert command, name
    return command.get_help(command.make_context(name, [], context, resilient_parsing=True)) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in ("", *(name for name in COMMANDS if main.get_command(click.Context(main), name))):
        (FOLDER / f"{each or 'rollout'}.txt").write_text(help_text(each), encoding="utf-8")
