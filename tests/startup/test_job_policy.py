"""The decision about one job: a table of what passes, and hostile text that never does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.catalog.github_events import EVENTS
from fleet.job_policy import JobPolicy, job_policy
from fleet.schema.trust_level import TrustSettings
from startup.lib import job_hook
from startup.lib.job_policy import LIST_SHOWN, LONGEST_FACT, SHOWN, Job, refusal, shown

POLICY: dict[str, Any] = {
    "events": ["push", "pull_request", "workflow_run"],
    "refs": ["refs/heads/main", "refs/tags/v*", "refs/pull/*/merge"],
    "repositories": ["iree-org/iree"],
    "workflows": ["iree-org/iree/.github/workflows/ci.yml@refs/heads/main"],
    "forks": False,
    "actor_associations": ["MEMBER", "OWNER"],
}
HERE = {"repo": {"full_name": "iree-org/iree"}}
PUSH = Job(
    event="push",
    ref="refs/heads/main",
    repository="iree-org/iree",
    workflow="iree-org/iree/.github/workflows/ci.yml@refs/heads/main",
    payload={},
)
ONE_LINE = re.compile(r"[\x20-\x7e]{1,1000}")
FACTS = ("event", "ref", "repository", "workflow")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def pull_request(event: str = "pull_request", **members: object) -> Job:
    change = {"author_association": "MEMBER", "head": HERE, "base": HERE} | members
    return replace(PUSH, event=event, ref="refs/pull/7/merge", payload={"pull_request": change})


def policy(**changes: object) -> dict[str, Any]:
    return POLICY | changes


def test_a_job_that_fits_may_run():
    assert refusal(POLICY, PUSH) is None
    assert refusal(POLICY, pull_request()) is None


@pytest.mark.parametrize("level", ["minimal", "basic"])
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_a_levels_own_policy_says_which_events_run(prod_files, level, event):
    settings = TrustSettings.model_validate(prod_files.sections["trust_levels"][level] | {"workflows": []})
    written = job_policy(level, settings, prod_files.sections["github"]["organization"])
    job = replace(PUSH, event=event)
    assert (refusal(json.loads(written.text()), job) is None) == (event in written.events)


def test_the_policy_has_the_fields_that_the_fleet_writes():
    assert set(JobPolicy.model_fields) == set(POLICY)


@pytest.mark.parametrize(
    ("fact", "value", "allowed"),
    [
        ("repository", "IREE-org/Iree", True),
        ("repository", "iree-org/iree2", False),
        ("repository", "iree-org/iree/", False),
        ("repository", "\u0131ree-org/iree", False),
        ("repository", "iree-org/iree\n", False),
        ("event", "Push", False),
        ("event", "push ", False),
        ("ref", "refs/heads/Main", False),
        ("ref", "refs/heads/main2", False),
        ("ref", "refs/heads/main\n", False),
        ("ref", "main", False),
        ("ref", "refs/tags/v1.0/rc1", True),
        ("ref", "refs/tags/v", True),
        ("ref", "refs/tags/x1", False),
        ("ref", "refs/tags/v1 2", False),
        ("ref", "refs/tags/v1\x00", False),
        ("ref", "refs/pull/7/head", False),
        ("ref", "refs/pull/merge", False),
        ("ref", "refs/heads/gh-readonly-queue/main/pr-1-abc", False),
        ("workflow", "IREE-org/iree/.github/workflows/ci.yml@refs/heads/main", False),
        ("workflow", "iree-org/iree/.github/workflows/ci.yml@refs/tags/v1", False),
        ("workflow", "iree-org/iree/.github/workflows/*", False),
    ],
)
def test_facts_are_matched_exactly_but_for_a_repositorys_case_and_a_refs_wildcard(fact, value, allowed):
    assert (refusal(POLICY, replace(PUSH, **{fact: value})) is None) == allowed


def test_a_letter_that_becomes_ascii_in_lower_case_is_no_such_letter():
    kelvin = "\u212aree"
    assert kelvin.lower() == "kree"
    assert refusal(policy(repositories=["o/kree"]), replace(PUSH, repository=f"o/{kelvin}"))


def test_no_list_of_workflows_means_all_of_them():
    assert refusal(policy(workflows=[]), replace(PUSH, workflow="a/b/.github/workflows/my file.yml@x")) is None


@pytest.mark.parametrize("pattern", ["a" + "*a" * 200 + "b", "*" * 1000 + "b", "a*" * 500 + "b"])
def test_a_pattern_with_many_wildcards_is_not_slow(pattern):
    assert refusal(policy(refs=[pattern]), replace(PUSH, ref="a" * 4000 + "c"))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"head": {"repo": {"full_name": "stranger/iree"}}}, "from the fork stranger/iree"),
        ({"head": {"repo": None}}, "gone or not told"),
        ({"head": {"repo": {"full_name": 7}}}, "gone or not told"),
        ({"head": None}, "gone or not told"),
        ({"base": {}}, "gone or not told"),
        ({"head": [], "base": "x"}, "gone or not told"),
        ({"base": {"repo": {"full_name": "stranger/iree"}}}, "the event is about stranger/iree"),
        ({"head": {"repo": {"full_name": "IREE-ORG/iree", "fork": True}}}, None),
    ],
)
@pytest.mark.parametrize(
    "event", ["pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"]
)
def test_a_change_from_another_repository_is_a_fork(event, members, reason):
    rules = policy(events=[event], actor_associations=[])
    answer = refusal(rules, pull_request(event, **members))
    assert (answer is None) if reason is None else reason in str(answer)
    assert refusal(rules | {"forks": True}, pull_request(event, **members)) is None


@pytest.mark.parametrize(("head", "allowed"), [("iree-org/iree", True), ("stranger/iree", False), (None, False)])
def test_a_run_that_follows_a_forks_run_is_a_forks(head, allowed):
    run = {"head_repository": {"full_name": head} if head else None}
    payload = {"repository": {"full_name": "iree-org/iree"}, "workflow_run": run}
    assert (refusal(POLICY, replace(PUSH, event="workflow_run", payload=payload)) is None) == allowed


@pytest.mark.parametrize(
    ("event", "speakers"),
    [
        ("discussion", ["discussion"]),
        ("discussion_comment", ["comment"]),
        ("issue_comment", ["comment"]),
        ("issues", ["issue"]),
        ("pull_request", ["pull_request"]),
        ("pull_request_review", ["review", "pull_request"]),
        ("pull_request_review_comment", ["comment", "pull_request"]),
        ("pull_request_target", ["pull_request"]),
    ],
)
def test_every_author_an_event_speaks_for_must_be_allowed(event, speakers):
    rules = policy(events=[event], forks=True)
    payload: dict[str, object] = {name: {"author_association": "OWNER"} for name in speakers}
    assert refusal(rules, replace(PUSH, event=event, payload=payload)) is None
    for name in speakers:
        for wrong in ({"author_association": "NONE"}, {"author_association": None}, {}, None, "OWNER", ["OWNER"]):
            answer = refusal(rules, replace(PUSH, event=event, payload=payload | {name: wrong}))
            assert answer is not None
            assert f"author of the {name}" in answer


def test_an_event_without_an_author_passes_and_so_does_anybody_where_no_list_is_given():
    assert refusal(POLICY, replace(PUSH, payload={"schedule": "0 0 * * *"})) is None
    assert refusal(policy(actor_associations=[]), pull_request(author_association="NONE")) is None


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_is_missing_or_endless_refuses(fact):
    assert refusal(policy(refs=["*"]), replace(PUSH, **{fact: ""})) == f"GitHub did not tell the {fact}"
    long = "x" * (LONGEST_FACT + 1)
    wide_open = policy(refs=["*"], workflows=[], events=[long], repositories=[long])
    assert "is longer than" in str(refusal(wide_open, replace(PUSH, **{fact: long})))


@pytest.mark.parametrize("payload", [None, [], "x", 1, True, [{}]])
def test_a_payload_that_is_no_object_refuses(payload):
    assert refusal(POLICY, replace(PUSH, payload=payload)) == "the event's payload is not told, or is not an object"


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [],
        "push",
        {},
        {key: value for key, value in POLICY.items() if key != "forks"},
        policy(more=1),
        POLICY | {1: 2},
        policy(forks=1),
        policy(forks="true"),
        policy(forks=None),
        policy(events="push"),
        policy(events=[]),
        policy(events={"push": 1}),
        policy(refs=[]),
        policy(refs=["refs/*", 7]),
        policy(repositories=[]),
        policy(repositories=[""]),
        policy(workflows=None),
        policy(workflows=[None]),
        policy(actor_associations="MEMBER"),
        policy(actor_associations=[["MEMBER"]]),
    ],
)
def test_a_policy_that_is_not_understood_lets_nothing_run(rules):
    answer = refusal(rules, PUSH)
    assert answer is not None
    assert answer.startswith("the job policy")


def test_a_reason_names_what_was_seen_and_what_is_allowed():
    answer = refusal(POLICY, replace(PUSH, ref="refs/heads/x"))
    assert answer == (
        "ref: refs/heads/x is not allowed here; allowed: refs/heads/main, refs/tags/v*, refs/pull/*/merge"
    )


@given(st.text(), st.integers(1, 200))
def test_what_is_shown_is_short_plain_text(text, longest):
    assert re.fullmatch(r"[\x20-\x7e]*", shown(text, longest))
    assert len(shown(text, longest)) <= longest + 3
    assert not set(shown(text, longest)) & set("#[]\"'`$;%<>&|")


@given(st.dictionaries(st.sampled_from(FACTS), st.text(max_size=300), min_size=1), JSON)
def test_hostile_facts_pass_only_where_they_are_what_is_allowed(facts, payload):
    job = replace(PUSH, payload=payload, **facts)
    answer = refusal(POLICY, job)
    if answer is not None:
        assert ONE_LINE.fullmatch(answer)
        return
    assert job.event in POLICY["events"]
    assert job.repository.lower() == "iree-org/iree"
    assert job.workflow in POLICY["workflows"]
    assert re.fullmatch(r"refs/heads/main|refs/tags/v\S*|refs/pull/\S*/merge", job.ref)
    assert isinstance(payload, dict)


@given(JSON | st.fixed_dictionaries(dict.fromkeys(POLICY, JSON)))
def test_no_policy_of_any_shape_makes_it_fail_or_lets_a_job_run(rules):
    answer = refusal(rules, PUSH)
    assert answer is not None
    assert ONE_LINE.fullmatch(answer)


@given(st.sampled_from(sorted(EVENTS)), JSON, JSON, JSON)
def test_no_payload_of_any_shape_makes_it_fail(event, one, two, three):
    members: Mapping[str, object] = {"head": one, "base": two, "author_association": three}
    payload = dict.fromkeys(("pull_request", "comment", "review", "issue", "discussion", "workflow_run"), members)
    answer = refusal(policy(events=[event]), replace(PUSH, event=event, payload=payload))
    assert answer is None or ONE_LINE.fullmatch(answer)
    if event.startswith("pull_request") or event == "workflow_run":
        assert answer is not None


@given(st.lists(st.text(alphabet="ab/", max_size=3), min_size=1, max_size=5), st.text(alphabet="ab/", max_size=12))
def test_a_wildcard_stands_for_any_text(parts, ref):
    wanted: Callable[[str], object] = re.compile(".*".join(map(re.escape, parts)), re.DOTALL).fullmatch
    rules = policy(refs=["*".join(parts) or "-"])
    if ref:
        assert (refusal(rules, replace(PUSH, ref=ref)) is None) == bool(wanted(ref))


def test_the_longest_reason_is_still_one_short_line():
    rules = policy(events=["\U0010ffff" * 500] * 40)
    answer = refusal(rules, replace(PUSH, event="\x1b" * LONGEST_FACT))
    assert answer is not None
    assert ONE_LINE.fullmatch(answer)
    assert len(answer) < SHOWN + LIST_SHOWN + 100


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """GitHub's variables of a push that may run, with its payload and the policy beside it."""
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    (tmp_path / "event.json").write_text("{}")
    return {
        "GITHUB_EVENT_NAME": PUSH.event,
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REF": PUSH.ref,
        "GITHUB_REPOSITORY": PUSH.repository,
        "GITHUB_WORKFLOW_REF": PUSH.workflow,
    }


