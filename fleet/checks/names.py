"""Names: each one that will be made, measured before anything is made; with a name that fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fleet import naming
from fleet.checks.keys import key_fault
from fleet.draft import Draft
from fleet.errors import Fault, Path, show
from fleet.labels import GOOGLE_LABEL_LIMIT
from fleet.naming import Names
from fleet.trust import LEVELS

_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]")
_RESERVED_LABELS: Final = frozenset(
    {"fleet", "stack", "pool", "trust", "managed-by", "machine-class", "template-version"}
)

FUNCTION_ACCOUNTS: Final = ("broker", "builder", "deleter", "listener", "reconciler", "scheduler")
"""Roles of the accounts that are no trust level's."""


def name_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of keys that become names, of the names themselves, and of labels."""
    for section in ("pools", "machine_classes"):
        for key in sorted(draft.declared.get(section, ())):
            yield from key_fault((section, key), key)
    for key, machine_class in sorted(draft.machine_classes.items()):
        if machine_class.image is not None:
            yield from key_fault(("machine_classes", key, "image"), machine_class.image)
    names = draft.names
    if draft.google is None or names is None:
        return
    for key, value in draft.google.labels.items():
        at = ("google", "labels", key)
        if not _LABEL_KEY.fullmatch(key) or key in _RESERVED_LABELS or not _LABEL_VALUE.fullmatch(value):
            allowed = f"key and value of a-z, 0-9, _ and -, at most {GOOGLE_LABEL_LIMIT} each, none of "
            yield Fault(at, f"{key}: {show(value)}", allowed + ", ".join(sorted(_RESERVED_LABELS)), "rename it")
    yield from _accounts(draft, names)
    yield from _buckets(draft, names)
    yield from _pools(draft, names)
    yield from _images(draft, names)


def _accounts(draft: Draft, names: Names) -> Iterator[Fault]:
    levels = sorted(draft.declared.get("trust_levels", set[str]()) & LEVELS.keys())
    ids = [names.account(role) for role in (*levels, *FUNCTION_ACCOUNTS)]
    longest = max(ids, key=len)
    if len(longest) > naming.ACCOUNT_LIMIT:
        room = len(names.prefix) - (len(longest) - naming.ACCOUNT_LIMIT)
        yield Fault(
            ("google", "name_prefix"),
            f"{show(names.prefix)}, which makes the service account {longest} of {len(longest)} characters",
            f"at most {naming.ACCOUNT_LIMIT} for a service account, so {room} for the prefix",
            f"write {names.prefix[:room].rstrip('-')}",
        )


def _buckets(draft: Draft, names: Names) -> Iterator[Fault]:
    for level, settings in sorted(draft.trust_levels.items()):
        at: Path = ("trust_levels", level, "artifacts", "bucket")
        bucket = names.artifact_bucket(level, settings.artifacts.bucket)
        if not _BUCKET.fullmatch(bucket) or bucket.startswith("goog") or "google" in bucket:
            allowed = f"3 to {naming.BUCKET_LIMIT} of a-z, 0-9, _ and -, without goog in front or google inside"
            fix = "give a bucket name that fits"
            yield Fault(at, show(bucket), allowed, fix)


def _pools(draft: Draft, names: Names) -> Iterator[Fault]:
    versions = sorted(draft.declared.get("versions", ())) or ["YYYY-MM-DD"]
    for key, pool in sorted(draft.pools.items()):
        if pool.scaling.signal == "jobs":
            yield from _too_long(
                ("pools", key), key, names.scale_set(key), naming.SCALE_SET_LIMIT, "a runner scale set"
            )
        made = [names.template(key, version) for version in versions]
        for region in pool.regions:
            # A VM's name is the runner's too; 63 of Compute Engine is the tighter limit (GitHub's is 64).
            made.append(names.group(key, region, ()))
            made.append(names.vm_base(key, region) + "-" + "x" * (naming.VM_SUFFIX - 1))
        yield from _too_long(("pools", key), key, max(made, key=len), naming.COMPUTE_LIMIT, "a Compute Engine name")


def _images(draft: Draft, names: Names) -> Iterator[Fault]:
    for version, pins in sorted(draft.versions.items()):
        for key in sorted(pins.images):
            at = ("versions", version, "images", key)
            yield from key_fault(at, key)
            yield from _too_long(at, key, names.image(key, version), naming.COMPUTE_LIMIT, "a Compute Engine name")


def _too_long(at: Path, key: str, name: str, limit: int, what: str) -> Iterator[Fault]:
    """The fault of a key that makes a name above its limit, with a key that fits."""
    if len(name) > limit:
        room = len(key) - (len(name) - limit)
        fix = f"rename it to {key[:room].rstrip('-')}" if room >= 1 else "shorten google.name_prefix"
        allowed = f"at most {limit} for {what}, so {max(room, 0)} for this key"
        yield Fault(at, f"{show(key)}, which makes {name} of {len(name)} characters", allowed, fix)
