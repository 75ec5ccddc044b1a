"""Entry point of the demand listener: `functions-framework --source main.py --target handle`."""

from __future__ import annotations

import os
from pathlib import Path

import flask
import functions_framework
from listener import settings
from listener.app import Listener

_LISTENER = Listener(settings.load(os.environ, Path(__file__).parent))


@functions_framework.http  # pyright: ignore[reportUnknownMemberType]
def handle(request: flask.Request) -> flask.Response:
    """Serve one request."""
    return _LISTENER.handle(request)
