"""`scripts/rollout COMMAND`: the operators' command line. A command's module is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

import click

from rollout.commands.frame import Words
from rollout.exits import Exit

COMMANDS: Final = {
    "status": "rollout.commands.status",
    "why": "rollout.commands.why",
    "cut": "rollout.commands.cut",
    "canary": "rollout.commands.canary",
    "promote": "rollout.commands.promote",
    "rollback": "rollout.commands.rollback",
    "retire-version": "rollout.commands.retire_version",
    "bump-runner": "rollout.commands.bump_runner",
    "bake": "rollout.commands.bake",
    "drain": "rollout.commands.drain",
    "hold": "rollout.commands.hold",
    "release": "rollout.commands.release",
    "remove-stuck": "rollout.commands.remove_stuck",
    "adopt": "rollout.commands.adopt",
    "resume": "rollout.commands.resume",
    "runs": "rollout.commands.runs",
    "completion": "rollout.commands.completion",
}
"""Name to module, whose `command` is the click command."""


class Lazy(Words):
    """Imports commands when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Those that are there, in the order of the table."""
        return [name for name, module in COMMANDS.items() if find_spec(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """The command of that name, or None."""
        module = COMMANDS.get(cmd_name)
        return import_module(module).command if module and find_spec(module) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with its whole summary."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(command)) for name, command in found if command])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        """The exit codes, which are the same for all commands."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in Exit])


def _summary(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


main = Lazy(
    name="rollout",
    help="Roll out versions, and look after a fleet. COMMAND --help says the rest.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
