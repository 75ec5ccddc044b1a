"""Keeps secret values out of everything that observers write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from rollout.engine.events import Event, Observer, Reason

MASK: Final = "***"
SHORTEST: Final = 4
"""In characters. Anything shorter occurs everywhere, and a text full of masks would tell it."""


class Secrets:
    """Values that nobody may read. Of a value of several lines, such as a key, each line of some length counts too.

    Other forms of a value (encoded, reversed, in parts) are not found. Raises ValueError for one that is too short.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        found: set[str] = set()
        for value in filter(None, values):
            if len(value.strip()) < SHORTEST:
                raise ValueError(f"a secret of {len(value)} characters cannot be masked; {SHORTEST} are the least")
            lines = [line.strip() for line in value.splitlines()]
            found |= {value.strip(), *(line for line in lines if len(line) >= 2 * SHORTEST)}
        # The longest first: where one is the beginning of another, nothing of the other may be left.
        ordered = sorted(found, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._longest = max((len(value.encode()) for value in ordered), default=0)
        self._bytes = re.compile(b"|".join(re.escape(value.encode()) for value in ordered)) if ordered else None

    def text(self, text: str) -> str:
        """The text, masked."""
        return self._text.sub(MASK, text) if self._text else text

    def value(self, value: Any) -> Any:
        """A JSON value whose texts are masked, keys too."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                pairs = cast("Mapping[Any, Any]", value)
                return {self.value(key): self.value(each) for key, each in pairs.items()}
            case list() | tuple():
                return [self.value(each) for each in cast("Sequence[Any]", value)]
            case _:
                return value

    def event(self, event: Event) -> Event:
        """The event with everything masked that is said in words."""
        if not self._text:
            return event
        reason = event.reason
        if reason:
            reason = Reason(
                code=reason.code, message=self.text(reason.message), cause=reason.cause, link=self.text(reason.link)
            )
        return replace(event, reason=reason, data=self.value(event.data))

    def stream(self) -> Stream:
        """For bytes that come in pieces."""
        return Stream(self._bytes, self._longest)


class Stream:
    """Masks a stream. A secret that lies across two pieces is found: the end of each is held back until the next."""

    def __init__(self, pattern: re.Pattern[bytes] | None, longest: int) -> None:
        self._pattern = pattern
        self._longest = longest
        self._held = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """What may be written now; at the `last` piece, all of it."""
        if not self._pattern:
            return data
        held = self._held + data
        # A secret that begins before here lies in `held` as a whole, whichever it is.
        sure = len(held) if last else max(len(held) - self._longest + 1, 0)
        parts: list[bytes] = []
        at = 0
        for match in self._pattern.finditer(held):
            if match.start() >= sure:
                break
            parts += [held[at : match.start()], MASK.encode()]
            at = match.end()
        end = max(at, sure)
        self._held = held[end:]
        return b"".join([*parts, held[at:end]])


class Masked:
    """An observer before another one: what that hears is masked."""

    def __init__(self, observer: Observer, secrets: Secrets) -> None:
        self._observer = observer
        self._secrets = secrets

    async def on_event(self, event: Event) -> None:
        """Pass it on, masked."""
        await self._observer.on_event(self._secrets.event(event))

    async def close(self) -> None:
        """Pass it on."""
        await self._observer.close()
