"""The listener over HTTP: `POST /` serves until its time is over, and says how long it led.

Who may call it is Cloud IAM's matter. Nothing in a request is read: it names nobody and orders nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Final

import flask
from scaleset import HttpTransport

from .records import Log, write_line
from .serve import Served, serve
from .settings import Settings

SUMMONS: Final = signal.SIGRTMIN
"""Sent to ourselves, see `Termination`."""


class Listener:
    """The function. Make one per process, in its main thread; every request is served in a thread of its own."""

    def __init__(self, settings: Settings, *, log: Log = write_line) -> None:
        self._settings = settings
        self._log = log
        self._termination = Termination()

    def handle(self, request: flask.Request) -> flask.Response:
        """Serve one request."""
        if request.path != "/":
            return _answer(404, {"error": "no_such_path", "message": "The listener has POST / alone."})
        if request.method != "POST":
            error = {"error": "method_wrong", "message": "This path takes POST alone."}
            return _answer(405, error, {"Allow": "POST"})
        served = asyncio.run(self._serve())
        said = {
            "led_seconds": round(served.led_seconds),
            "stood_by_seconds": round(served.stood_by_seconds),
            "fence": served.fence,
            "terms": served.terms,
        }
        self._log({"severity": "INFO", "message": "POST /", "status": 200, **said})
        return _answer(200, said)

    async def _serve(self) -> Served:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        transport = HttpTransport()
        with self._termination.calls(lambda: loop.call_soon_threadsafe(stop.set)):
            try:
                return await serve(self._settings, transport, log=self._log, stop=stop)
            finally:
                await transport.close()


class Termination:
    """Has SIGTERM end what runs in other threads, and then do what it did before.

    Only the main thread may set a signal's handler, and the server that runs us (gunicorn) sets its own after we are
    imported, in a process that it forks. But a handler that we set for another signal stays, and Python runs handlers
    in the main thread, whoever sent the signal. So the first request sends it, and SIGTERM is taken over there.
    """

    def __init__(self) -> None:
        self._calls: set[Callable[[], Any]] = set()
        self._lock = threading.Lock()
        self._before: Any = None
        self._taken = False
        self._over = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(SUMMONS, self._take)

    @contextlib.contextmanager
    def calls(self, call: Callable[[], Any]) -> Generator[None]:
        """Within this, SIGTERM has it called; at once where SIGTERM has come before."""
        with self._lock:
            self._calls.add(call)
        if threading.current_thread() is threading.main_thread():
            self._take(SUMMONS, None)
        else:
            os.kill(os.getpid(), SUMMONS)
        if self._over:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if not self._taken:
            self._taken = True
            self._before = signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._over = True
        for call in tuple(self._calls):
            call()
        if callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL and not self._calls:
            raise SystemExit(0)


def _answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> flask.Response:
    return flask.Response(json.dumps(body), status=status, headers=headers, mimetype="application/json")
