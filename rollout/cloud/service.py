"""One service over one aiohttp session: tokens, pace, what may be asked again, and what an answer must look like.

Asked again, a few times, is only what changes nothing, and what carries a request id, by which the service does it
once. Anything else is asked once, but for a 401: then nothing was done, and another token may do.
No proxy, cookie or redirection: a token goes to the address that is set, or nowhere.
"""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp

from rollout.cloud.credentials import Credentials
from rollout.cloud.document import Document, MalformedError
from rollout.cloud.errors import CloudError, class_of_status
from rollout.cloud.pace import HeldError, Pace

TRY_SECONDS: Final = 30.0
TRIES: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.5
MOST_PAUSE_SECONDS: Final = 8.0
MOST_PATIENCE_SECONDS: Final = 60.0
"""A longer Retry-After is not sat out here: it goes on to who asked."""
MOST_REPLY_BYTES: Final = 64 << 20
"""A page of 500 instances with their metadata has some 10 MB."""
MISSING: Final = frozenset({404})
"""What is all right where nothing may be there."""
_PASSING: Final = frozenset({"unavailable", "rate-limited"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer with a status below 300, or one of those that were said to be all right."""

    status: int
    headers: Mapping[str, str]
    """Case does not matter in their names."""
    body: bytes = field(repr=False)

    def document(self) -> Document:
        """Its JSON object. Raises MalformedError."""
        try:
            return Document(json.loads(self.body))
        except (ValueError, RecursionError):
            raise MalformedError("not JSON") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    method: str
    path: str
    words: str
    query: Mapping[str, str]
    body: Any
    fine: frozenset[int]
    seconds: float = TRY_SECONDS
    repeatable: bool = True


def session(*, connections: int = 100) -> aiohttp.ClientSession:
    """The one session of a client; whoever asks for it closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        raise_for_status=False,
    )


class Service:
    """One service of Google's or GitHub's."""

    def __init__(
        self,
        name: str,
        url: str,
        http: aiohttp.ClientSession,
        credentials: Credentials,
        pace: Pace,
        *,
        headers: Mapping[str, str] | None = None,
        change_points: float = 1,
    ) -> None:
        self.name = name
        self.url = url
        self._http = http
        self._credentials = credentials
        self._pace = pace
        self._headers = dict(headers or {})
        self._change_points = change_points
        self.date = ""
        """The Date of its last answer: what its own clock said."""

    async def read(
        self,
        path: str,
        asked: str,
        parse: Callable[[Answer], T],
        *,
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        fine: frozenset[int] = frozenset(),
        seconds: float = TRY_SECONDS,
    ) -> T:
        """Ask for something that changes nothing. An answer that `parse` finds malformed is as good as none.

        Statuses in `fine` are answers as well. Raises CloudError.
        """
        ask = _Ask(method=method, path=path, words=asked, query=query or {}, body=body, fine=fine, seconds=seconds)
        return await self._repeat(ask, parse)

    async def change(
        self,
        method: str,
        path: str,
        asked: str,
        parse: Callable[[Answer], T],
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        fine: frozenset[int] = frozenset(),
        once: bool = False,
    ) -> T:
        """Ask for a change. `once`: it carries a request id, and may be asked for again. Raises CloudError."""
        ask = _Ask(method=method, path=path, words=asked, query=query or {}, body=body, fine=fine, repeatable=once)
        return await self._repeat(ask, parse)

    async def _repeat(self, ask: _Ask, parse: Callable[[Answer], T]) -> T:
        tries, renewed = 0, False
        while True:
            tries += 1
            try:
                return await self._once(ask, parse)
            except CloudError as error:
                if error.status == 401 and not renewed and self._credentials.refused():
                    renewed = True
                    continue
                if not ask.repeatable or tries >= TRIES or error.error_class not in _PASSING:
                    raise
                pause = _pause(tries, error.retry_after_seconds)
                if pause > MOST_PATIENCE_SECONDS:
                    raise
            await self._pace.sleep(pause)

    async def _once(self, ask: _Ask, parse: Callable[[Answer], T]) -> T:
        token = await self._credentials.headers()
        try:
            await self._pace.turn(1 if ask.method == "GET" else self._change_points)
        except HeldError as held:
            raise CloudError(
                self.name,
                0,
                ask.words,
                error_class="rate-limited",
                retry_after_seconds=held.seconds,
                text=f"wants to be asked again in {held.seconds:.0f} s at the earliest",
            ) from None
        try:
            answer = await self._send(ask, {**self._headers, **token})
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise CloudError(self.name, 0, ask.words) from None
        wait = self._asked_to_wait(answer)
        if answer.status >= 300 and answer.status not in ask.fine:
            raise self._refusal(answer, ask.words, wait)
        try:
            return parse(answer)
        except MalformedError as error:
            text = f"answered HTTP {answer.status} in a form that is not documented: {error}"
            raise CloudError(self.name, answer.status, ask.words, error_class="unavailable", text=text) from None

    async def _send(self, ask: _Ask, headers: Mapping[str, str]) -> Answer:
        async with self._http.request(
            ask.method,
            self.url + ask.path,
            params=ask.query,
            headers=headers,
            json=ask.body,
            timeout=aiohttp.ClientTimeout(total=ask.seconds),
            allow_redirects=False,
        ) as response:
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > MOST_REPLY_BYTES:
                    raise aiohttp.ClientPayloadError("too long")
            self.date = response.headers.get("Date", "")
            return Answer(status=response.status, headers=response.headers, body=bytes(data))

    def _asked_to_wait(self, answer: Answer) -> float | None:
        """For how long the host wants to be left alone, which goes for everybody who asks it from here."""
        wait = _seconds(answer.headers.get("Retry-After", ""), time.time())
        if wait is None and answer.headers.get("X-RateLimit-Remaining") == "0":
            reset = answer.headers.get("X-RateLimit-Reset", "")
            wait = max(float(reset) - time.time(), 0.0) if reset.isdecimal() else None
        if wait is not None:
            self._pace.hold(wait)
        return wait

    def _refusal(self, answer: Answer, asked: str, wait: float | None) -> CloudError:
        reason = _reason(answer)
        error_class = class_of_status(answer.status, reason)
        text = f"does not accept the token; {self._credentials.remedy}" if answer.status == 401 else ""
        if answer.status == 403 and wait is not None:  # GitHub's rate limits, also the secondary ones
            error_class = "rate-limited"
        return CloudError(self.name, answer.status, asked, error_class=error_class, retry_after_seconds=wait, text=text)


def _pause(tries: int, wanted: float | None) -> float:
    most = min(FIRST_PAUSE_SECONDS * 2 ** (tries - 1), MOST_PAUSE_SECONDS)
    return max(most * random.random(), wanted or 0.0)  # noqa: S311 - to spread requests, not secret


def _seconds(text: str, now: float) -> float | None:
    """A Retry-After header in seconds: it is a number or a date."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now, 0.0)
    except ValueError:
        return None


def _reason(answer: Answer) -> str:
    """The reason in Google's error body, which only ever is compared; empty where there is none."""
    try:
        return next((each.text("reason", "") for each in answer.document().inner("error").list("errors")), "")
    except MalformedError:
        return ""
