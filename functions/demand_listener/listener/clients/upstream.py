"""One of Google's services over the transport that GitHub's client has, too: a request, its answer, and what failed.

No retries but where a caller asks for them: each caller has its own idea of when to look again.
"""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import urlencode

from scaleset import Response, Transport, TransportError

Token = Callable[[], Awaitable[str]]
"""Gives the function's own access token. Raises UpstreamError."""

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAUSE_SECONDS: Final = 0.5
"""Before the second try of a read; doubles."""


class UpstreamError(Exception):
    """A service did not do its part. The text holds nothing that the service said, but its status.

    `status` is 0 where there was no answer, and 200 where the answer made no sense. `passing` says whether the same
    request may succeed later, `reason` which of Google's own short codes came with the refusal: for decisions, never
    for a log.
    """

    def __init__(
        self, service: str, status: int, *, passing: bool, retry_after_seconds: float = 0.0, reason: str = ""
    ) -> None:
        super().__init__(f"{service} answered with {f'HTTP {status}' if status else 'nothing'}")
        self.service = service
        self.status = status
        self.passing = passing
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason


class Upstream:
    """One service's way: its name for messages, the transport, and the token that every request carries."""

    def __init__(self, service: str, transport: Transport, token: Token) -> None:
        self._service = service
        self._transport = transport
        self._token = token

    async def once(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """One try; any status that came is returned. Raises UpstreamError where no answer came."""
        address = f"{url}?{urlencode(query)}" if query else url
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(timeout_seconds):
                headers = {"Authorization": f"Bearer {await self._token()}", **kind}
                return await self._transport.send(
                    method, address, headers=headers, body=body, timeout_seconds=timeout_seconds
                )
        except TransportError as error:
            raise UpstreamError(self._service, 0, passing=error.passing) from None
        except TimeoutError:
            raise UpstreamError(self._service, 0, passing=True) from None

    async def read(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        query: Mapping[str, str] | None = None,
        tries: int = 2,
    ) -> Response:
        """As `once`, for what may be asked twice: a failure that may pass is tried again, soon."""
        for number in range(tries - 1):
            try:
                answer = await self.once(method, url, timeout_seconds=timeout_seconds, query=query)
                if answer.status not in _PASSING or answer.status == 429:
                    return answer
            except UpstreamError as error:
                if not error.passing:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS * 2**number)
        return await self.once(method, url, timeout_seconds=timeout_seconds, query=query)

    def failure(self, answer: Response) -> UpstreamError:
        """What an answer that is no success comes to."""
        return UpstreamError(
            self._service,
            answer.status,
            passing=answer.status in _PASSING or answer.status == 200,
            retry_after_seconds=retry_after_seconds(answer),
            reason=_reason(answer.json()),
        )

    def document(self, answer: Response) -> dict[str, Any]:
        """The object in a 200. Raises UpstreamError for anything else."""
        value = answer.json()
        if answer.status != 200 or not isinstance(value, dict):
            raise self.failure(answer)
        return cast("dict[str, Any]", value)


def retry_after_seconds(answer: Response) -> float:
    """What Retry-After asks for in seconds; 0 without a valid one. A date counts from the answer's own Date."""
    given = answer.header("Retry-After").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return float(given)
    try:
        until = email.utils.parsedate_to_datetime(given)
        sent = email.utils.parsedate_to_datetime(answer.header("Date"))
        return max(0.0, (until - sent).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return 0.0


def _reason(value: Any) -> str:
    """The `reason` of the first error in Compute's and Storage's form: {"error": {"errors": [{"reason": …}]}}."""
    error: Any = cast("dict[str, Any]", value).get("error") if isinstance(value, dict) else None
    errors: Any = cast("dict[str, Any]", error).get("errors") if isinstance(error, dict) else None
    first: Any = cast("list[Any]", errors)[0] if isinstance(errors, list) and errors else None
    reason: Any = cast("dict[str, Any]", first).get("reason") if isinstance(first, dict) else None
    return reason if isinstance(reason, str) else ""
