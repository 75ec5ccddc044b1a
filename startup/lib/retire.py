"""One run of the retirement machine on this VM: looks, calls, saves, freezes and stops for `retirement`, which decides.

A run makes at most one attempt, to its end or to the first outcome it cannot know. It ends with 0 whether the VM left,
stays or is busy, and with 75 where this VM does not let it go on, as when no stage can be saved: then it does nothing
more. It may be killed anywhere, and an alarm kills it after BUDGET_SECONDS. Between two runs there must be more time
than a call of the first can still take to land, so a timer starts them that counts from the end of the last.

The idle timeout and all places are arguments. Tokens are only ever in memory: asked of the metadata server for each
call, and sent to that service alone. No proxy is used and no redirection followed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look there

import marks
import retirement
import worker
from retirement import Outcome, Seen, Stage

METADATA_SECONDS: Final = 5
REQUEST_SECONDS: Final = 30
SIGNAL_SECONDS: Final = 5
"""How long the listener's threads may take to stop, and its process to end."""

BUDGET_SECONDS: Final = 300
"""Longer than an attempt whose calls all take their longest and that settles between them."""

MOST_REPLY_BYTES: Final = 65536
CANNOT_GO_ON: Final = 75  # EX_TEMPFAIL of sysexits.h

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_PROMISED: Final = {
    Stage.ASKING: ("permit", "POST", "retire"),
    Stage.DEREGISTERING: ("deregistered", "POST", "deregister"),
    Stage.RETURNING: ("returned", "DELETE", "retire"),
}
"""The calls: what a clear yes says, method, path below the service's URL."""


@dataclass(frozen=True, kw_only=True)
class Vm:
    """What a run needs to know of its VM."""

    run_dir: Path
    runner_dir: Path
    broker_url: str
    deleter_url: str
    idle_timeout_seconds: int


def log(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"retire: {text}\n")
    sys.stderr.flush()


def sleep(seconds: int) -> None:
    """Wait by the command `sleep`, as the scripts do. Raises where it was cut short, so a wait is never less."""
    subprocess.run(["sleep", str(seconds)], check=True, stdin=subprocess.DEVNULL)


def uptime_seconds() -> float:
    """Seconds since boot, suspended or not: the first field of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(vm: Vm, *, sleep: Callable[[int], None] = sleep, uptime_seconds: Callable[[], float] = uptime_seconds) -> int:
    """Go on from the saved stage, or begin, until the machine rests, the VM leaves, or an outcome is unknown."""
    saved = _saved(vm)
    stage = retirement.begin(saved)
    settled_seconds = 0
    while True:
        listener = worker.listener_pid(vm.run_dir)
        if listener is None:
            log("no listener; nothing to retire")
            return 0
        seen = _look(vm, listener, uptime_seconds(), settled_seconds)
        if stage is Stage.RESTING and not seen.job:
            seen = _with_marks(seen)
        before, stage = stage, retirement.decide(stage, seen)
        if stage is Stage.RETURNING and before is not stage and seen.job:
            log(f"a job has come before {before.value} was over; this VM stays")
        if stage.value != saved:
            saved = _save(vm, stage)
        if stage is Stage.RESTING:
            log(_why_it_rests(vm, seen))
            return 0
        outcome = _act(vm, stage, listener, sleep)
        if stage is Stage.SETTLING:
            settled_seconds += retirement.POLL_SECONDS
        else:
            log(f"{stage.value}: {outcome.value}")
        stage = retirement.AFTER[stage, outcome]
        if not retirement.goes_on(stage, outcome):
            _save(vm, stage)
            return 0


def _look(vm: Vm, listener: int, now_seconds: float, settled_seconds: int) -> Seen:
    """What this VM shows. A listener without a job has no child; one between fork and exec has no name of its own."""
    since = worker.listening_since(vm.run_dir)
    return Seen(
        idle=since is not None and now_seconds - since >= vm.idle_timeout_seconds,
        job=worker.has_child(listener) or worker.had_job(vm.runner_dir),
        settled_seconds=settled_seconds,
    )


def _with_marks(seen: Seen) -> Seen:
    """The same, with what an operator has written on this VM. What cannot be asked may be a hold."""
    try:
        return replace(seen, held=marks.held(time.time()), drained=marks.drained())
    except marks.UnknownError as error:
        log(str(error))
        return replace(seen, held=True)


def _why_it_rests(vm: Vm, seen: Seen) -> str:
    if seen.job:
        return "stays: it has or had a job"
    if seen.held:
        return "stays: an operator holds it, or may"
    return f"stays: it has not listened for {vm.idle_timeout_seconds} s yet"


def _act(vm: Vm, stage: Stage, listener: int, sleep: Callable[[int], None]) -> Outcome:
    """Do what a stage is about to do."""
    match stage:
        case Stage.SETTLING:
            sleep(retirement.POLL_SECONDS)
            return Outcome.DONE
        case Stage.FREEZING:
            return _freeze(listener)
        case Stage.STOPPING:
            return _stop(vm, listener)
        case Stage.RETURNING:
            _let_run(vm, listener)
            return _call(stage, vm.deleter_url)
        case Stage.DEREGISTERING:
            return _call(stage, vm.broker_url)
        case _:
            return _call(stage, vm.deleter_url)


def _freeze(listener: int) -> Outcome:
    """Stop all threads of the listener. If one does not follow, perhaps in a fork just now, all run on."""
    _signal(listener, signal.SIGSTOP)
    if _within(SIGNAL_SECONDS, lambda: worker.frozen(listener)):
        return Outcome.DONE
    _signal(listener, signal.SIGCONT)
    return Outcome.UNKNOWN


def _stop(vm: Vm, listener: int) -> Outcome:
    """End the frozen listener without ever letting it run again, and with it its unit; the VM's end follows."""
    _write_reason(vm)
    _signal(listener, signal.SIGKILL)
    # Its end ends the unit already. This makes it an end that was asked for, and takes along whatever else is in it.
    subprocess.run(["systemctl", "stop", "--no-block", "runner.service"], check=False, stdin=subprocess.DEVNULL)
    gone = _within(SIGNAL_SECONDS, lambda: worker.process_state(listener) is None)
    return Outcome.DONE if gone else Outcome.UNKNOWN


