"""Runs the real `pulumi preview`, for those who have a CLI and want what only an engine knows.

Uses the CLI on PATH, else the pinned one that the SDK's own installer puts under `.pulumi/`. Changes no file of the
project: the stack's configuration is read from a copy, since the CLI writes its encryption salt into the file it uses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, TextIO

from pulumi.automation import PulumiCommand

NOT_INSTALLABLE: Final = 3
"""Exit code where no CLI is there and none can be had."""


class NoEngineError(Exception):
    """There is no Pulumi CLI, and none could be installed."""


def find_cli(root: Path) -> str:
    """The CLI to use, installed under `.pulumi/` when PATH has none. Raises NoEngineError offline."""
    on_path = shutil.which("pulumi")
    if on_path:
        return on_path
    home = root / ".pulumi"
    installed = home / "bin" / "pulumi"
    if installed.exists():
        return str(installed)
    try:
        PulumiCommand.install(root=str(home))
    except Exception as error:
        raise NoEngineError(
            "no pulumi CLI on PATH, and the pinned one cannot be downloaded: this machine is offline or the download "
            f"is refused ({_last_line(error)}); install it from https://www.pulumi.com/docs/install/ and run this again"
        ) from error
    return str(installed)


def preview(root: Path, stack: str, cli: str, *, with_credentials: bool, output: TextIO) -> int:
    """Run `pulumi preview` for a stack and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="runner-fleet-preview-") as folder:
        scratch = Path(folder)
        environment = _environment(scratch, with_credentials=with_credentials)
        config = scratch / f"Pulumi.{stack}.yaml"
        shutil.copy(root / config.name, config)
        if "PULUMI_BACKEND_URL" not in os.environ:
            # A stack has to exist before it can be previewed, and `stack init` would write into the project's file.
            project = scratch / "project"
            project.mkdir()
            (project / "Pulumi.yaml").write_text("name: runner-fleet\nruntime: python\n", encoding="utf-8")
            words = [cli, "stack", "init", stack, "--non-interactive", "--cwd", str(project)]
            made = subprocess.run(words, env=environment, stdout=sys.stderr, check=False)
            if made.returncode:
                return made.returncode
        words = [cli, "preview", "--non-interactive", "--stack", stack, "--config-file", str(config)]
        return subprocess.run([*words, "--cwd", str(root)], env=environment, stdout=output, check=False).returncode


def _environment(scratch: Path, *, with_credentials: bool) -> dict[str, str]:
    environment = {"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_ERROR_OUTPUT_STRING": "true", **os.environ}
    if "PULUMI_BACKEND_URL" not in environment:
        environment["PULUMI_BACKEND_URL"] = f"file://{scratch}"
        environment.setdefault("PULUMI_CONFIG_PASSPHRASE", "")
    if not with_credentials:
        # Enough for a stack that has nothing yet: the provider insists on a token but asks the cloud for nothing.
        environment["GOOGLE_OAUTH_ACCESS_TOKEN"] = "none"  # noqa: S105 - it is none
        environment["PULUMI_GCP_SKIP_REGION_VALIDATION"] = "true"
    return environment


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
