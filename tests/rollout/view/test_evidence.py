"""What a canary's VMs have shown, and what that is worth."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.view.end_records import EndRecord, Outcome, one_each, parse, query
from rollout.view.evidence import Evidence, Living, Thresholds, fisher, judge, tally
from rollout.view.seen import Known, Unknown
from tests.rollout.view.seen_fleet import CANARY, NOW, STABLE, SeenFleet, minutes

POOLS = ("postsubmit-cpu", "presubmit-cpu")
EASY = Thresholds(jobs=3, jobs_each=0, bake_hours=1)


def ends(*reasons: str, version: str = CANARY, pool: str = "presubmit-cpu", first: float = 300) -> list[EndRecord]:
    """An end a minute, the first so many minutes ago, of VMs that lived for ten."""
    return [
        EndRecord(
            instance_id=f"{version}/{pool}/{first}/{index}",
            at=NOW - minutes(first - index),
            pool=pool,
            version=version,
            reason=reason,
            uptime_seconds=600,
        )
        for index, reason in enumerate(reasons)
    ]


def judged(*records: list[EndRecord], thresholds: Thresholds = EASY, **fields: Any) -> Evidence:
    given = {"pools": POOLS, "now": NOW, "thresholds": thresholds, **fields}
    return judge(CANARY, STABLE, Known([record for some in records for record in some]), **given)


def test_enough_jobs_for_long_enough_without_a_failure_are_enough():
    found = judged(ends(*["finished"] * 3), ends(*["finished"] * 9, version=STABLE))
    assert (found.verdict, found.missing, found.against) == ("enough", (), ())
    assert (found.canary.jobs, found.compared.jobs, found.hours) == (3, 9, pytest.approx(310 / 60))


def test_too_few_jobs_are_counted():
    found = judged(ends("finished", "idle", "preempted"))
    assert found.verdict == "not-enough"
    assert found.missing == ("1 of 3 jobs",)


def test_a_pool_without_a_job_is_named():
    found = judged(ends(*["finished"] * 3), thresholds=Thresholds(jobs=3, bake_hours=1))
    assert found.missing[0].startswith("1 job each in postsubmit-cpu")


def test_time_is_missing_until_the_first_canary_vm_is_old_enough():
    found = judged(ends(*["finished"] * 3, first=20))
    assert found.missing == ("0.5 of 1 hours since the first canary VM",)


def test_a_canary_vm_that_still_lives_counts_for_the_time():
    assert judged(living=Living(since=NOW - minutes(90))).hours == 1.5
    assert judged().hours is None


def test_a_failed_boot_begins_the_count_of_jobs_anew():
    found = judged(ends(*["finished"] * 3, "boot-failed:install", "finished"))
    assert found.canary.streak == 1
    assert found.missing == ("1 of 3 jobs since the last failed boot",)


def test_more_failed_boots_than_allowed_speak_against_it():
    found = judged(ends(*["boot-failed:register"] * 4), ends(*["boot-failed:register"] * 40, version=STABLE))
    assert found.verdict == "against"
    assert found.against == ("4 canary VMs failed to boot, at most 3 may: 4 x boot-failed:register",)


def test_failing_more_often_than_stable_speaks_against_it():
    found = judged(ends(*["boot-failed:install"] * 3, *["finished"] * 7), ends(*["finished"] * 90, version=STABLE))
    assert found.verdict == "against"
    assert "3 of 10 (30 %) against 0 of 90 (0 %)" in found.against[0]


def test_failing_as_often_as_stable_does_not():
    stable = ends(*["boot-failed:install"] * 9, *["finished"] * 21, version=STABLE)
    assert judged(ends(*["boot-failed:install"] * 3, *["finished"] * 7), stable).verdict == "enough"


def test_one_failure_among_few_is_not_called_worse():
    found = judged(ends("boot-failed:install", *["finished"] * 3), ends(*["finished"] * 5, version=STABLE))
    assert found.against == ()
    assert found.chance == pytest.approx(4 / 9)


def test_without_stable_vms_there_is_nothing_to_compare_and_that_is_said():
    found = judged(ends(*["finished"] * 3))
    assert found.chance is None
    assert "stable had no VM meanwhile, so there is nothing to compare with" in found.notes


def test_stable_vms_of_before_the_canary_are_not_compared():
    assert judged(ends(*["finished"] * 3, first=60), ends("boot-failed:run", version=STABLE)).compared.failures == 0


def test_other_versions_and_other_pools_count_for_nothing():
    found = judged(ends(*["finished"] * 5, version="2026-01-01"), ends(*["finished"] * 5, pool="presubmit-gpu"))
    assert (found.canary.jobs, found.compared.jobs) == (0, 0)


@pytest.mark.parametrize("reason", ["refused", "preempted", "idle", "max-age", "operator"])
def test_ends_that_are_nobodys_fault_are_neither_jobs_nor_failures(reason: str):
    one = tally(ends(reason, "finished"))
    assert (one.jobs, one.failures, one.others, one.streak) == (1, 0, 1, 1)


def test_a_failed_query_is_unknown_and_never_no_failure():
    given = {"pools": POOLS, "now": NOW, "thresholds": EASY}
    found = judge(CANARY, STABLE, Unknown("logging: answered HTTP 403"), **given)
    assert (found.verdict, found.missing) == ("unknown", ())
    assert found.lines == ("unknown: how VMs ended: logging: answered HTTP 403",)


def test_no_record_at_all_points_at_the_agent():
    assert "do their images carry the Ops Agent" in judged().notes[0]


def test_canary_vms_that_never_register_are_named_since_they_write_no_record():
    assert "gh-runner-a, gh-runner-b" in judged(living=Living(silent=("gh-runner-b", "gh-runner-a"))).notes[0]


def test_pools_without_a_canary_are_named_since_promoting_is_their_first_try():
    assert any("presubmit-gpu" in note for note in judged(untried=("presubmit-gpu",)).notes)


def test_the_json_has_every_number_that_the_lines_have():
    said = json.loads(json.dumps(judged(ends("finished", "boot-failed:run")).to_json()))
    assert said["canary"]["reasons"] == {"finished": 1, "boot-failed:run": 1}
    assert said["thresholds"] == {"jobs": 3, "jobs_each": 0, "bake_hours": 1, "most_failures": 3}


@given(*[st.integers(0, 12)] * 4)
def test_fishers_test_is_the_share_of_all_draws_that_are_as_bad(bad: int, good: int, other_bad: int, other_good: int):
    chance = fisher(bad, good, other_bad, other_good)
    assert 0 < chance <= 1
    everything = bad + good + other_bad + other_good
    # Fewer bad ones are at least as likely, and none at all is sure.
    assert fisher(0, bad + good, bad + other_bad, other_good - bad if other_good >= bad else 0) == 1
    if bad:
        worse = math.comb(bad + other_bad, bad) * math.comb(good + other_good, good) / math.comb(everything, bad + good)
        assert chance >= worse - 1e-12


def test_fishers_test_agrees_with_the_lady_who_tasted_tea():
    # R. A. Fisher, The Design of Experiments, 1935: all four right of eight cups is 1 of 70, three of four 17 of 70.
    assert fisher(4, 0, 0, 4) == pytest.approx(1 / 70)
    assert fisher(3, 1, 1, 3) == pytest.approx(17 / 70)


# Records.


def payload(**fields: Any) -> dict[str, Any]:
    record = {
        "message": "runner end",
        "reason": "finished",
        "uptime_seconds": 1312,
        "pool": "presubmit-cpu",
        "template_version": CANARY,
        "environment": "prod",
        "job_started": {"reason": "boot-failed:run", "template_version": "2020-01-01"},
    }
    return {"MESSAGE": json.dumps({**record, **fields})}


def read(said: dict[str, Any]) -> EndRecord | None:
    return parse(said, instance_id="7", at=NOW, environment="prod")


def test_a_record_is_read_from_the_journals_text_and_a_jobs_own_words_are_not():
    record = read(payload())
    assert record is not None
    assert (record.pool, record.version, record.reason, record.outcome) == (POOLS[1], CANARY, "finished", Outcome.JOB)
    assert record.began == NOW - datetime.timedelta(seconds=1312)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"MESSAGE": "not JSON"},
        {"MESSAGE": "[1]"},
        {"MESSAGE": 7},
        payload(message="something else"),
        payload(environment="testing"),
        payload(reason=""),
        payload(pool=None),
        payload(template_version=3),
    ],
)
def test_what_is_no_record_of_this_environment_is_none(said: dict[str, Any]):
    assert read(said) is None


@pytest.mark.parametrize("uptime", [-1, "12", None, 1 << 40])
def test_a_record_with_a_strange_uptime_counts_from_its_end(uptime: Any):
    record = read(payload(uptime_seconds=uptime))
    assert record is not None
    assert record.began == NOW


def test_the_first_record_of_a_vm_stands_whatever_it_writes_later():
    twice = [*ends("boot-failed:run"), *ends("finished")]
    late = EndRecord(
        instance_id=twice[0].instance_id, at=NOW, pool=POOLS[1], version=CANARY, reason="finished", uptime_seconds=0
    )
    assert [record.reason for record in one_each([late, twice[0]])] == ["boot-failed:run"]


def test_the_query_names_environment_version_and_time(fleet: SeenFleet):
    text = query(fleet.settings, CANARY, NOW)
    assert 'resource.type="gce_instance"' in text
    assert r'"\"environment\": \"prod\""' in text
    assert rf'"\"template_version\": \"{CANARY}\""' in text
    assert text.endswith('timestamp>="2026-11-28T12:00:00+00:00"')
