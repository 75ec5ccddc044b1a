"""Unpacks the broker's answer into the files that GitHub's runner is configured by.

A just-in-time configuration is base64 of a JSON object: file name to base64 of the file. The runner, given one, writes
these files into its own folder and goes on as if it had been configured (`Runner.ExecuteCommand` in actions/runner,
read at 258d6c857, 2026-08-17). Doing the same before it starts keeps the secret out of its arguments and environment.

Prints the runner's id, and nothing of the configuration, also when it is broken. Exit code 1 for what is none.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

REQUIRED = frozenset({".runner", ".credentials"})
MAX_BYTES = 1 << 20
_FILE_NAME = re.compile(r"\.(runner|credentials)(_[a-z]{1,40})?")  # never .env, .path or .bashrc, which others read


class BrokenConfigError(Exception):
    """What arrived is no configuration. The text says what is wrong and quotes nothing of it."""


def read(reply: bytes) -> tuple[int, dict[str, bytes]]:
    """The runner's id at GitHub, and its files. Raises BrokenConfigError."""
    if len(reply) > MAX_BYTES:
        raise BrokenConfigError(f"it has more than {MAX_BYTES} bytes")
    answer = _object(reply, "the answer")
    runner = answer.get("runner_id")
    if type(runner) is not int or runner < 1:
        raise BrokenConfigError("it names no runner")
    if "jit_config" not in answer:
        raise BrokenConfigError("there is no jit_config in it")
    contents = _object(_decoded(answer["jit_config"], "jit_config"), "jit_config")
    if not all(_FILE_NAME.fullmatch(file) for file in contents):
        raise BrokenConfigError("it names a file that is none of a runner's")
    files = {file: _decoded(content, "a file in it") for file, content in contents.items()}
    missing = REQUIRED - files.keys()
    if missing:
        raise BrokenConfigError(f"it lacks {', '.join(sorted(missing))}")
    return runner, files


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise BrokenConfigError(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise BrokenConfigError(f"{what} is no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _decoded(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except ValueError:
        raise BrokenConfigError(f"{what} is not base64") from None


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="unpack a just-in-time configuration")
    parser.add_argument("--reply", type=Path, required=True, help="the broker's answer")
    parser.add_argument("--into", type=Path, required=True, help="an empty folder that root alone can read")
    given = parser.parse_args(arguments)
    try:
        with given.reply.open("rb") as reply:
            runner, files = read(reply.read(MAX_BYTES + 1))
        for file, content in files.items():
            path: Path = given.into / file
            path.touch(mode=0o600)
            path.write_bytes(content)
    except (BrokenConfigError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{runner}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
