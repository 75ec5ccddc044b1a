"""The listener's own entry point, with a transport that writes down when requests went out and when answers had left.

For `functions-framework --source`. At its end, which SIGTERM brings, the folder BENCH_FOLDER gets `calls`: a line for
each poll that brought a message, and for each request to Compute Engine. All else is the function's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flask
import functions_framework

sys.path.insert(0, str(Path(__file__).parent.parent / "functions/demand_listener"))

from listener import app, settings
from scaleset import HttpTransport, Response

_CALLS = Path(os.environ["BENCH_FOLDER"]) / "calls"


class TimedTransport(HttpTransport):
    """Notes what was asked, when it was sent, and the answer; what that says is read at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[str, float, Response]] = []

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        """As it is, and noted."""
        sent = time.monotonic()
        response = await super().send(method, url, headers=headers, body=body, timeout_seconds=timeout_seconds)
        message = method == "GET" and "/scalesets/message" in url and response.status == 200
        if message or "/instanceGroupManagers/" in url:
            self._calls.append((url, sent, response))
        return response

    async def close(self) -> None:
        """The end: all is written down."""
        await super().close()
        lines = [json.dumps(_line(*call)) for call in self._calls]
        half = _CALLS.with_suffix(".half")
        half.write_text("\n".join(lines), encoding="utf-8")
        half.rename(_CALLS)


def _line(url: str, sent: float, response: Response) -> dict[str, Any]:
    left = float(response.header("X-Left-At"))
    if "/instanceGroupManagers/" in url:
        kind, pool = "resize" if "/resize" in url else "look", url.partition("/instanceGroupManagers/")[2]
    else:
        kind, pool = "message", json.loads(response.json()["body"])[0]["requestLabels"][0]
    return {"kind": kind, "pool": pool, "sent": sent, "left": left}


app.HttpTransport = TimedTransport  # pyright: ignore[reportPrivateImportUsage]
_LISTENER = app.Listener(settings.load(os.environ, Path(__file__).parent))


@functions_framework.http
def handle(request: flask.Request) -> flask.Response:
    """Serve one request."""
    return _LISTENER.handle(request)
