import itertools

import pytest
from fleet_configuration import changed, settings_of

from fleet import trust
from fleet.catalog.github_events import EVENTS, OPEN_TO_STRANGERS
from fleet.settings import Settings
from fleet.trust import LEVELS

TRUSTED = [level for level in LEVELS if level != "minimal"]


def test_the_levels_are_the_original_fleets_and_each_has_a_rank_of_its_own():
    assert list(LEVELS) == ["minimal", "basic", "releaser"]
    assert len({rights.rank for rights in LEVELS.values()}) == len(LEVELS)


@pytest.mark.parametrize("level", TRUSTED)
def test_no_event_that_a_stranger_can_cause_reaches_a_trusted_level(level: str):
    assert not LEVELS[level].events & OPEN_TO_STRANGERS
    assert LEVELS[level].events, "or the level could run nothing"


@pytest.mark.parametrize(
    "event", ["pull_request", "pull_request_target", "issue_comment", "fork", "merge_group", "workflow_run"]
)
def test_the_best_known_attacks_stay_at_minimal(event: str):
    assert [level for level in LEVELS if event in LEVELS[level].events] == ["minimal"]


def test_merged_code_may_run_on_a_push_and_a_release_may_not():
    assert "push" in LEVELS["basic"].events
    assert "push" not in LEVELS["releaser"].events
    assert {"release", "workflow_dispatch"} <= LEVELS["releaser"].events


def test_a_higher_level_never_has_an_event_that_a_lower_one_lacks():
    ordered = trust.by_rank(LEVELS)
    assert all(LEVELS[high].events <= LEVELS[low].events for low, high in itertools.pairwise(ordered))


def test_only_merged_code_writes_a_cache():
    assert [level for level, rights in LEVELS.items() if rights.writes_cache] == ["basic"]


def test_nothing_crosses_but_presubmits_look_at_the_cache_of_merged_code():
    crossings = [(reader, owner) for reader in LEVELS for owner in LEVELS[reader].reads_cache_of if reader != owner]
    assert crossings == [("minimal", "basic")]


def test_no_level_reads_a_cache_that_a_less_trusted_one_writes():
    for reader, rights in LEVELS.items():
        owners = [LEVELS[owner] for owner in rights.reads_cache_of]
        assert all(owner.rank >= rights.rank for owner in owners if owner.writes_cache), reader


def test_releases_are_built_without_any_cache():
    assert LEVELS["releaser"].reads_cache_of == ()
    assert trust.cache_of("releaser", LEVELS) is None


def test_a_job_can_neither_delete_nor_overwrite_nor_list_artifacts():
    # Other roles of Cloud Storage carry objects.delete (which overwriting needs too) or objects.list.
    assert set(trust.ARTIFACT_ROLES) == {"roles/storage.objectCreator", "roles/storage.legacyObjectReader"}


def test_who_reads_a_cache_can_neither_write_nor_list_it():
    assert set(trust.CACHE_READ_ROLES) == {"roles/storage.legacyObjectReader"}
    assert not set(trust.CACHE_READ_ROLES) & set(trust.CACHE_WRITE_ROLES)


def test_a_vm_can_only_fetch_the_bundle_it_was_told_of():
    assert set(trust.BUNDLE_READ_ROLES) == {"roles/storage.legacyObjectReader"}


def test_in_the_project_a_runner_may_only_write_logs_and_metrics():
    assert set(trust.RUNNER_PROJECT_ROLES) == {"roles/logging.logWriter", "roles/monitoring.metricWriter"}


def test_every_role_says_who_needs_it():
    tables = (trust.ARTIFACT_ROLES, trust.CACHE_WRITE_ROLES, trust.CACHE_READ_ROLES, trust.BUNDLE_READ_ROLES)
    for table in (*tables, trust.RUNNER_PROJECT_ROLES):
        assert all(role.startswith("roles/") and reason for role, reason in table.items())


def test_any_is_every_event_the_level_may_ever_see(settings: Settings):
    assert trust.allowed_events("minimal", settings.trust_levels["minimal"]) == tuple(sorted(EVENTS))


def test_a_list_of_events_comes_sorted(settings: Settings):
    assert trust.allowed_events("basic", settings.trust_levels["basic"]) == ("push", "release", "schedule")


def test_the_cache_of_a_level_is_one_that_is_declared():
    assert trust.cache_of("minimal", ["minimal", "basic"]) == "basic"
    assert trust.cache_of("basic", ["basic"]) == "basic"
    assert trust.cache_of("minimal", ["minimal"]) is None


def test_the_readers_of_a_cache_are_declared_and_other_than_its_owner():
    assert trust.cache_readers("basic", ["basic", "releaser", "minimal"]) == ("minimal",)
    assert trust.cache_readers("basic", ["basic"]) == ()
    assert trust.cache_readers("minimal", LEVELS) == ()


def test_levels_come_the_least_trusted_first():
    assert trust.by_rank(["releaser", "basic", "minimal"]) == ("minimal", "basic", "releaser")


def test_every_event_a_trusted_level_may_see_can_be_allowed_there():
    raw = changed({"trust_levels.basic.allowed_events": sorted(LEVELS["basic"].events)})
    assert set(settings_of(raw).trust_levels["basic"].allowed_events) == LEVELS["basic"].events
