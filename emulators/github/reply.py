"""GitHub's error bodies, as https://docs.github.com/en/rest describes them and answers show them (November 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from emulators.faults import LEAK_MARK
from emulators.route import Refusal, Reply, json_reply

DOCUMENTATION: Final = "https://docs.github.com/rest"
SECONDARY: Final = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "
    "If you reach out to GitHub Support for help, please include the request ID."
)


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as GitHub words it."""
    return json_reply(status, {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}, headers)


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """The same, to be raised."""
    return Refusal(problem(status, message, headers))


def invalid(message: str) -> Refusal:
    """422: what was sent is JSON, and not what the operation takes."""
    return refuse(422, f"Invalid request.\n\n{message}")


def failure(status: int, retry_after: int | None) -> Reply:
    """What a fault answers: an overloaded front end sends HTML, a rate limit its own message."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status in {403, 429} and retry_after is not None:
        return problem(status, f"{SECONDARY} {LEAK_MARK}", headers)
    if status in {500, 502, 504}:
        body = f"<!DOCTYPE html><html><title>Unicorn! &middot; GitHub</title>{LEAK_MARK}</html>"
        return Reply(status=status, body=body.encode(), headers={"Content-Type": "text/html; charset=utf-8", **headers})
    return problem(status, f"{LEAK_MARK}", headers)
