"""What an operator is told on a given day. The days are those of 2.336.0, which 2.337.0 of 2026-08-17 ends."""

import datetime
from typing import Any

import pytest
from fleet_configuration import CANARY, STABLE, changed, settings_of, valid

from fleet.warnings import warnings

QUIET_DAY = datetime.date(2026, 8, 20)
"""Nothing is near on it."""


def told(edits: dict[str, Any], on: datetime.date = QUIET_DAY, used_elsewhere: tuple[str, ...] = ()) -> list[str]:
    return list(warnings(settings_of(changed(edits)), on, used_elsewhere))


def test_a_fleet_in_order_gets_no_warning():
    assert told({}) == []


@pytest.mark.parametrize("on", ["2026-08-17", "2026-09-05"])
def test_a_deadline_far_off_is_no_warning(on: str):
    assert told({}, datetime.date.fromisoformat(on)) == []


@pytest.mark.parametrize(("on", "days"), [("2026-09-06", 10), ("2026-09-15", 1), ("2026-09-16", 0)])
def test_a_deadline_that_is_near_says_the_day_and_what_to_do(on: str, days: int):
    [warning] = told({}, datetime.date.fromisoformat(on))
    assert warning.startswith(
        f"versions.{STABLE}.runner: 2.336.0 (stable) must be replaced by 2026-09-16, in {days} days"
    )
    assert "scripts/rollout cut" in warning


def test_a_deadline_that_is_past_says_what_github_may_do():
    [warning] = told({}, datetime.date(2026, 9, 17))
    assert f"versions.{STABLE}.runner: 2.336.0 (stable) is past its deadline of 2026-09-16" in warning
    assert "no jobs" in warning


def test_the_canarys_deadline_is_watched_too():
    warned = told({f"versions.{CANARY}.runner": "2.336.0"}, datetime.date(2026, 9, 17))
    assert ["(stable)" in warning for warning in warned] == [True, False]
    assert "(canary)" in warned[1]


def test_the_newest_release_is_never_late():
    assert told({f"versions.{STABLE}.runner": "2.337.0"}, datetime.date(2036, 1, 1)) == []


OLD = "2026-07-01"
UNUSED = {f"versions.{OLD}": valid()["versions"][STABLE]}


def test_a_version_that_nobody_uses_may_go():
    [warning] = told(UNUSED)
    assert warning.startswith(f"versions.{OLD}: no stack runs, tries or keeps it")
    assert "rollout.keep" in warning


def test_a_version_that_is_kept_may_stay():
    assert told({**UNUSED, "rollout.keep": [OLD]}) == []


def test_a_version_that_another_stack_uses_may_stay():
    assert told(UNUSED, used_elsewhere=(OLD,)) == []


def test_the_newest_version_may_wait_for_its_canary():
    assert told({"rollout.canary": None}) == []


def test_an_unused_versions_deadline_is_no_warning():
    warned = told({**UNUSED, f"versions.{STABLE}.runner": "2.337.0"}, datetime.date(2036, 1, 1))
    assert [warning for warning in warned if "deadline" in warning] == []


@pytest.mark.parametrize(("quota", "warned"), [(991, 1), (992, 0)])
def test_a_peak_above_the_quota_of_vcpus_is_a_warning(quota: int, warned: int):
    # us-west1 holds up to 10 VMs of 96 vCPUs and 2 of 16.
    found = told({"google.quotas": {"us-west1": {"vcpu": quota}}})
    assert len(found) == warned
    assert all(text.startswith("google.quotas.us-west1.vcpu: ") and "992" in text for text in found)


@pytest.mark.parametrize(("quota", "warned"), [(1, 1), (2, 0)])
def test_a_peak_above_the_quota_of_gpus_is_a_warning(quota: int, warned: int):
    found = told({"google.quotas": {"us-west1": {"gpu": {"nvidia-tesla-t4": quota}}}})
    assert len(found) == warned
    assert all(text.startswith("google.quotas.us-west1.gpu.nvidia-tesla-t4: ") for text in found)


def test_a_quota_of_zero_is_a_quota():
    assert len(told({"google.quotas": {"us-west1": {"vcpu": 0}}})) == 1


def test_what_has_no_quota_is_never_above_it():
    assert told({"google.quotas": {}}) == []
    assert told({"google.quotas": {"us-west4": {"vcpu": 0}}}) == []


def test_warnings_come_together():
    warned = told({**UNUSED, "google.quotas": {"us-west1": {"vcpu": 1}}}, datetime.date(2026, 9, 17))
    assert [warning.partition(":")[0] for warning in warned] == [
        f"versions.{STABLE}.runner",
        f"versions.{OLD}",
        "google.quotas.us-west1.vcpu",
    ]
