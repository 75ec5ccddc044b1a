"""A small valid configuration as plain data, and the two things tests do with it: change it, and read its faults.

Every figure and digest in it is the tests' own. It has two trust levels, a class of each kind of hardware, and a pool
of each shape and each scaling signal, with one version as stable and another as canary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fleet.errors import ConfigError, Fault, dotted
from fleet.settings import Settings, load

STABLE = "2026-08-20"
CANARY = "2026-11-02"
TREE_BUNDLE = "sha256:" + "b" * 64
"""What the tree makes, and so what the newest version pins."""

DELETE = object()
"""In place of a value: the key goes."""


def valid() -> dict[str, Any]:
    """The configuration, made anew for each caller."""
    images = {
        "cpu": {"source_image": "projects/acme-images/global/images/noble-amd64-v20260803"},
        "gpu": {"source_snapshot": "projects/acme-builds/global/snapshots/gpu-20260803"},
        "arm64": {"source_image": "projects/acme-images/global/images/noble-arm64-v20260803"},
    }
    return {
        "google": {
            "project": "acme-builds",
            "name_prefix": "gh-runner",
            "bucket_location": "US",
            "labels": {"cost-center": "ci"},
            "quotas": {"us-west1": {"vcpu": 5000, "gpu": {"nvidia-tesla-t4": 8}}},
        },
        "github": {
            "organization": "acme",
            "app_id": "4711",
            "installation_id": "9876543",
            "app_key_secret": "runner-app-key",
        },
        "network": {
            "egress": "external_ip",
            "regions": {"us-central1": "10.30.0.0/20", "us-east1": "10.30.16.0/20", "us-west1": "10.30.32.0/20"},
        },
        "lifecycle": {
            "boot_deadline_seconds": 600,
            "healing_initial_delay_seconds": 900,
            "max_run_seconds": 86400,
        },
        "reconciler": {"dry_run": False, "most_percent": 20},
        "rollout": {"stable": STABLE, "canary": CANARY, "keep": []},
        "machine_classes": {
            "cpu": {"machine_type": "n1-standard-96", "arch": "x64", "disk_gb": 1000, "disk_type": "pd-ssd"},
            "gpu": {
                "machine_type": "n1-standard-16",
                "arch": "x64",
                "disk_gb": 500,
                "disk_type": "pd-ssd",
                "accelerator": {"type": "nvidia-tesla-t4", "count": 1},
                "secure_boot": False,
            },
            "a100": {
                "machine_type": "a2-highgpu-1g",
                "arch": "x64",
                "disk_gb": 500,
                "disk_type": "pd-ssd",
                "accelerator": {"type": "nvidia-tesla-a100", "count": 1},
                "image": "gpu",
                "shape": "balanced",
                "reservation": {"name": "a100-of-the-year"},
                "secure_boot": False,
            },
            "arm64": {"machine_type": "t2a-standard-8", "arch": "arm64", "disk_gb": 200, "disk_type": "pd-balanced"},
        },
        "runner_releases": {
            "2.336.0": {"released": "2026-07-20", "sha256": {"x64": "1" * 64, "arm64": "2" * 64}},
            "2.337.0": {"released": "2026-08-17", "sha256": {"x64": "3" * 64, "arm64": "4" * 64}},
        },
        "versions": {
            STABLE: {"runner": "2.336.0", "boot_bundle": "sha256:" + "a" * 64, "images": copy.deepcopy(images)},
            CANARY: {"runner": "2.337.0", "boot_bundle": TREE_BUNDLE, "images": copy.deepcopy(images)},
        },
        "trust_levels": {
            "minimal": {
                "runner_group": "presubmit",
                "repositories": {"engine": 1001},
                "public_repositories": True,
                "allowed_events": "any",
                "artifacts": {"retention_days": 14},
            },
            "basic": {
                "runner_group": "postsubmit",
                "repositories": {"engine": 1001, "tools": 1002},
                "workflows": ["acme/engine/.github/workflows/ci.yml@refs/heads/main"],
                "allowed_events": ["push", "schedule", "release"],
                "allowed_refs": ["refs/heads/main", "refs/tags/*"],
                "artifacts": {"bucket": "acme-merged-artifacts", "retention_days": 30},
                "cache_retention_days": 30,
            },
        },
        "pools": {
            "presubmit-cpu": {
                "trust": "minimal",
                "machine_class": "cpu",
                "regions": {
                    "us-central1": {"zones": ["a", "b", "c", "f"], "min": 1, "max": 10},
                    "us-west1": {"zones": ["a", "b", "c"], "min": 1, "max": 10},
                },
                "scaling": {"signal": "cpu", "target": 0.6, "cool_down_seconds": 60},
                "canary": {"instances": 1},
                "labels": ["build-farm"],
            },
            "presubmit-gpu": {
                "trust": "minimal",
                "machine_class": "gpu",
                "regions": {
                    "us-central1": {"zones": ["a", "b"], "min": 2, "max": 2},
                    "us-west1": {"zones": ["a", "b"], "min": 2, "max": 2},
                },
                "scaling": {"signal": "fixed"},
                "canary": {"percent": 50},
            },
            "presubmit-a100": {
                "trust": "minimal",
                "machine_class": "a100",
                "regions": {
                    "us-central1": {"zones": ["a", "b", "c", "f"], "min": 1, "max": 1},
                    "us-east1": {"zones": ["b"], "min": 1, "max": 1},
                },
                "scaling": {"signal": "fixed"},
                "canary": {"regions": ["us-east1"]},
            },
            "presubmit-arm64": {
                "trust": "minimal",
                "machine_class": "arm64",
                "regions": {"us-central1": {"zones": ["a", "b", "f"], "min": 0, "max": 5}},
                "scaling": {"signal": "jobs", "idle": 1},
            },
            "postsubmit-cpu": {
                "trust": "basic",
                "machine_class": "cpu",
                "regions": {"us-central1": {"zones": ["us-central1-a", "us-central1-b"], "min": 0, "max": 8}},
                "scaling": {
                    "signal": "schedule",
                    "schedules": {
                        "workday": {
                            "cron": "0 8 * * 1-5",
                            "time_zone": "America/Los_Angeles",
                            "duration_seconds": 36000,
                            "min": 2,
                        }
                    },
                },
                "canary": {"instances": 1},
            },
        },
    }


def change(raw: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value changed, added or, with DELETE, taken out; the original stays as it is.

    A path is dotted; keys that hold dots themselves (2.337.0) are found all the same, and the last part may be new.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(raw))
    place: Any = changed
    keys = steps(raw, path)
    for key in keys[:-1]:
        place = place[key]
    if value is DELETE:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return changed


def changed(edits: Mapping[str, Any]) -> dict[str, Any]:
    """The valid configuration with several values changed, in the order given."""
    raw = valid()
    for path, value in edits.items():
        raw = change(raw, path, value)
    return raw


def steps(raw: Any, path: str) -> list[Any]:
    """A dotted path as the keys and indices that lead there; what no key matches is one new key."""
    if isinstance(raw, list):
        head, _, rest = path.partition(".")
        return [int(head), *(steps(raw[int(head)], rest) if rest else [])]
    assert isinstance(raw, Mapping), f"{path}: nothing stands below a plain value"
    for key in raw:
        if path == key:
            return [key]
        if path.startswith(f"{key}."):
            return [key, *steps(raw[key], path[len(key) + 1 :])]
    return [path]


def places(raw: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a configuration, sections and single items of lists included."""
    inside = raw.items() if isinstance(raw, Mapping) else enumerate(raw) if isinstance(raw, list) else ()
    return [place for key, value in inside for place in ((*above, key), *places(value, (*above, key)))]


def settings_of(raw: Mapping[str, Any]) -> Settings:
    """The settings that a configuration makes in the stack `prod`."""
    return load(raw, environment="prod", tree_bundle=TREE_BUNDLE)


def faults(raw: Mapping[str, Any]) -> list[Fault]:
    """Every fault of a configuration; none when it loads."""
    try:
        settings_of(raw)
    except ConfigError as error:
        return list(error.faults)
    return []


def paths(raw: Mapping[str, Any]) -> list[str]:
    """Where the faults of a configuration are."""
    return [dotted(fault.path) for fault in faults(raw)]
