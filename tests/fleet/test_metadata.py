import pytest
from fleet_configuration import CANARY, STABLE, changed, faults, settings_of, valid
from pydantic import ValidationError

from fleet import metadata
from fleet.metadata import RunnerMetadata
from fleet.settings import Settings

ENVIRONMENT = "LANG=C.UTF-8\n"


def runner_metadata(settings: Settings, pool: str, version: str) -> RunnerMetadata:
    return metadata.runner_metadata(settings, pool, version, job_environment=ENVIRONMENT)


@pytest.fixture
def attributes(settings: Settings) -> dict[str, str]:
    return runner_metadata(settings, "presubmit-cpu", CANARY).attributes()


def test_every_attribute_is_kebab_case_behind_one_prefix(attributes: dict[str, str]):
    parts = {name: name.split("-") for name in attributes}
    assert all(words[0] == "runner" and len(words) > 1 for words in parts.values())
    assert all(word.isalnum() and word == word.lower() for words in parts.values() for word in words)


def test_every_field_is_an_attribute_and_they_come_sorted(attributes: dict[str, str]):
    assert len(attributes) == len(RunnerMetadata.model_fields)
    assert list(attributes) == sorted(attributes)


def test_every_value_is_text(settings: Settings):
    # Compute Engine takes nothing else, and a number would come back as text: a change in each run.
    for pool in settings.pools:
        for version in settings.pool_versions(pool):
            values = runner_metadata(settings, pool, version).attributes().values()
            assert all(isinstance(value, str) for value in values)


def test_every_field_says_what_it_is():
    assert not [name for name, field in RunnerMetadata.model_fields.items() if not field.description]


@pytest.mark.parametrize("word", ["token", "secret", "password", "private", "credential", "jit", "app_key", "app_id"])
def test_nothing_in_metadata_is_secret(word: str, settings: Settings):
    # Every process on a VM, a stranger's build included, can read its metadata.
    made = runner_metadata(settings, "presubmit-cpu", CANARY).attributes()
    assert not [name for name in RunnerMetadata.model_fields if word in name.replace("passwordless", "")]
    assert settings.github.app_key_secret not in "".join(made.values())
    assert settings.github.app_id not in made.values()


@pytest.mark.parametrize(
    ("pool", "version", "url", "digest"),
    [
        ("presubmit-cpu", STABLE, "v2.336.0/actions-runner-linux-x64-2.336.0.tar.gz", "1" * 64),
        ("presubmit-cpu", CANARY, "v2.337.0/actions-runner-linux-x64-2.337.0.tar.gz", "3" * 64),
        ("presubmit-arm64", STABLE, "v2.336.0/actions-runner-linux-arm64-2.336.0.tar.gz", "2" * 64),
        ("presubmit-arm64", CANARY, "v2.337.0/actions-runner-linux-arm64-2.337.0.tar.gz", "4" * 64),
    ],
)
def test_a_vm_fetches_the_archive_of_its_release_and_architecture(
    settings: Settings, pool: str, version: str, url: str, digest: str
):
    made = runner_metadata(settings, pool, version)
    assert made.archive_url == f"https://github.com/actions/runner/releases/download/{url}"
    assert made.archive_sha256 == digest


def test_every_version_that_a_pool_has_a_template_for_has_metadata():
    # Templates are made of every listed version, so a kept one needs its digests, too; or load() has to say so.
    raw = changed({"versions.2026-07-01": valid()["versions"][STABLE], "rollout.keep": ["2026-07-01"]})
    raw["runner_releases"]["2.335.1"] = {"released": "2026-06-08", "sha256": {"x64": "5" * 64}}
    raw["versions"]["2026-07-01"]["runner"] = "2.335.1"
    if not faults(raw):
        settings = settings_of(raw)
        assert all(
            runner_metadata(settings, pool, version)
            for pool in settings.pools
            for version in settings.pool_versions(pool)
        )


def test_a_vm_is_told_who_it_is(attributes: dict[str, str]):
    assert attributes["runner-environment"] == "prod"
    assert attributes["runner-pool"] == "presubmit-cpu"
    assert attributes["runner-trust"] == "minimal"
    assert attributes["runner-group"] == "presubmit"
    assert attributes["runner-machine-class"] == "cpu"
    assert attributes["runner-organization"] == "acme"
    assert attributes["runner-version"] == "2.337.0"
    assert attributes["runner-template-version"] == CANARY


