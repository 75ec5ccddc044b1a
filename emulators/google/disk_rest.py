"""Compute Engine's calls for disks, snapshots and images.

After the same documents as `compute_rest`. Not played: what a disk holds, and images that are obsolete.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.google.caller import PROJECT, ZONE, Caller, part
from emulators.google.disk import Disk, Image, Snapshot
from emulators.google.instance import ROOT
from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

DISK: Final = ZONE + "/disks/{disk}"
SNAPSHOT: Final = PROJECT + "/global/snapshots/{snapshot}"
IMAGES: Final = PROJECT + "/global/images"


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = DiskRest(google)
    table = {
        "disk": ("GET", DISK, calls.disk),
        "delete_disk": ("DELETE", DISK, calls.once(calls.delete_disk)),
        "create_snapshot": ("POST", DISK + "/createSnapshot", calls.once(calls.create_snapshot)),
        "snapshot": ("GET", SNAPSHOT, calls.snapshot),
        "delete_snapshot": ("DELETE", SNAPSHOT, calls.once(calls.delete_snapshot)),
        "create_image": ("POST", IMAGES, calls.once(calls.create_image)),
        "image": ("GET", IMAGES + "/{image}", calls.image),
        "delete_image": ("DELETE", IMAGES + "/{image}", calls.once(calls.delete_image)),
    }
    for name, (method, path, handler) in table.items():
        yield Route(name=f"compute.{name}", method=method, path=path, handler=handler)


class DiskRest(Caller):
    """The handlers."""

    def disk(self, call: Call) -> Reply:
        """disks.get"""
        return json_reply(200, self._disk(call).document())

    def delete_disk(self, call: Call) -> Reply:
        """disks.delete"""
        disk = self._disk(call)
        if disk.user:
            text = f"The disk resource '{disk.path}' is already being used by '{disk.user}'"
            raise refuse("compute", 400, text, reason="resourceInUseByAnotherResource")
        scope = f"zones/{disk.zone}"
        operation = self.operate(call, "delete_disk", "delete", scope, target=disk.path, target_id=disk.id)
        if operation.error is None:
            del self._compute.disks[disk.zone, disk.name]
        return json_reply(200, operation.document())

    def create_snapshot(self, call: Call) -> Reply:
        """disks.createSnapshot; the operation is done once the snapshot can be used"""
        disk, body = self._disk(call), self.fields(call)
        name, now = self._free(body, "snapshots", self._compute.snapshots), self._compute.clock.now()
        operation = self.operate(
            call, "create_snapshot", "createSnapshot", f"zones/{disk.zone}", target=disk.path, target_id=disk.id
        )
        operation.done += self._compute.snapshot_seconds
        if operation.error is None:
            self._compute.snapshots[name] = Snapshot(
                id=self._compute.number(),
                name=name,
                project=disk.project,
                source=f"{ROOT}/{disk.path}",
                created=now,
                ready=now + self._compute.snapshot_seconds,
                size_gb=disk.size_gb,
                labels=_labels(body),
            )
        return json_reply(200, operation.document())

    def snapshot(self, call: Call) -> Reply:
        """snapshots.get"""
        return json_reply(200, self._snapshot(call).document(self._compute.clock.now()))

    def delete_snapshot(self, call: Call) -> Reply:
        """snapshots.delete"""
        snapshot = self._snapshot(call)
        operation = self.operate(
            call, "delete_snapshot", "delete", "global", target=snapshot.path, target_id=snapshot.id
        )
        if operation.error is None:
            del self._compute.snapshots[snapshot.name]
        return json_reply(200, operation.document())

    def create_image(self, call: Call) -> Reply:
        """images.insert"""
        body = self.fields(call)
        image = Image(
            id=self._compute.number(),
            name=self._free(body, "images", self._compute.images),
            project=call.parameters["project"],
            created=self._compute.clock.now(),
            family=str(body.get("family", "")),
            source=str(body.get("sourceDisk") or body.get("sourceSnapshot") or body.get("sourceImage") or ""),
            labels=_labels(body),
        )
        operation = self.operate(call, "create_image", "insert", "global", target=image.path, target_id=image.id)
        if operation.error is None:
            self._compute.images[image.name] = image
        return json_reply(200, operation.document())

    def image(self, call: Call) -> Reply:
        """images.get"""
        return json_reply(200, self._image(call).document())

    def delete_image(self, call: Call) -> Reply:
        """images.delete"""
        image = self._image(call)
        operation = self.operate(call, "delete_image", "delete", "global", target=image.path, target_id=image.id)
        if operation.error is None:
            del self._compute.images[image.name]
        return json_reply(200, operation.document())

    def _disk(self, call: Call) -> Disk:
        disk = self._compute.disks.get((call.parameters["zone"], call.parameters["disk"]))
        if disk is None:
            raise self.missing(call)
        return disk

    def _snapshot(self, call: Call) -> Snapshot:
        snapshot = self._compute.snapshots.get(call.parameters["snapshot"])
        if snapshot is None:
            raise self.missing(call)
        return snapshot

    def _image(self, call: Call) -> Image:
        image = self._compute.images.get(call.parameters["image"])
        if image is None:
            raise self.missing(call)
        return image

    @staticmethod
    def _free(body: dict[str, Any], kind: str, taken: dict[str, Any]) -> str:
        name = str(body.get("name", ""))
        if not name:
            raise refuse("compute", 400, "Required field 'name' not specified", reason="required")
        if name in taken:
            raise refuse("compute", 409, f"The resource 'global/{kind}/{name}' already exists", reason="alreadyExists")
        return name


def _labels(body: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in part(body, "labels").items()}
