"""Small commands in the frame, to be run as a program: framed_commands.py NAME …"""

from __future__ import annotations

from pathlib import Path

import click

from fleet.errors import ConfigError, Fault
from rollout.cloud.errors import CloudError
from rollout.commands import frame
from rollout.commands.frame import Call, Problem, Words
from rollout.exits import Exit

main = Words()


def small(name, **more):
    shared = {"stack": "option", "changes": True, "examples": ("scripts/rollout x",), "exits": (Exit.FAILED,)}
    return lambda function: main.add_command(frame.command(name, **{**shared, **more})(function))


@small("asks")
def asks(call: Call) -> None:
    """Ask, then do it."""
    call.ask("Do it?", call.settings())
    Path("done").touch()
    call.say("done")
    call.result({"done": True})


@small("asks-always")
def asks_always(call: Call) -> None:
    """Ask whatever the stack says."""
    call.ask("Do it?", call.settings(), always=True)


@small("loads", changes=False, stack="argument")
@click.option("--of-tree", is_flag=True)
def loads(call: Call, *, of_tree: bool) -> None:
    """Load the settings."""
    call.say(call.settings(of_tree=of_tree).environment)
    call.result(call.stack)


FAULTS = {
    "problem": Problem(Exit.REFUSED, "too little of it\nthe second line"),
    "cloud": CloudError("Google", 503, "listing groups"),
    "config": ConfigError([Fault(("rollout", "canary"), "this", "that", "do so")]),
    "bug": RuntimeError("a token that nobody may see"),
    "interrupt": KeyboardInterrupt,
}


@small("raises", stack="optional", changes=False)
@click.argument("which", type=click.Choice(sorted(FAULTS)))
def raises(_call: Call, *, which: str) -> None:
    """Raise something."""
    raise FAULTS[which]


@small("fails-late", changes=False)
def fails_late(call: Call) -> None:
    """Print the result, and fail after it."""
    call.result({"written": True})
    raise Problem(Exit.FAILED, "the rest failed")


@small("works", changes=False)
def works(call: Call) -> None:
    """Say what takes a while."""
    with call.progress("working") as more:
        more("1 of 2")
    call.result([])


if __name__ == "__main__":
    main()
