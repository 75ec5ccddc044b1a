from __future__ import annotations

import json

import pytest
from listener.settings import load
from listener.variables import SettingsError

from tests.functions.listener.listener_world import TWO_REGIONS

SOUND = {
    "LISTENER_APP_ID": "123456",
    "LISTENER_INSTALLATION_ID": "77",
    "LISTENER_APP_KEY_SECRET": "projects/p/secrets/s/versions/latest",
    "LISTENER_BUCKET": "fleet-listener",
    "LISTENER_SERVE_SECONDS": "1740",
}


@pytest.fixture
def folder(tmp_path):
    table = {"environment": "prod", "project": "iree-oss", "organization": "iree-org", "groups": TWO_REGIONS}
    (tmp_path / "fleet.json").write_text(json.dumps(table))
    return tmp_path


def test_what_is_told_is_taken_and_what_is_not_has_the_services_own_urls(folder):
    settings = load(SOUND, folder)
    assert settings.config_url == "https://github.com/iree-org"
    assert settings.serve_seconds == 1740
    assert settings.compute_url == "https://compute.googleapis.com"
    assert settings.monitoring_url == "https://monitoring.googleapis.com"
    assert settings.fleet.pools("jobs") == ("cpu",)


@pytest.mark.parametrize("name", SOUND)
def test_a_missing_variable_is_named(folder, name):
    with pytest.raises(SettingsError, match=rf"^{name} is not set; allowed: "):
        load({key: value for key, value in SOUND.items() if key != name}, folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LISTENER_APP_ID", "0"), ("LISTENER_INSTALLATION_ID", "x"), ("LISTENER_APP_KEY_SECRET", "s"),
     ("LISTENER_BUCKET", "UPPER"), ("LISTENER_SERVE_SECONDS", "0"), ("LISTENER_GITHUB_URL", "github.com")],
)  # fmt: skip
def test_a_malformed_variable_is_named_with_what_was_seen_and_what_is_allowed(folder, name, value):
    with pytest.raises(SettingsError, match=rf"^{name} is '{value}'; allowed: "):
        load({**SOUND, name: value}, folder)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"^LISTENER_FLEET_FILE: .*fleet.json cannot be read"):
        load(SOUND, tmp_path)
    (tmp_path / "fleet.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"^LISTENER_FLEET_FILE: .*groups is None"):
        load(SOUND, tmp_path)
