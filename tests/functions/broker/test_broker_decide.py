"""The broker's decisions by themselves: every path of the registration machine, and what it reads from GitHub."""

from __future__ import annotations

from collections import deque

import pytest
from broker import decide
from broker.decide import Registration, Result, Step
from broker.identity import Caller, RefusedError
from hypothesis import given
from hypothesis import strategies as st

RESULTS = {
    Step.CREATE: [Result.CREATED, Result.TAKEN, Result.REFUSED, Result.UNAUTHORISED, Result.GONE, Result.LIMITED,
                  Result.UNSENT, Result.UNKNOWN, Result.FAILED],
    Step.RENEW: [Result.DONE, Result.FAILED],
    Step.SEEK: [Result.DONE, Result.GONE, Result.FAILED],
    Step.FIND: [Result.OURS, Result.OTHERS, Result.FOREIGN, Result.NOBODY, Result.FAILED],
    Step.PROVE: [Result.DONE, Result.ALIVE, Result.FAILED],
    Step.REMOVE: [Result.DONE, Result.ALIVE, Result.FAILED],
}  # fmt: skip
CALLER = Caller(instance_id="42", name="a-vm", zone="us-west1-a", project_number="1", email="x@y")


def test_no_path_frees_a_grant_while_a_runner_may_be_left_and_none_gives_without_a_configuration():
    """The whole machine: `may` says whether some request that was sent may have made a runner, or may yet."""
    seen = {(Registration(), False)}
    waiting = deque(seen)
    ends: set[tuple[Step, bool, str]] = set()
    while waiting:
        now, may = waiting.popleft()
        if now.step in {Step.GIVE, Step.STOP}:
            ends.add((now.step, now.keeps_grant, now.reason))
            if now.step is Step.STOP:
                assert now.keeps_grant or not may
                assert now.keeps_grant == (now.reason == "registration_unknown")
            continue
        for result in RESULTS[now.step]:
            after = decide.follow(now, result)
            assert (after.step is Step.GIVE) == (result is Result.CREATED)
            others = [after] if not after.pause else [after, decide.follow(after, Result.LATE, last=result)]
            for each in others:
                state = each, may or result is Result.UNKNOWN
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
    print(f"{len(seen)} states")  # noqa: T201 - the figures of the claim
    reasons = {reason for step, _, reason in ends if step is Step.STOP}
    assert reasons == {"github_refused", "github_unavailable", "github_limited", "name_taken", "registration_unknown",
                       "scale_set_missing"}  # fmt: skip


def test_the_machine_never_goes_round_without_a_pause_or_a_limit():
    now = Registration()
    for _ in range(decide.MOST_CLASHES):
        now = decide.follow(now, Result.TAKEN)
        assert now.step is Step.FIND
        now = decide.follow(now, Result.OURS)
        now = decide.follow(now, Result.DONE)
    assert decide.follow(now, Result.TAKEN).reason == "name_taken"
    renewed = decide.follow(decide.follow(Registration(), Result.UNAUTHORISED), Result.DONE)
    assert decide.follow(renewed, Result.UNAUTHORISED).reason == "github_refused"
    sought = decide.follow(decide.follow(Registration(), Result.GONE), Result.DONE)
    assert decide.follow(sought, Result.GONE).reason == "scale_set_missing"
    for result in (Result.UNKNOWN, Result.UNSENT, Result.LIMITED):
        assert decide.follow(Registration(), result).pause


@pytest.mark.parametrize(
    ("labels", "result"),
    [
        (["instance-id=42", "zone=us-west1-a"], Result.OURS),
        (["INSTANCE-ID=42", "Zone=us-west1-a", "cpu"], Result.OURS),
        (["instance-id=7", "zone=us-west1-a"], Result.OTHERS),
        (["instance-id=42", "instance-id=7", "zone=us-west1-a"], Result.FOREIGN),
        (["instance-id=42"], Result.FOREIGN),
        (["zone=us-west1-a"], Result.FOREIGN),
        ([], Result.FOREIGN),
    ],
)
def test_a_runner_was_made_for_whom_its_labels_say(labels, result):
    runner = {"id": 3, "name": "A-VM", "labels": [{"name": label} for label in labels]}
    found = decide.runners_named({"runners": [runner, {"id": 4, "name": "another", "labels": []}]}, "a-vm")
    assert found is not None
    assert decide.whose(found, CALLER) is result


NAMES = st.from_regex(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
IDS = st.integers(1, 2**64 - 1).map(str)


@given(NAMES, IDS, NAMES, IDS)
def test_the_name_of_a_scale_sets_runner_carries_its_vms_id_and_no_others(name, instance_id, other_name, other_id):
    made = decide.runner_name(name, instance_id)
    assert len(made) <= 64
    assert made.isascii()
    assert int(made.rpartition("-")[2], 36) == int(instance_id)
    assert made.startswith(name[:50])
    if other_id != instance_id:
        assert made != decide.runner_name(other_name, other_id)


def test_names_of_runners_are_as_the_reconciler_reads_them():
    assert decide.runner_name("gh-runner-presubmit-cpu-us-west1-abcd-x1y2", "1") == (
        "gh-runner-presubmit-cpu-us-west1-abcd-x1y2-1"
    )
    assert decide.runner_name("a" * 63, str(2**64 - 1)) == "a" * 50 + "-3w5e11264sgsf"


def test_a_runner_of_a_scale_set_is_ours_by_its_name_alone():
    own = decide.runner_name(CALLER.name, CALLER.instance_id)
    assert decide.whose(decide.agents_of([7], own, CALLER), CALLER) is Result.OURS
    assert decide.whose(decide.agents_of([], own, CALLER), CALLER) is Result.NOBODY
    assert decide.whose(decide.agents_of([7, 8], own, CALLER), CALLER) is Result.FOREIGN
    assert decide.whose(decide.agents_of([7], CALLER.name, CALLER), CALLER) is Result.FOREIGN


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        ({"count": 0, "value": []}, ()),
        ({"count": 2, "value": [{"id": 3, "name": "A-VM"}, {"id": 4, "name": "a-vm-2"}]}, (3,)),
        ({"value": [{"id": 3, "name": "a-vm"}, {"id": 5, "name": "a-vm"}]}, (3, 5)),
        ({"value": [{"id": "3", "name": "a-vm"}]}, None),
        ({"value": [{"id": 0, "name": "a-vm"}]}, None),
        ({"value": [{"id": 3}]}, None),
        ({"value": [None]}, None),
        ({"value": {}}, None),
        ({"count": 1}, None),
        (None, None),
        ([], None),
    ],
)
def test_a_list_of_the_actions_service_is_read_whole_or_not_at_all(listing, found):
    assert decide.ids_named(listing, "a-vm") == found


