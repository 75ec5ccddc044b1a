"""What the commands that edit configuration share: show what an edit does, ask, write, and say what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rollout.commands.frame import Call
from rollout.config.consequence import Consequence, consequence
from rollout.config.edit import PROJECT_FILE, Edit


def offer(
    call: Call,
    edit: Edit,
    *,
    what: str,
    already: str,
    details: tuple[str, ...] = (),
    following: tuple[str, ...] = (),
    asks: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Show an edit, ask where a stack of it wants that, and write it. Returns whether all is as asked for now.

    `what` says the edit in words, `details` what it comes to, `already` that it is none, `following` what comes next.
    `facts` go into the JSON.
    """
    result: dict[str, Any] = {"file": edit.path.name, "what": what, "changes": edit.changes, "written": False}
    result |= facts or {}
    if not edit.changes:
        for line in (f"already so: {already}", *details):
            call.say(line)
        call.result({**result, "what": already})
        return True
    found = [_rehearsed(call, edit, index) for index in range(len(edit.stacks))]
    for line in (what, *(f"  {detail}" for detail in details), ""):
        call.say(line)
    if not call.json:
        _draw(edit, found)
    for stack in edit.stacks:
        for fault in stack.faults_after:
            call.note(f"warning: stack {stack.stack} has a fault, as before, and cannot be deployed: {fault}")
    result |= {"diff": edit.diff(), "stacks": [one.to_json() for one in found]}
    if call.dry_run:
        call.say(f"dry run: {edit.path.name} stays as it is")
        call.result(result)
        return False
    if asks and any(stack.confirm for stack in edit.stacks):
        call.ask(f"{what}: write that to {edit.path.name}?", None)
    edit.write()
    call.say(f"written: {edit.path.name}")
    for line in following:
        call.say(f"next: {line}")
    call.result({**result, "written": True})
    return True


def _rehearsed(call: Call, edit: Edit, index: int) -> Consequence:
    stack = edit.stacks[index]
    with call.progress(f"rehearsing {stack.stack}") as more:
        return consequence(call.root, stack, lambda count: more(f"{count} resources"))


def _draw(edit: Edit, found: list[Consequence]) -> None:
    """The diff of the file, and what it changes: by pool for one stack, in a line each for all of them."""
    for line in edit.diff().splitlines():
        click.echo(click.style(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1])))
    click.echo()
    for one in found:
        click.echo(one.summary())
        for line in one.lines() if edit.path.name != PROJECT_FILE else ():
            click.echo(f"  {line}")
    click.echo()
