"""The boot image of one image key in one version, copied into the fleet's project."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import compute

from fleet.schema.version import SourceImage, SourceSnapshot
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerImageArgs:
    """`image` is the key under which `version` lists `source`.

    The source is a pinned stock image (works with nothing baked) or the snapshot of a baked disk.
    """

    settings: Settings
    image: str
    version: str
    source: SourceImage | SourceSnapshot


class RunnerImage(pulumi.ComponentResource):
    """A copy of our own, so that a version keeps working when its upstream image is deprecated and deleted.

    Templates name the exact image, never the family; the family is for people who look for the newest one.
    """

    image_id: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:RunnerImage", name, None, opts)
        source = args.source
        image = compute.Image(
            f"{name}-image",
            name=args.settings.names.image(args.image, args.version),
            family=args.settings.names.image_family(args.image),
            source_image=source.source_image if isinstance(source, SourceImage) else None,
            source_snapshot=source.source_snapshot if isinstance(source, SourceSnapshot) else None,
            labels=args.settings.google_labels(**{"template-version": args.version}),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.image_id = image.id
        self.register_outputs({"image_id": self.image_id})
