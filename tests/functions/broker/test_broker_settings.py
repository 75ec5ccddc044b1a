"""What the broker refuses to start with, and that it says which variable, what was seen and what is allowed."""

from __future__ import annotations

import json

import pytest
from broker import settings
from broker.variables import SettingsError

from emulators.site import Site
from tests.functions.broker.broker_service import PRESUBMIT, SOURCE, environment, table


@pytest.fixture
def given(tmp_path):
    with Site() as site:
        yield environment(site, tmp_path)


def test_the_urls_are_those_of_the_real_services_unless_told(given, tmp_path):
    real = {name: value for name, value in given.items() if not name.endswith("_URL")}
    read = settings.load(real, tmp_path)
    assert read.github_url == "https://api.github.com"
    assert read.github_web_url == "https://github.com"
    assert read.compute_url == "https://compute.googleapis.com"
    assert read.storage_url == "https://storage.googleapis.com"
    assert read.secrets_url == "https://secretmanager.googleapis.com"
    assert read.certs_url == "https://www.googleapis.com/oauth2/v3/certs"
    assert read.fleet.groups[PRESUBMIT].runner_group == "presubmit"


def test_the_table_lies_beside_main_unless_told(given, tmp_path):
    del given["BROKER_FLEET_FILE"]
    assert settings.load(given, tmp_path).fleet.project == "iree-oss"
    with pytest.raises(SettingsError, match="BROKER_FLEET_FILE"):
        settings.load(given, SOURCE.parent / "nowhere")


REQUIRED = ["BROKER_AUDIENCE", "BROKER_APP_ID", "BROKER_INSTALLATION_ID", "BROKER_APP_KEY_SECRET",
            "BROKER_GRANTS_BUCKET", "BROKER_LISTENER_BUCKET", "BROKER_BOOT_DEADLINE_SECONDS"]  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "?!", " 1", "-1"])
def test_a_setting_that_is_missing_or_malformed_is_named(given, tmp_path, name, value):
    given.pop(name)
    if value is not None:
        given[name] = value
    with pytest.raises(SettingsError, match=f"^{name} is .*; allowed: ") as caught:
        settings.load(given, tmp_path)
    assert value is None or repr(value) in str(caught.value)


def test_a_url_ends_without_a_slash_and_has_no_query(given, tmp_path):
    assert settings.load({**given, "BROKER_GITHUB_URL": "https://ghe.example/api/v3/"}, tmp_path).github_url.endswith(
        "v3"
    )
    with pytest.raises(SettingsError, match="BROKER_GITHUB_URL"):
        settings.load({**given, "BROKER_GITHUB_URL": "https://ghe.example/?x"}, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            ("groups", PRESUBMIT, "signal"),
            "webhook",
            "groups.*signal is 'webhook'; allowed: jobs, cpu, fixed, schedule",
        ),
        (("groups", PRESUBMIT, "labels"), [], "groups.*labels"),
        (("groups", PRESUBMIT, "labels"), [1], "groups.*labels"),
        (("groups", PRESUBMIT, "min"), "1", "groups.*min is '1'"),
        (("groups", PRESUBMIT, "min"), True, "groups.*min is True"),
        (("groups", PRESUBMIT, "service_account"), "", "groups.*service_account"),
        (("groups", PRESUBMIT), None, "is no object"),
        (("project",), 7, "project is 7"),
        (("groups",), [], "groups is"),
    ],
)
def test_a_table_that_is_not_as_it_must_be_is_refused_with_the_place(given, tmp_path, path, value, says):
    changed = table()
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (tmp_path / "fleet.json").write_text(json.dumps(changed))
    with pytest.raises(SettingsError, match=says):
        settings.load(given, tmp_path)


@pytest.mark.parametrize("text", ["", "[", "[]", "[" * 100_000, "null"])
def test_a_file_that_is_no_table_is_refused(given, tmp_path, text):
    (tmp_path / "fleet.json").write_text(text)
    with pytest.raises(SettingsError, match="BROKER_FLEET_FILE"):
        settings.load(given, tmp_path)
