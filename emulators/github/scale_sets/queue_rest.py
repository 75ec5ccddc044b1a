"""The message queue's calls, which ask for a session's own token: poll, acknowledge, acquire.

A poll is held until there is a message or its time is over. Its token is looked at again when anything has changed, so
an eviction ends it. Once the session has ended the token is worthless (401): the client refreshes and is told why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.github.scale_sets.reply import listed, refuse
from emulators.github.scale_sets.service_rest import SET
from emulators.github.scale_sets.session import Session
from emulators.route import Call, Refusal, Reply, Route

if TYPE_CHECKING:
    from emulators.github.hub import GitHub

QUEUE: Final = "/scalesets/message"
CAPACITY: Final = "X-ScaleSetMaxCapacity"
JSON: Final = {"Content-Type": "application/json; charset=utf-8"}


def routes(hub: GitHub) -> Iterable[Route]:
    """The three of them."""
    calls = QueueRest(hub)
    yield Route(name="github.scale_sets.poll", method="GET", path=QUEUE, handler=calls.poll)
    yield Route(
        name="github.scale_sets.acknowledge", method="DELETE", path=f"{QUEUE}/{{message}}", handler=calls.acknowledge
    )
    yield Route(name="github.scale_sets.acquire", method="POST", path=f"{SET}/acquirejobs", handler=calls.acquire)


class QueueRest:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    def poll(self, call: Call) -> Reply | None:
        """The first message above the cursor; 202 when none comes."""
        now, notes = self._hub.clock.now(), call.notes
        fresh = "until" not in notes
        if not fresh:
            notes["session"].touched = now
            if now < notes["until"] and notes["changed"] == self._hub.changed:
                return None
        session = notes["session"] = self._session(call)
        scale_set, sets = session.scale_set, self._hub.scale_sets
        sets.assign(scale_set, _number(call.headers.get(CAPACITY)))
        now = self._hub.clock.now()  # later than what was just assigned
        end = call.at + sets.options.hold_seconds
        cursor = _number(call.query.get("lastMessageId")) or 0
        message = scale_set.log.take(cursor, now, scale_set.statistics, fresh=fresh, last=now >= end)
        if message is not None:
            return Reply(body=message.body, headers=JSON)
        if now >= end:
            return Reply(status=202)
        due = scale_set.log.next_due(now)
        notes["until"] = end if due is None else min(end, due)
        notes["changed"] = self._hub.changed
        return None

    def acknowledge(self, call: Call) -> Reply:
        """Keep the message no more."""
        scale_set = self._session(call).scale_set
        number = _number(call.parameters["message"])
        if number is None or not scale_set.log.acknowledge(number):
            raise refuse(404, "MessageNotFoundException", f"Message {call.parameters['message']} was not found.")
        self._hub.scale_sets.perhaps_again(scale_set, number)
        return Reply(status=204)

    def acquire(self, call: Call) -> Reply:
        """Take offered jobs; those that were won. github.com has no such route."""
        sets = self._hub.scale_sets
        if sets.options.flavour != "ghes":
            raise Refusal(Reply(status=404, body=b"404 page not found\n", headers={"Content-Type": "text/plain"}))
        scale_set = self._session(call).scale_set
        if str(scale_set.id) != call.parameters["scale_set"]:
            raise refuse(404, "RunnerScaleSetNotFoundException", "The runner scale set was not found.")
        body: Any = call.json()
        if not isinstance(body, list):
            raise refuse(400, "ArgumentNullException", "Value cannot be null. (Parameter 'requestIds')")
        wanted = [number for number in body if isinstance(number, int)]  # pyright: ignore[reportUnknownVariableType]
        return listed(sets.acquire(scale_set, wanted))

    def _session(self, call: Call) -> Session:
        """Whose token a call has. Raises Refusal: 404 without its set, 401 for a token that is worthless."""
        sessions = self._hub.scale_sets.sessions
        session = sessions.with_token(call.bearer)
        if session is not None and session.scale_set.deleted:
            text = f"The runner scale set {session.scale_set.id} was not found."
            raise refuse(404, "RunnerScaleSetNotFoundException", text)
        if session is None or sessions.of(session.scale_set) is not session:
            raise refuse(401, "InvalidTokenException", "The token is not valid or has expired.")
        session.touched = self._hub.clock.now()
        return session


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
