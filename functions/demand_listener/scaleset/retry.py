"""When a request is tried again, and after how long.

As hashicorp/go-retryablehttp does for GitHub's own client (actions/scaleset v0.4.0): transport errors, 429 and 5xx
except 501, four times, after 1, 2, 4 and 8 seconds, but a `Retry-After` of 429 or 503 first. Two things differ. The
pauses vary by a quarter either way, so that a hundred scale sets do not come back in step. And a `Retry-After` longer
than `longest_pause_seconds` is not slept through inside a call: the call fails with it at once, and its caller decides.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import random
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import ScaleSetError, UnavailableError, error_of, is_limit
from .transport import Response, Transport, TransportError

_SPREAD: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The rules. `chance` gives numbers in [0, 1)."""

    retries: int = 4
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    attempt_seconds: float = 60.0
    """How long one try may last, but that of a long poll. GitHub's own client gives every try five minutes."""
    chance: Callable[[], float] = random.random

    def pause_seconds(self, retry: int) -> float:
        """How long to wait before a retry, counted from 0."""
        # 2 ** 30 times anything is beyond every cap; more would only overflow.
        return self.spread(min(self.longest_pause_seconds, self.first_pause_seconds * 2 ** min(retry, 30)))

    def after(self, seconds: float) -> float:
        """At least as long as the service asks, and up to a quarter longer."""
        return seconds * (1 + _SPREAD * self.chance())

    def spread(self, seconds: float) -> float:
        """A pause, a quarter longer or shorter by chance."""
        return seconds * (1 + _SPREAD * (2 * self.chance() - 1))


class Sender:
    """Sends requests by the rules. `now` is the wall clock, for dates in answers."""

    def __init__(self, transport: Transport, rules: Retry, now: Callable[[], float]) -> None:
        self._transport = transport
        self._now = now
        self.rules = rules

    async def send(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout_seconds: float | None = None,
        also: Container[int] = (),
    ) -> Response:
        """The first answer that is not worth another try: any 2xx, 3xx or 4xx but 429 and the statuses in `also`.

        Raises UnavailableError or RateLimitedError when the tries are used up; UnavailableError.sent tells whether any
        of them may have arrived. A status in `also` that stays is returned.
        """
        rules = self.rules
        sent = False
        for attempt in range(rules.retries + 1):
            last = attempt == rules.retries
            wait: float | None = None
            try:
                response = await self._transport.send(
                    method, url, headers=headers, body=body, timeout_seconds=timeout_seconds or rules.attempt_seconds
                )
            except TransportError as error:
                sent = sent or error.sent
                if last or not error.passing:
                    raise UnavailableError(f"{doing} ({error})", sent=sent) from None
            else:
                failing = response.status == 429 or (response.status >= 500 and response.status != 501)
                if not failing and (response.status not in also or is_limit(response) or last):
                    return response
                sent = sent or response.status >= 500
                wait = retry_after_seconds(response, self._now())
                if last or (wait or 0.0) > rules.longest_pause_seconds:
                    raise _last(response, doing, wait, sent=sent)
            await asyncio.sleep(rules.pause_seconds(attempt) if wait is None else rules.after(wait))
        raise AssertionError  # the last try returned or raised

    def error(self, response: Response, doing: str) -> ScaleSetError:
        """The error that a status other than the expected one stands for."""
        return error_of(response, doing, retry_after_seconds=retry_after_seconds(response, self._now()))


def _last(response: Response, doing: str, wait: float | None, *, sent: bool) -> ScaleSetError:
    if response.status == 429:
        return error_of(response, doing, retry_after_seconds=wait)
    # A failing service may name any exception: it fails all the same.
    return UnavailableError(doing, sent=sent, retry_after_seconds=wait or 0.0, status=response.status)


def retry_after_seconds(response: Response, now: float) -> float | None:
    """How long a limit asks to wait: Retry-After first, in seconds or as a date, else until x-ratelimit-reset.

    None where nothing is said, or nothing that makes sense.
    """
    said = response.header("retry-after").strip()
    if said.isascii() and said.isdigit() and len(said) < 10:
        return float(said)
    if said:
        try:
            date = email.utils.parsedate_to_datetime(said)
            if date.tzinfo is None:
                date = date.replace(tzinfo=datetime.UTC)
            return max(0.0, date.timestamp() - now)
        except (ValueError, OverflowError):
            return None
    reset = response.header("x-ratelimit-reset")
    if response.header("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit() and len(reset) < 12:
        return max(0.0, float(reset) - now)
    return None
