"""Whether a job may run on this VM: one decision from the policy and from what GitHub tells the runner about the job.

It uses what GitHub itself sets and a workflow cannot: documented default variables (GitHub's documentation,
"Variables reference") and the event's payload ("Webhook events and payloads"), both read 2026-11-22. What it does not
understand it refuses. It reads nothing and changes nothing, so hostile text can at worst be refused.

Three things it cannot know. A reusable workflow: `GITHUB_WORKFLOW_REF` and the event are the caller's, and no variable
names the called file. What a step checks out: an `issue_comment` job may fetch any code by itself. What a
`workflow_run` or `merge_group` was caused by, beyond the head repository of the former.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

LONGEST_FACT: Final = 4096
"""Characters of a fact that decides; git limits a file name to 255 bytes on most systems, and a ref is one."""

SHOWN: Final = 120
"""Characters of a foreign text that a log line shows."""

LIST_SHOWN: Final = 480
"""Characters that a list of what is allowed may take in a log line."""

_LISTS: Final = ("events", "refs", "repositories", "workflows", "actor_associations")
_MAY_BE_EMPTY: Final = ("workflows", "actor_associations")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./@:+,=*")

_AUTHORED: Final = {
    "discussion": ("discussion",),
    "discussion_comment": ("comment",),
    "issue_comment": ("comment",),
    "issues": ("issue",),
    "pull_request": ("pull_request",),
    # A review's job runs the pull request's code, so both authors count.
    "pull_request_review": ("review", "pull_request"),
    "pull_request_review_comment": ("comment", "pull_request"),
    "pull_request_target": ("pull_request",),
}
"""The payload's objects whose `author_association` speaks for an event; all of them must be allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's facts, as text straight from the environment; `payload` is the event file's JSON, whatever it holds."""

    event: str
    """GITHUB_EVENT_NAME."""
    ref: str
    """GITHUB_REF; of a pull request refs/pull/N/merge."""
    repository: str
    """GITHUB_REPOSITORY; of a pull request the one it wants to change."""
    workflow: str
    """GITHUB_WORKFLOW_REF."""
    payload: object


