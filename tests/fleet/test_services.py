"""What functions are told: the table of groups, and their environment."""

import json

from fleet_configuration import changed, settings_of

from fleet import services
from fleet.function_table import function_table
from fleet.settings import Settings


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
        assert row["min"] == group.min


def test_the_same_settings_make_the_same_text():
    assert function_table(settings_of(changed({}))) == function_table(settings_of(changed({})))


def test_both_functions_read_the_table_as_it_is_written(settings: Settings):
    import broker.fleet_table
    import deleter.fleet_table

    for module in (broker.fleet_table, deleter.fleet_table):
        fleet = module.parse(function_table(settings))
        assert fleet.project == settings.google.project
        assert len(fleet.groups) == sum(len(settings.groups(key)) for key in settings.pools)


def test_both_functions_come_up_with_the_environment_that_the_stack_gives(settings: Settings, tmp_path):
    import broker.settings
    import deleter.settings

    (tmp_path / "fleet.json").write_text(function_table(settings))
    for module, service in ((broker.settings, services.BROKER), (deleter.settings, services.DELETER)):
        told = services.environment(service, settings)
        assert module.load(told, tmp_path).audience == told[f"{service.role.upper()}_AUDIENCE"]


def test_records_outlive_every_vm(settings: Settings):
    assert services.record_days(settings) * services.DAY_SECONDS > settings.lifecycle.max_run_seconds


def test_every_permission_says_which_call_needs_it():
    assert all(reason for service in services.SERVICES for reason in service.permissions.values())
