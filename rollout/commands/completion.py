"""`scripts/rollout completion SHELL`: what teaches a shell to complete stacks, versions, pools and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from rollout.commands import frame
from rollout.commands.frame import Call

COMPLETE_VARIABLE: Final = "_ROLLOUT_COMPLETE"
NAME: Final = "rollout"
"""A shell that knows no completion for a path looks for one by the path's last part."""

_SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_BY_PATH: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "bash": (),
    "zsh": (
        (f"    (( ! $+commands[{NAME}] )) && return 1\n", ""),
        (f"{COMPLETE_VARIABLE}=zsh_complete {NAME}", f"{COMPLETE_VARIABLE}=zsh_complete ${{words[1]}}"),
    ),
    "fish": ((f"COMP_CWORD=(commandline -t) {NAME}", "COMP_CWORD=(commandline -t) (commandline -opc)[1]"),),
}
"""click's scripts for zsh and fish look for the program on PATH; ours is asked as it was typed."""


def script(shell: str) -> str:
    """The completion script for a shell. It asks the program itself, whenever there is something to complete."""
    text = _SHELLS[shell](click.Command(NAME), {}, NAME, COMPLETE_VARIABLE).source()
    for old, new in _BY_PATH[shell]:
        text = text.replace(old, new)
    return text


@frame.command(
    "completion",
    stack="none",
    changes=False,
    answers_json=False,
    examples=(
        "source <(scripts/rollout completion bash)",
        "scripts/rollout completion fish | source",
    ),
    exits=(),
)
@click.argument("shell", type=click.Choice(sorted(_SHELLS)))
def command(call: Call, *, shell: str) -> None:
    """Print what completes commands and names in a shell.

    It is a script for SHELL, and works for every path that ends in /rollout, such as scripts/rollout.
    """
    call.say(script(shell))
