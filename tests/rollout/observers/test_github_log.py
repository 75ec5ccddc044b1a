"""In GitHub's log nothing that others say becomes a command, and what is ours is read as it was meant."""

from __future__ import annotations

import asyncio
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollout.engine.events import Event, Kind
from rollout.engine.states import State
from rollout.observers.github_log import MOST_ANNOTATIONS, GithubLog
from rollout.observers.summary import MOST_BYTES, append
from tests.rollout.observers.recorded_run import Recorder, finished_canary, wide

COMMANDS = {
    *("add-mask", "add-matcher", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher"),
    *("save-state", "set-env", "set-output", "stop-commands", "warning"),
}


def logged(events: list[Event], summary=None) -> str:
    stream = io.StringIO()

    async def play():
        log = GithubLog(stream, summary=summary)
        for event in events:
            await log.on_event(event)
        await log.close()

    asyncio.run(play())
    return stream.getvalue()


def commands(log: str) -> list[tuple[str, dict[str, str], str]]:
    """What the runner would obey, by both of its grammars (actions/runner, ActionCommand.cs, read 2026-11-25)."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):
        new = re.match(r"\s*::(.+?)::(.*)", line)
        old = re.search(r"##\[([^\]]*)\](.*)", line)
        for match in filter(None, (new, old)):
            name, _, properties = match[1].partition(" ")
            if name in COMMANDS:
                pairs = dict(pair.split("=", 1) for pair in properties.split(",") if "=" in pair)
                found.append(
                    (name, {key: unescaped(value, in_property=True) for key, value in pairs.items()}, match[2])
                )
                break
    return found


def unescaped(text: str, *, in_property: bool = False) -> str:
    for code, letter in (
        ("%0D", "\r"),
        ("%0A", "\n"),
        *((("%3A", ":"), ("%2C", ",")) if in_property else ()),
        ("%25", "%"),
    ):
        text = text.replace(code, letter)
    return text


def test_a_step_that_has_a_story_is_a_group_and_one_without_is_a_line():
    log = logged(finished_canary().events).splitlines()
    why = "quota: CPUS in us-east1: 96 asked for, 0 left  https://console.cloud.google.com/quotas"
    end = f"east/update: running -> failed (try 2)  after 1m12s  {why}"
    at = next(i for i, line in enumerate(log) if line.startswith("::group::") and "east/update" in line)
    assert log[at : at + 10] == [
        f"::group::12:01:30Z +1m30s [3/6] {end}",
        "12:00:18Z +18s east/update: queued -> running",
        "12:00:40Z +40s east/update: running -> retry-wait  unavailable: Google said 503",
        "12:00:52Z +52s east/update: queued -> running (try 2)",
        f"12:01:30Z +1m30s [3/6] {end}",
        " | limit: 960",
        " | usage: 960",
        " | ::error::no command",
        "::endgroup::",
        f"::error title=east/update::{end}",
    ]
    assert "12:00:18Z +18s [1/6] templates (make templates): running -> passed  after 18s" in log
    names = [name for name, _, _ in commands("\n".join(log))]
    assert names == ["group", "endgroup"] * 2 + ["error", "warning", "group", "endgroup"]


def test_groups_are_never_within_groups():
    depth = 0
    for name, _, _ in commands(logged(wide(400).events)):
        depth += {"group": 1, "endgroup": -1}.get(name, 0)
        assert depth in {0, 1}
        assert name == "endgroup" or depth == (name == "group")
    assert depth == 0


def test_what_is_escaped_reads_as_it_was_meant():
    run = Recorder()
    run.begin([{"id": "a:b@c"}])
    run.run(0, 1, "a:b@c", State.FAILED, "exit-1", "100% full, 5%0A left")
    ((_, properties, data),) = [each for each in commands(logged(run.events)) if each[0] == "error"]
    assert properties == {"title": "a:b@c"}
    assert unescaped(data) == "a:b@c: running -> failed  after 1.0s  exit-1: 100% full, 5%0A left"


PIECES = (
    *("::set-env name=PATH::/tmp", "::add-mask::", "::error::", "##[set-env name=A;]x", "##[", "]", "::", "endgroup::"),
    *("\n", "\r", "\r\n", "\x1b[31m", "\x0b", "\u2028", "\x85", " ", "#", "##", "[", ":", "stop-commands", "%0A"),
)
injections = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@example("::error::x", "name")
@example("\n::error::x", "tail")
@example("##[error]x", "title")
@given(injections, st.sampled_from(["title", "message", "tail", "link", "progress", "external", "why", "name"]))
def test_nothing_that_others_say_is_obeyed(words, where):
    run = Recorder(words if where == "name" else "plan")
    run.begin([{"id": "a", "title": words if where == "title" else "t"}])
    run.state(0, "a", State.QUEUED)
    run.state(0, "a", State.RUNNING, attempt=1)
    run.add(1, Kind.ATTACHED, step="a", data={"external_id": words if where == "external" else "1", "link": ""})
    run.add(1, Kind.PROGRESS, step="a", data={"text": words if where == "progress" else "p"})
    run.add(2, Kind.STOPPING, data={"stage": 1, "why": words if where == "why" else "w"})
    link = words if where == "link" else ""
    tail = [words] if where == "tail" else []
    run.state(3, "a", State.FAILED, "exit-1", words if where == "message" else "m", tail=tail, link=link)
    run.end(4, "failed")
    assert [name for name, _, _ in commands(logged(run.events))] == ["warning", "group", "endgroup", "error"]


def test_the_last_annotation_that_github_shows_counts_the_others():
    run = Recorder()
    run.begin([{"id": f"s{i}"} for i in range(30)])
    for i in range(30):
        run.run(i, i + 1, f"s{i}", State.FAILED, "exit-1", "no")
    run.end(40, "failed")
    errors = [data for name, _, data in commands(logged(run.events)) if name == "error"]
    assert len(errors) == MOST_ANNOTATIONS
    assert errors[-1] == "21 more errors; they are in this log and in the job's summary"


def test_the_summary_tells_what_went_wrong_first(tmp_path):
    summary = tmp_path / "summary.md"
    logged(finished_canary().events, summary)
    assert summary.read_text(encoding="utf-8") == (
        "## ❌ canary 2026-11-02 failed\n\n"
        "6 steps in 2m38s: 3 passed, 1 failed, 2 skipped\n\n"
        "🛑 stopping: SIGINT\n\n"
        "### What went wrong\n\n"
        "| step | end | why | link |\n"
        "| --- | --- | --- | --- |\n"
        "| east/update | failed | quota: CPUS in us-east1: 96 asked for, 0 left | "
        "[open](https://console.cloud.google.com/quotas) |\n\n"
        "### Groups\n\n"
        "| group | passed | bad | never ran | all | time |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| - | 1 | 0 | 1 | 2 | 2m31s |\n"
        "| us-west1/cpu | 2 | 0 | 0 | 2 | 2m13s |\n"
        "| us-east1/cpu | 0 | 1 | 1 | 2 | 1m12s |\n\n"
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("a | b\n| c |", "a \\| b \\| c \\|"),
        ("[here](javascript:alert(1)) `x` **y**", "\\[here\\](javascript:alert(1)) \\`x\\` \\*\\*y\\*\\*"),
    ],
)
def test_words_of_others_are_no_markup_in_the_summary(tmp_path, words, shown):
    run = Recorder()
    run.begin([{"id": "a"}])
    run.run(0, 1, "a", State.FAILED, "exit-1", words, link="javascript:alert(1)")
    run.end(2, "failed")
    logged(run.events, tmp_path / "summary.md")
    assert f"| a | failed | exit-1: {shown} | javascript:alert(1) |" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("link", ["javascript:alert(1)//https://x.org", "https://x.org/) [a](b", "https://x.org/<b>"])
def test_only_a_link_that_is_nothing_else_can_be_followed(tmp_path, link):
    run = Recorder()
    run.begin([{"id": "a"}])
    run.run(0, 1, "a", State.FAILED, "exit-1", "no", link=link)
    run.end(2, "failed")
    logged(run.events, tmp_path / "summary.md")
    assert "[open]" not in (tmp_path / "summary.md").read_text()


def test_a_summary_stays_below_githubs_cap_and_says_what_it_left_out(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_bytes(b"x" * (MOST_BYTES // 2))
    append(summary, ["y" * 100_000] * 20)
    text = summary.read_text()
    assert MOST_BYTES - 110_000 < len(text) < MOST_BYTES
    assert text.endswith("15 more lines are left out: GitHub shows no summary above 1 MiB.\n\n")
    append(summary, ["z" * 100_000])
    assert summary.stat().st_size < MOST_BYTES
