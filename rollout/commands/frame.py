"""What every command shares: how it is asked for, how it asks back, what it prints where, and how it ends.

Results go to stdout, everything else to stderr. With --json stdout holds one JSON value and nothing else, also when the
command fails. A mistake and an expected fault are one line each and an exit code of `rollout.exits`; a bug is a line,
and a traceback in a file.
"""

from __future__ import annotations

import datetime
import functools
import json
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import click
from click.shell_completion import CompletionItem
from rich.console import Console

from fleet.errors import ConfigError
from fleet.settings import Settings, load
from fleet.versions import is_version_id, newest
from rehearsal import stack_files
from rehearsal.stack_files import StackFileError
from rollout.cloud.errors import CloudError
from rollout.exits import Exit, Problem
from startup import bundle

PROGRAM: Final = "scripts/rollout"
WORDS: Final = "rollout.words"
"""Where the click context keeps the words of the command line."""
DEFAULT_STACK: Final = "testing"
"""The stack of commands that only look, as of scripts/preview."""

StackWay = Literal["argument", "option", "optional", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command: what is shared by all of them."""

    root: Path
    """The project's folder."""
    stack: str
    """Empty for a command that is for no stack."""
    dry_run: bool
    yes: bool
    json: bool
    words: tuple[str, ...]
    """The command line without the program."""
    printed: list[bool] = field(default_factory=list[bool], repr=False)
    """Not empty once there is JSON on stdout."""

    @property
    def again(self) -> str:
        """The command line, to be run again."""
        return shlex.join((PROGRAM, *self.words))

    def files(self) -> stack_files.StackFiles:
        """The stack's configuration as it stands in the files. Raises StackFileError."""
        return stack_files.read(self.root, self.stack)

    def settings(self, *, of_tree: bool = False) -> Settings:
        """The stack's settings. Raises StackFileError and ConfigError, which the frame says in lines.

        An edit of startup/ that has no version yet is a fault only with `of_tree`: it must not keep anybody from
        looking at what runs.
        """
        files = self.files()
        tree = bundle.build(self.root / "startup").digest if of_tree else None
        return settings_of(files, tree)

    def say(self, text: str = "") -> None:
        """Print a line of the result, for people: nothing with --json."""
        if not self.json:
            click.echo(text)

    def note(self, text: str) -> None:
        """Print a line that is not the result, such as a warning, to stderr."""
        click.echo(text, err=True)

    def result(self, value: Any) -> None:
        """Print the result as JSON where that was asked for. To be called once; a later end shows in the exit code."""
        if self.json:
            self.printed.append(True)
            click.echo(json.dumps(value, indent=2))

    def ask(self, question: str, settings: Settings | None, *, always: bool = False) -> None:
        """Go on only if that is wanted: `--yes`, or a stack whose rollout.confirm is false, is a yes given before.

        With `always`, or without settings, such a stack is asked for, too. Raises Problem for a no, and where nobody
        can be asked.
        """
        if self.yes or (settings and not always and not settings.rollout.confirm):
            return
        if not sys.stdin.isatty():
            raise Problem(Exit.DECLINED, f"nobody is there to answer {question!r}; --yes says yes beforehand")
        click.echo(f"{question} [y/N] ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Problem(Exit.DECLINED, "not done, as you say")

    @contextmanager
    def progress(self, what: str) -> Generator[Callable[[str], None]]:
        """Say what takes a while, on stderr: a spinner on a terminal, else a line. Yields what adds to its text."""
        console = Console(stderr=True)
        if not console.is_terminal:
            self.note(f"{what} …")
            yield lambda _: None
            return
        with console.status(f"{what} …") as status:
            yield lambda text: status.update(f"{what} … {text}")


def settings_of(files: stack_files.StackFiles, tree_bundle: str | None = None) -> Settings:
    """The settings that files declare; without a digest, whatever the newest version pins is taken for the tree's."""
    versions = _mapping(files.sections.get("versions"))
    pinned = _mapping(versions.get(newest({name: 0 for name in versions if is_version_id(name)}) or ""))
    tree = tree_bundle if tree_bundle is not None else str(pinned.get("boot_bundle", ""))
    return load(files.sections, environment=files.stack, tree_bundle=tree)


class Words(click.Group):
    """A group of commands that keeps the words of the command line, so that a command can say how to run it again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them."""
        ctx.meta[WORDS] = tuple(args)
        return super().parse_args(ctx, args)


class FramedCommand(click.Command):
    """A command whose help ends with examples and its exit codes."""

    examples: Sequence[str] = ()
    exits: Sequence[Exit] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Examples and exit codes."""
        with formatter.section("Examples"):
            formatter.write_text("\b\n" + "\n".join(self.examples))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in self.exits])


def command(
    name: str,
    *,
    stack: StackWay,
    changes: bool,
    examples: Sequence[str],
    exits: Iterable[Exit],
    answers_json: bool = True,
) -> Callable[[Callable[..., None]], FramedCommand]:
    """Make a command of a function that takes a Call and its own parameters by name.

    `stack` says how the stack is named: as the first argument, by --stack, as an argument that may be left out
    (`testing` then), or not at all. A command that `changes` something has --dry-run and --yes. 0, 2 and 130 are
    everybody's exit codes; `exits` are the others.
    """
    listed = sorted({Exit.DONE, Exit.FAULT, Exit.INTERRUPTED, *exits})

    def framed(function: Callable[..., None]) -> FramedCommand:
        own: list[click.Parameter] = list(reversed(function.__dict__.pop("__click_params__", [])))

        @functools.wraps(function)
        def callback(**given: Any) -> None:
            context = click.get_current_context()
            call = Call(
                root=Path.cwd(),
                stack=given.pop("stack", ""),
                dry_run=given.pop("dry_run", False),
                yes=given.pop("yes", False),
                json=given.pop("as_json", False),
                words=tuple(context.meta.get(WORDS, context.command_path.split()[1:])),
            )
            with _ending(call):
                function(call, **given)

        params = [
            *_stack(stack, first=True),
            *own,
            *_stack(stack, first=False),
            *_shared(changes=changes, answers_json=answers_json),
        ]
        made = FramedCommand(name, callback=callback, params=params, help=function.__doc__)
        made.context_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
        made.examples, made.exits = examples, listed
        return made

    return framed


def complete_stacks(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The stacks that begin so."""
    return [CompletionItem(name) for name in stack_files.stacks(Path.cwd()) if name.startswith(begun)]


def complete_versions(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The versions that begin so, newest first."""
    return _keys("versions", context, begun)[::-1]


def complete_pools(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The pools that begin so, of the stack that the line names. Of a list with commas, the last one."""
    done, comma, last = begun.rpartition(",")
    return [CompletionItem(f"{done}{comma}{item.value}") for item in _keys("pools", context, last)]


def complete_releases(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The runner releases that begin so."""
    return _keys("runner_releases", context, begun)


def _keys(section: str, context: click.Context, begun: str) -> list[CompletionItem]:
    """Keys of a section as they stand in the files; nothing where the files cannot be read: completion never fails."""
    try:
        sections = stack_files.read(Path.cwd(), context.params.get("stack") or DEFAULT_STACK).sections
    except StackFileError:
        return []
    return [CompletionItem(key) for key in sorted(_mapping(sections.get(section))) if key.startswith(begun)]


def _mapping(value: Any) -> Mapping[str, Any]:
    """What was read from YAML, if it is a mapping; an empty one otherwise."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _stack(way: StackWay, *, first: bool) -> list[click.Parameter]:
    if way == "none" or first is (way == "option"):
        return []
    if way == "option":
        return [
            click.Option(["--stack"], metavar="STACK", required=True, shell_complete=complete_stacks, help="The stack.")
        ]
    default = DEFAULT_STACK if way == "optional" else None
    return [click.Argument(["stack"], required=way == "argument", default=default, shell_complete=complete_stacks)]


def _shared(*, changes: bool, answers_json: bool) -> list[click.Parameter]:
    found: list[click.Parameter] = []
    if changes:
        found.append(click.Option(["--dry-run"], is_flag=True, help="Show what would be done, and do nothing."))
        found.append(click.Option(["--yes"], is_flag=True, help="Do not ask."))
    if answers_json:
        help_text = "Print JSON, and only JSON, to stdout."
        found.append(click.Option(["--json", "as_json"], is_flag=True, help=help_text))
    return found


@contextmanager
def _ending(call: Call) -> Generator[None]:
    """Turn whatever ends a command into lines and an exit code."""
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        yield
    except Problem as problem:
        _end(call, problem.code, *str(problem).splitlines())
    except CloudError as error:
        _end(call, Exit.UNREACHABLE, f"{error}; nothing was concluded from that, nothing was done")
    except ConfigError as error:
        _end(call, Exit.FAULT, *_located(call, error))
    except StackFileError as error:
        _end(call, Exit.FAULT, str(error))
    except (KeyboardInterrupt, click.Abort):
        _end(call, Exit.INTERRUPTED, f"interrupted; to go on: {call.again}")
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - the last door: a bug is said in one line, and kept in a file
        _end(call, Exit.FAILED, f"a fault of the program: {type(error).__name__}; the traceback is in {_kept(call)}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(_number: int, _frame: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does; a run of the engine puts its own handling over it."""
    raise KeyboardInterrupt


def _end(call: Call, code: Exit, *lines: str) -> NoReturn:
    name = click.get_current_context().info_name
    for line in lines:
        click.echo(f"{name}: {line}", err=True)
    if call.json and not call.printed:
        click.echo(json.dumps({"exit": int(code), "fault": list(lines)}, indent=2))
    sys.exit(int(code))


def _located(call: Call, error: ConfigError) -> list[str]:
    """The faults with their file and line, where the stack is the one that they are in."""
    try:
        files = call.files()
    except StackFileError:
        return [str(fault) for fault in error.faults]
    return [f"{files.locate(fault.path)}: {fault}" for fault in error.faults]


def _kept(call: Call) -> str:
    """Write the traceback that is being handled into a file; its path within the project."""
    folder = call.root / "runs"
    folder.mkdir(exist_ok=True)
    path = folder / f"fault-{datetime.datetime.now(tz=datetime.UTC):%Y%m%dT%H%M%S%fZ}.txt"
    path.write_text(f"{call.again}\n\n{traceback.format_exc()}", encoding="utf-8")
    return str(path.relative_to(call.root))
