"""GitHub's REST API as an App's installation: runner groups, just-in-time configurations, runners.

The App proves itself by a short JWT that its private key signs and gets a token for its one installation. The token is
kept until a minute before its end and fetched by one thread at a time. A rate limit that GitHub states holds for all
requests of this process: going on meanwhile only makes it longer.

Sources, read 2026-11-22: GitHub's REST reference for Apps and self-hosted runners, and "Best practices for using the
REST API": Retry-After first, else x-ratelimit-reset when nothing remains, else at least a minute.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker import decide
from broker.decide import Result

from .session import Answer, Deadline, NoAnswerError, Session, UpstreamError

_SERVICE: Final = "github"
_TRY_SECONDS: Final = 10.0
_GROUPS_FRESH_SECONDS: Final = 3600
_TOKEN_MARGIN_SECONDS: Final = 60
_JWT_BACKDATED_SECONDS: Final = 150
_JWT_SECONDS: Final = 540
_LIMIT_SECONDS: Final = 60.0
"""How long a rate limit lasts that does not say."""
_MOST_PAGES: Final = 20


class AppKeyError(Exception):
    """The secret holds no private key that can sign."""


class GitHub:
    """The API for one organisation. For many threads."""

    def __init__(
        self,
        session: Session,
        url: str,
        *,
        organization: str,
        app_id: str,
        installation_id: str,
        key: Callable[[Deadline], str],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` fetches the App's private key; it is asked once, and again when GitHub does not accept it."""
        self._session = session
        self._url = url
        self._runners = f"/orgs/{organization}/actions/runners"
        self._runner_groups = f"/orgs/{organization}/actions/runner-groups"
        self._app_id = app_id
        self._installation_id = installation_id
        self._fetch_key = key
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
        self._groups: dict[str, int] = {}
        self._groups_until = 0.0

    # The installation token.

    def token(self, deadline: Deadline) -> str:
        """The installation's token. Raises UpstreamError and AppKeyError."""
        if not self._flight.acquire(timeout=deadline.left()):
            raise UpstreamError(_SERVICE, 0, passing=True)
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
        answer = self._repeat("POST", path, lambda: self._app_jwt(deadline), deadline)
        if answer.status == 401 and known:
            # Perhaps the key was changed since it was read.
            self._key = None
            answer = self._repeat("POST", path, lambda: self._app_jwt(deadline), deadline)
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
            raise UpstreamError(_SERVICE, answer.status, passing=answer.status == 201)
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

    # Runner groups and runners.

    def group_id(self, name: str, deadline: Deadline) -> int | None:
        """The id of the runner group of that name; None where the organisation has none. Kept for an hour.

        Raises UpstreamError and AppKeyError.
        """
        with self._lock:
            known = self._groups.get(name) if self._clock() < self._groups_until else None
        if known is not None:
            return known
        groups: dict[str, int] = {}
        for page in range(1, _MOST_PAGES + 1):
            entries = self._listed(self._runner_groups, "runner_groups", {"page": str(page)}, deadline)
            groups.update({entry["name"]: entry["id"] for entry in entries if isinstance(entry.get("id"), int)})
            if len(entries) < 100:
                break
        with self._lock:
            self._groups, self._groups_until = groups, self._clock() + _GROUPS_FRESH_SECONDS
        return groups.get(name)

    def forget_groups(self) -> None:
        """Look the groups up anew next time: GitHub has just refused what is known of them."""
        with self._lock:
            self._groups_until = 0.0

    def create(
        self, name: str, group_id: int, labels: Sequence[str], deadline: Deadline
    ) -> tuple[Result, tuple[int, str] | None]:
        """One try to make a runner: how it ended, and where it did well the runner's id and configuration.

        It is never repeated here. Raises UpstreamError and AppKeyError for what failed before it was tried.
        """
        token = self.token(deadline)
        body = {"name": name, "runner_group_id": group_id, "labels": list(labels), "work_folder": decide.WORK_FOLDER}
        if not self._wait_for_limit(deadline):
            return Result.LIMITED, None
        try:
            answer = self._once("POST", f"{self._runners}/generate-jitconfig", token, deadline, body=body)
        except NoAnswerError as error:
            return (Result.UNKNOWN if error.sent else Result.UNSENT), None
        created = decide.created_runner(answer.json(), name) if answer.status == 201 else None
        if created is not None:
            return Result.CREATED, created
        if self._note_limit(answer):
            return Result.LIMITED, None
        if answer.status == 401:
            self.drop_token(token)
            return Result.UNAUTHORISED, None
        if answer.status == 409:
            return Result.TAKEN, None
        return (Result.REFUSED if 300 <= answer.status < 500 and answer.status != 408 else Result.UNKNOWN), None

    def runners_named(self, name: str, deadline: Deadline) -> tuple[decide.Runner, ...]:
        """The runners of that name: one or none, unless GitHub is confused. Raises UpstreamError and AppKeyError."""
        listing = self._get(self._runners, {"name": name, "per_page": "100"}, deadline)
        found = decide.runners_named(listing.json(), name) if listing.status == 200 else None
        if found is None:
            raise UpstreamError(_SERVICE, listing.status, passing=listing.status == 200)
        return found

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """Remove a runner: DONE also where it was gone, ALIVE while it has a job.

        Raises UpstreamError and AppKeyError.
        """
        answer = self._authorised("DELETE", f"{self._runners}/{runner_id}", {}, deadline)
        if answer.status in {204, 404}:
            return Result.DONE
        if answer.status in {409, 422}:
            return Result.ALIVE
        raise UpstreamError(_SERVICE, answer.status, passing=False)

    def _listed(self, path: str, key: str, params: Mapping[str, str], deadline: Deadline) -> list[dict[str, Any]]:
        answer = self._get(path, {**params, "per_page": "100"}, deadline)
        value = answer.json()
        entries: Any = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
        if answer.status != 200 or not isinstance(entries, list):
            raise UpstreamError(_SERVICE, answer.status, passing=answer.status == 200)
        return [
            cast("dict[str, Any]", entry)
            for entry in cast("list[Any]", entries)
            if isinstance(entry, dict) and isinstance(cast("dict[str, Any]", entry).get("name"), str)
        ]

    def _get(self, path: str, params: Mapping[str, str], deadline: Deadline) -> Answer:
        return self._authorised("GET", path, params, deadline)

    # Requests.

    def _authorised(self, method: str, path: str, params: Mapping[str, str], deadline: Deadline) -> Answer:
        """A request that may be repeated, with a new token where GitHub does not accept the one in use."""
        used = self.token(deadline)
        answer = self._repeat(method, path, lambda: used, deadline, params)
        if answer.status != 401:
            return answer
        self.drop_token(used)
        renewed = self.token(deadline)
        return self._repeat(method, path, lambda: renewed, deadline, params)

    def _repeat(
        self,
        method: str,
        path: str,
        token: Callable[[], str],
        deadline: Deadline,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Try until there is an answer that will not pass. Raises UpstreamError at the deadline."""
        attempt = 0
        while True:
            if not self._wait_for_limit(deadline):
                raise UpstreamError(_SERVICE, 429, passing=True, retry_after_seconds=self.limited_seconds())
            status = 0
            try:
                answer = self._once(method, path, token(), deadline, params=params)
                status = answer.status
                if not self._note_limit(answer) and not answer.passing:
                    return answer
            except NoAnswerError:
                pass
            if not self._session.pause(attempt, deadline):
                raise UpstreamError(_SERVICE, status, passing=True, retry_after_seconds=self.limited_seconds() or None)
            attempt += 1

    def _once(
        self,
        method: str,
        path: str,
        token: str,
        deadline: Deadline,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        return self._session.once(
            _SERVICE,
            method,
            self._url + path,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": "runner-fleet-registration-broker",
                **({} if body is None else {"Content-Type": "application/json"}),
            },
            params=params,
            body=None if body is None else json.dumps(body).encode(),
        )

    # Rate limits.

    def limited_seconds(self) -> float:
        """For how long GitHub wants no request, 0 when it takes them."""
        return max(0.0, self._limited_until - self._clock())

    def _note_limit(self, answer: Answer) -> bool:
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

    def _wait_for_limit(self, deadline: Deadline) -> bool:
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
