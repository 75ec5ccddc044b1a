"""The way to the Actions service: from the credentials to its URL and a token for it, and authorised calls.

    App key -> installation token -+
                                   +-> registration token -> runner registration -> URL and admin token
    personal token ----------------+

As GitHub's own client does it (actions/scaleset v0.4.0), only the last pair is kept, and a refresh repeats the whole
chain: two or three calls an hour, for all scale sets of the config URL together. Two things are added. A 401 of the
service leads to one refresh and one more try: tokens of a nominal hour were seen dead after 17 minutes. And whoever
waited while a refresh failed fails with it, instead of trying once more after another.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from .config_url import ConfigUrl, Scope
from .credentials import AppCredentials, PersonalToken
from .errors import ScaleSetError, UnreadableAnswerError
from .retry import Retry, Sender
from .transport import Response, Transport, decode_json

API_VERSION: Final = "6.0-preview"
MARGIN_SECONDS: Final = 60
"""So long before its end a token is replaced."""
VERSION: Final = "0.1.0"
"""Of this library."""

_FRESH_TOKEN: Final = frozenset({401, 403})
"""What a registration token may get until it is known everywhere: tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Who calls, as GitHub's support sees it."""

    system: str
    version: str
    commit_sha: str = ""
    subsystem: str = "listener"

    def header(self, scale_set_id: int = 0) -> str:
        """The User-Agent: JSON, its keys in the order of GitHub's own client. The id is 0 until it is known."""
        value = {
            "system": self.system,
            "version": self.version,
            "commit_sha": self.commit_sha,
            "scale_set_id": scale_set_id,
            "subsystem": self.subsystem,
            "build_version": VERSION,
            "build_commit_sha": VERSION,
            "kind": "scaleset",
        }
        return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admin:
    """The service's URL, and a token for it."""

    url: str
    token: str = field(repr=False)
    until: float