def test_a_vm_runs_the_bundle_of_its_own_version(settings: Settings):
    for version in (STABLE, CANARY):
        made = runner_metadata(settings, "presubmit-cpu", version)
        assert made.boot_bundle_digest == settings.versions[version].boot_bundle
        assert made.boot_bundle_bucket == "acme-builds-gh-runner-boot"


def test_merged_code_writes_the_cache_and_presubmits_only_read_it(settings: Settings):
    presubmit = runner_metadata(settings, "presubmit-cpu", CANARY)
    postsubmit = runner_metadata(settings, "postsubmit-cpu", CANARY)
    assert presubmit.cache_bucket == postsubmit.cache_bucket == "acme-builds-gh-runner-basic-cache"
    assert (presubmit.cache_writable, postsubmit.cache_writable) == ("false", "true")


def test_a_level_without_a_cache_is_told_so(settings: Settings):
    level = settings.trust_levels["basic"].model_dump(mode="json")
    level |= {"runner_group": "release", "allowed_events": ["release"], "artifacts": {}}
    pool = {"pools.postsubmit-cpu.trust": "releaser"}
    made = runner_metadata(settings_of(changed({"trust_levels.releaser": level, **pool})), "postsubmit-cpu", CANARY)
    assert (made.cache_bucket, made.cache_writable) == ("", "false")


def test_no_two_levels_are_told_of_one_artifact_bucket(settings: Settings):
    buckets = [runner_metadata(settings, pool, CANARY).artifact_bucket for pool in ("presubmit-cpu", "postsubmit-cpu")]
    assert buckets == ["acme-builds-gh-runner-minimal-artifacts", "acme-merged-artifacts"]


def test_time_limits_and_port_are_the_settings_in_digits(attributes: dict[str, str]):
    assert attributes["runner-health-port"] == "8080"
    assert attributes["runner-boot-deadline-seconds"] == "600"
    assert attributes["runner-max-run-seconds"] == "86400"


def test_a_vm_knows_what_sizes_its_group(settings: Settings):
    signals = {pool: runner_metadata(settings, pool, CANARY).scaling_signal for pool in settings.pools}
    assert set(signals.values()) == {"cpu", "fixed", "jobs", "schedule"}


def test_an_attribute_nobody_declared_cannot_be_added(settings: Settings):
    known = runner_metadata(settings, "presubmit-cpu", CANARY).model_dump()
    with pytest.raises(ValidationError, match="extra_forbidden"):
        RunnerMetadata.model_validate({**known, "github_token": "t"})


def test_a_vm_is_told_where_its_services_are(attributes: dict[str, str], settings: Settings):
    base = f"https://{settings.google.services_region}-{settings.google.project}.cloudfunctions.net"
    assert attributes["runner-broker-url"] == f"{base}/{settings.google.name_prefix}-broker"
    assert attributes["runner-deleter-url"] == f"{base}/{settings.google.name_prefix}-deleter"


def test_a_vm_is_told_what_its_class_gives_to_jobs():
    given = {"docker": True, "passwordless_root": True, "warm_images": ["ubuntu@sha256:" + "a" * 64] * 2}
    edits = {f"machine_classes.cpu.{key}": value for key, value in given.items()}
    made = runner_metadata(settings_of(changed(edits)), "presubmit-cpu", CANARY)
    assert (made.docker, made.passwordless_root) == ("true", "true")
    assert made.warm_images.split() == given["warm_images"]
    plain = runner_metadata(settings_of(changed({})), "presubmit-cpu", CANARY)
    assert (plain.docker, plain.passwordless_root, plain.warm_images) == ("false", "false", "")


def test_warm_images_need_docker():
    found = faults(changed({"machine_classes.cpu.warm_images": ["ubuntu@sha256:" + "a" * 64]}))
    assert [fault.path for fault in found] == [("machine_classes", "cpu", "warm_images")]


def test_a_pool_with_gpus_waits_for_all_of_them(settings: Settings):
    counts = {key: settings.machine_classes[pool.machine_class].accelerator for key, pool in settings.pools.items()}
    for pool, accelerator in counts.items():
        version = settings.pool_versions(pool)[0]
        assert runner_metadata(settings, pool, version).gpu_count == str(accelerator.count if accelerator else 0)
