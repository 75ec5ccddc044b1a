"""A release of a repository, as the REST API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulators.github.workflow import second

ASSET_BYTES = 200_000_000
"""About as large as a runner's archive."""


def release(
    number: int,
    repository: str,
    tag: str,
    *,
    at: float,
    assets: Mapping[str, str],
    body: str,
    prerelease: bool,
    draft: bool,
) -> dict[str, Any]:
    """`assets` are names to digests, empty for a file that was uploaded before GitHub computed them."""
    where = f"https://github.com/{repository}/releases/download/{tag}"
    return {
        "id": number,
        "tag_name": tag,
        "name": tag,
        "draft": draft,
        "prerelease": prerelease,
        "created_at": second(at),
        "published_at": None if draft else second(at),
        "body": body,
        "assets": [
            {"name": name, "size": ASSET_BYTES, "digest": digest or None, "browser_download_url": f"{where}/{name}"}
            for name, digest in assets.items()
        ],
    }
