"""What functions are told: the table of groups, and their environment."""

import importlib
import itertools
import json
from pathlib import Path

import pytest
from fleet_configuration import changed, settings_of

from fleet import services
from fleet.checks.schedules import cron_fault
from fleet.function_table import function_table
from fleet.service_environment import environment
from fleet.settings import Settings

SERVICE = {service.role: service for service in services.SERVICES}
ROLES = sorted(SERVICE)


def test_the_table_lists_every_group_and_no_other(settings: Settings):
    table = json.loads(function_table(settings))
    groups = [(key, group) for key in settings.pools for group in settings.groups(key)]
    assert set(table["groups"]) == {group.name for _, group in groups}
    for key, group in groups:
        row = table["groups"][group.name]
        level = settings.trust_levels[settings.pools[key].trust]
        assert (row["pool"], row["region"], row["runner_group"]) == (key, group.region, level.runner_group)
        assert row["service_account"] == settings.names.account_email(settings.pools[key].trust)
        assert row["labels"] == list(settings.addressable_labels(key))
        assert (row["min"], row["max"], row["rank"]) == (group.min, group.max, group.rank)


def test_a_pool_that_follows_jobs_has_a_scale_set_and_its_idle_vms_and_others_have_neither(settings: Settings):
    groups = json.loads(function_table(settings))["groups"].values()
    told = {row["pool"]: (row["scale_set"], row["idle"]) for row in groups if row["scale_set"] or row["idle"]}
    assert told == {"presubmit-arm64": ("gh-runner-presubmit-arm64", 1)}


def test_only_a_group_with_a_reserve_has_a_number_for_it_and_a_reserve_that_is_given_up_is_zero():
    def told(**standby: int) -> dict[str, int | None]:
        settings = settings_of(changed({"pools.presubmit-arm64.standby": standby} if standby else {}))
        rows = json.loads(function_table(settings))["groups"].values()
        return {row["pool"]: row["standby"] for row in rows}

    assert set(told().values()) == {None}
    assert told(suspended=2, stopped=1) == {**told(), "presubmit-arm64": 3}
    assert told(suspended=0, stopped=0) == {**told(), "presubmit-arm64": 0}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("signal", "standby"), [("jobs", -1), ("jobs", "2"), ("jobs", True), ("cpu", 0), ("cpu", 3), ("jobs", ...)]
)
def test_a_function_refuses_a_table_whose_reserve_is_none(settings: Settings, role: str, signal: str, standby: object):
    table = json.loads(function_table(settings))
    name = next(name for name, row in table["groups"].items() if (row["signal"] == "jobs") == (signal == "jobs"))
    table["groups"][name]["standby"] = standby
    if standby is ...:
        del table["groups"][name]["standby"]
    module = importlib.import_module(f"{role}.fleet_table")
    with pytest.raises(module.TableError, match=rf"groups\.{name}\.standby is .* must be null"):
        module.parse(json.dumps(table))


def test_the_same_settings_make_the_same_text():
    assert function_table(settings_of(changed({}))) == function_table(settings_of(changed({})))


@pytest.mark.parametrize("role", ROLES)
def test_a_function_reads_the_table_as_it_is_written(settings: Settings, role: str):
    fleet = importlib.import_module(f"{role}.fleet_table").parse(function_table(settings))
    assert fleet.project == settings.google.project
    assert len(fleet.groups) == sum(len(settings.groups(key)) for key in settings.pools)
    assert fleet.pools("jobs") == ("presubmit-arm64",)


@pytest.mark.parametrize("role", ROLES)
def test_a_function_comes_up_with_the_environment_that_the_stack_gives_and_misses_nothing(
    settings: Settings, role: str, tmp_path: Path
):
    (tmp_path / "fleet.json").write_text(function_table(settings))
    module, variables = (importlib.import_module(f"{role}.{name}") for name in ("settings", "variables"))
    told = environment(SERVICE[role], settings)
    assert module.load(told, tmp_path).fleet.project == settings.google.project
    for name in told:
        with pytest.raises(variables.SettingsError, match=name):
            module.load({other: value for other, value in told.items() if other != name}, tmp_path)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_begins_with_the_functions_role(settings: Settings, role: str):
    assert all(name.startswith(f"{role.upper()}_") for name in environment(SERVICE[role], settings))


