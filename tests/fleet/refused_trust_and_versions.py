"""Trust levels, versions, releases and time limits that must be refused."""

from __future__ import annotations

from typing import Final

from fleet_configuration import CANARY, DELETE, STABLE, valid
from refusal_row import Row

MINIMAL: Final = "trust_levels.minimal"
BASIC: Final = "trust_levels.basic"
NEWEST: Final = f"versions.{CANARY}"
OLDER: Final = f"versions.{STABLE}"
EVENTS: Final = f"{BASIC}.allowed_events"
_VERSION: Final = valid()["versions"][STABLE]
_RELEASE: Final = valid()["runner_releases"]["2.336.0"]
_OLD: Final = {"runner_releases.2.328.0": {**_RELEASE, "released": "2025-09-01"}}

ROWS: Final = (
    Row(
        "a trust level nobody defined",
        {"trust_levels.basics": {"runner_group": "more", "repositories": {"engine": 1}, "allowed_events": ["push"]}},
        "trust_levels.basics",
        ("did you mean basic?",),
    ),
    Row(
        "an artifact bucket of two levels",
        {f"{MINIMAL}.artifacts.bucket": "acme-merged-artifacts"},
        f"{BASIC}.artifacts.bucket",
        ("which holds minimal's artifacts", "a bucket of its own"),
    ),
    Row(
        "an artifact bucket that is another level's by default",
        {f"{BASIC}.artifacts.bucket": "acme-builds-gh-runner-minimal-artifacts"},
        f"{BASIC}.artifacts.bucket",
        ("minimal",),
    ),
    Row(
        "an artifact bucket that is the trusted cache",
        {f"{MINIMAL}.artifacts.bucket": "acme-builds-gh-runner-basic-cache"},
        f"{MINIMAL}.artifacts.bucket",
        ("basic",),
    ),
    Row(
        "an artifact bucket that holds the boot bundles",
        {f"{MINIMAL}.artifacts.bucket": "acme-builds-gh-runner-boot"},
        f"{MINIMAL}.artifacts.bucket",
        ("boot",),
    ),
    Row(
        "a runner group of two levels",
        {f"{MINIMAL}.runner_group": "postsubmit"},
        f"{BASIC}.runner_group",
        ("which minimal has", "name it basic"),
    ),
    Row(
        "a runner group that differs in case only",
        {f"{MINIMAL}.runner_group": "PostSubmit"},
        f"{BASIC}.runner_group",
        ('"postsubmit"', "which minimal has"),
    ),
    Row("no repository", {f"{BASIC}.repositories": {}}, f"{BASIC}.repositories", ("repository name",)),
    Row("an event nobody has", {EVENTS: ["push", "pushed"]}, EVENTS, ("does not have", "did you mean push?")),
    Row(
        "a pull request at basic",
        {EVENTS: ["push", "pull_request"]},
        EVENTS,
        ('"pull_request"', "untrusted", "remove it"),
    ),
    Row("pull_request_target at basic", {EVENTS: ["pull_request_target"]}, EVENTS, ("at level basic only",)),
    Row("a comment at basic", {EVENTS: ["issue_comment"]}, EVENTS, ("untrusted",)),
    Row("a run on behalf of another at basic", {EVENTS: ["workflow_run"]}, EVENTS, ("untrusted",)),
    Row("any event at basic", {EVENTS: "any"}, EVENTS, ('"any"', "list the events")),
    Row(
        "a push at releaser",
        {
            "trust_levels.releaser": {
                "runner_group": "release",
                "repositories": {"engine": 1001},
                "allowed_events": ["push"],
            }
        },
        "trust_levels.releaser.allowed_events",
        ('"push"', "at level releaser only"),
    ),
    Row("a branch for a ref", {f"{BASIC}.allowed_refs": ["main"]}, f"{BASIC}.allowed_refs", ("write refs/heads/main",)),
    Row(
        "a ref with a space",
        {f"{BASIC}.allowed_refs": ["refs/heads/my main"]},
        f"{BASIC}.allowed_refs",
        ("a full ref",),
    ),
    Row(
        "a workflow without a ref",
        {f"{BASIC}.workflows": ["acme/engine/.github/workflows/ci.yml"]},
        f"{BASIC}.workflows",
        ("OWNER/REPO/.github/workflows/FILE.yml@REF",),
    ),
    Row("an unknown stable", {"rollout.stable": "2026-08-02"}, "rollout.stable", (f"did you mean {STABLE}?",)),
    Row("an unknown canary", {"rollout.canary": "2026-11-20"}, "rollout.canary", ("a declared version", CANARY)),
    Row("an unknown version kept", {"rollout.keep": ["2026-01-01"]}, "rollout.keep", ('"2026-01-01"', STABLE)),
    Row(
        "an unknown pool to try the canary in",
        {"rollout.canary_pools": ["presubmit-cpus"]},
        "rollout.canary_pools",
        ("did you mean presubmit-cpu?",),
    ),
    Row(
        "pools to try no canary in",
        {"rollout.canary": None, "rollout.canary_pools": ["presubmit-cpu"]},
        "rollout.canary_pools",
        ("without a canary", "remove canary_pools"),
    ),
    Row("a stack that asks perhaps", {"rollout.confirm": "yes"}, "rollout.confirm", ("true or false",)),
    Row("a canary that is stable", {"rollout.canary": STABLE}, "rollout.canary", ("the stable version", "write null")),
    Row(
        "a release below the floor",
        {**_OLD, f"{OLDER}.runner": "2.328.0"},
        f"{OLDER}.runner",
        ('"2.328.0"', "2.329.0 or newer", "scripts/rollout cut"),
    ),
    Row("a release not in the table", {f"{OLDER}.runner": "2.336.1"}, f"{OLDER}.runner", ("did you mean 2.336.0?",)),
    Row("a release that is no number", {f"{OLDER}.runner": "latest"}, f"{OLDER}.runner", ("such as",)),
    Row(
        "a release of two numbers in the table",
        {"runner_releases.2.338": _RELEASE},
        "runner_releases.2.338",
        ('"2.338"', "X.Y.Z", "in quotes"),
    ),
    Row(
        "a release on no day",
        {"runner_releases.2.337.0.released": "2026-08-32"},
        "runner_releases.2.337.0.released",
        ("YYYY-MM-DD",),
    ),
    Row(
        "a release on a day and something",
        {"runner_releases.2.337.0.released": "2026-08-17 or later"},
        "runner_releases.2.337.0.released",
        ("YYYY-MM-DD",),
    ),
    Row(
        "an archive's digest with its algorithm",
        {"runner_releases.2.337.0.sha256.x64": "sha256:" + "3" * 64},
        "runner_releases.2.337.0.sha256.x64",
        ("64 lower-case hex digits",),
    ),
    Row(
        "an archive's digest that is too short",
        {"runner_releases.2.337.0.sha256.arm64": "4" * 63},
        "runner_releases.2.337.0.sha256.arm64",
        ("64 lower-case hex digits",),
    ),
    Row(
        "a bundle's digest without algorithm", {f"{OLDER}.boot_bundle": "a" * 64}, f"{OLDER}.boot_bundle", ("sha256:",)
    ),
    Row(
        "an architecture without a digest",
        {"runner_releases.2.337.0.sha256.arm64": DELETE},
        "runner_releases.2.337.0.sha256",
        ("a digest for arm64", "pools.presubmit-arm64 needs for version", "v2.337.0"),
    ),
    Row(
        "a stable version without the class's image",
        {f"{OLDER}.images.arm64": DELETE},
        f"{OLDER}.images",
        ("pools.presubmit-arm64 needs", "add images.arm64"),
    ),
    Row(
        "a tree that no version pins",
        {f"{NEWEST}.boot_bundle": "sha256:" + "c" * 64},
        f"{NEWEST}.boot_bundle",
        ("ccc", "bbb", "scripts/rollout cut"),
    ),
    Row("a version that is no day", {"versions.november": _VERSION}, "versions.november", ("YYYY-MM-DD", "day")),
    Row(
        "a version of a day no month has",
        {"versions.2026-02-30": _VERSION},
        "versions.2026-02-30",
        ("YYYY-MM-DD",),
    ),
    Row(
        "a source image that is a family",
        {f"{OLDER}.images.cpu.source_image": "projects/acme-images/global/images/family/noble"},
        f"{OLDER}.images.cpu.source_image",
        ("never a family",),
    ),
    Row(
        "a source image that is a bare name",
        {f"{OLDER}.images.cpu.source_image": "noble-amd64-v20260803"},
        f"{OLDER}.images.cpu.source_image",
        ("projects/PROJECT/global/images/IMAGE",),
    ),
    Row(
        "an image of two sources",
        {f"{OLDER}.images.gpu.source_image": "projects/acme-images/global/images/noble"},
        f"{OLDER}.images.gpu.source_image",
        ("unknown key source_image",),
    ),
    Row("an image of no source", {f"{OLDER}.images.cpu": {}}, f"{OLDER}.images.cpu.source_image", ("saw nothing",)),
    Row(
        "a healing delay above an hour",
        {"lifecycle.healing_initial_delay_seconds": 3601},
        "lifecycle.healing_initial_delay_seconds",
        ("saw 3601", "0 to 3600"),
    ),
    Row(
        "a healing delay within the boot deadline",
        {"lifecycle.healing_initial_delay_seconds": 600},
        "lifecycle.healing_initial_delay_seconds",
        ("boot_deadline_seconds",),
    ),
    Row(
        "a boot deadline of a second",
        {"lifecycle.boot_deadline_seconds": 1},
        "lifecycle.boot_deadline_seconds",
        ("60 to 3000",),
    ),
    Row("a life of 5 seconds", {"lifecycle.max_run_seconds": 5}, "lifecycle.max_run_seconds", ("saw 5", "3600 (1 h)")),
)
