"""Entry point of the registration broker: `functions-framework --source main.py --target handle`."""

from __future__ import annotations

import os
from pathlib import Path

import flask
import functions_framework
from broker import settings
from broker.app import Broker

_BROKER = Broker(settings.load(os.environ, Path(__file__).parent))


@functions_framework.http  # pyright: ignore[reportUnknownMemberType]
def handle(request: flask.Request) -> flask.Response:
    """Serve one request."""
    return _BROKER.handle(request)
