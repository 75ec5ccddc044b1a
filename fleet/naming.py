"""The only place where physical names are made.

A name is `{prefix}-{pool}-{…}`: the prefix comes from configuration (gh-runner in prod, gh-runner-testing in testing),
so two environments share a project without a clash. Limits are Google's and GitHub's, read 2026-11-22:
63 characters for Compute Engine names (RFC 1035), 30 for service account ids, 63 for bucket names, 64 for runner names.
Names are made here and measured in `fleet.checks.names`, which reports every one that is too long at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

COMPUTE_LIMIT: Final = 63
ACCOUNT_LIMIT: Final = 30
ACCOUNT_MINIMUM: Final = 6
BUCKET_LIMIT: Final = 63
RUNNER_LIMIT: Final = 64
SCALE_SET_LIMIT: Final = 45
"""What actions-runner-controller's chart allows; GitHub documents no limit (scale set protocol notes, 2026-11)."""
VM_SUFFIX: Final = 5
"""A group names its VMs `{base_instance_name}-xxxx`."""
HASH_CHARACTERS: Final = 4
"""With four the longest name still fits: gh-runner-testing-postsubmit-arm64-northamerica-northeast1-xxxx has 63."""

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def short_hash(parts: Iterable[str]) -> str:
    """Four characters a-z0-9 that change when any part does, whatever the parts' order."""
    digest = hashlib.sha256("\n".join(sorted(parts)).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:HASH_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Names:
    """Every physical name of one environment."""

    prefix: str
    project: str

    def of(self, *parts: str) -> str:
        """A Compute Engine name: the prefix and the parts, joined by dashes."""
        return "-".join((self.prefix, *parts))

    def vm_base(self, pool: str, region: str) -> str:
        """What a group's VMs are called, without their suffix. Plain, so that a human can read it in GitHub's list."""
        return self.of(pool, region)

    def group(self, pool: str, region: str, zones: Iterable[str]) -> str:
        """A group's name ends in a hash of its zones: Google cannot change them, so other zones are another group."""
        return self.of(pool, region, short_hash(zones))

    def template(self, pool: str, version: str) -> str:
        """A template is named by its version, never by a time stamp; it is regional, so the region is left out."""
        return self.of(pool, f"v{version}")

    def image(self, key: str, version: str) -> str:
        """The image of one image key in one version."""
        return self.of("image", key, f"v{version}")

    def image_family(self, key: str) -> str:
        """The family that holds an image key's versions."""
        return self.of("image", key)

    def account(self, role: str) -> str:
        """A service account id."""
        return self.of(role)

    def artifact_bucket(self, level: str, given: str | None = None) -> str:
        """A trust level's artifact bucket, or the name that configuration gives it."""
        return given or self._bucket(f"{level}-artifacts")

    def cache_bucket(self, level: str) -> str:
        """The compiler cache that a trust level writes."""
        return self._bucket(f"{level}-cache")

    @property
    def boot_bucket(self) -> str:
        """The bucket of boot bundles."""
        return self._bucket("boot")

    def _bucket(self, what: str) -> str:
        # Bucket names are global, so the project stands in front.
        return f"{self.project}-{self.of(what)}"

    def function_url(self, region: str, role: str) -> str:
        """A function's URL, which Google derives from project, region and name, so that it is known before it exists.

        Source: Cloud Run functions' documentation of the cloudfunctions.net URL, read 2026-11-22; not tried here.
        """
        return f"https://{region}-{self.project}.cloudfunctions.net/{self.function(role)}"

    def function(self, role: str) -> str:
        """A function, and the Cloud Run service below it."""
        return self.of(role)

    def function_bucket(self, role: str) -> str:
        """Where a function keeps its records."""
        return self._bucket(role)

    def metric(self, name: str) -> str:
        """A metric made from logs: two environments of one project count apart."""
        return f"{self.prefix}/{name}"

    @property
    def sources_bucket(self) -> str:
        """Where the functions' archives lie."""
        return self._bucket("functions")

    def scale_set(self, pool: str) -> str:
        """A pool's runner scale set at GitHub: unique in its runner group, and one of its labels."""
        return self.of(pool)

    def secret(self, secret_id: str) -> str:
        """A secret's full name in Secret Manager."""
        return f"projects/{self.project}/secrets/{secret_id}"

    def custom_role(self, role: str) -> str:
        """An IAM role id: letters, digits, underscores and full stops."""
        return self.of(role).replace("-", "_")

    def account_email(self, role: str) -> str:
        """A service account's address, which follows from its id and the project."""
        return f"{self.account(role)}@{self.project}.iam.gserviceaccount.com"

    @property
    def network(self) -> str:
        """The VPC network."""
        return self.of("network")

    @property
    def vm_tag(self) -> str:
        """The network tag of every runner VM."""
        return self.of("vm")
