"""All observers on one real run of the engine: what they tell is what the run's own report tells."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from rollout.backends.fake import Act, Fake, fails, passes
from rollout.engine.backend import Busy
from rollout.engine.run import Run
from rollout.engine.spec import Compensation, Plan, Retry, Rule, Step
from rollout.engine.states import ENDS
from rollout.observers.choose import Form, renderer
from rollout.observers.github_log import GithubLog
from rollout.observers.lines import Lines
from rollout.observers.log_manager import LogManager
from rollout.observers.masking import Masked, Secrets
from rollout.observers.run_folder import RunFolder
from rollout.observers.table import LiveTable
from rollout.observers.timeline import TimingReport


def found(output) -> list[Step]:
    return [Step(id=f"find/{name}", backend="fake", group=name) for name in output["groups"]]


def plan() -> Plan:
    undo = Compensation(backend="fake")
    steps = (
        Step(id="find", backend="fake", expand=found, compensation=undo),
        Step(id="flaky", backend="fake", retry=Retry(tries={"unavailable": 3}, first_seconds=0.01), needs=("find/*",)),
        Step(id="broken", backend="fake", needs=("find",)),
        Step(id="never", backend="fake", needs=("broken",)),
        Step(id="after", backend="fake", needs=("broken",), rule=Rule.ON_FAILURE),
    )
    return Plan(name="real", steps=steps)


SCRIPT = {
    "find": passes(groups=["west", "east"]),
    "find/*": Act(seconds=0.02, writes=b"the word is hunt", progress=["half way"]),
    "flaky": [Act(outcome=Busy(message="no room")), fails("unavailable"), passes()],
    "broken": Act(outcome=fails(message="hunter22 was refused").outcome, writes=b"hunter22\n"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The report, the folder, and what the three renderers wrote."""
    runs = tmp_path_factory.mktemp("project") / "runs"
    secrets = Secrets(["hunter22"])
    screens = {form: io.StringIO() for form in Form}
    with RunFolder.create(runs, "one") as folder:

        async def play():
            logs = LogManager(folder, secrets=secrets)
            shown = [
                Lines(screens[Form.LINES]),
                GithubLog(screens[Form.GITHUB], summary=folder.path / "summary.md"),
                LiveTable(screens[Form.TABLE], interval_seconds=0.01),
            ]
            observers = [logs, TimingReport(folder, secrets=secrets), *(Masked(each, secrets) for each in shown)]
            run = Run(plan(), {"fake": Fake(SCRIPT)}, observers=observers, logs=logs, run_id=folder.run_id)
            return await run.execute()

        report = asyncio.run(play())
        folder.write_report(report.to_json())
    return report, folder, {form: screen.getvalue() for form, screen in screens.items()}


def test_no_observer_had_a_fault_and_the_run_ended_as_it_was_written(told):
    report, _, _ = told
    assert report.observer_faults == ()
    assert {result.id: str(result.state) for result in report.results} == {
        "find": "passed",
        "find/west": "passed",
        "find/east": "passed",
        "flaky": "passed",
        "broken": "failed",
        "never": "skipped",
        "after": "passed",
    }


def test_the_events_on_disk_lead_to_the_states_of_the_report(told):
    report, folder, _ = told
    lines = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    last = {line["step"]: line["new"] for line in lines if line["kind"] == "state"}
    assert last == {result.id: result.state for result in report.results}
    assert set(last.values()) <= ENDS


def test_the_timing_counts_the_tries_of_the_report(told):
    report, folder, _ = told
    steps = {step["id"]: step for step in json.loads(folder.timing.read_text())["steps"]}
    assert {step: facts["attempts"] for step, facts in steps.items()} == {
        each.id: each.attempts for each in report.results
    }
    assert steps["flaky"]["retry_seconds"] > 0
    assert steps["find/west"]["run_seconds"] >= 0.02
    assert steps["never"]["run_seconds"] == 0


def test_logs_and_links_are_where_a_person_looks(told):
    _, folder, _ = told
    assert (folder.by_state("passed") / "find%2Fwest" / "1.log").read_bytes() == b"the word is hunt"
    assert (folder.by_state("failed") / "broken" / "1.log").read_bytes() == b"***\n"
    assert "scripted: *** was refused" in (folder.step("broken") / "why.txt").read_text()
    assert json.loads(folder.report.read_text())["verdict"] == "failed"


def test_every_renderer_tells_the_failure_and_the_undoing_and_no_secret(told):
    _, folder, screens = told
    for form, text in screens.items():
        assert "scripted: *** was refused" in text, form
        assert "is undone" in text, form
        assert "hunter22" not in text, form
    assert "\x1b" not in screens[Form.LINES] + screens[Form.GITHUB]
    assert "::error title=broken::" in screens[Form.GITHUB]
    assert "\\*\\*\\* was refused" in (folder.path / "summary.md").read_text()


def test_the_renderer_for_a_pipe_serves_a_run():
    stream = io.StringIO()

    async def play():
        steps = (Step(id="a", backend="fake"),)
        run = Run(Plan(name="small", steps=steps), {"fake": Fake()}, observers=[renderer(stream, {})])
        return await run.execute()

    assert asyncio.run(play()).verdict == "passed"
    assert "small passed after" in stream.getvalue()