def test_whoever_reads_the_apps_key_is_told_where_it_is_and_nobody_else(settings: Settings):
    told = {role for role in ROLES if f"{role.upper()}_APP_KEY_SECRET" in environment(SERVICE[role], settings)}
    assert told == {"broker", "listener", "reconciler"} == {role for role in ROLES if SERVICE[role].app_key}


def test_a_function_is_told_the_buckets_of_those_whose_records_it_may_read(settings: Settings):
    for role, service in SERVICE.items():
        buckets = {value for value in environment(service, settings).values() if value.startswith("acme-builds-")}
        granted = {role, *service.reads, *service.writes}
        assert buckets == {settings.names.function_bucket(owner) for owner in granted}


@pytest.mark.parametrize(("dry_run", "told"), [(True, "true"), (False, "false")])
def test_the_reconciler_is_told_how_far_it_may_go(dry_run: bool, told: str):  # noqa: FBT001 - the value under test
    settings = settings_of(changed({"reconciler": {"dry_run": dry_run, "most_percent": 5}}))
    given = environment(services.RECONCILER, settings)
    assert (given["RECONCILER_DRY_RUN"], given["RECONCILER_MOST_PERCENT"]) == (told, "5")
    assert json.loads(given["RECONCILER_RUNNER_RELEASES"])["2.337.0"] == "2026-08-17"


# Calls by the clock --------------------------------------------------------------------------------------------------


def minutes(call: services.ScheduledCall) -> list[int]:
    """At which minutes of an hour a call begins."""
    minute, *rest = call.cron.split(" ")
    assert rest == ["*"] * 4
    if minute.startswith("*/"):
        return list(range(0, 60, int(minute[2:])))
    return [int(part) for part in minute.split(",")]


def test_every_cron_expression_is_one():
    assert [cron_fault(call.cron) for service in services.SERVICES for call in service.calls] == [""] * 3


def test_at_every_moment_a_listener_leads_and_but_for_a_minute_another_stands_by():
    begun = sorted(minute for call in services.LISTENER.calls for minute in minutes(call))
    assert begun == [0, 15, 30, 45], "each leads as long as it stood by"
    served = [{(minute + passed) % 60 for passed in range(services.SERVE_SECONDS // 60)} for minute in begun]
    present = [sum(minute in one for one in served) for minute in range(60)]
    assert min(present) == 1
    assert present.count(1) == len(begun), "the minute in which one hands over and the next begins"
    assert max(present) < services.LISTENER.max_instances, "a call by hand finds room"


def test_a_call_ends_before_whoever_waits_for_it_gives_up():
    assert services.LISTENER.timeout_seconds > services.SERVE_SECONDS
    for service in services.SERVICES:
        for call in service.calls:
            assert service.timeout_seconds <= call.deadline_seconds <= services.LONGEST_CALL_SECONDS


def test_no_job_calls_while_its_last_call_runs():
    for service in services.SERVICES:
        for call in service.calls:
            begun = minutes(call)
            pauses = [later - earlier for earlier, later in itertools.pairwise([*begun, begun[0] + 60])]
            assert service.timeout_seconds <= min(pauses) * 60


def test_a_function_is_granted_only_on_records_of_those_made_before_it():
    for index, service in enumerate(services.SERVICES):
        assert {*service.reads, *service.writes} <= {earlier.role for earlier in services.SERVICES[:index]}


def test_records_outlive_every_vm(settings: Settings):
    assert services.record_days(settings) * services.DAY_SECONDS > settings.lifecycle.max_run_seconds


def test_every_permission_says_which_call_needs_it():
    for service in services.SERVICES:
        assert all({**service.permissions, **service.reads, **service.writes}.values())
