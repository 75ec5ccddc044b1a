"""`scripts/rollout bake CLASS…`: makes images that boot without provisioning, and a version that pins them."""

from __future__ import annotations

import asyncio
import datetime
import sys

import click

from fleet.errors import one_of
from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.cut import add_version
from rollout.commands.frame import Call, Problem
from rollout.config.version_cut import image_source
from rollout.exits import Exit


@frame.command(
    "bake",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout bake cpu arm64 --stack testing --dry-run",
        "scripts/rollout bake cpu gpu --stack testing",
        "scripts/rollout bake gpu --stack testing --keep --zone us-central1-b",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.DECLINED),
)
@click.argument("classes", metavar="CLASS…", nargs=-1, required=True)
@click.option(
    "--zone", default="", help="Where to build; without it the first zone of the first pool that has the class."
)
@click.option("--base", "bases", metavar="KEY=IMAGE", multiple=True, help="The stock image to start from.")
@click.option("--keep", is_flag=True, help="Keep the builder of an image that fails, until Compute Engine deletes it.")
@click.option(
    "--cut/--no-cut", "cuts", default=True, help="Add a version that pins the new images (the default), or print them."
)
def command(call: Call, *, classes: tuple[str, ...], zone: str, bases: tuple[str, ...], keep: bool, cuts: bool) -> None:
    """Bake the images of machine classes: a builder VM is made, provisioned, checked, captured and deleted.

    Builders have no service account and end by themselves after two hours. All images are baked at once; one that fails
    leaves the others. What they are made of is in each image, as /var/lib/runner-fleet/image.json.
    """
    from rollout.engine.graph import GraphError  # noqa: PLC0415 - the engine takes a while to import
    from rollout.plans import bake  # noqa: PLC0415 - the same
    from rollout.plans.drive import Recipe, drive  # noqa: PLC0415 - the same

    settings = call.settings()
    arguments = {
        "stack": call.stack,
        "keys": _keys(settings, classes),
        "zone": zone,
        "bases": dict(_base(text) for text in bases),
        "at": f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%dT%H:%M:%S+00:00}",
        "keep": keep,
    }
    try:
        images = bake.images(call.root, arguments)
    except ValueError as error:
        raise Problem(Exit.FAULT, str(error)) from None
    sources = {image.key: image.source(settings.google.project) for image in images}
    for image in images:
        machine = str(image.builder.body["machineType"]).rpartition("/")[2]
        call.say(f"{image.key}: {image.builder.name} ({machine}, {image.builder.zone}) → snapshot {image.snapshot}")
    if call.dry_run:
        call.say("dry run: nothing is made")
        call.result({"images": sources, "made": False})
        return
    call.ask(
        f"make {len(images)} builder {'VM' if len(images) == 1 else 'VMs'} in {settings.google.project}?", settings
    )
    stream = sys.stderr if call.json else sys.stdout
    try:
        report = asyncio.run(
            drive(call.root, Recipe(maker="rollout.plans.bake:prepare", arguments=arguments), stream=stream)
        )
    except GraphError as error:
        raise Problem(Exit.FAULT, str(error)) from None
    ready = {
        result.id.rpartition("/")[0]
        for result in report.results
        if result.id.endswith("/ready") and result.state == "passed"
    }
    made = {key: source for key, source in sources.items() if key in ready}
    if report.verdict == "stopped":
        raise Problem(Exit.INTERRUPTED, f"stopped; to go on: scripts/rollout resume {report.run_id}")
    if made and cuts:
        add_version(call, images=tuple(f"{key}={source}" for key, source in sorted(made.items())))
    else:
        pins = "".join(f" --image {key}={source}" for key, source in sorted(made.items()))
        call.say(f"next: scripts/rollout cut{pins}" if made else "no image was made")
        call.result({"images": made, "made": bool(made), "run": report.run_id})
    if report.verdict != "passed":
        raise Problem(Exit.FAILED, f"not all is as it should be; runs/{report.run_id} has the logs and report.html")


def _keys(settings: Settings, classes: tuple[str, ...]) -> list[str]:
    """The image keys of classes: each once, in the order of the words."""
    for name in classes:
        if name not in settings.machine_classes:
            raise Problem(Exit.FAULT, f"{name} is no machine class; the classes are {one_of(settings.machine_classes)}")
    return list(dict.fromkeys(settings.image_key(name) for name in classes))


def _base(text: str) -> tuple[str, str]:
    key, source = image_source(text)
    if "source_image" not in source:
        raise Problem(Exit.FAULT, f"--base {text}: an image is baked from a stock image, not from a snapshot")
    return key, source["source_image"]
