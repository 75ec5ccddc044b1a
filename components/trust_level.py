"""A trust level: one identity, its buckets, its grants, and the GitHub runner group whose jobs it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_github as github
from pulumi_gcp import projects, serviceaccount, storage

from fleet import trust
from fleet.settings import Settings

_SOFT_DELETE_SECONDS: Final = 7 * 24 * 3600
"""Google's own default, stated so that it is a decision: a deleted artifact can be brought back for a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustLevelArgs:
    """The level's part of the settings is found by the component's name.

    `cache_readers` maps other trust levels to the members that may read this level's cache, and nothing else of it.
    """

    settings: Settings
    cache_readers: Mapping[str, pulumi.Input[str]]


class TrustLevel(pulumi.ComponentResource):
    """Everything that belongs to one trust level; its name is the level's.

    Nothing here is shared with another level. The one thing that crosses is `cache_readers`: presubmit builds read
    the compiler cache that merged code wrote, each as a grant named `…-cache-read-by-…`.
    """

    account_email: pulumi.Output[str]
    account_member: pulumi.Output[str]
    artifact_bucket: pulumi.Output[str]
    cache_bucket: pulumi.Output[str] | None
    """None where the level writes no cache."""
    runner_group: pulumi.Output[str]

    def __init__(self, name: str, args: TrustLevelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:TrustLevel", name, None, opts)
        rights = trust.LEVELS[name]
        names, level = args.settings.names, args.settings.trust_levels[name]
        child = pulumi.ResourceOptions(parent=self)
        account = serviceaccount.Account(
            f"{name}-account",
            account_id=names.account(name),
            display_name=f"Runners of trust level {name} ({rights.meaning})",
            opts=child,
        )
        for role in trust.RUNNER_PROJECT_ROLES:
            projects.IAMMember(
                f"{name}-{role.rpartition('.')[2]}",
                project=names.project,
                role=role,
                member=account.member,
                opts=child,
            )
        artifacts = self._bucket(
            f"{name}-artifacts",
            names.artifact_bucket(name, level.artifacts.bucket),
            level.artifacts.retention_days,
            name,
            args.settings,
        )
        self._grant(f"{name}-artifacts", artifacts, trust.ARTIFACT_ROLES, account.member)
        self.cache_bucket = None
        if rights.writes_cache:
            cache = self._bucket(
                f"{name}-cache", names.cache_bucket(name), level.cache_retention_days, name, args.settings
            )
            self._grant(f"{name}-cache", cache, trust.CACHE_WRITE_ROLES, account.member)
            for reader in sorted(args.cache_readers):
                self._grant(f"{name}-cache-read-by-{reader}", cache, trust.CACHE_READ_ROLES, args.cache_readers[reader])
            self.cache_bucket = cache.name
        group = github.ActionsRunnerGroup(
            f"{name}-runner-group",
            name=level.runner_group,
            visibility="selected",
            selected_repository_ids=sorted(level.repositories.values()),
            allows_public_repositories=level.public_repositories,
            restricted_to_workflows=bool(level.workflows),
            selected_workflows=sorted(level.workflows),
            opts=child,
        )
        self.account_email = account.email
        self.account_member = account.member
        self.artifact_bucket = artifacts.name
        self.runner_group = group.name
        self.register_outputs(
            {
                "account_email": self.account_email,
                "account_member": self.account_member,
                "artifact_bucket": self.artifact_bucket,
                "cache_bucket": self.cache_bucket,
                "runner_group": self.runner_group,
            }
        )

    def _bucket(self, name: str, bucket: str, retention_days: int, level: str, settings: Settings) -> storage.Bucket:
        return storage.Bucket(
            f"{name}-bucket",
            name=bucket,
            location=settings.google.bucket_location,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=_SOFT_DELETE_SECONDS),
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
                    condition=storage.BucketLifecycleRuleConditionArgs(age=retention_days),
                )
            ],
            labels=settings.google_labels(trust=level),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _grant(self, name: str, bucket: storage.Bucket, roles: Mapping[str, str], member: pulumi.Input[str]) -> None:
        for role in roles:
            storage.BucketIAMMember(
                f"{name}-{role.rpartition('.')[2]}",
                bucket=bucket.name,
                role=role,
                member=member,
                opts=pulumi.ResourceOptions(parent=self),
            )
