"""Where functions come from: the bucket of their sources, and the account that builds them."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import projects, serviceaccount, storage

from fleet import services
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionBuildsArgs:
    """What all functions share follows from the settings."""

    settings: Settings


class FunctionBuilds(pulumi.ComponentResource):
    """Declares no function. The account exists because Google's default for builds may edit the whole project."""

    source_bucket: pulumi.Output[str]
    builder_id: pulumi.Output[str]

    def __init__(self, name: str, args: FunctionBuildsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:FunctionBuilds", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        bucket = storage.Bucket(
            f"{name}-sources",
            name=settings.names.sources_bucket,
            location=settings.google.bucket_location,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            labels=settings.google_labels(),
            opts=child,
        )
        builder = serviceaccount.Account(
            f"{name}-account",
            account_id=settings.names.account("builder"),
            display_name="Builds the proxy functions, and does nothing else",
            opts=child,
        )
        for role in services.BUILDER_ROLES:
            projects.IAMMember(
                f"{name}-{role.rpartition('/')[2]}",
                project=settings.names.project,
                role=role,
                member=builder.member,
                opts=child,
            )
        self.source_bucket = bucket.name
        self.builder_id = builder.name
        self.register_outputs({"source_bucket": self.source_bucket, "builder_id": self.builder_id})
