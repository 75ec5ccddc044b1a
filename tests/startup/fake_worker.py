"""Stand-ins for GitHub's listener and worker, as far as a hook meets them. Installed as two programs by `install`.

The listener starts a worker, gathers what it says on stdout and stderr, and reports how it ended, as
src/Runner.Listener/JobDispatcher.cs does. The worker runs the hook as JobHookProvider.cs and ProcessInvoker.cs do: as
`bash -e FILE`, its output read from pipes, and the next step not before both pipes are closed or five seconds passed.
When the hook fails the job's steps are left out, but for the one with always().
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

STREAMS_SECONDS = 5


def install(folder: Path) -> Path:
    """Write both programs to a folder, under names that become their processes' names; return the listener's path."""
    for name in ("Runner.Listener", "Runner.Worker"):
        program = folder / name
        program.write_text(f"#!{sys.executable} -IS\n{Path(__file__).read_text()}")
        program.chmod(0o755)
    return folder / "Runner.Listener"


def listen(folder: Path) -> None:
    worker = subprocess.Popen([folder / "Runner.Worker"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = worker.communicate()
    report = {"status": worker.returncode, "annotation": said}
    (folder / "reported.json").write_text(json.dumps(report))


def work(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    for command in plan["background"]:
        subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    environment = plan["environment"]
    passed = run_step(["bash", "-e", plan["hook"]], environment, folder)
    if passed:
        run_step(["touch", "step"], environment, folder)
    run_step(["touch", "always"], environment, folder)
    sys.exit(100 if passed else 102)


def run_step(command: list[str], environment: dict[str, str], folder: Path) -> bool:
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    readers = [threading.Thread(target=copy, args=(stream, folder)) for stream in (process.stdout, process.stderr)]
    for reader in readers:
        reader.daemon = True
        reader.start()
    status = process.wait()
    for reader in readers:
        reader.join(STREAMS_SECONDS)
    return status == 0


def copy(stream: IO[bytes], folder: Path) -> None:
    with (folder / "job.log").open("ab", buffering=0) as log:
        for line in stream:
            log.write(line)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background may have it ignored
    here = Path(sys.argv[0]).parent
    listen(here) if Path(sys.argv[0]).name == "Runner.Listener" else work(here)