def test_the_adapter_takes_every_fact_from_its_own_variable(tmp_path, told):
    assert job_hook.verdict(tmp_path / "policy.json", told) is None
    for name in told:
        without = {other: value for other, value in told.items() if other != name}
        assert job_hook.verdict(tmp_path / "policy.json", without)
        assert job_hook.verdict(tmp_path / "policy.json", told | {name: "nothing/such"})


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b"9" * 10_000, b'"text"', b"\x00"])
def test_a_payload_that_is_no_payload_refuses(tmp_path, told, payload):
    (tmp_path / "event.json").write_bytes(payload)
    assert str(job_hook.verdict(tmp_path / "policy.json", told)).startswith("the event's payload is not ")


@pytest.mark.parametrize("name", ["policy.json", "event.json"])
@pytest.mark.parametrize("kind", ["nothing", "folder", "fifo", "unreadable-name", "too-large"])
def test_a_file_that_is_no_regular_file_of_bounded_size_refuses(tmp_path, told, name, kind):
    path = tmp_path / name
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "unreadable-name":
            path = tmp_path / "a\0b"
        case "too-large":
            most = {"policy.json": job_hook.LARGEST_POLICY_BYTES, "event.json": job_hook.LARGEST_PAYLOAD_BYTES}
            path.write_bytes(b"{}" + b" " * most[name])
        case _:
            pass
    policy_path = path if name == "policy.json" else tmp_path / "policy.json"
    facts = told if name == "policy.json" else told | {"GITHUB_EVENT_PATH": str(path)}
    what = "the job policy" if name == "policy.json" else "the event's payload"
    answer = job_hook.verdict(policy_path, facts)
    assert answer is not None
    assert answer.startswith(f"{what} ")
    assert ONE_LINE.fullmatch(answer)


@pytest.mark.parametrize("text", ["", "[]", "{" * 100_000, '{"events": ["push"]}', "\ud800"])
def test_a_policy_file_that_holds_no_policy_refuses(tmp_path, told, text):
    (tmp_path / "policy.json").write_text(text, errors="surrogatepass")
    assert str(job_hook.verdict(tmp_path / "policy.json", told)).startswith("the job policy ")


@given(st.dictionaries(st.sampled_from([*job_hook.RECORDED.values(), "GITHUB_TOKEN"]), st.text(max_size=500)))
def test_a_record_is_one_short_line_of_plain_text_about_the_job_alone(environment):
    line = job_hook.record(environment, reason="because")
    assert re.fullmatch(r"[\x20-\x7e]{1,3000}", line)
    assert list(json.loads(line)) == ["reason", *job_hook.RECORDED, "time"]
