"""What a step on the local backend says, and how its end is judged."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rollout.backends.output import LINE_BYTES, Output
from rollout.engine.backend import Failed, Outcome, Passed

PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What a command gets of the environment without being told: where programs, files and people are, no more."""
OUTPUT: Final = "ROLLOUT_OUTPUT"
"""The variable that names the file for `output: file`."""


def _compiles(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str | None, AfterValidator(_compiles)]


class Command(BaseModel):
    """The step's `params`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: Annotated[list[str], Field(min_length=1)]
    """The program, looked up on PATH, and its arguments. No shell reads them."""
    cwd: str | None = None
    """Where it runs; this process's folder if not given."""
    env: dict[str, str] = {}
    """Variables on top of `PASSED_ON`. They are in the plan and the journal: no place for secrets."""
    pass_env: list[str] = []
    """Names of further variables that it gets from this process, if set; their values are written nowhere."""
    output: Literal["none", "last-line", "file"] = "none"
    """Where it leaves a JSON object: in its last line that is not blank, or in the file that $ROLLOUT_OUTPUT names.

    A file is all that tells a resumed run how a command ended. So it is to be written last, elsewhere, and renamed.
    """
    fail_pattern: Pattern = None
    """It fails with a line in which this is found, whatever its exit code is."""
    pass_pattern: Pattern = None
    """It passes only with a line in which this is found."""
    error_classes: dict[str, str] = {}
    """The failure's code, such as exit-75 or signal-kill, to its error class; what is not here is permanent."""
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Between SIGTERM and SIGKILL, when it is to end, and for what it has left behind."""

    def environment(self, own: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
        """What it gets out of this process's environment, and on top."""
        passed = {name: own[name] for name in (*PASSED_ON, *self.pass_env) if name in own}
        return {**passed, **self.env, **more}

    def watched(self) -> Output:
        """What will hear its output."""
        fails = re.compile(self.fail_pattern) if self.fail_pattern else None
        return Output(fails=fails, passes=re.compile(self.pass_pattern) if self.pass_pattern else None)

    def failed(self, code: str, message: str, output: Output | None = None) -> Failed:
        """A failure, with the class that the step gives it, and what was printed last."""
        error_class = self.error_classes.get(code, "permanent")
        return Failed(code=code, message=message, error_class=error_class, tail=output.tail if output else ())

    def judge(self, returncode: int, output: Output, file: Path) -> Outcome:
        """Its end, by facts in this order: what must not be printed, the exit code, what must be, the typed output.

        `returncode` is as of subprocess: negative for a signal.
        """
        program = shlex.quote(self.argv[0])
        if output.failing_line:
            return self.failed("fail-pattern", f"{program} printed: {output.failing_line}", output)
        if returncode < 0:
            name = _signal_name(-returncode)
            return self.failed(f"signal-{name.removeprefix('SIG').lower()}", f"{program} was ended by {name}", output)
        if returncode:
            return self.failed(f"exit-{returncode}", f"{program} ended with exit code {returncode}", output)
        if not output.passing:
            message = f"{program} ended well, but no line has what must be there: {self.pass_pattern}"
            return self.failed("no-pass-pattern", message, output)
        try:
            return Passed(output=self.typed(output, file))
        except ValueError as error:
            return self.failed("output", f"{program} ended well, but {error}", output)

    def judge_unwatched(self, file: Path) -> Outcome:
        """Its end, where nobody knows the exit code."""
        if self.output == "file":
            with contextlib.suppress(ValueError):
                return Passed(output=self.typed(Output(), file), message="its output is whole; no more is known")
        return self.failed("lost", "it has ended while nobody watched, so its exit code is not known")

    def typed(self, output: Output, file: Path) -> dict[str, Any]:
        """The JSON object that it left; empty where none is wanted. Raises ValueError where there is none."""
        if self.output == "none":
            return {}
        if self.output == "last-line":
            return _object(output.last_line, "its last line")
        if not file.is_file():
            raise ValueError(f"the file that ${OUTPUT} names was not written")
        with file.open("rb") as opened:
            data = opened.read(LINE_BYTES + 1)
        if len(data) > LINE_BYTES:
            raise ValueError(f"the file that ${OUTPUT} names is larger than {LINE_BYTES} bytes")
        return _object(data.decode("utf-8", errors="replace"), f"the file that ${OUTPUT} names")


def parse(params: Mapping[str, Any]) -> Command | Failed:
    """The command of a step's params, or what is wrong with them, every fault with its key."""
    try:
        return Command.model_validate(dict(params))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, not {str(fault['input'])[:80]!r}"
            for fault in error.errors()
        )
        known = ", ".join(Command.model_fields)
        return Failed(code="params", message=f"params of a local step: {faults} (there are {known})")


def not_started(command: Command, error: OSError) -> Failed:
    """Why a program could not be started at all."""
    program = command.argv[0]
    if command.cwd is not None and error.filename == command.cwd:
        return command.failed("cwd", f"cwd {command.cwd} of {program}: {error.strerror}")
    if isinstance(error, FileNotFoundError):
        message = f"no program {program} is there; PATH is {command.environment(os.environ, {}).get('PATH', 'not set')}"
        return command.failed("not-found", message)
    if isinstance(error, PermissionError):
        return command.failed("not-permitted", f"{program} may not be executed")
    return command.failed("cannot-start", f"{program} does not start: {error.strerror}")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{where} is no JSON object: {text[:80]!r}")
    return cast("dict[str, Any]", found)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time one
