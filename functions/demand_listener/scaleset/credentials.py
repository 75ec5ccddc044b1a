"""What proves to GitHub who asks: a GitHub App's private key, or a personal access token."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass, field
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .errors import CredentialsError

BACKDATED_SECONDS: Final = 60
"""GitHub takes no token of the future; so far may a clock be ahead."""
LIFETIME_SECONDS: Final = 540
"""From its (backdated) beginning. Ten minutes is the longest that GitHub takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCredentials:
    """An App's installation. `app_id` is its numeric id or its client id; the key is PEM, PKCS#1 or PKCS#8."""

    app_id: str
    installation_id: str
    private_key_pem: str = field(repr=False)

    def token(self, now: float) -> str:
        """A short JWT that proves to be the App, signed with RS256. Raises CredentialsError.

        `jti` keeps two of the same second apart.
        """
        issued = int(now) - BACKDATED_SECONDS
        claims = {"iat": issued, "exp": issued + LIFETIME_SECONDS, "iss": self.app_id, "jti": uuid.uuid4().hex}
        return jwt.encode(claims, _private_key(self.private_key_pem), algorithm="RS256")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalToken:
    """A classic or fine-grained personal access token."""

    token: str = field(repr=False)


@functools.lru_cache(maxsize=4)
def _private_key(pem: str) -> RSAPrivateKey:
    """Kept: to read a key takes many times as long as to sign with it, and holds up the loop."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise CredentialsError("private_key_pem is no RSA private key in PEM (PKCS#1 or PKCS#8, without a password)")
    return key
