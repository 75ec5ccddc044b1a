"""Tokens of the Actions service: JWTs with an `exp`, which clients read without checking the signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Final

_HEAD: Final = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


def token(name: str, number: int, expires: float) -> str:
    """A token unlike any other number's."""
    claims = json.dumps({"exp": int(expires), "jti": f"{name}-{number}-that-must-not-leak"}, separators=(",", ":"))
    signed = _HEAD + b"." + base64.urlsafe_b64encode(claims.encode()).rstrip(b"=")
    mark = base64.urlsafe_b64encode(hmac.digest(b"nobody's", signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + mark).decode()
