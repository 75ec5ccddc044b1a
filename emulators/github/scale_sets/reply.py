"""The Actions service's answers: JSON, with a byte order mark at times, and errors that name a .NET exception.

The names of the exceptions and their statuses were seen at github.com or stand in a client's source; the namespace is
the one of the session conflict throughout, for clients look for a part of the name.
"""

from __future__ import annotations

from typing import Any, Final

from emulators.faults import LEAK_MARK
from emulators.route import Refusal, Reply, json_reply

NAMESPACE: Final = "GitHub.Actions.Runtime.WebApi"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def problem(status: int, exception: str, message: str) -> Reply:
    """An error in the service's form."""
    value = {"typeName": f"{NAMESPACE}.{exception}, {NAMESPACE}", "message": message}
    return json_reply(status, {**value, "typeKey": exception, "errorCode": 0})


def refuse(status: int, exception: str, message: str) -> Refusal:
    """The same, to be raised."""
    return Refusal(problem(status, exception, message))


def listed(values: list[Any]) -> Reply:
    """A list as every call of the service gives it."""
    return json_reply(200, {"count": len(values), "value": values})


def failure(status: int, retry_after: int | None) -> Reply:
    """What a fault answers: a front end's text, or the service's JSON."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status in {502, 504}:
        return Reply(status=status, body=LEAK_MARK.encode(), headers={"Content-Type": "text/plain", **headers})
    made = problem(status, "InternalServerException", LEAK_MARK)
    return Reply(status=status, body=made.body, headers={**made.headers, **headers})
