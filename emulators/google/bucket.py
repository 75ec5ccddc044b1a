"""Objects of Cloud Storage with their generations."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from emulators.clock import Clock, rfc3339
from emulators.google.reply import refuse


def _crc_table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return table


_TABLE = _crc_table()


@lru_cache(maxsize=256)
def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), which Google's APIs check contents by. Kept: every answer about an object shows it."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@dataclass(kw_only=True)
class StoredObject:
    """One version of an object; only the live one is kept."""

    bucket: str
    name: str
    data: bytes
    generation: int
    metageneration: int = 1
    content_type: str = "application/octet-stream"
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    created: float
    updated: float

    @property
    def crc32c(self) -> str:
        """In base64, as the API shows it."""
        return base64.b64encode(crc32c(self.data).to_bytes(4, "big")).decode()

    @property
    def md5(self) -> str:
        """In base64, as the API shows it."""
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()

    def document(self, url: str) -> dict[str, Any]:
        """The object's resource."""
        where = f"{url}/storage/v1/b/{self.bucket}/o/{self.name.replace('/', '%2F')}"
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": where,
            "mediaLink": where.replace("/storage/v1", "/download/storage/v1")
            + f"?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "size": str(len(self.data)),
            "md5Hash": self.md5,
            "crc32c": self.crc32c,
            "etag": base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode(),
            "timeCreated": rfc3339(self.created),
            "updated": rfc3339(self.updated),
            **({"metadata": self.metadata} if self.metadata else {}),
        }


@dataclass(kw_only=True)
class Storage:
    """All buckets. Strongly consistent, as the real one is."""

    clock: Clock
    buckets: set[str] | None = None
    """None: every bucket exists."""
    objects: dict[tuple[str, str], StoredObject] = field(default_factory=dict[tuple[str, str], StoredObject])
    mutations_per_second: float | None = None
    """Of one object, more get 429; the real one allows about 1 (https://docs.cloud.google.com/storage/quotas)."""
    _last: int = 0
    _changed: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """The live version of an object. Raises Refusal for an unknown bucket."""
        self._check_bucket(bucket)
        return self.objects.get((bucket, name))

    def listed(self, bucket: str, prefix: str) -> list[StoredObject]:
        """A bucket's objects in the order of their names."""
        self._check_bucket(bucket)
        keys = sorted(key for key in self.objects if key[0] == bucket and key[1].startswith(prefix))
        return [self.objects[key] for key in keys]

    def put(
        self, bucket: str, name: str, data: bytes, *, content_type: str = "", metadata: Mapping[str, str] | None = None
    ) -> StoredObject:
        """A new generation of an object, in place of the one there is. Preconditions are the caller's."""
        self._check_bucket(bucket)
        now = self.clock.now()
        self._check_rate(bucket, name, now)
        self._last = max(int(now * 1_000_000), self._last + 1)
        stored = StoredObject(
            bucket=bucket,
            name=name,
            data=data,
            generation=self._last,
            content_type=content_type or "application/octet-stream",
            metadata=dict(metadata or {}),
            created=now,
            updated=now,
        )
        self.objects[bucket, name] = stored
        return stored

    def delete(self, stored: StoredObject) -> None:
        """Have an object no more."""
        self._check_rate(stored.bucket, stored.name, self.clock.now())
        del self.objects[stored.bucket, stored.name]

    def _check_bucket(self, bucket: str) -> None:
        if self.buckets is not None and bucket not in self.buckets:
            raise refuse("storage", 404, "The specified bucket does not exist.")

    def _check_rate(self, bucket: str, name: str, now: float) -> None:
        before = self._changed.get((bucket, name))
        if self.mutations_per_second and before is not None and now - before < 1 / self.mutations_per_second:
            text = f"The object {bucket}/{name} exceeded the rate limit for object mutation operations"
            raise refuse("storage", 429, f"{text} (create, update, and delete). Please reduce your request rate.")
        self._changed[bucket, name] = now
