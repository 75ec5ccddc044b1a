"""Entry point of the reconciler: `functions-framework --source main.py --target handle`."""

from __future__ import annotations

import os
from pathlib import Path

import flask
import functions_framework
from reconciler import settings
from reconciler.app import Reconciler

_RECONCILER = Reconciler(settings.load(os.environ, Path(__file__).parent))


@functions_framework.http  # pyright: ignore[reportUnknownMemberType]
def handle(request: flask.Request) -> flask.Response:
    """Serve one request."""
    return _RECONCILER.handle(request)
