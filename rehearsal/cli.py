"""The command line of `scripts/preview`.

Exit codes: 0 all is well; 1 warnings under --strict; 2 faults, or a command line that makes no sense; 3 --engine found
no Pulumi CLI and could get none. With --engine, the engine's own code when it is not 0.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console

from fleet import cost, versions
from fleet.draft import parse
from fleet.errors import ConfigError, Fault
from fleet.settings import Settings, load
from fleet.warnings import warnings
from rehearsal import engine, render, stack_files
from rehearsal.against import Comparison, compare
from rehearsal.base import BaseError, base
from rehearsal.review import Review, review
from rehearsal.run import rehearse_project
from rehearsal.stack_files import StackFileError, StackFiles
from startup import bundle

Style = Literal["tables", "json", "markdown"]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("stack", default="testing")
@click.option("--json", "style", flag_value="json", help="Print JSON, and only JSON, to stdout.")
@click.option("--markdown", "style", flag_value="markdown", help="Print Markdown, for a pull request.")
@click.option("--against", metavar="REF", help="Say what changes against a git revision or another stack.")
@click.option("--strict", is_flag=True, help="Exit 1 when there are warnings, as CI does.")
@click.option("--on", "day", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="Judge deadlines on this day.")
@click.option("--engine", "with_engine", is_flag=True, help="Run the real `pulumi preview` afterwards.")
@click.option("--no-credentials", is_flag=True, help="With --engine: use a dummy token, for an all-new stack.")
def main(
    *,
    stack: str,
    style: Style | None,
    against: str | None,
    strict: bool,
    day: datetime.datetime | None,
    with_engine: bool,
    no_credentials: bool,
) -> None:
    """Rehearse STACK (default: testing) and show its fleet, in seconds and without a cloud."""
    root = Path.cwd()
    on = day.date() if day else datetime.datetime.now(tz=datetime.UTC).date()
    seen, comparison = _rehearse(root, stack, on, against)
    _print(seen, comparison, style or "tables")
    if seen.faults:
        sys.exit(2)
    if strict and seen.warnings:
        sys.exit(1)
    if with_engine:
        _engine(root, stack, with_credentials=not no_credentials, quiet_stdout=style == "json")


def _rehearse(root: Path, stack: str, on: datetime.date, against: str | None) -> tuple[Review, Comparison | None]:
    """What there is to see; faults instead of everything else when the configuration declares no fleet."""
    try:
        files = stack_files.read(root, stack)
    except StackFileError as error:
        return Review(environment=stack, faults=(str(error),)), None
    try:
        settings = load(files.sections, environment=stack, tree_bundle=_tree_bundle(root))
        with _progress(f"rehearsing {stack}") as step:
            inventory = rehearse_project(root, stack, files.config, step)
        seen = review(settings, inventory, on, warnings(settings, on, _used_elsewhere(root, stack)))
        if against is None:
            return seen, None
        with _progress(f"rehearsing {against}"):
            before, sections = base(root, stack, against)
        _refuse_edits(settings, sections, against)
        peak = (_peak_usd_hour(sections, before.stack), cost.total(seen.peak_usd_hour.values()))
        return seen, compare(before, inventory, against, peak)
    except ConfigError as error:
        return Review(environment=stack, faults=_located(files, error)), None
    except BaseError as error:
        return Review(environment=stack, faults=(str(error),)), None


def _tree_bundle(root: Path) -> str:
    """The digest of what startup/ makes. Raises ConfigError for what cannot be packed."""
    try:
        return bundle.build(root / "startup").digest
    except ValueError as error:
        fix = "replace it with a regular file, or take it out"
        raise ConfigError([Fault(("versions",), str(error), "regular files in startup/", fix)]) from None


def _refuse_edits(settings: Settings, sections: dict[str, object], ref: str) -> None:
    """Raises ConfigError for every version that the base has with other pins."""
    before, _ = parse(sections, settings.environment, "")
    edits = versions.edits(before.versions, settings.versions)
    if edits:
        fix = "take the edit back and cut a new version: scripts/rollout cut"
        allowed = f"what {ref} has: a version is immutable, its templates are frozen"
        raise ConfigError(
            [Fault(("versions", edit.version, *edit.field.split(".")), "an edit", allowed, fix) for edit in edits]
        )


def _peak_usd_hour(sections: dict[str, Any], stack: str) -> float | None:
    """What the base would cost at its peak; None where today's rules cannot read it, or a price is not known."""
    pinned = sections.get("versions", {})
    tree = pinned.get(versions.newest(pinned) or "", {}).get("boot_bundle", "")
    try:
        settings = load(sections, environment=stack, tree_bundle=tree)
    except ConfigError:
        return None
    return cost.total(cost.by_region(settings.sized_groups(), "max").values())


def _located(files: StackFiles, error: ConfigError) -> tuple[str, ...]:
    return tuple(f"{files.locate(fault.path)}: {fault}" for fault in error.faults)


def _used_elsewhere(root: Path, stack: str) -> set[str]:
    """The versions that other stacks run, try or keep; what is faulty there is that stack's own preview to say."""
    used: set[str] = set()
    for other in stack_files.stacks(root):
        with suppress(StackFileError):
            rollout = None if other == stack else parse(stack_files.read(root, other).sections, other, "")[0].rollout
            used |= {v for v in (rollout.stable, rollout.canary, *rollout.keep) if v} if rollout else set()
    return used


def _print(seen: Review, comparison: Comparison | None, style: Style) -> None:
    if style == "json":
        found = {"against": comparison.to_json()} if comparison else {}
        click.echo(json.dumps({**seen.to_json(), **found}, indent=2))
        return
    if seen.faults and style == "markdown":
        click.echo(render.faults_markdown(seen))
        return
    if seen.faults:
        click.echo("\n".join((*seen.faults, render.faults_line(seen))), err=True)
        return
    text = render.Page(seen, comparison)
    if style == "markdown":
        click.echo(text.markdown())
    elif sys.stdout.isatty():
        console = Console()
        console.print(text.tables(console.width))
    else:
        click.echo(text.plain())


@contextmanager
def _progress(what: str) -> Generator[Callable[[int], None] | None]:
    """A spinner that counts, on a terminal; nothing where nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status(f"{what} …") as status:
        yield lambda count: status.update(f"{what} … {count} resources")


def _engine(root: Path, stack: str, *, with_credentials: bool, quiet_stdout: bool) -> None:
    try:
        cli = engine.find_cli(root)
    except engine.NoEngineError as error:
        click.echo(str(error), err=True)
        sys.exit(engine.NOT_INSTALLABLE)
    click.echo(f"\nThe real engine: {cli} preview --stack {stack}", err=True)
    output = sys.stderr if quiet_stdout else sys.stdout
    code = engine.preview(root, stack, cli, with_credentials=with_credentials, output=output)
    if code:
        sys.exit(code)
