"""The help of every command: what it says is looked at whenever it changes, and has the same parts everywhere."""

from __future__ import annotations

import re

import click
import pytest
from write_help import FOLDER, help_text

from rollout.cli import COMMANDS, main
from rollout.commands.frame import FramedCommand
from rollout.exits import Exit

NAMES = [name for name in COMMANDS if main.get_command(click.Context(main), name)]


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_is_as_it_was_when_somebody_looked_at_it(name):
    path = FOLDER / f"{name or 'rollout'}.txt"
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    assert help_text(name) == known, (
        "look at it; then PYTHONPATH=. .venv/bin/python tests/rollout/commands/write_help.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_has_a_sentence_that_fits_examples_and_exit_codes(name):
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, FramedCommand)
    summary = (command.help or "").split("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^\n]*\.", summary)
    assert len(summary) <= 120, "it is a line of the list of commands"
    assert command.examples
    assert any(f"scripts/rollout {name}" in line for line in command.examples)
    assert {Exit.DONE, Exit.FAULT, Exit.INTERRUPTED} <= set(command.exits)
    assert all(code.meaning in " ".join(help_text(name).split()) for code in command.exits)


@pytest.mark.parametrize("name", NAMES)
def test_what_changes_something_can_be_tried_and_be_answered_beforehand(name):
    command = main.get_command(click.Context(main), name)
    assert command
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert ("--dry-run" in flags) == ("--yes" in flags)
    assert "--json" in flags or name == "completion"


def test_every_module_of_a_command_is_in_the_table(root):
    made = {path.stem for path in (root / "rollout/commands").glob("*.py") if "@frame.command(" in path.read_text()}
    assert made <= {module.rpartition(".")[2] for module in COMMANDS.values()}


def test_every_exit_code_keeps_its_number():
    """Scripts go by them."""
    assert {code.name: int(code) for code in Exit} == {
        "DONE": 0,
        "FAILED": 1,
        "FAULT": 2,
        "UNREACHABLE": 3,
        "REFUSED": 4,
        "DECLINED": 5,
        "INTERRUPTED": 130,
    }
