"""The bootstrap's text: small, clean, and closed to values that are not of their kind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from fleet.settings import Settings
from startup.render import (
    ENVIRONMENT,
    MAX_BOOT_DEADLINE_SECONDS,
    bootstrap,
    job_environment,
    pool_environment,
)

GOOD: dict[str, Any] = {"bundle_bucket": "boot-bundles", "bundle_sha256": "0f" * 32, "boot_deadline_seconds": 600}
LONGEST: dict[str, Any] = {
    "bundle_bucket": "b" * 63,
    "bundle_sha256": "0f" * 32,
    "boot_deadline_seconds": MAX_BOOT_DEADLINE_SECONDS,
}


def tool(name: str) -> str:
    """A linter from the environment that runs the tests, else from PATH."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    assert path, f"{name} is not installed; it is in requirements-dev.txt"
    return path


def test_the_longest_values_stay_under_four_kilobytes() -> None:
    assert len(bootstrap(**LONGEST).encode()) < 4096


def test_every_value_is_rendered_and_the_text_ends_in_a_newline() -> None:
    text = bootstrap(**GOOD)
    assert text.startswith("#!/bin/bash\n")
    assert text.endswith("\n")
    assert "/b/boot-bundles/o/" in text
    assert f"'{'0f' * 32}'" in text
    assert "\nLEFT=300 " in text, "half of the boot deadline"
    assert "{{" not in text
    assert "{%" not in text


@pytest.mark.parametrize(("boot_deadline_seconds", "budget"), [(1, 1), (2, 1), (3, 2), (601, 301)])
def test_the_budget_is_half_the_deadline_and_never_zero(boot_deadline_seconds: int, budget: int) -> None:
    assert f"\nLEFT={budget} " in bootstrap(**{**GOOD, "boot_deadline_seconds": boot_deadline_seconds})


HOSTILE: list[tuple[str, Any]] = [
    *(("bundle_bucket", value) for value in ("", "ab", "b" * 64, "Bucket", "a/b", "a b", "a$(id)b", 'a"b', "a'b")),
    *(("bundle_bucket", value) for value in ("abc\n", "-abc", "abc-", "a`id`b", "{{ 1 }}", "bückets", "a?b", "a#b")),
    *(("bundle_sha256", value) for value in ("", "0f" * 31, "0f" * 33, "0F" * 32, "0g" * 32, f"sha256:{'0f' * 32}")),
    *(("bundle_sha256", value) for value in (f"{'0f' * 32}\n", f"{'0f' * 31}';", "٣" * 64)),
    *(("boot_deadline_seconds", value) for value in (0, -1, True, 1.5, "600", None, MAX_BOOT_DEADLINE_SECONDS + 1)),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE)
def test_a_value_of_another_kind_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key}: .*; allowed are "):
        bootstrap(**{**GOOD, key: value})


def test_an_undefined_value_is_an_error_and_not_an_empty_string() -> None:
    with pytest.raises(UndefinedError, match="bundle_sha256"):
        ENVIRONMENT.get_template("bootstrap.sh.j2").render(bundle_bucket="b")


@pytest.mark.parametrize(
    "command",
    [["shellcheck", "--enable=all", "--exclude=SC2250,SC2310,SC2312"], ["shfmt", "-i", "2", "-ci", "-bn", "-d"]],
    ids=lambda c: c[0],
)
def test_the_rendered_script_is_clean(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "bootstrap.sh"
    path.write_text(bootstrap(**GOOD))
    name, *options = command
    run = subprocess.run([tool(name), *options, str(path)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def environment(**changes: Any) -> str:
    good: dict[str, Any] = {
        "pool": "presubmit-cpu",
        "artifact_bucket": "artifacts",
        "cache_bucket": "",
        "cache_writable": False,
    }
    return job_environment(**(good | changes))


def test_a_job_finds_its_pool_its_buckets_and_the_hooks_in_its_environment() -> None:
    lines = environment(cache_bucket="cache", cache_writable=True).splitlines()
    values = dict(line.split("=", 1) for line in lines)
    assert values["RUNNER_FLEET_POOL"] == "presubmit-cpu"
    assert values["RUNNER_FLEET_ARTIFACT_BUCKET"] == "artifacts"
    assert (values["RUNNER_FLEET_CACHE_BUCKET"], values["RUNNER_FLEET_CACHE_WRITABLE"]) == ("cache", "true")
    hooks = {name: Path(value) for name, value in values.items() if name.startswith("ACTIONS_RUNNER_HOOK_JOB_")}
    assert len(hooks) == 2
    for path in hooks.values():
        assert path.parent == Path("/opt/runner-fleet/current/hooks")
        assert path.suffix == ".sh", "GitHub's runner refuses a hook of another name"
        assert (Path(__file__).parents[2] / "startup/hooks" / path.name).is_file()


def test_a_level_without_a_cache_finds_an_empty_name() -> None:
    assert "RUNNER_FLEET_CACHE_BUCKET=\nRUNNER_FLEET_CACHE_WRITABLE=false\n" in environment()


@pytest.mark.parametrize("value", ["a\nACTIONS_RUNNER_HOOK_JOB_STARTED=", "a b", "$(id)", "`id`", "a=b", "ä", "a#b"])
@pytest.mark.parametrize("name", ["pool", "artifact_bucket", "cache_bucket"])
def test_no_value_can_add_a_line_to_the_jobs_environment(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        environment(**{name: value})


def test_every_pool_of_a_stack_has_an_environment(prod_settings: Settings) -> None:
    for pool in prod_settings.pools:
        assert f"RUNNER_FLEET_POOL={pool}\n" in pool_environment(prod_settings, pool)
