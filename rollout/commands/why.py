"""`scripts/rollout why JOB_URL`: why a job waits, and what mends it."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterable
from typing import Final

import click
from rich.console import Console

from fleet.settings import Settings
from rollout.cloud.errors import CloudError
from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit
from rollout.view.why import Answer

MOST_LABELS: Final = 12


@frame.command(
    "why",
    stack="option",
    changes=False,
    examples=(
        "scripts/rollout why https://github.com/iree-org/iree/actions/runs/123/job/456 --stack prod",
        "scripts/rollout why --queued --stack prod",
        "scripts/rollout why --queued --stack prod --json | jq '.jobs[].pools'",
    ),
    exits=(Exit.UNREACHABLE,),
)
@click.argument("job_url", required=False)
@click.option("--queued", is_flag=True, help="All jobs of the stack's repositories that wait.")
def command(call: Call, *, job_url: str | None, queued: bool) -> None:
    """Say why the job at JOB_URL waits: which pool should take it, why that does not, and what mends it.

    It only looks. JOB_URL is the address of the job's page at GitHub.
    """
    if queued is (job_url is not None):
        raise Problem(Exit.FAULT, "name one job by the address of its page, or all that wait by --queued")
    settings = call.settings()
    with call.progress(f"looking at GitHub and {call.stack}"):
        answers = ask(settings, job_url)
    if not call.json:
        console = Console()
        for line in lines(answers):
            click.echo(_wrapped(line, console.width) if console.is_terminal else line)
    call.result({"jobs": [answer.to_json() for answer in answers]})
    if not all(answer.complete for answer in answers):
        raise Problem(Exit.UNREACHABLE, "not all could be asked: what is not known may be the cause")


def ask(settings: Settings, job_url: str | None) -> tuple[Answer, ...]:
    """The answers for one job, or for all that wait. Raises Problem for a job that is none, or cannot be asked for."""
    from rollout.plans.waiting import answers  # noqa: PLC0415 - the clients take a while to import

    try:
        return asyncio.run(answers(settings, job_url))
    except ValueError as error:
        raise Problem(Exit.FAULT, str(error)) from None
    except CloudError as error:
        raise Problem(Exit.UNREACHABLE, f"GitHub could not be asked for the job: {error}") from None


def lines(answers: Iterable[Answer]) -> Iterable[str]:
    """The answers for people, a line for each thing."""
    shown = False
    for answer in answers:
        if shown:
            yield ""
        shown = True
        yield from _one(answer)
    if not shown:
        yield "No job waits."


def _one(answer: Answer) -> Iterable[str]:
    job = answer.job
    yield f"{job.repository}: {job.name}"
    yield f"  {job.url}"
    asked = ", ".join(job.labels[:MOST_LABELS]) or "no label"
    yield f"  asks for {asked}{', …' if len(job.labels) > MOST_LABELS else ''}"
    match answer.standing:
        case "runs":
            yield f"  runs on {job.runner or 'a runner that GitHub does not name'}"
        case "over":
            yield f"  is over: {job.conclusion or 'GitHub does not say how'}"
        case _:
            yield f"  waits for {_time(answer.waited.total_seconds())}"
    for cause in answer.causes:
        yield from _cause("  ", cause.says, cause.fix)
    if len(answer.pools) > 1:
        yield f"  {len(answer.pools)} pools have these labels, and any of them may take it:"
    for pool in answer.pools:
        yield f"  {pool.pool}"
        for cause in pool.causes:
            yield from _cause("    ", cause.says, cause.fix)
        for later in pool.later:
            yield f"    then: {later}"


def _cause(indent: str, says: str, fix: str) -> Iterable[str]:
    yield f"{indent}- {says}"
    yield f"{indent}  → {fix}"


def _wrapped(line: str, width: int) -> str:
    """A line for a terminal, its further lines below its words."""
    indent = " " * (len(line) - len(line.lstrip(" -→")))
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _time(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
