"""How a client gets at the Actions service: a registration token from the REST API, for it an admin token.

A registration token lasts an hour and may be used again within it. The admin token says in its `exp` when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from emulators.github.reply import refuse as refuse_rest
from emulators.github.scale_sets.options import Options
from emulators.github.scale_sets.reply import refuse
from emulators.github.scale_sets.token import token
from emulators.route import Call

REGISTRATION_SECONDS: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What a token is good for, and until when."""

    scope: str
    """ORGANIZATION, OWNER/REPOSITORY or enterprises/NAME, in small letters."""
    expires: float

    @property
    def repository(self) -> str:
        """The repository's bare name; empty for an organization or an enterprise."""
        first, _, second = self.scope.partition("/")
        return "" if first == "enterprises" else second


class Connections:
    """The tokens that are out."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._registrations: dict[str, Connection] = {}
        self._admins: dict[str, Connection] = {}
        self._last = 0

    def registration(self, scope: str, now: float) -> tuple[str, float]:
        """A registration token and its end."""
        self._last += 1
        value = f"AREG{self._last:07d}THATMUSTNOTLEAK"
        self._registrations[value] = Connection(scope=scope.lower(), expires=now + REGISTRATION_SECONDS)
        return value, now + REGISTRATION_SECONDS

    def admin(self, authorization: str, url: str, now: float) -> str:
        """An admin token for a registration token. Raises Refusal: 401 for the token, 404 for another scope's URL."""
        kind, _, value = authorization.partition(" ")
        registration = self._registrations.get(value) if kind == "RemoteAuth" else None
        if registration is None or now >= registration.expires:
            raise refuse_rest(401, "Bad credentials")
        if urlsplit(url).path.strip("/").lower() != registration.scope:
            raise refuse_rest(404, "Not Found")
        self._last += 1
        expires = now + self._options.admin_token_seconds
        made = token("admin", self._last, expires)
        self._admins[made] = Connection(scope=registration.scope, expires=expires)
        return made

    def check(self, call: Call, now: float) -> Connection:
        """Whose admin token a call carries. Raises Refusal."""
        connection = self._admins.get(call.bearer)
        if connection is None or now >= connection.expires:
            raise refuse(401, "InvalidTokenException", "The token is not valid or has expired.")
        return connection

    def expire(self) -> None:
        """End every admin token that is out."""
        self._admins.clear()