class _RefusedError(Exception):
    """Carries the reason up to `refusal`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    events: tuple[str, ...]
    refs: tuple[str, ...]
    repositories: tuple[str, ...]
    workflows: tuple[str, ...]
    actor_associations: tuple[str, ...]
    forks: bool


def refusal(policy: object, job: Job) -> str | None:
    """Why the job may not run, in words that fit one log line; None if it may. Never raises for a policy or a job."""
    try:
        _decide(_checked(policy), job)
    except _RefusedError as refused:
        return str(refused)
    return None


def shown(text: str, longest: int = SHOWN) -> str:
    """Foreign text made harmless for a log line: plain ASCII alone, the rest as escapes, and cut."""
    cut = text[:longest]
    plain = "".join(char if char in _PLAIN else f"\\u{{{ord(char):x}}}" for char in cut)
    return f"{plain[:longest]}..." if len(text) > longest or len(plain) > longest else plain


def _checked(policy: object) -> _Policy:
    if not isinstance(policy, dict):
        raise _RefusedError("the job policy is not an object")
    table = cast("dict[object, object]", policy)
    wanted = {*_LISTS, "forks"}
    if set(table) != wanted:
        differing = ", ".join(sorted(shown(str(key), 40) for key in set(table) ^ wanted)[:5])
        raise _RefusedError(f"the job policy has other keys than this runner knows: {differing}")
    forks = table["forks"]
    if not isinstance(forks, bool):
        raise _RefusedError("the job policy's forks is neither true nor false")
    lists = {name: _texts(name, table[name]) for name in _LISTS}
    return _Policy(forks=forks, **lists)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _RefusedError(f"the job policy's {name} is not a list")
    items = cast("list[object]", value)
    texts = tuple(item for item in items if isinstance(item, str) and item)
    if len(texts) != len(items):
        raise _RefusedError(f"the job policy's {name} holds something else than text")
    if not texts and name not in _MAY_BE_EMPTY:
        raise _RefusedError(f"the job policy's {name} is empty")
    return texts


def _decide(policy: _Policy, job: Job) -> None:
    _check_told({"event": job.event, "repository": job.repository, "ref": job.ref, "workflow": job.workflow})
    if not job.ref.isprintable() or " " in job.ref:
        raise _RefusedError(f"git knows no such ref: {shown(job.ref)}")
    if job.event not in policy.events:
        raise _not_allowed("event", job.event, policy.events)
    if not any(_same_repository(job.repository, allowed) for allowed in policy.repositories):
        raise _not_allowed("repository", job.repository, policy.repositories)
    if not any(_matches(pattern, job.ref) for pattern in policy.refs):
        raise _not_allowed("ref", job.ref, policy.refs)
    if policy.workflows and job.workflow not in policy.workflows:
        raise _not_allowed("workflow", job.workflow, policy.workflows)
    if not isinstance(job.payload, dict):
        raise _RefusedError("the event's payload is not told, or is not an object")
    payload = cast("dict[object, object]", job.payload)
    if not policy.forks:
        _check_origin(job, payload)
    if policy.actor_associations:
        _check_authors(policy.actor_associations, job.event, payload)


def _check_told(facts: dict[str, str]) -> None:
    for name, value in facts.items():
        if not value:
            raise _RefusedError(f"GitHub did not tell the {name}")
        if len(value) > LONGEST_FACT:
            raise _RefusedError(f"the {name} is longer than {LONGEST_FACT} characters: {shown(value)}")


def _check_origin(job: Job, payload: dict[object, object]) -> None:
    """Refuse code of another repository. A repository's own mark `fork` says nothing about where a head lies.

    A deleted fork leaves `"repo": null` behind; that, and whatever else is not readable, counts as a fork.
    """
    if job.event.startswith("pull_request"):
        pull_request = _object(payload, "pull_request")
        head, base = (_object(_object(pull_request, side), "repo") for side in ("head", "base"))
    elif job.event == "workflow_run":
        head, base = _object(_object(payload, "workflow_run"), "head_repository"), _object(payload, "repository")
    else:
        return
    there, here = head.get("full_name"), base.get("full_name")
    if not isinstance(there, str) or not isinstance(here, str):
        raise _RefusedError("the change comes from a repository that is gone or not told; forks are not allowed")
    if not _same_repository(here, job.repository):
        raise _RefusedError(f"the event is about {shown(here)}, the job about {shown(job.repository)}")
    if not _same_repository(there, job.repository):
        raise _RefusedError(f"the change comes from the fork {shown(there)}; forks are not allowed")


def _check_authors(allowed: Sequence[str], event: str, payload: dict[object, object]) -> None:
    for name in _AUTHORED.get(event, ()):
        association = _object(payload, name).get("author_association")
        if not isinstance(association, str):
            raise _RefusedError(f"GitHub did not tell what the author of the {name} is to the repository")
        if association not in allowed:
            raise _not_allowed(f"author of the {name}, to the repository", association, allowed)


def _object(parent: dict[object, object], name: str) -> dict[object, object]:
    """A member that is an object; an empty one for anything else, in which every later look finds nothing."""
    value = parent.get(name)
    return cast("dict[object, object]", value) if isinstance(value, dict) else {}


def _not_allowed(kind: str, seen: str, allowed: Sequence[str]) -> _RefusedError:
    return _RefusedError(f"{kind}: {shown(seen)} is not allowed here; allowed: {shown(', '.join(allowed), LIST_SHOWN)}")


def _same_repository(one: str, other: str) -> bool:
    """GitHub compares names without regard to case. They are ASCII; some other letters become ASCII in lower case."""
    return one.isascii() and other.isascii() and one.lower() == other.lower() and one.count("/") == 1


def _matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, each `*` standing for any text. Takes the first fit, so it is never slow."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    place = len(first)
    if not text.startswith(first):
        return False
    for part in middle:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(text) - len(last) >= place and text.endswith(last)
