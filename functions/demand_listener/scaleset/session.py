"""A message session: the one place at a time where a scale set's messages are taken.

The log of messages belongs to the scale set, not to the session: whoever opens the next one gets everything that was
not acknowledged, under the same ids. So a session starts at 0, and no cursor is kept beyond it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

from .connection import API_VERSION, Connection
from .errors import SessionExpiredError, UnreadableAnswerError
from .messages import Message, ScaleSet, SessionAnswer, Statistics, decode, parse_message
from .transport import Response

SETS: Final = "_apis/runtime/runnerscalesets"
NO_SESSION: Final = "00000000-0000-0000-0000-000000000000"
"""The id that GitHub's own client sends for a session that has none yet."""
POLL_SECONDS: Final = 300.0
"""GitHub holds a poll for 50 to 90 s; its own client waits for five minutes."""


class MessageSession:
    """An open session. Polls and everything else may run beside each other."""

    def __init__(
        self, connection: Connection, scale_set_id: int, answer: SessionAnswer, statistics: Statistics
    ) -> None:
        """`ScaleSetClient.open_session` makes one."""
        self._connection = connection
        self._scale_set_id = scale_set_id
        self._url = answer.message_queue_url
        self._token = answer.message_queue_access_token
        self._lock = asyncio.Lock()
        """Held while the token is refreshed."""
        self.id = answer.session_id
        self.scale_set = answer.runner_scale_set or ScaleSet(id=scale_set_id)
        self.statistics = statistics
        """As of the opening, or of a later refresh. What was assigned before is seen nowhere else."""
        self.refreshes = 0
        """How often the queue's token was replaced."""

    async def poll(
        self, *, max_capacity: int, last_message_id: int = 0, timeout_seconds: float = POLL_SECONDS
    ) -> Message | None:
        """The first message after that one; None where there is none yet. GitHub holds the answer for a minute or so.

        `max_capacity` is the most that the set may hold, of waiting and running jobs together. Never advertise 0 while
        serving: jobs queued meanwhile were seen never to come. Raises UnreadableMessageError for a 200 that cannot be
        parsed, SessionExpiredError, and any other ScaleSetError.
        """
        if max_capacity < 0:
            raise ValueError(f"max_capacity is {max_capacity}: it is at least 0")
        doing = f"polling for messages of scale set {self._scale_set_id}"
        response = await self._queue_call(
            "GET",
            self._url_of(query=f"lastMessageId={last_message_id}" if last_message_id > 0 else ""),
            doing=doing,
            headers={
                "Accept": f"application/json; api-version={API_VERSION}",
                "X-ScaleSetMaxCapacity": str(max_capacity),
            },
            timeout_seconds=timeout_seconds,
        )
        if response.status == 404:
            raise SessionExpiredError(doing, status=404)
        self._connection.check(response, doing, 200, 202)
        return None if response.status == 202 else parse_message(response.body)

    async def acknowledge(self, message_id: int) -> None:
        """Delete a message from the log: it has been acted on. One that is gone is done. Raises ScaleSetError."""
        doing = f"acknowledging message {message_id} of scale set {self._scale_set_id}"
        url = self._url_of(path=f"/{message_id}")
        response = await self._queue_call("DELETE", url, doing=doing, headers={"Content-Type": "application/json"})
        self._connection.check(response, doing, 204, 404)

    async def acquire(self, request_ids: Sequence[int]) -> list[int]:
        """Take offered jobs, by their `runner_request_id`; those that were won. It cannot be undone.

        Only a GitHub Enterprise Server offers jobs. github.com assigns them and has no such call: NotFoundError.
        Raises ScaleSetError.
        """
        if not request_ids:
            return []
        doing = f"acquiring jobs for scale set {self._scale_set_id}"

        async def attempt() -> Response:
            path = f"{SETS}/{self._scale_set_id}/acquirejobs"
            return await self._connection.call(
                "POST",
                path,
                doing=doing,
                body=list(request_ids),
                scale_set_id=self._scale_set_id,
                token=self._token,
            )

        response = await self._refreshing(attempt)
        value = self._connection.check(response, doing, 200).json()
        won: Any = cast("dict[str, Any]", value).get("value") if isinstance(value, dict) else None
        if not isinstance(won, list) or any(type(each) is not int for each in cast("list[Any]", won)):
            raise UnreadableAnswerError(f"{doing}: the answer is no list of ids", status=response.status)
        return cast("list[int]", won)

    async def close(self) -> None:
        """Delete the session, so that another may be opened at once. One that is gone is done. Raises ScaleSetError."""
        doing = f"closing the session of scale set {self._scale_set_id}"
        response = await self._connection.call("DELETE", self._path, doing=doing, scale_set_id=self._scale_set_id)
        self._connection.check(response, doing, 204, 400, 404)

    @property
    def _path(self) -> str:
        return f"{SETS}/{self._scale_set_id}/sessions/{self.id}"

    async def _queue_call(
        self, method: str, url: str, *, doing: str, headers: dict[str, str], timeout_seconds: float | None = None
    ) -> Response:
        """A call of the queue itself."""

        async def attempt() -> Response:
            return await self._connection.send(
                method,
                url,
                doing=doing,
                headers={"Authorization": f"Bearer {self._token}", **headers},
                scale_set_id=self._scale_set_id,
                timeout_seconds=timeout_seconds,
            )

        return await self._refreshing(attempt)

    async def _refreshing(self, attempt: Callable[[], Awaitable[Response]]) -> Response:
        """A call with the queue's token, and once more with a new one where that is not accepted."""
        used = self._token
        response = await attempt()
        if response.status != 401:
            return response
        await self._refresh(used)
        return await attempt()

    async def _refresh(self, used: str) -> None:
        """Replace the queue's token, unless somebody else just has. Raises SessionExpiredError where it is evicted."""
        async with self._lock:
            if self._token != used:
                return
            doing = f"refreshing the session of scale set {self._scale_set_id}"
            response = await self._connection.call("PATCH", self._path, doing=doing, scale_set_id=self._scale_set_id)
            if response.status == 404:
                raise SessionExpiredError(doing, status=404)
            self._connection.check(response, doing, 200)
            answer = session_answer(self._connection, response, doing)
            self.id, self._url, self._token = (
                answer.session_id,
                answer.message_queue_url,
                answer.message_queue_access_token,
            )
            self.statistics = answer.statistics or self.statistics
            self.refreshes += 1

    def _url_of(self, *, path: str = "", query: str = "") -> str:
        """The queue's URL, to which GitHub adds no version; what query it has is kept."""
        parts = urlsplit(self._url)
        both = "&".join(part for part in (parts.query, query) if part)
        return urlunsplit((parts.scheme, parts.netloc, parts.path + path, both, ""))


def session_answer(connection: Connection, response: Response, doing: str) -> SessionAnswer:
    """A session as it was answered, with an id, a queue and a token. Raises UnreadableAnswerError."""
    answer = decode(SessionAnswer, response.json(), doing)
    token = answer.message_queue_access_token
    if not is_session_id(answer.session_id):
        raise UnreadableAnswerError(f"{doing}: no session id", status=response.status)
    if not token or not token.isascii() or not token.isprintable():
        raise UnreadableAnswerError(f"{doing}: no token for the queue", status=response.status)
    connection.check_url(answer.message_queue_url, doing)
    return answer


def is_session_id(text: str) -> bool:
    """A UUID other than zero. It becomes part of a path."""
    try:
        return str(uuid.UUID(text)) == text.lower() != NO_SESSION
    except ValueError:
        return False
