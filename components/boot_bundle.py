"""Where VMs fetch what they run: one object per digest, written once, kept for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi_gcp import storage

from fleet import trust
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BootBundleArgs:
    """`archive` is named by its SHA-256; `readers` maps a trust level to the member that may fetch it."""

    settings: Settings
    archive: Path
    readers: Mapping[str, pulumi.Input[str]]


class BootBundle(pulumi.ComponentResource):
    """The bucket of boot bundles and the object that the tree makes.

    Bundles of older versions stay in the bucket although the program names them no more (retained on delete), since
    templates of those versions, and VMs made from them, still ask for them.
    """

    bucket_name: pulumi.Output[str]
    object_name: pulumi.Output[str]

    def __init__(self, name: str, args: BootBundleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:BootBundle", name, None, opts)
        bucket = storage.Bucket(
            f"{name}-bucket",
            name=args.settings.names.boot_bucket,
            location=args.settings.google.bucket_location,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            versioning=storage.BucketVersioningArgs(enabled=True),
            labels=args.settings.google_labels(),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        bundle = storage.BucketObject(
            # Named by its digest: another bundle is another object, and the older one is let go, not overwritten.
            args.archive.name,
            bucket=bucket.name,
            name=args.archive.name,
            source=pulumi.FileAsset(str(args.archive)),
            content_type="application/x-tar",
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        for level in sorted(args.readers):
            for role in trust.BUNDLE_READ_ROLES:
                storage.BucketIAMMember(
                    f"{name}-read-by-{level}",
                    bucket=bucket.name,
                    role=role,
                    member=args.readers[level],
                    opts=pulumi.ResourceOptions(parent=self),
                )
        self.bucket_name = bucket.name
        self.object_name = bundle.name
        self.register_outputs({"bucket_name": self.bucket_name, "object_name": self.object_name})