class Connection:
    """The Actions service of one config URL. For all tasks of one event loop."""

    def __init__(
        self,
        transport: Transport,
        *,
        config: ConfigUrl,
        credentials: AppCredentials | PersonalToken,
        agent: Agent,
        now: Callable[[], float],
        rules: Retry,
    ) -> None:
        """Raises ValueError for credentials that cannot serve that scope."""
        if config.scope is Scope.ENTERPRISE and isinstance(credentials, AppCredentials):
            raise ValueError(
                f"{config.url} is an enterprise, which no GitHub App may serve: use a PersonalToken with "
                "manage_runners:enterprise, or an organization's URL"
            )
        self._sender = Sender(transport, rules, now)
        self._config = config
        self._credentials = credentials
        self._now = now
        self._lock = asyncio.Lock()
        """Held while a token is fetched, and for nothing else."""
        self._admin: _Admin | None = None
        self._failures = 0
        self._failure: ScaleSetError | None = None
        self.agent = agent

    @property
    def scope(self) -> Scope:
        """What the config URL names."""
        return self._config.scope

    @property
    def rules(self) -> Retry:
        """When requests are tried again."""
        return self._sender.rules

    async def call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        scale_set_id: int = 0,
        token: str = "",
    ) -> Response:
        """A request to the service below its URL, with the admin token or with the one given.

        The status is the caller's to judge; a 401 for the admin token has led to a new one first. Raises ScaleSetError.
        """

        async def attempt(admin: _Admin) -> Response:
            return await self.send(
                method,
                service_url(admin.url, path, query or {}),
                doing=doing,
                headers={"Authorization": f"Bearer {token or admin.token}", "Content-Type": "application/json"},
                body=None if body is None else encode(body),
                scale_set_id=scale_set_id,
            )

        admin = await self._authorised()
        response = await attempt(admin)
        if response.status != 401 or token:
            return response
        if self._admin is admin:
            self._admin = None
        return await attempt(await self._authorised())

    async def send(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        scale_set_id: int = 0,
        timeout_seconds: float | None = None,
        also: frozenset[int] = frozenset(),
    ) -> Response:
        """A request to any URL, tried again by the rules. Raises ScaleSetError."""
        return await self._sender.send(
            method,
            url,
            doing=doing,
            headers={**headers, "User-Agent": self.agent.header(scale_set_id)},
            body=body,
            timeout_seconds=timeout_seconds,
            also=also,
        )

    # The chain of tokens.

    async def _authorised(self) -> _Admin:
        """The service's URL and a token that lasts. Raises ScaleSetError."""
        if (admin := self._fresh()) is not None:
            return admin
        seen = self._failures
        async with self._lock:
            if (admin := self._fresh()) is not None:
                return admin
            if self._failure is not None and self._failures != seen:
                raise self._failure.with_traceback(None)
            try:
                self._admin = await self._register()
            except ScaleSetError as error:
                self._failures, self._failure = self._failures + 1, error
                raise
            return self._admin

    def _fresh(self) -> _Admin | None:
        admin = self._admin
        return admin if admin is not None and self._now() + MARGIN_SECONDS <= admin.until else None

    async def _register(self) -> _Admin:
        doing = "registering with the Actions service"
        response = await self.send(
            "POST",
            f"{self._config.rest_root}/actions/runner-registration",
            doing=doing,
            headers={
                "Authorization": f"RemoteAuth {await self._registration_token()}",
                "Content-Type": "application/json",
            },
            body=encode({"url": self._config.url, "runner_event": "register"}) + b"\n",
            also=_FRESH_TOKEN,
        )
        if not 200 <= response.status < 300:
            raise self._sender.error(response, doing)
        url, token = text_in(response, "url"), text_in(response, "token")
        until = expiry(token)
        if not token or until is None:
            raise UnreadableAnswerError(f"{doing}: no token that says when it ends", status=response.status)
        self.check_url(url, doing)
        return _Admin(url=url, token=token, until=until)

    async def _registration_token(self) -> str:
        doing = "getting a registration token"
        response = await self.send(
            "POST",
            f"{self._config.rest_root}{self._config.path_prefix}/actions/runners/registration-token",
            doing=doing,
            headers={
                "Authorization": f"Bearer {await self._api_token()}",
                "Content-Type": "application/vnd.github.v3+json",
            },
        )
        return self._token_of(response, doing)

    async def _api_token(self) -> str:
        if isinstance(self._credentials, PersonalToken):
            return self._credentials.token
        doing = "getting the App's installation token"
        response = await self.send(
            "POST",
            f"{self._config.rest_root}/app/installations/{quote(self._credentials.installation_id, safe='')}"
            "/access_tokens",
            doing=doing,
            headers={
                "Authorization": f"Bearer {self._credentials.token(self._now())}",
                "Content-Type": "application/vnd.github+json",
            },
        )
        return self._token_of(response, doing)

    def _token_of(self, response: Response, doing: str) -> str:
        if response.status != 201:
            raise self._sender.error(response, doing)
        token = text_in(response, "token")
        if not token:
            raise UnreadableAnswerError(f"{doing}: no token in the answer", status=response.status)
        return token

    def check(self, response: Response, doing: str, *statuses: int) -> Response:
        """The response, if it has one of those statuses. Raises the ScaleSetError that it stands for otherwise."""
        if response.status not in statuses:
            raise self._sender.error(response, doing)
        return response

    def check_url(self, url: str, doing: str) -> None:
        """Whether a URL that the service gave may get a token. Raises UnreadableAnswerError.

        GitHub has handed out an empty one during an incident. Nor does a token go out in the clear that came encrypted.
        """
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            raise UnreadableAnswerError(f"{doing}: a URL that is none", status=200) from None
        if not good or (self._config.url.startswith("https:") and parts.scheme != "https"):
            raise UnreadableAnswerError(f"{doing}: a URL that is none, or not encrypted", status=200)


def service_url(url: str, path: str, query: Mapping[str, str]) -> str:
    """A URL of the service: its own query is kept, `api-version` is added unless present, the names are sorted."""
    parts = urlsplit(url)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *query.items()]
    if not any(name == "api-version" for name, _ in pairs):
        pairs.append(("api-version", API_VERSION))
    pairs.sort(key=lambda pair: pair[0])
    return urlunsplit(
        (parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", urlencode(pairs, quote_via=quote), "")
    )


def encode(value: Any) -> bytes:
    """JSON on one line, without spaces and with nothing escaped that need not be, as Go's encoder without HTML."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def text_in(response: Response, key: str) -> str:
    """A text in a JSON object that can be sent on in a header; empty where there is none."""
    value = response.json()
    text = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) and text.isascii() and text.isprintable() else ""


def expiry(token: str) -> float | None:
    """When a JWT ends, in seconds since 1970. Its signature is not ours to judge. None where it does not say."""
    segments: Sequence[str] = token.split(".")
    if len(segments) != 3:
        return None
    try:
        payload = decode_json(base64.urlsafe_b64decode(segments[1] + "=" * (-len(segments[1]) % 4)))
    except ValueError:
        return None
    until = cast("dict[str, Any]", payload).get("exp") if isinstance(payload, dict) else None
    # No float holds a greater whole number than this one exactly, and no token lasts so long.
    return float(until) if isinstance(until, int | float) and not isinstance(until, bool) and until < 2**53 else None
