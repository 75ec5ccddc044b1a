"""A GitHub App's installation: its token, the rate limit that GitHub states, and requests that heed both.

The App proves itself by a short JWT that its private key signs and gets a token for its one installation. The token is
kept until a minute before its end and fetched by one thread at a time. A rate limit that GitHub states holds for all
requests of this process: going on meanwhile only makes it longer.

Sources, read 2026-11-22: GitHub's REST reference for Apps, and "Best practices for using the REST API": Retry-After
first, else x-ratelimit-reset when nothing remains, else at least a minute.

The broker and the reconciler hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .session import Answer, Deadline, NoAnswerError, Session, UpstreamError

SERVICE: Final = "github"
_TRY_SECONDS: Final = 10.0
_TOKEN_MARGIN_SECONDS: Final = 60
_JWT_BACKDATED_SECONDS: Final = 150
_JWT_SECONDS: Final = 540
_LIMIT_SECONDS: Final = 60.0
"""How long a rate limit lasts that does not say."""


class AppKeyError(Exception):
    """The secret holds no private key that can sign."""


class Installation:
    """An App installed in one organisation, and its way to GitHub's REST API. For many threads."""

    def __init__(
        self,
        session: Session,
        url: str,
        *,
        app_id: str,
        installation_id: str,
        key: Callable[[Deadline], str],
        agent: str,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` fetches the App's private key; it is asked once, and again when GitHub does not accept it.

        `agent` is the User-Agent, which GitHub demands.
        """
        self._session = session
        self._url = url
        self._app_id = app_id
        self._installation_id = installation_id
        self._fetch_key = key
        self._agent = agent
        self._now = now
        self._clock = clock
        self._flight = threading.Lock()
        """Held while a token is fetched."""
        self._lock = threading.Lock()
        """Held for moments."""
        self._key: RSAPrivateKey | None = None
        self._token: str | None = None
        self._token_until = 0.0
        self._limited_until = 0.0

    # The token.

    def token(self, deadline: Deadline) -> str:
        """The installation's token. Raises UpstreamError and AppKeyError."""
        if not self._flight.acquire(timeout=deadline.left()):
            raise UpstreamError(SERVICE, 0, passing=True)
        try:
            with self._lock:
                if self._token is not None and self._now() < self._token_until:
                    return self._token
            token, until = self._new_token(deadline)
            with self._lock:
                self._token, self._token_until = token, until
            return token
        finally:
            self._flight.release()

    def drop_token(self, token: str) -> None:
        """Forget a token that GitHub does not accept, if it is still the one in use."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _new_token(self, deadline: Deadline) -> tuple[str, float]:
        path = f"/app/installations/{self._installation_id}/access_tokens"
        known = self._key is not None
        answer = self.repeat(lambda: self.once("POST", path, self._app_jwt(deadline), deadline), deadline)
        if answer.status == 401 and known:
            # Perhaps the key was changed since it was read.
            self._key = None
            answer = self.repeat(lambda: self.once("POST", path, self._app_jwt(deadline), deadline), deadline)
        if answer.status in {401, 403, 404}:
            self._key = None
        value = answer.json()
        fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        token = fields.get("token")
        try:
            until = datetime.datetime.fromisoformat(str(fields.get("expires_at"))).timestamp()
        except (ValueError, OverflowError):
            until = 0.0
        if answer.status != 201 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UpstreamError(SERVICE, answer.status, passing=answer.status == 201)
        return token, until - _TOKEN_MARGIN_SECONDS

    def _app_jwt(self, deadline: Deadline) -> str:
        """Ten minutes is the longest that GitHub takes; `jti` keeps two of one second apart.

        GitHub takes none of the future: it begins so far back that a clock may be two minutes ahead.
        """
        if self._key is None:
            self._key = _private_key(self._fetch_key(deadline))
        issued = int(self._now()) - _JWT_BACKDATED_SECONDS
        claims = {"iat": issued, "exp": issued + _JWT_SECONDS, "iss": self._app_id, "jti": uuid.uuid4().hex}
        return jwt.encode(claims, self._key, algorithm="RS256")

    # Requests.

    def call(self, method: str, path: str, deadline: Deadline, *, params: Mapping[str, str] | None = None) -> Answer:
        """A request that may be repeated, with a new token where GitHub does not accept the one in use.

        Any status that does not pass is returned. Raises UpstreamError and AppKeyError.
        """
        used = self.token(deadline)
        answer = self.repeat(lambda: self.once(method, path, used, deadline, params=params), deadline)
        if answer.status != 401:
            return answer
        self.drop_token(used)
        renewed = self.token(deadline)
        return self.repeat(lambda: self.once(method, path, renewed, deadline, params=params), deadline)

    def once(
        self,
        method: str,
        path: str,
        token: str,
        deadline: Deadline,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One try. Raises NoAnswerError; statuses, rate limits too, are for the caller to judge."""
        return self._session.once(
            SERVICE,
            method,
            self._url + path,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": self._agent,
                **({} if body is None else {"Content-Type": "application/json"}),
            },
            params=params,
            body=None if body is None else json.dumps(body).encode(),
        )

    def repeat(self, attempt: Callable[[], Answer], deadline: Deadline, *, service: str = SERVICE) -> Answer:
        """Try until there is an answer that will not pass.

        Raises UpstreamError, of that service, at the deadline, and what `attempt` raises but NoAnswerError.
        """
        number = 0
        while True:
            if not self.wait_for_limit(deadline):
                raise UpstreamError(service, 429, passing=True, retry_after_seconds=self.limited_seconds())
            status = 0
            try:
                answer = attempt()
                status = answer.status
                if not self.note_limit(answer) and not answer.passing:
                    return answer
            except NoAnswerError:
                pass
            if not self._session.pause(number, deadline):
                raise UpstreamError(service, status, passing=True, retry_after_seconds=self.limited_seconds() or None)
            number += 1

    # Rate limits.

    def limited_seconds(self) -> float:
        """For how long GitHub wants no request, 0 when it takes them."""
        return max(0.0, self._limited_until - self._clock())

    def note_limit(self, answer: Answer) -> bool:
        """Whether an answer says that there were too many requests; then nobody asks until it is over."""
        spent = answer.headers.get("x-ratelimit-remaining") == "0"
        asked = self._session.retry_after_seconds(answer)
        if answer.status != 429 and not (answer.status == 403 and (spent or asked is not None)):
            return False
        reset = answer.headers.get("x-ratelimit-reset", "")
        if asked is None and spent and reset.isascii() and reset.isdigit() and len(reset) < 12:
            asked = max(0.0, int(reset) - self._now())
        self._limited_until = max(self._limited_until, self._clock() + (_LIMIT_SECONDS if asked is None else asked))
        return True

    def wait_for_limit(self, deadline: Deadline) -> bool:
        """Wait until GitHub takes requests again; False, at once, where that is after the deadline."""
        seconds = self.limited_seconds()
        return seconds <= 0 or self._session.pause(0, deadline, at_least=seconds)


def _private_key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise AppKeyError("the secret holds no RSA private key")
    return key
