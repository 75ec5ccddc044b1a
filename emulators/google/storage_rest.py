"""Cloud Storage's JSON API v1 for objects.

After https://docs.cloud.google.com/storage/docs/json_api/v1/objects and .../request-preconditions (November 2026):
insert (media and multipart), get, get with alt=media, list, patch, delete; ifGenerationMatch (0: must not exist),
ifGenerationNotMatch, ifMetagenerationMatch, ifMetagenerationNotMatch. Not played: resumable uploads, old generations,
ranges, delimiters, access lists.
"""

from __future__ import annotations

import email
import email.policy
import email.utils
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.google.bucket import StoredObject
from emulators.google.reply import refuse
from emulators.route import Call, Refusal, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

OBJECTS: Final = "/storage/v1/b/{bucket}/o"
OBJECT: Final = OBJECTS + "/{object}"
MAX_RESULTS: Final = 1000
UNMET: Final = "At least one of the pre-conditions you specified did not hold."


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = StorageRest(google)
    yield Route(name="storage.insert", method="POST", path=f"/upload{OBJECTS}", handler=calls.insert)
    yield Route(name="storage.get", method="GET", path=OBJECT, handler=calls.get)
    yield Route(name="storage.get", method="GET", path=f"/download{OBJECT}", handler=calls.media)
    yield Route(name="storage.delete", method="DELETE", path=OBJECT, handler=calls.delete)
    yield Route(name="storage.list", method="GET", path=OBJECTS, handler=calls.listed)
    yield Route(name="storage.patch", method="PATCH", path=OBJECT, handler=calls.patch)


class StorageRest:
    """The handlers."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self._storage = google.storage

    def insert(self, call: Call) -> Reply:
        """objects.insert"""
        kind = call.query.get("uploadType")
        if kind == "media":
            resource: dict[str, Any] = {}
            content_type, data = call.headers.get("Content-Type", ""), call.body
        elif kind == "multipart":
            resource, content_type, data = _parts(call)
        else:
            raise refuse("storage", 400, f"This stand-in has no uploads of type {kind!r}.")
        name = call.query.get("name") or str(resource.get("name") or "")
        if not name:
            raise refuse("storage", 400, "Required", reason="required")
        bucket = call.parameters["bucket"]
        _check(call, self._storage.find(bucket, name))
        content_type = str(resource.get("contentType") or content_type)
        made = StoredObject(bucket=bucket, name=name, data=data, generation=0, created=0, updated=0)
        for field, value in (("crc32c", made.crc32c), ("md5Hash", made.md5)):
            if resource.get(field) not in {None, value}:
                text = f'Provided {field} "{resource[field]}" doesn\'t match calculated {field} "{value}".'
                raise refuse("storage", 400, text)
        stored = self._storage.put(bucket, name, data, content_type=content_type, metadata=resource.get("metadata"))
        return self._shown(stored)

    def get(self, call: Call) -> Reply:
        """objects.get"""
        if call.query.get("alt") == "media":
            return self.media(call)
        return self._shown(self._known(call))

    def media(self, call: Call) -> Reply:
        """objects.get with alt=media"""
        stored = self._known(call)
        headers = {
            "Content-Type": stored.content_type,
            "Last-Modified": email.utils.formatdate(stored.updated, usegmt=True),
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Metageneration": str(stored.metageneration),
            "X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}",
            "X-Goog-Stored-Content-Length": str(len(stored.data)),
            "X-Goog-Stored-Content-Encoding": "identity",
        }
        return Reply(body=stored.data, headers=headers)

    def delete(self, call: Call) -> Reply:
        """objects.delete"""
        self._storage.delete(self._known(call))
        return Reply(status=204)

    def listed(self, call: Call) -> Reply:
        """objects.list"""
        found = self._storage.listed(call.parameters["bucket"], call.query.get("prefix", ""))
        size = min(int(call.query.get("maxResults", MAX_RESULTS)), MAX_RESULTS)
        after = call.query.get("pageToken", "")
        left = [stored for stored in found if stored.name > after]
        value: dict[str, Any] = {"kind": "storage#objects"}
        if left:
            value["items"] = [stored.document(self._google.url) for stored in left[:size]]
        if len(left) > size:
            value["nextPageToken"] = left[size - 1].name
        return json_reply(200, value)

    def patch(self, call: Call) -> Reply:
        """objects.patch: content type and metadata; a null removes a key"""
        stored = self._known(call)
        body: Any = call.json()
        if not isinstance(body, dict):
            raise refuse("storage", 400, "Parse Error", reason="parseError")
        changes: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        if "metadata" in changes:
            merged = {} if changes["metadata"] is None else {**stored.metadata, **changes["metadata"]}
            stored.metadata = {key: value for key, value in merged.items() if value is not None}
        if "contentType" in changes:
            stored.content_type = str(changes["contentType"])
        stored.metageneration += 1
        stored.updated = self._google.clock.now()
        return self._shown(stored)

    def _known(self, call: Call) -> StoredObject:
        bucket, name = call.parameters["bucket"], call.parameters["object"]
        stored = self._storage.find(bucket, name)
        wanted = call.query.get("generation")
        if stored is None or (wanted is not None and wanted != str(stored.generation)):
            raise refuse("storage", 404, f"No such object: {bucket}/{name}")
        _check(call, stored)
        return stored

    def _shown(self, stored: StoredObject) -> Reply:
        return json_reply(200, stored.document(self._google.url))


def _check(call: Call, stored: StoredObject | None) -> None:
    generation = str(stored.generation) if stored else "0"
    metageneration = str(stored.metageneration) if stored else "0"
    for name, value in (("ifGenerationMatch", generation), ("ifMetagenerationMatch", metageneration)):
        if call.query.get(name, value) != value:
            raise refuse("storage", 412, UNMET)
    for name, value in (("ifGenerationNotMatch", generation), ("ifMetagenerationNotMatch", metageneration)):
        if call.query.get(name) == value:
            raise Refusal(Reply(status=304)) if call.method == "GET" else refuse("storage", 412, UNMET)


def _parts(call: Call) -> tuple[dict[str, Any], str, bytes]:
    """The two parts of a multipart/related body: the object's resource and its content."""
    content_type = call.headers.get("Content-Type", "")
    _, found, rest = content_type.partition("boundary=")
    boundary = rest.split(";")[0].strip().strip("'\"").encode()
    pieces = call.body.split(b"--" + boundary) if found else []
    if len(pieces) != 4:
        raise refuse("storage", 400, "Malformed multipart body.")
    texts: list[tuple[str, bytes]] = []
    for piece in pieces[1:3]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        header = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.HTTP)
        texts.append((str(header.get("Content-Type", "")), content.removesuffix(b"\r\n")))
    try:
        resource = json.loads(texts[0][1])
    except ValueError:
        raise refuse("storage", 400, "Parse Error", reason="parseError") from None
    return resource, texts[1][0], texts[1][1]
