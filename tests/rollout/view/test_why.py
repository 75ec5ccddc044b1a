"""Why a job waits: each cause from data, and that there always is one."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.view.causes import Code
from rollout.view.pool_causes import LISTENER_MAKES, LISTENER_SAYS, PROMPT
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import RunnerGroupSeen, StockOut
from rollout.view.why import Answer, why
from tests.conftest import ROOT
from tests.rollout.view.seen_fleet import CANARY, CPU_SIZED, NOW, STABLE, SeenFleet, job, minutes, settings_with

CPU = "presubmit-cpu"


def answer(fleet: SeenFleet, pool: str = CPU, **fields: Any) -> Answer:
    return why(fleet.settings, fleet.snapshot(), job(fleet.settings, pool, **fields))


def codes(found: Answer) -> list[Code]:
    return [cause.code for cause in found.all_causes]


def says(found: Answer, code: Code) -> str:
    return next(cause.says for cause in found.all_causes if cause.code is code)


# Jobs that no pool has to do with.


def test_a_job_that_runs_has_no_cause_and_a_runner(fleet: SeenFleet):
    found = answer(fleet, status="in_progress", runner="gh-runner-x")
    assert (found.standing, found.all_causes) == ("runs", ())


def test_a_job_that_is_over_has_no_cause(fleet: SeenFleet):
    assert answer(fleet, status="completed", conclusion="success").all_causes == ()


@pytest.mark.parametrize("status", ["waiting", "pending", "requested"])
def test_a_job_that_github_holds_back_waits_for_people_not_for_runners(fleet: SeenFleet, status: str):
    assert codes(answer(fleet, status=status)) == [Code.HELD]


def test_a_job_for_githubs_own_runners_is_not_the_fleets(fleet: SeenFleet):
    found = answer(fleet, labels=("ubuntu-24.04",))
    assert codes(found) == [Code.HOSTED]
    assert "ubuntu-24.04" in found.causes[0].says


# Labels.


def test_a_mistyped_label_is_named_with_the_pool_and_the_label_that_was_meant(fleet: SeenFleet):
    labels = tuple("cpuu" if label == "cpu" else label for label in fleet.settings.addressable_labels(CPU))
    found = answer(fleet, labels=labels)
    assert codes(found) == [Code.LABELS]
    assert "nearest is presubmit-cpu, which has not: cpuu (meant: cpu)" in found.causes[0].says


def test_labels_of_another_environment_are_told_by_their_key(fleet: SeenFleet):
    labels = settings_with(stack="testing").addressable_labels(CPU)
    found = answer(fleet, labels=labels)
    assert codes(found) == [Code.LABELS]
    assert "environment=testing (meant: environment=prod)" in found.causes[0].says


def test_a_label_of_a_version_cannot_be_asked_for_in_a_pool_that_follows_jobs(fleet: SeenFleet):
    labels = (*fleet.settings.addressable_labels(CPU), f"template-version={CANARY}")
    found = answer(fleet, labels=labels)
    assert "runners of a pool that follows jobs have no labels of their version" in found.causes[0].says


def test_labels_are_compared_without_regard_to_case(fleet: SeenFleet):
    found = answer(fleet, labels=("Self-Hosted", "LINUX", "trust=minimal", "CPU"))
    assert [each.pool for each in found.pools] == [CPU]


def test_a_pools_scale_set_is_one_of_its_labels(fleet: SeenFleet):
    assert [each.pool for each in answer(fleet, labels=("gh-runner-postsubmit-gpu",)).pools] == ["postsubmit-gpu"]


def test_few_labels_mean_several_pools_and_each_is_answered_for(fleet: SeenFleet):
    found = answer(fleet, labels=("self-hosted", "arm64"))
    assert {each.pool for each in found.pools} == {"presubmit-arm64", "postsubmit-arm64"}
    assert all(each.causes for each in found.pools)


# What GitHub lets it have.


def test_a_repository_that_the_level_does_not_serve(fleet: SeenFleet):
    found = answer(fleet, repository="iree-test-suites")
    assert codes(found)[0] is Code.REPOSITORY
    assert "serves iree, not iree-test-suites" in says(found, Code.REPOSITORY)


def test_a_workflow_file_that_the_level_does_not_list(fleet: SeenFleet):
    found = answer(fleet, "postsubmit-cpu", workflow=".github/workflows/nightly.yml")
    assert ".github/workflows/nightly.yml on refs/heads/main" in says(found, Code.WORKFLOW)


def test_the_listed_workflow_on_its_ref_is_no_cause(fleet: SeenFleet):
    assert Code.WORKFLOW not in codes(answer(fleet, "postsubmit-cpu"))


def test_the_listed_workflow_on_another_branch_waits_for_ever(fleet: SeenFleet):
    assert Code.WORKFLOW in codes(answer(fleet, "postsubmit-cpu", branch="some-change"))


@pytest.mark.parametrize(
    ("there", "text"),
    [
        (None, "GitHub has no runner group presubmit"),
        (RunnerGroupSeen(name="presubmit", repositories=frozenset({"other"})), "does not list iree"),
        (
            RunnerGroupSeen(name="presubmit", repositories=frozenset({"iree"}), public_repositories=False),
            "refuses public repositories",
        ),
    ],
)
def test_a_runner_group_that_is_not_as_the_stack_says(fleet: SeenFleet, there: RunnerGroupSeen | None, text: str):
    fleet.replaced["runner_groups"] = Known({"presubmit": there} if there else {})
    assert text in says(answer(fleet), Code.RUNNER_GROUP)


def test_what_the_vm_will_refuse_is_told_beforehand_and_is_no_cause(fleet: SeenFleet):
    found = answer(fleet, "postsubmit-cpu", event="pull_request")
    (pool,) = found.pools
    assert any("event pull_request is not allowed there" in later for later in pool.later)
    assert any("refs/pull/0/merge is not allowed there" in later for later in pool.later)


def test_an_event_that_github_does_not_tell_is_not_held_against_the_job(fleet: SeenFleet):
    (pool,) = answer(fleet, "postsubmit-cpu", event="", branch="", workflow="").pools
    assert pool.later == ()
    assert Code.WORKFLOW not in [cause.code for cause in pool.causes]


# What the pool lacks.


def test_a_pool_whose_groups_are_not_there_is_not_deployed(fleet: SeenFleet):
    for region in ("us-west1", "us-central1"):
        fleet.groups[fleet.name(CPU, region)] = Known(None)
    assert says(answer(fleet), Code.NOT_DEPLOYED).startswith("none of its groups exists")


def test_a_pool_with_a_maximum_of_0_never_has_a_vm():
    region = {"zones": ["a"], "min": 0, "max": 0}
    pool = {"regions": {"us-west1": region}, "scaling": {"signal": "jobs"}}
    fleet = SeenFleet(settings_with(pools__presubmit_cpu=pool))
    assert Code.ZERO in codes(answer(fleet))


def test_a_silent_listener_is_a_cause_with_the_command_that_calls_it(fleet: SeenFleet):
    fleet.says(CPU, expires=NOW - minutes(1))
    found = answer(fleet)
    cause = next(cause for cause in found.all_causes if cause.code is Code.LISTENER)
    assert "gcloud scheduler jobs run gh-runner-listener-even" in cause.fix


def test_a_listener_that_never_wrote_is_silent(fleet: SeenFleet):
    del fleet.words[CPU]
    assert Code.LISTENER in codes(answer(fleet))


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("the pool's maximum of 20 is reached", Code.MAXIMUM),
        ("no capacity in us-west1-a/b since 11:40", Code.STOCK_OUT),
        ("quota: us-west1 refused 3 more VMs since 11:40", Code.QUOTA),
        ("the group of us-west1 does not exist since 11:40", Code.REFUSED),
        ("the group of us-west1 may not be resized since 11:40", Code.REFUSED),
        ("the group of us-west1 cannot be looked at", Code.REFUSED),
        ("VMs cannot be created in us-west1 since 11:40", Code.REFUSED),
        ("a sentence that it will only say next year", Code.REFUSED),
    ],
)
def test_what_the_listener_says_is_passed_on_with_a_remedy(fleet: SeenFleet, reason: str, code: Code):
    fleet.says(CPU, waiting=1, reasons=(reason,))
    assert says(answer(fleet), code).startswith(reason)


def test_the_listener_says_its_reasons_as_they_are_known_here():
    source = "".join(
        (ROOT / "functions/demand_listener/listener" / name).read_text() for name in ("decide.py", "status.py")
    )
    for beginning, _, _ in LISTENER_SAYS:
        assert beginning in source
    assert LISTENER_MAKES in source


def test_a_stock_out_has_the_time_of_the_next_attempt(fleet: SeenFleet):
    short = StockOut(region="us-west1", zone="us-west1-a", since=NOW - minutes(20), until=NOW + minutes(7))
    fleet.says(CPU, waiting=1, reasons=("no capacity in us-west1-a since 11:40",), stockouts=(short,))
    assert says(answer(fleet), Code.STOCK_OUT).endswith("since 11:40 UTC; asked for again at 12:07 UTC")


def test_a_runner_release_past_its_deadline_gets_no_jobs():
    releases = {"2.338.0": {"released": "2026-10-01T00:00:00Z", "sha256": {}}}
    fleet = SeenFleet(settings_with(runner_releases=releases))
    found = answer(fleet)
    assert "runner 2.337.0, whose time at GitHub was over on 2026-10-31" in says(found, Code.RUNNER_RELEASE)


def test_vms_that_do_not_register_are_the_canarys_when_all_of_them_are(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", age=20, version=CANARY)
    assert f"all of the canary {CANARY}" in says(answer(fleet), Code.CANARY)


def test_vms_that_do_not_register_are_everybodys_when_one_is_stables(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", age=20, version=CANARY)
    fleet.vm(CPU, "us-west1", runner="offline")
    found = answer(fleet)
    assert Code.CANARY not in codes(found)
    assert "2 VMs did not register in time" in says(found, Code.BOOT)


def test_a_vm_that_its_group_cannot_make_has_googles_code(fleet: SeenFleet):
    code = "ZONE_RESOURCE_POOL_EXHAUSTED"
    fleet.vm(CPU, "us-west1", runner="", id="", status="", action="CREATING", errors=(code,), started=None)
    assert code in says(answer(fleet), Code.STOCK_OUT)


def test_a_vm_that_boots_is_coming_with_its_age(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", age=3)
    assert says(answer(fleet), Code.COMING).startswith("1 VM is starting, the oldest for 3 min")


def test_a_vm_that_is_resumed_comes_from_the_reserve(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", age=3, action="RESUMING")
    assert Code.RESERVE in codes(answer(fleet))


def test_an_idle_runner_takes_a_moment(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="idle")
    found = answer(fleet, created=NOW - datetime.timedelta(seconds=20))
    assert says(found, Code.ASSIGNING).endswith("to none yet")


def test_an_idle_runner_for_ten_minutes_is_github_s_fault(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="idle")
    cause = next(cause for cause in answer(fleet).all_causes if cause.code is Code.ASSIGNING)
    assert cause.says.endswith("for 10 min")
    assert "github-outage" in cause.fix


def test_a_job_that_the_listener_does_not_hear_of_was_not_offered(fleet: SeenFleet):
    assert codes(answer(fleet)) == [Code.NOT_OFFERED]


def test_a_job_of_this_minute_is_new(fleet: SeenFleet):
    fleet.says(CPU, waiting=1)
    assert codes(answer(fleet, created=NOW - datetime.timedelta(seconds=20))) == [Code.NEW]


def test_what_nothing_explains_is_said_to_be_unexplained(fleet: SeenFleet):
    fleet.says(CPU, waiting=1)
    assert codes(answer(fleet)) == [Code.UNEXPLAINED]


def test_a_pool_by_cpu_whose_vms_all_have_jobs_asks_for_no_more():
    fleet = SeenFleet(settings_with(pools__presubmit_cpu=CPU_SIZED))
    fleet.vm(CPU, "us-west1")
    assert "its size follows cpu" in says(answer(fleet), Code.BUSY)


# What is not known.


@pytest.mark.parametrize("source", ["runners", "words", "runner_groups"])
def test_a_source_that_could_not_be_asked_is_named_and_never_taken_for_no(fleet: SeenFleet, source: str):
    fleet.replaced[source] = Unknown("GitHub: answered HTTP 502")
    found = answer(fleet)
    assert "GitHub: answered HTTP 502" in says(found, Code.UNKNOWN)
    assert not found.complete


def test_a_group_that_could_not_be_read_is_named_and_is_not_called_missing(fleet: SeenFleet):
    fleet.groups[fleet.name(CPU, "us-west1")] = Unknown("compute: answered HTTP 500")
    found = answer(fleet)
    assert Code.NOT_DEPLOYED not in codes(found)
    assert "compute: answered HTTP 500" in says(found, Code.UNKNOWN)


# Always.

STATES = ["queued", "in_progress", "completed", "waiting", "pending", "requested"]


@st.composite
def fleets_and_jobs(draw: st.DrawFn) -> tuple[SeenFleet, Any]:
    fleet = SeenFleet(BASE if draw(st.booleans()) else MIXED)
    pool = draw(st.sampled_from(sorted(fleet.settings.pools)))
    regions = sorted(fleet.settings.pools[pool].regions)
    for _ in range(draw(st.integers(0, 4))):
        fleet.vm(
            pool,
            draw(st.sampled_from(regions)),
            runner=draw(st.sampled_from(["", "busy", "idle", "offline"])),
            version=draw(st.sampled_from([STABLE, CANARY, ""])),
            age=draw(st.sampled_from([0, 5, 15, 500])),
            action=draw(st.sampled_from(["NONE", "CREATING", "DELETING", "RESUMING", "VERIFYING"])),
            target_status=draw(st.sampled_from(["RUNNING", "STOPPED"])),
        )
    fleet.says(pool, waiting=draw(st.integers(0, 2)), running=draw(st.integers(0, 2)))
    if draw(st.booleans()):
        fleet.says(pool, expires=NOW - minutes(1))
    for source in draw(st.sets(st.sampled_from(["runners", "words", "runner_groups"]))):
        fleet.replaced[source] = Unknown("it was not to be had")
    for region in draw(st.sets(st.sampled_from(regions))):
        fleet.groups[fleet.name(pool, region)] = draw(st.sampled_from([Known(None), Unknown("no answer")]))
    asked = job(fleet.settings, pool, status=draw(st.sampled_from(STATES)))
    labels = draw(st.sampled_from([asked.labels, (), ("self-hosted",), ("nonsense",), ("ubuntu-latest",)]))
    age = draw(st.sampled_from([-5, 0, 30, 119, 121, 90_000]))
    return fleet, replace(asked, labels=labels, created=NOW - datetime.timedelta(seconds=age))


BASE = settings_with()
MIXED = settings_with(
    pools__presubmit_cpu=CPU_SIZED,
    pools__postsubmit_gpu={
        "scaling": {"signal": "fixed"},
        "regions": {"us-west1": {"zones": ["a"], "min": 1, "max": 1}},
        "canary": None,
    },
)


@given(fleets_and_jobs())
def test_a_job_that_waits_always_has_a_cause_and_any_other_never(case: tuple[SeenFleet, Any]):
    fleet, asked = case
    found = why(fleet.settings, fleet.snapshot(), asked)
    if asked.status in {"in_progress", "completed"}:
        assert found.all_causes == ()
        assert found.pools == ()
        return
    assert found.all_causes
    assert all(each.causes for each in found.pools)
    for cause in found.all_causes:
        assert cause.says
        assert cause.fix
    for each in found.pools:
        order = [list(Code).index(cause.code) for cause in each.causes]
        assert order == sorted(order)
    if asked.status == "queued" and found.pools and ("runners" in fleet.replaced or "words" in fleet.replaced):
        follows = any(fleet.settings.pools[each.pool].scaling.signal == "jobs" for each in found.pools)
        assert found.complete is not ("runners" in fleet.replaced or follows)


def test_the_time_within_which_nothing_needs_a_cause_is_longer_than_a_look_of_the_listener():
    # listener/serve.py looks at least so often; GitHub holds an empty poll for about 50 s.
    assert datetime.timedelta(seconds=60) < PROMPT


def test_every_runbook_that_a_remedy_names_is_there():
    sources = [path.read_text() for folder in ("view", "commands") for path in (ROOT / "rollout" / folder).glob("*.py")]
    named = {word.strip("\"',;:).") for text in sources for word in text.split() if "docs/runbooks/" in word}
    named = {name[name.index("docs/runbooks/") :].partition(".md")[0] + ".md" for name in named}
    assert named
    assert not [name for name in sorted(named) if not (Path(ROOT) / name).is_file()]
