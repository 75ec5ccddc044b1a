"""Versions: immutable sets of pins; and the upstream runner releases they point at."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from fleet.schema.base import Day, Digest, Model, Names, Sha256
from fleet.schema.machine_class import Arch


class RunnerRelease(Model):
    """One release of actions/runner: when it came out, and the SHA-256 of each Linux archive, where established."""

    released: Day = Field(description="the day of the release, YYYY-MM-DD")
    sha256: dict[Arch, Sha256] = Field(default_factory=dict)


class SourceImage(Model):
    """A pinned stock or custom image; works with nothing baked."""

    source_image: str = Field(
        pattern=r"^projects/[a-z0-9.:-]+/global/images/[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="projects/PROJECT/global/images/IMAGE, an exact image and never a family",
    )


class SourceSnapshot(Model):
    """The snapshot of a baked boot disk."""

    source_snapshot: str = Field(
        pattern=r"^projects/[a-z0-9.:-]+/global/snapshots/[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="projects/PROJECT/global/snapshots/SNAPSHOT",
    )


def _source(value: Any) -> str:
    return "a snapshot" if isinstance(value, dict) and "source_snapshot" in value else "an image"


ImageSource = Annotated[
    Annotated[SourceImage, Tag("an image")] | Annotated[SourceSnapshot, Tag("a snapshot")], Discriminator(_source)
]


class Version(Model):
    """An immutable set of pins. Editing one has no effect on templates that exist; cut a new one instead."""

    runner: str = Field(pattern=r"^\d+\.\d+\.\d+$", description='a runner release in quotes, such as "2.337.0"')
    boot_bundle: Digest
    images: dict[str, ImageSource]


class Rollout(Model):
    """Which version this environment runs, and which one it tries."""

    stable: str = Field(description="a version")
    canary: str | None = Field(description="a version other than stable, or null")
    canary_pools: Names = Field(default=(), description="the pools that try the canary; without it all of them do")
    keep: Names = Field(default=(), description="older versions kept ready for a return")
    confirm: bool = Field(default=True, description="true or false: whether commands ask before they change something")
