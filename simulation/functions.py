"""The real functions in memory: broker, deleter and reconciler, each with its own session, clock and log.

A request is a werkzeug environment, as functions-framework would make one, and is served in a greenlet of its own
(`cooperative`). What their tokens come from, Google's metadata server, is asked of the stand-in directly.

Two things only cost time here. An App's private key is parsed once in a process. And where many seeds are run,
`trusting` reads the claims of identity tokens without a look at their signature, so that nobody has to sign them.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import broker.clients.app_token
import flask
import reconciler.clients.app_token

from emulators.google import Google
from simulation import cooperative
from simulation.assumptions import Assumptions
from simulation.clock import WallClocks
from simulation.network import Network
from simulation.session import virtual_session

for _module in (broker.clients.app_token, reconciler.clients.app_token):
    setattr(_module, "load_pem_private_key", functools.lru_cache(maxsize=4)(_module.load_pem_private_key))  # noqa: B010 - it is no attribute of every module


def trusting(identity: ModuleType, keys: Any, audience: str, project: str, now: Callable[[], float]) -> Any:
    """A function's verifier that takes a token's claims as they are; all its rules about claims apply.

    `identity` is the function's own module of that name. The keys are asked for all the same, so that no event differs.
    """
    base: Any = identity.Verifier

    class Trusting(base):
        def caller(self, authorization: str | None) -> Any:
            header, payload, _ = identity.bearer(authorization).split(".")
            keys.get(_claims(header)["kid"])
            return identity.read_claims(_claims(payload), audience=audience, project=project, now=now())

    return Trusting(keys, audience=audience, project=project, now=now)


def _claims(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


class Function:
    """One function, with one process."""

    def __init__(  # noqa: PLR0913 - what a deployment consists of
        self,
        name: str,
        make: Callable[..., Any],
        settings: Any,
        sessions: ModuleType,
        *,
        network: Network,
        google: Google,
        clocks: WallClocks,
        assumed: Assumptions,
        chance: random.Random,
        identity: ModuleType | None = None,
        **more: Any,
    ) -> None:
        """`make` is its class, `sessions` its own module of that name; `more` is for its class alone.

        With its own module `identity` it trusts the tokens that it is sent.
        """
        self.name = name
        self.down = False
        """Whether no process answers: 503, as Google's front end says."""
        self.answers: Counter[tuple[str, int]] = Counter()
        """How often each operation got each status."""
        self.lines: Counter[str] = Counter()
        """What it logged, by message."""
        self._assumed = assumed
        self._chance = chance
        loop = asyncio.get_running_loop()

        def now() -> float:
            return clocks.of(name)

        session = virtual_session(sessions, network, name, clock=loop.time, now=now, chance=chance)

        def token(_: object) -> str:
            return google.tokens.of(google.function_account, google.clock.now()).token

        self._app = make(settings, session=session, token=token, now=now, clock=loop.time, log=self._log, **more)
        if identity is not None:
            keys = self._app._verifier._keys  # noqa: SLF001 - it has no other way in
            self._app._verifier = trusting(identity, keys, settings.audience, settings.fleet.project, now)  # noqa: SLF001
        cooperative.replace_locks(self._app)

    def _log(self, entry: Mapping[str, Any]) -> None:
        self.lines[str(entry.get("message", ""))] += 1
        if entry.get("outcome") == "internal":
            raise AssertionError(f"{self.name} has a bug: {dict(entry)}")

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Status and body of one request; 0 where there is no answer in time."""
        serving = asyncio.ensure_future(self._serve(method, path, headers))
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(serving)  # the function goes on without its caller
        except TimeoutError:
            return 0, b""

    async def _serve(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        await asyncio.sleep(self._assumed.api_seconds.draw(self._chance) / 2)
        status, body = 503, b""
        if not self.down:
            response = await cooperative.call(self._app.handle, _request(method, path, headers))
            status, body = response.status_code, response.get_data()
        await asyncio.sleep(self._assumed.api_seconds.draw(self._chance) / 2)
        self.answers[f"{method} {path}", status] += 1
        return status, body


def _request(method: str, path: str, headers: Mapping[str, str]) -> flask.Request:
    environment: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "function",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": "0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environment |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return flask.Request(environment)
