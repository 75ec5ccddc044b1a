"""The commands: `scripts/demo --jobs` plays one seed and shows it; `compare` writes docs/scaling.md."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fleet.errors import ConfigError
from rehearsal.stack_files import StackFileError
from simulation import compare, report
from simulation.assumptions import HASTY, STANDARD, AssumptionError, Assumptions
from simulation.faults import FAULTS, FaultError, chosen
from simulation.fleet import FleetError, fleet
from simulation.world import Scenario, run


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's exit status: 1 where something was violated, or cannot be simulated."""
    given = _parser().parse_args(arguments)
    try:
        return _compare(given) if given.command == "compare" else _play(given)
    except (AssumptionError, FaultError, FleetError, ConfigError, StackFileError) as error:
        sys.stderr.write(f"{given.program}: {error}\n")
        return 2


def _play(given: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else report.PLAIN_WIDTH, highlight=False)
    scenario = Scenario(
        seed=given.seed,
        jobs=given.jobs,
        pools=tuple(sorted(set(given.pools.split(",")))),
        faults=given.faults,
        assumed=_assumed(given),
        keep_log=given.log is not None,
    )
    fleet(scenario.pools)
    chosen(scenario.faults, random.Random(0))  # noqa: S311 - said before anything is played
    console.print(f"A fleet on this machine, on a virtual clock: {report.replay(scenario)}\n")
    began = time.monotonic()
    outcome = run(scenario)
    report.show(outcome, console)
    console.print(f"That took {time.monotonic() - began:.1f} s.")
    if given.log is not None and outcome.truth.log is not None:
        Path(given.log).write_text("\n".join([*outcome.truth.log, ""]), encoding="utf-8")
    return 1 if outcome.truth.violations else 0


def _compare(given: argparse.Namespace) -> int:
    compare.write(Path(given.into), _assumed(given))
    return 0


def _assumed(given: argparse.Namespace) -> Assumptions:
    table = HASTY if given.hasty else STANDARD
    pairs = [text.partition("=") for text in given.set]
    return table.replaced({name: value for name, _, value in pairs})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="A whole fleet on this machine, on a virtual clock: the real functions, stand-ins for GitHub and "
        "Google Cloud, simulated VMs. Exits with 1 where something happened that must not.",
        epilog="Faults: " + "; ".join(f"{fault.name}: {fault.what}" for fault in FAULTS.values()),
    )
    parser.add_argument("command", nargs="?", choices=("play", "compare"), default="play", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=_count, default=40, help="how many jobs arrive (%(default)s)")
    parser.add_argument("--pools", default="postsubmit-gpu,presubmit-cpu", help="whose (%(default)s)")
    parser.add_argument("--faults", default="none", help="none, all, some (drawn from the seed), or NAME,NAME…")
    parser.add_argument("--seed", type=int, default=0, help="draws everything (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=_pair,
                        help="another assumption: a number, or LOW,MODE,HIGH; may be given again")  # fmt: skip
    parser.add_argument("--hasty", action="store_true", help="the assumptions that many seeds are run with")
    parser.add_argument("--log", metavar="FILE", help="write every event there")
    parser.add_argument("--into", default="docs/scaling.md", help=argparse.SUPPRESS)
    parser.set_defaults(program="scripts/demo")
    return parser


def _count(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if not 1 <= count <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of jobs; allowed: 1 to 100000")
    return count


def _pair(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return text
