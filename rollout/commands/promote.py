"""`scripts/rollout promote`: makes the version under trial the stable one, where there is enough evidence for it."""

from __future__ import annotations

import asyncio
import datetime
import getpass
import json
from typing import Any, Final

import click

from fleet.errors import one_of
from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.evidence_options import evidence_options
from rollout.commands.frame import Call, Problem
from rollout.commands.waiting import interval_option, turn_over, wait_option
from rollout.config.edit import prepare
from rollout.config.pointers import file_of, point
from rollout.exits import Exit
from rollout.view.evidence import Evidence, Thresholds

RECORD: Final = "runs/promotions.jsonl"
"""A line for every promotion that was written here. The one that stays is the commit's trailer."""


@frame.command(
    "promote",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout promote --stack testing",
        "scripts/rollout promote 2026-11-30 --stack prod --jobs 50 --bake-hours 48",
        "scripts/rollout promote 2026-11-30 --stack prod --force",
        "scripts/rollout promote 2026-11-30 --stack prod --wait",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.REFUSED, Exit.DECLINED),
)
@click.argument("version", required=False, shell_complete=frame.complete_versions)
@click.option("--force", is_flag=True, help="Promote without enough evidence, or a version that no VM tried. Recorded.")
@wait_option
@interval_option
@evidence_options
def command(
    call: Call,
    *,
    version: str | None,
    force: bool,
    waits: bool,
    interval_seconds: float,
    thresholds: Thresholds,
) -> None:
    """Make the version under trial the stable one.

    Without VERSION it is the stack's canary. It is refused without enough evidence. No VM that runs is touched: the
    fleet turns over as jobs end.
    """
    settings = call.settings()
    rollout = settings.rollout
    version = version or rollout.canary or rollout.stable
    if version not in settings.versions:
        raise Problem(Exit.FAULT, f"no version {version} in Pulumi.yaml, which lists {one_of(settings.versions)}")
    if version not in {rollout.canary, rollout.stable} and not force:
        tried = f"{rollout.canary} is" if rollout.canary else "none is"
        fix = f"scripts/rollout canary {version} --stack {call.stack} comes first"
        raise Problem(Exit.REFUSED, f"{version} is not under trial in {call.stack}, {tried}: {fix}")
    edit = prepare(call.root, file_of(call.stack), point(stable=version, canary=None))
    if version == rollout.stable and rollout.canary:
        raise Problem(
            Exit.FAULT, f"{version} is stable already, and {rollout.canary} under trial: promote that, or roll it back"
        )
    found = _judged(call, settings, version, thresholds, force=force) if edit.changes else None
    lines = found.lines if found else ()
    trailer = _trailer(found, force=force)
    done = offer(
        call,
        edit,
        what=f"promote {version} in stack {call.stack}, in place of {rollout.stable}",
        already=f"{call.stack} runs {version}, and tries none",
        details=lines,
        following=(
            f'commit it, with the trailer "{trailer}", and deploy it',
            f"the way back: scripts/rollout rollback --to {rollout.stable} --stack {call.stack}",
        ),
        facts={"version": version, "evidence": found.to_json() if found else None, "forced": force, "trailer": trailer},
    )
    if done and edit.changes:
        _record(call, version, found, force=force)
    if waits and done:
        turn_over(call, interval_seconds)


def ask_evidence(settings: Settings, version: str, thresholds: Thresholds) -> Evidence:
    """What speaks for a version, asked of Google."""
    from rollout.plans.promotion import evidence  # noqa: PLC0415 - the clients take a while to import

    return asyncio.run(evidence(settings, version, thresholds=thresholds))


def _judged(call: Call, settings: Settings, version: str, thresholds: Thresholds, *, force: bool) -> Evidence:
    with call.progress(f"asking for the evidence of {version}"):
        found = ask_evidence(settings, version, thresholds)
    if force or found.verdict == "enough":
        return found
    lines = "\n".join(f"  {line}" for line in found.lines)
    if found.verdict == "unknown":
        raise Problem(Exit.UNREACHABLE, f"what speaks for {version} could not be found out; nothing was done\n{lines}")
    fix = f"scripts/rollout canary {version} --stack {call.stack} --wait waits for it; --force does without, on record"
    word = "the evidence is against it" if found.verdict == "against" else "too little evidence"
    raise Problem(Exit.REFUSED, f"{version} in {call.stack}: {word}; {fix}\n{lines}")


def _trailer(found: Evidence | None, *, force: bool) -> str:
    verdict = found.verdict if found else "none"
    forced = "forced; " if force and verdict != "enough" else ""
    return f"Rollout-Evidence: {forced}{verdict}"


def _record(call: Call, version: str, found: Evidence | None, *, force: bool) -> None:
    line: dict[str, Any] = {
        "at": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "stack": call.stack,
        "version": version,
        "forced": force,
        "evidence": found.to_json() if found else None,
    }
    path = call.root / RECORD
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
