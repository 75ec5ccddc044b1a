"""Releases of a repository, as GitHub shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from rollout.cloud.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file of a release."""

    name: str
    digest: str
    """`sha256:` and 64 digits; empty for a file that was uploaded before GitHub computed digests."""
    size: int
    url: str
    """Where it is downloaded from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release."""

    tag: str
    published: float | None
    """None for a draft."""
    prerelease: bool
    draft: bool
    body: str = field(repr=False)
    """The notes."""
    assets: tuple[Asset, ...]


def release(value: Document) -> Release:
    """A release from its resource."""
    return Release(
        tag=value.text("tag_name"),
        published=value.time_or_none("published_at"),
        prerelease=value.flag("prerelease", default=None),
        draft=value.flag("draft", default=None),
        body=value.text("body", ""),
        assets=tuple(
            Asset(
                name=each.text("name"),
                digest=each.text("digest", ""),
                size=each.whole("size"),
                url=each.text("browser_download_url", ""),
            )
            for each in value.list("assets")
        ),
    )
