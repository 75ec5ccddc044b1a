"""The sessions that are open, and the tokens that they poll with."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

from emulators.github.scale_sets.options import Options
from emulators.github.scale_sets.scale_set import ScaleSet
from emulators.github.scale_sets.session import Session
from emulators.github.scale_sets.token import token

if TYPE_CHECKING:
    from emulators.github.hub import GitHub


class Sessions:
    """One a scale set. A token is known longer than its session, so that a poll is told why it ends."""

    def __init__(self, hub: GitHub, options: Options) -> None:
        self._hub = hub
        self._options = options
        self._by_token: dict[str, Session] = {}
        self._random = random.Random(f"{hub.seed}/sessions")  # noqa: S311 - to be repeated, not secret
        self._last = 0

    def of(self, scale_set: ScaleSet) -> Session | None:
        """The one that a set has. One that was asked for nothing for too long ends here."""
        found = scale_set.session
        if found is not None and self._hub.clock.now() >= found.touched + self._options.session_lapse_seconds:
            self.end(found)
        return scale_set.session

    def open(self, scale_set: ScaleSet, owner: str) -> Session | None:
        """A session, unless one is in the way; whoever owns that."""
        if self.of(scale_set) is not None:
            return None
        made = Session(
            id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)), owner=owner, scale_set=scale_set
        )
        scale_set.session = made
        scale_set.offered.clear()
        self.refresh(made)
        return made

    def refresh(self, session: Session) -> None:
        """Another token in place of the one it has."""
        now = self._hub.clock.now()
        self._by_token.pop(session.token, None)
        self._last += 1
        session.touched, session.expires = now, now + self._options.queue_token_seconds
        session.token = token("queue", self._last, session.expires)
        self._by_token[session.token] = session

    def end(self, session: Session) -> None:
        """It is in nobody's way any more."""
        if session.scale_set.session is session:
            session.scale_set.session = None
        self._hub.changed += 1

    def with_token(self, bearer: str) -> Session | None:
        """Whose token that is, even if the session has ended; None when the token has, or never was."""
        session = self._by_token.get(bearer)
        return session if session is not None and self._hub.clock.now() < session.expires else None

    def expire_tokens(self) -> None:
        """End every token that is out; the sessions stay."""
        self._by_token.clear()
        self._hub.changed += 1
