"""The plan of a bake: for each image a builder, its provisioning, its stop, a snapshot, its end. Pure.

Images do not wait for one another, and one that fails leaves the others. A snapshot is made of a disk that nobody
writes to any more, so the builder is stopped first; the builder goes whatever happened, unless a failed one is kept.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.schema.version import SourceImage
from fleet.settings import Settings
from rollout.backends.google import GoogleOperations
from rollout.bake import builder
from rollout.bake.builder import Builder
from rollout.engine.limits import Limits
from rollout.engine.spec import Plan, Retry, Rule, Step
from rollout.plans.drive import Prepared
from rollout.plans.stack_settings import stack_settings
from startup import bundle

PROVISION_SECONDS: Final = 2700.0
"""Boot, the bundle, and provisioning with its own 1500 s, with room for a slow console."""
SNAPSHOT_SECONDS: Final = 3600.0
CALL_SECONDS: Final = 600.0
MOST_AT_ONCE: Final = 32
"""Images are a handful; more builders at once than that are a mistake."""
_AGAIN: Final = Retry(tries={"unavailable": 5, "rate-limited": 5}, first_seconds=2, most_seconds=60)
_ROOM: Final = Retry(
    tries={"unavailable": 5, "rate-limited": 5, "stockout": 6, "quota": 3}, first_seconds=15, most_seconds=300
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image to bake."""

    key: str
    builder: Builder
    snapshot: str
    """Its name."""
    body: Mapping[str, Any]
    """What disks.createSnapshot takes."""

    def source(self, project: str) -> str:
        """What a version pins."""
        return f"projects/{project}/global/snapshots/{self.snapshot}"


def plan(project: str, images: Sequence[Image], *, keep: bool) -> Plan:
    """The steps for all images. With `keep` the builder of one that fails stays until Compute Engine deletes it."""
    return Plan(
        name="bake " + ", ".join(image.key for image in images),
        steps=tuple(step for image in images for step in _steps(project, image, keep=keep)),
    )


def _steps(project: str, image: Image, *, keep: bool) -> list[Step]:
    key, zone, name = image.key, image.builder.zone, image.builder.name
    there = {"zone": zone, "instance": name}

    def step(
        what: str,
        params: Mapping[str, Any],
        title: str,
        *,
        needs: tuple[str, ...] = (),
        rule: Rule = Rule.ALL,
        retry: Retry = _AGAIN,
        seconds: float = CALL_SECONDS,
        weight: float = 60.0,
    ) -> Step:
        return Step(
            id=f"{key}/{what}",
            group=key,
            backend="google",
            params={"project": project, **params},
            title=title,
            needs=tuple(f"{key}/{need}" for need in needs),
            rule=rule,
            retry=retry,
            try_timeout_seconds=seconds,
            weight=weight,
        )

    def call(operation: str, **arguments: Any) -> dict[str, Any]:
        return {"call": operation, "arguments": arguments}

    console = {"wait": {"for": "serial-line", **there, "pattern": builder.PASSED, "fail_pattern": builder.FAILED}}
    usable = {"wait": {"for": "snapshot-ready", "snapshot": image.snapshot}}
    captured = call("create_snapshot", zone=zone, disk=name, body=image.body)
    gone = {**call("delete_instance", **there), "missing_ok": True}
    return [
        step("builder", call("insert_instance", zone=zone, body=image.builder.body), f"make {name}", retry=_ROOM),
        step(
            "provision",
            console,
            "provision and check it",
            needs=("builder",),
            seconds=PROVISION_SECONDS,
            weight=900,
        ),
        step("stop", call("stop_instance", **there), "stop it", needs=("provision",)),
        step(
            "snapshot",
            captured,
            f"capture {image.snapshot}",
            needs=("stop",),
            seconds=SNAPSHOT_SECONDS,
            weight=600,
        ),
        step("ready", usable, "until it can be used", needs=("snapshot",), seconds=SNAPSHOT_SECONDS),
        step(
            "delete",
            gone,
            f"delete {name}",
            needs=("builder", "ready"),
            rule=Rule.ALL if keep else Rule.ALWAYS,
        ),
    ]


def prepare(root: Path, arguments: Mapping[str, Any]) -> Prepared:
    """What `drive` runs, from a recipe's arguments: stack, keys, zone, at (RFC 3339), keep, bases (key to image).

    Raises StackFileError, ConfigError, and ValueError for what cannot be baked.
    """
    settings, chosen = stack_settings(root, arguments["stack"]), images(root, arguments)
    return Prepared(
        plan=plan(settings.google.project, chosen, keep=bool(arguments["keep"])),
        backends={"google": GoogleOperations()},
        limits=Limits(backends={"google": MOST_AT_ONCE}),
    )


def images(root: Path, arguments: Mapping[str, Any]) -> tuple[Image, ...]:
    """The images of a recipe's arguments. Raises as `prepare`."""
    settings = stack_settings(root, arguments["stack"])
    made = bundle.build(root / "startup")
    at = datetime.datetime.fromisoformat(arguments["at"])
    return tuple(_image(settings, key, made, at, arguments) for key in arguments["keys"])


def _image(
    settings: Settings, key: str, made: bundle.Bundle, at: datetime.datetime, arguments: Mapping[str, Any]
) -> Image:
    zone = arguments["zone"] or _zone(settings, key)
    base = arguments["bases"].get(key) or _base(settings, key)
    one = builder.builder(settings, key, made=made, base_image=base, zone=zone, at=at)
    name = settings.names.of("image", key, f"{at:%Y%m%d-%H%M%S}")
    body = builder.snapshot_body(settings, key, name=name, builder_name=one.name, zone=zone)
    return Image(key=key, builder=one, snapshot=name, body=body)


def _zone(settings: Settings, key: str) -> str:
    """The first zone of the first pool, by name, that uses the image. Raises ValueError."""
    for pool in sorted(settings.pools):
        if settings.image_key(settings.pools[pool].machine_class) == key:
            return settings.groups(pool)[0].zones[0]
    raise ValueError(f"image {key}: no pool of this stack uses it; say where with --zone")


def _base(settings: Settings, key: str) -> str:
    """The stock image that the newest version names. Raises ValueError where it names a snapshot, or nothing."""
    source = settings.versions[settings.newest_version].images.get(key)
    if isinstance(source, SourceImage):
        return source.source_image
    seen = "a snapshot" if source else "nothing"
    raise ValueError(
        f"versions.{settings.newest_version}.images.{key} names {seen}, and an image is baked from a stock one; "
        f"say which: --base {key}=projects/ubuntu-os-cloud/global/images/IMAGE"
    )
