"""Entry point of the instance deleter: `functions-framework --source main.py --target handle`."""

from __future__ import annotations

import os
from pathlib import Path

import flask
import functions_framework
from deleter import settings
from deleter.app import Deleter

_DELETER = Deleter(settings.load(os.environ, Path(__file__).parent))


@functions_framework.http  # pyright: ignore[reportUnknownMemberType]
def handle(request: flask.Request) -> flask.Response:
    """Serve one request."""
    return _DELETER.handle(request)