def test_a_scale_set_of_another_runner_group_is_not_taken_though_the_service_lists_it():
    listing = {"value": [{"id": 3, "name": "a-set", "runnerGroupId": 1}, {"id": 4, "name": "a-set"}]}
    assert decide.ids_named(listing, "a-set", runnerGroupId=1) == (3,)
    assert decide.ids_named(listing, "a-set", runnerGroupId=2) == ()


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"runner": {"id": 3, "name": "a-vm", "runnerScaleSetId": 8}}, False),
        ({"runner": {"id": 3, "name": "a-vm"}}, False),
        ({"runner": {"id": 3, "name": "another", "runnerScaleSetId": 7}}, False),
        ({"runner": {"id": True, "name": "a-vm", "runnerScaleSetId": 7}}, False),
        ({"encodedJITConfig": ""}, False),
        ({"encodedJITConfig": "no base64!"}, False),
        ({"encodedJITConfig": "A" * (decide.MOST_CONFIG_CHARACTERS + 1)}, False),
    ],
)
def test_a_configuration_counts_only_for_the_name_and_the_scale_set_that_were_asked_for(change, good):
    answer = {"runner": {"id": 3, "name": "a-vm", "runnerScaleSetId": 7}, "encodedJITConfig": "QUFB", **change}
    assert decide.created_agent(answer, "a-vm", 7) == ((3, "QUFB") if good else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=10), values, max_size=4),
    max_leaves=12,
)
LABELS = ["instance-id=42", "instance-id=7", "INSTANCE-ID=42", "zone=us-west1-a", "zone=..", "cpu"]
LABEL = st.fixed_dictionaries({"name": st.sampled_from(LABELS)})
RUNNER = st.fixed_dictionaries(
    {"id": st.integers() | JSON, "name": st.just("a-vm") | JSON},
    optional={"labels": st.lists(LABEL | JSON, max_size=5)},
)


@given(JSON | st.fixed_dictionaries({"runners": st.lists(RUNNER | JSON, max_size=3)}))
def test_whatever_github_lists_only_a_runner_that_says_so_is_ours(listing):
    found = decide.runners_named(listing, "a-vm")
    if found is not None and decide.whose(found, CALLER) is Result.OURS:
        assert len(found) == 1
        assert found[0].instance_id == "42"


@given(JSON | st.fixed_dictionaries({"runner": RUNNER | JSON, "encoded_jit_config": st.text(max_size=9) | JSON}))
def test_whatever_github_answers_a_configuration_has_an_id_and_text(answer):
    made = decide.created_runner(answer, "a-vm")
    if made is not None:
        runner_id, config = made
        assert runner_id > 0
        assert config


@pytest.mark.parametrize("created", [None, "", "yesterday", "2026-13-01T00:00:00Z", 7, "9999-12-31T23:59:59+00:00"])
def test_an_instance_without_a_sensible_age_is_not_served(created):
    with pytest.raises(RefusedError) as caught:
        decide.boot({"creationTimestamp": created}, boot_deadline_seconds=600, now=1_800_000_000)
    assert (caught.value.status, caught.value.code) == (403, "too_old")


@pytest.mark.parametrize("key", ["lastStartTimestamp", "lastSuspendedTimestamp"])
@pytest.mark.parametrize("value", ["yesterday", "2026-13-01T00:00:00Z", 7])
def test_where_age_depends_on_more_times_none_of_them_may_be_senseless(key, value):
    instance = {"creationTimestamp": "2026-11-22T10:00:00Z", key: value}
    with pytest.raises(RefusedError):
        decide.boot(instance, boot_deadline_seconds=600, now=1_795_341_630.0, standby=True)
    assert decide.boot(instance, boot_deadline_seconds=600, now=1_795_341_630.0).seconds == 30


@given(st.text() | st.none())
def test_only_an_instance_that_is_meant_to_run_is_wanted(target):
    if target == "RUNNING":
        return
    with pytest.raises(RefusedError) as caught:
        decide.check_wanted(target)
    assert caught.value.status == (403 if target is None else 425)


def test_google_writes_times_in_californias_zone():
    boot = decide.boot(
        {"creationTimestamp": "2026-11-22T02:00:00.000-08:00"}, boot_deadline_seconds=600, now=1_795_341_630.0
    )
    assert boot.until.isoformat() == "2026-11-22T10:10:00+00:00"
    assert boot.seconds == 30
