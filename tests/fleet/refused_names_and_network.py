"""Names, labels, buckets, secrets and address ranges that must be refused."""

from __future__ import annotations

from typing import Final

from fleet_configuration import DELETE, STABLE, valid
from refusal_row import Row

EAST: Final = "network.regions.us-east1"
BUCKET: Final = "trust_levels.basic.artifacts.bucket"
LONG_POOL: Final = "pools.presubmit-with-a-name-that-nobody-can-remember"
LONG_JOBS: Final = "pools.presubmit-cpu-that-builds-compilerss"
_POOL: Final = {**valid()["pools"]["presubmit-cpu"], "labels": ["another"]}

ROWS: Final = (
    Row(
        "a region Google lacks",
        {"network.regions.us-wset1": "10.31.0.0/20"},
        "network.regions.us-wset1",
        ("us-west1?",),
    ),
    Row(
        "overlapping ranges", {EAST: "10.30.8.0/21"}, EAST, ("us-central1's 10.30.0.0/20", "choose a range such as 10.")
    ),
    Row("equal ranges", {EAST: "10.30.0.0/20"}, EAST, ("us-central1's 10.30.0.0/20",)),
    Row("a range of nonsense", {EAST: "10.30.16/twenty"}, EAST, ("an IPv4 range such as",)),
    Row("a range outside IPv4", {EAST: "10.30.256.0/20"}, EAST, ("an IPv4 range such as",)),
    Row("a range with host bits", {EAST: "10.30.16.1/20"}, EAST, ("write 10.30.16.0/20", "host bits are zero")),
    Row("a public range", {EAST: "8.8.0.0/20"}, EAST, ('"8.8.0.0/20"', "a private range")),
    Row(
        "a loopback range",
        {EAST: "127.0.0.0/20"},
        EAST,
        ("a private range",),
    ),
    Row("a range too small", {EAST: "10.30.16.0/30"}, EAST, ("/29 or larger",)),
    Row("an egress nobody has", {"network.egress": "none"}, "network.egress", ("external_ip or nat",)),
    Row("a pool's name that is too long", {LONG_POOL: _POOL}, LONG_POOL, ("at most 63", "rename it to presubmit-with")),
    Row(
        "a pool's name that is too long for its scale set",
        {
            LONG_JOBS: {
                **_POOL,
                "regions": {"us-central1": {"zones": ["a"], "min": 0, "max": 1}},
                "scaling": {"signal": "jobs"},
            }
        },
        LONG_JOBS,
        ("at most 45 for a runner scale set, so 35", "rename it to presubmit-cpu-that-builds-compiler"),
    ),
    Row(
        "an upper-case pool",
        {"pools.Presubmit_CPU": _POOL},
        "pools.Presubmit_CPU",
        ("lower-case", "write presubmit-cpu"),
    ),
    Row(
        "an upper-case class",
        {"machine_classes.CPU": valid()["machine_classes"]["cpu"]},
        "machine_classes.CPU",
        ("lower-case", "write cpu"),
    ),
    Row(
        "an account id that is too long",
        {"google.name_prefix": "gh-runner-of-the-build-farm"},
        "google.name_prefix",
        ("gh-runner-of-the-build-farm-reconciler", "at most 30", "19 for the prefix", "write gh-runner-of-the-bu"),
    ),
    Row("an upper-case prefix", {"google.name_prefix": "GH-Runner"}, "google.name_prefix", ("lower-case letters",)),
    Row(
        "an image key that Google cannot name",
        {
            "machine_classes.cpu.image": "CPU Builds",
            **{
                f"versions.{version}.images.CPU Builds": valid()["versions"][STABLE]["images"]["cpu"]
                for version in valid()["versions"]
            },
        },
        "machine_classes.cpu.image",
        ("lower-case", "write cpu-builds"),
        also=tuple(f"versions.{version}.images.CPU Builds" for version in sorted(valid()["versions"])),
    ),
    Row("an upper-case label", {"google.labels.Team": "ci"}, "google.labels.Team", ("a-z, 0-9, _ and -",)),
    Row(
        "an upper-case label's value",
        {"google.labels.cost-center": "CI"},
        "google.labels.cost-center",
        ('"CI"', "a-z, 0-9, _ and -"),
    ),
    Row("a label above 63", {"google.labels.team": "x" * 64}, "google.labels.team", ("at most 63",)),
    Row("a label that is ours", {"google.labels.pool": "ci"}, "google.labels.pool", ("none of", "pool", "rename it")),
    Row("an upper-case bucket", {BUCKET: "Acme-Artifacts"}, BUCKET, ('"Acme-Artifacts"', "3 to 63")),
    Row("a bucket of 64 characters", {BUCKET: "a" * 64}, BUCKET, ("3 to 63",)),
    Row("a bucket named for Google", {BUCKET: "acme-google-artifacts"}, BUCKET, ("google inside",)),
    Row("a bucket that begins with goog", {BUCKET: "goog-artifacts"}, BUCKET, ("without goog in front",)),
    Row(
        "a project id that ends in a dash",
        {"google.project": "acme-builds-"},
        "google.project",
        ("6 to 30 characters",),
    ),
    Row(
        "a default bucket above 63",
        {"google.project": "a-project-of-thirty-characters", "google.name_prefix": "gh-runner-testing"},
        "trust_levels.minimal.artifacts.bucket",
        ("a-project-of-thirty-characters-gh-runner-testing-minimal-artifacts", "3 to 63"),
    ),
    Row(
        "a bucket location nobody has",
        {"google.bucket_location": "the moon"},
        "google.bucket_location",
        ("the moon",),
    ),
    Row(
        "a lifecycle without days",
        {"trust_levels.basic.artifacts.retention_days": 0},
        "trust_levels.basic.artifacts.retention_days",
        ("1 to 3650",),
    ),
    Row(
        "a cache kept for no day",
        {"trust_levels.basic.cache_retention_days": 0},
        "trust_levels.basic.cache_retention_days",
        ("1 to 3650",),
    ),
    Row(
        "a secret id with a slash", {"github.app_key_secret": "acme/key"}, "github.app_key_secret", ("letters, digits",)
    ),
    Row("an organization with a slash", {"github.organization": "acme/engine"}, "github.organization", ("login",)),
    Row("an app id that is no number", {"github.app_id": "acme-app"}, "github.app_id", ("numeric id",)),
    Row("a quota that is negative", {"google.quotas.us-west1.vcpu": -1}, "google.quotas.us-west1.vcpu", ("vCPUs",)),
    Row(
        "a quota of a region nobody has",
        {"google.quotas.us-wset1": {"vcpu": 1}},
        "google.quotas.us-wset1",
        ("us-west1",),
    ),
    Row(
        "a reconciler that may take more than a pool has",
        {"reconciler.most_percent": 101},
        "reconciler.most_percent",
        ("saw 101", "1 to 100"),
    ),
    Row(
        "a reconciler that may take nothing",
        {"reconciler.most_percent": 0},
        "reconciler.most_percent",
        ("saw 0", "1 to 100"),
    ),
    Row(
        "a dry run in words",
        {"reconciler.dry_run": "no"},
        "reconciler.dry_run",
        ('saw "no"', "true, or false where the reconciler may act"),
    ),
    Row("a missing section", {"network": DELETE}, "network", ("saw nothing", "add network")),
)
