"""The job policy: what a trust level's settings become for the hook that checks jobs on the VM."""

import json

import pytest
from fleet_configuration import changed, faults, settings_of

from fleet.job_policy import JobPolicy, job_policy
from fleet.settings import Settings
from fleet.trust import LEVELS, allowed_events


def policy_of(settings: Settings, level: str) -> JobPolicy:
    return job_policy(level, settings.trust_levels[level], settings.github.organization)


@pytest.mark.parametrize("level", ["minimal", "basic"])
def test_a_policy_says_what_the_settings_say(settings: Settings, level: str):
    policy, configured = policy_of(settings, level), settings.trust_levels[level]
    assert policy.events == allowed_events(level, configured)
    assert policy.refs == configured.allowed_refs
    assert policy.workflows == configured.workflows
    assert policy.repositories == tuple(f"{settings.github.organization}/{name}" for name in configured.repositories)


def test_code_of_another_repository_runs_at_the_lowest_level_alone(settings: Settings):
    assert {level for level, rights in LEVELS.items() if rights.forks} == {"minimal"}
    assert policy_of(settings, "minimal").forks
    assert not policy_of(settings, "basic").forks


def test_the_text_is_one_line_of_json_with_every_field(settings: Settings):
    text = policy_of(settings, "basic").text()
    assert "\n" not in text
    assert json.loads(text).keys() == JobPolicy.model_fields.keys()


def test_a_level_can_be_kept_to_people_of_the_project():
    settings = settings_of(changed({"trust_levels.minimal.actor_associations": ["MEMBER", "OWNER"]}))
    assert policy_of(settings, "minimal").actor_associations == ("MEMBER", "OWNER")


def test_an_association_that_github_does_not_have_is_a_fault():
    assert faults(changed({"trust_levels.minimal.actor_associations": ["FRIEND"]}))
