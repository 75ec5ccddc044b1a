"""Runners and runner groups of an organization, as GitHub shows them."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.cloud.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A registration. Its `busy` flag lags behind the truth by up to a minute, in both directions."""

    id: int
    name: str
    online: bool
    busy: bool
    labels: frozenset[str]
    group_id: int | None
    version: str
    """Empty until a listener has connected, and where GitHub does not say."""
    os: str
    ephemeral: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerGroup:
    """A runner group."""

    id: int
    name: str
    visibility: str
    """all, selected or private: which repositories may use it."""
    default: bool
    public: bool
    """Whether public repositories may use it."""


def runner(value: Document) -> Runner:
    """A runner from its resource. Raises MalformedError: one that cannot be read may be anybody's."""
    return Runner(
        id=value.whole("id"),
        name=value.text("name"),
        online=value.text("status") != "offline",
        busy=value.flag("busy", default=None),
        labels=frozenset(label.text("name") for label in value.list("labels")),
        group_id=value.whole_or_none("runner_group_id"),
        version=value.text("version", ""),
        os=value.text("os", ""),
        ephemeral=value.flag("ephemeral"),
    )


def runner_group(value: Document) -> RunnerGroup:
    """A runner group from its resource."""
    return RunnerGroup(
        id=value.whole("id"),
        name=value.text("name"),
        visibility=value.text("visibility"),
        default=value.flag("default"),
        public=value.flag("allows_public_repositories"),
    )