def _let_run(vm: Vm, listener: int) -> None:
    """Undo what freezing and stopping did; nothing where they did nothing."""
    _signal(listener, signal.SIGCONT)
    reason = vm.run_dir / "reason"
    if reason.exists() and reason.read_text(encoding="utf-8").strip() == "idle":
        reason.unlink()


def _write_reason(vm: Vm) -> None:
    """Say why the listener stops, unless somebody has said so before: the first word counts."""
    try:
        with (vm.run_dir / "reason").open("x", encoding="ascii") as reason:
            reason.write("idle\n")
    except FileExistsError:
        log("somebody stops the listener already")


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        log(f"the listener is gone before {number.name}")


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether something becomes true in time. Milliseconds matter here: meanwhile the listener is frozen."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def _call(stage: Stage, url: str) -> Outcome:
    """Make a stage's call and judge the answer: a clear yes, a clear no, or unknown."""
    promised, method, path = _PROMISED[stage]
    token = _identity(url)
    if token is None:
        log(f"{stage.value}: the metadata server gave no identity token")
        return Outcome.UNKNOWN
    status, body = _request(method, f"{url}/{path}", {"Authorization": f"Bearer {token}"}, REQUEST_SECONDS)
    said = _json_object(body)
    answer = _judge(stage, status, said, promised)
    if answer is Outcome.UNKNOWN:
        log(f"{stage.value}: {method} {url}/{path} was answered with {f'HTTP {status}' if status else 'nothing'}")
    return answer


def _judge(stage: Stage, status: int, said: dict[str, Any], promised: str) -> Outcome:
    """What an answer means. Only the service itself can say a clear no, and a clear yes only in its own words."""
    match stage, status:
        case _, 200 if said.get(promised) is True:
            return Outcome.DONE
        case Stage.ASKING, 200 if said.get(promised) is False:
            return Outcome.REFUSED
        case Stage.ASKING, 400 | 401 | 403 | 404 | 409 | 429:
            return Outcome.REFUSED
        case Stage.DEREGISTERING, 409:
            return Outcome.REFUSED
        case Stage.DEREGISTERING, 404 if "error" in said:
            return Outcome.DONE  # GitHub does not know this runner any more
        case _:
            return Outcome.UNKNOWN


def _identity(audience: str) -> str | None:
    """This VM's signed identity token for one service."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    path = f"instance/service-accounts/default/identity?audience={quote(audience, safe='')}&format=full"
    url = f"http://{host}/computeMetadata/v1/{path}"
    status, body = _request("GET", url, {"Metadata-Flavor": "Google"}, METADATA_SECONDS)
    token = body.decode("ascii", errors="replace").strip()
    return token if status == 200 and _JWT.fullmatch(token) else None


def _request(method: str, url: str, headers: dict[str, str], seconds: float) -> tuple[int, bytes]:
    """Status and body of one request; 0 where there was no whole answer."""
    opener = urllib.request.OpenerDirector()  # with nothing else: no proxy, no redirection, an answer of any status
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler())
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - no other scheme has a handler
    try:
        with opener.open(request, timeout=seconds) as response:
            return response.status, response.read(MOST_REPLY_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""


def _json_object(body: bytes) -> dict[str, Any]:
    """What a reply says; nothing where it is no JSON object."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _saved(vm: Vm) -> str | None:
    """The stage that the run before saved; some text that is none where the file cannot be read as ours."""
    try:
        text = (vm.run_dir / "retire.json").read_bytes()
    except FileNotFoundError:
        return None
    return str(_json_object(text).get("stage", ""))


def _save(vm: Vm, stage: Stage) -> str:
    """Save a stage, whole or not at all. A crash of the machine needs no care: the file is gone after a boot."""
    path = vm.run_dir / "retire.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"stage": stage.value}) + "\n", encoding="ascii")
    partial.replace(path)
    return stage.value


def main(arguments: Sequence[str]) -> int:
    """Run once, within the budget."""
    parser = argparse.ArgumentParser(prog="retire")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--runner-dir", type=Path, required=True)
    parser.add_argument("--broker-url", required=True)
    parser.add_argument("--deleter-url", required=True)
    parser.add_argument("--idle-timeout-seconds", type=int, required=True)
    vm = Vm(**vars(parser.parse_args(arguments)))
    signal.alarm(BUDGET_SECONDS)
    try:
        return run(vm)
    except (OSError, subprocess.SubprocessError) as error:
        log(f"cannot go on: {error}")
        listener = worker.listener_pid(vm.run_dir)
        if listener is not None:
            _signal(listener, signal.SIGCONT)
        return CANNOT_GO_ON


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
