"""What an environment says about a trust level. What a level may do by nature is the table in `fleet.trust`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.schema.base import Model, Names

Association = Literal[
    "COLLABORATOR", "CONTRIBUTOR", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "MANNEQUIN", "MEMBER", "NONE", "OWNER"
]
"""GitHub's enum CommentAuthorAssociation (GraphQL reference, read 2026-11-22)."""


class Artifacts(Model):
    """The level's artifact bucket: jobs create and read objects in it, and can neither delete nor overwrite."""

    bucket: str | None = Field(default=None, description="a bucket name; made from the prefix if left out")
    retention_days: int = Field(default=30, ge=1, le=3650, description="days until an object is deleted, 1 to 3650")


class TrustSettings(Model):
    """Whose code runs at this level: the GitHub runner group, its repositories, and the events that may reach it."""

    runner_group: str = Field(min_length=1, max_length=64, description="the GitHub runner group's name")
    repositories: dict[str, Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="repository name: numeric id (no look-up is made)"
    )
    public_repositories: bool = Field(
        default=False, description="true where the repositories are public; GitHub refuses their jobs otherwise"
    )
    workflows: Names = Field(default=(), description="OWNER/REPO/.github/workflows/FILE@REF; empty means all")
    allowed_events: Literal["any"] | Names = Field(description="any, or a list of GitHub events")
    allowed_refs: Names = Field(default=("refs/*",), description="refs such as refs/heads/main, * as wildcard")
    actor_associations: tuple[Association, ...] = Field(
        default=(), strict=False, description="what an event's author must be, such as MEMBER; empty means anybody"
    )
    artifacts: Artifacts = Artifacts()
    cache_retention_days: int = Field(default=30, ge=1, le=3650, description="days without change, 1 to 3650")
